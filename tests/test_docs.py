from __future__ import annotations

import doctest
import re
import textwrap
from pathlib import Path

import pytest

from sdc_search import training

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md") if ">>>" in path.read_text()))
def test_examples_print_what_the_page_says(page):
    failures, examples = doctest.testfile(str(DOCS / page), module_relative=False)
    assert examples > 0
    assert failures == 0


def test_the_loop_that_is_shown_is_the_one_that_runs():
    shown = re.search(
        r"<!-- from training\.py -->\n```python\n(.*?)```", (DOCS / "training.md").read_text(), re.DOTALL
    )
    assert shown
    assert textwrap.indent(shown[1], 16 * " ") in Path(training.__file__).read_text()
