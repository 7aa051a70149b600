"""``python -m sdc_search`` is the command ``sdc-search``."""

from __future__ import annotations

import sys

from sdc_search.cli import main

if __name__ == "__main__":
    sys.exit(main())
