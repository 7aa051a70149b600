"""A hash of the code behind a result, which tells whether a result from another day is still valid."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

_PACKAGE = "sdc_search"
_ROOT = Path(__file__).parent


@cache
def source_digest(*modules: str) -> str:
    """Hash modules of this package and every module of it that they import, directly or not.

    Comments, docstrings and layout do not count. The native core is not covered.

    Parameters
    ----------
    modules
        Full names; one that is not of this package adds nothing but its name.

    Examples
    --------
    >>> from sdc_search.source_digest import source_digest
    >>> source_digest("sdc_search.codes") == source_digest("sdc_search.metrics")
    False
    """
    digest = hashlib.sha256()
    for name in sorted(_closure(modules)):
        path = _path(name)
        digest.update(f"{name}\n{_statements(path) if path else ''}\n".encode())
    return digest.hexdigest()


def _closure(modules: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            path = _path(name)
            waiting += _imports(path) if path else []
    return found


def _path(name: str) -> Path | None:
    package, *rest = name.split(".")
    path = _ROOT.joinpath(*rest).with_suffix(".py")
    return path if package == _PACKAGE and rest and path.exists() else None


def _imports(path: Path) -> list[str]:
    """List the modules of this package that a file imports, at whatever place in it."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if _path(name)]


def _statements(path: Path) -> str:
    """Return the code as Python itself would write it, without docstrings."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                body[0] = ast.Expr(ast.Constant(None))
    return ast.unparse(tree)
