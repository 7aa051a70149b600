"""What the commands of ``sdc-search`` share: options, output on stdout and stderr, errors of input."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

if TYPE_CHECKING:
    from rich.console import RenderableType

# 128 + SIGPIPE: what a shell reports of any command whose reader has gone away.
_EXIT_BROKEN_PIPE = 141

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


class InputError(Exception):
    """What the user typed, or a file they named, cannot be used; the message is the one line they read."""


class SeveralValues(TyperCommand):
    """A command some of whose options take every word up to the next option."""

    _OPTIONS = ("--backbone", "--bits", "--features", "--methods")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat such an option before each further word, which is what typer understands."""
        words: list[str] = []
        option = None
        for word in args:
            if word.startswith("-"):
                option = word if word in self._OPTIONS else None
                words += [] if option else [word]
            else:
                words += [option, word] if option else [word]
        return super().parse_args(ctx, words)


def make_directory(path: Path, option: str) -> None:
    """Create `path`; raise `InputError` where that, or writing into it, is impossible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{option} {path} cannot be created: {error.strerror}; choose another") from error
    if not os.access(path, os.W_OK):
        raise InputError(f"{option} {path} is not writable; choose another")


@contextmanager
def progress(total: int, *, quiet: bool, log: bool = False) -> Iterator[Callable[[str, int], None]]:
    """Show progress on stderr.

    Yields a function of a text and of how much of `total` is done. Where stderr is no terminal, it writes a
    line each time if `log`, else nothing.
    """
    if quiet or not (log or sys.stderr.isatty()):
        yield lambda text, done: None
    elif not sys.stderr.isatty():
        yield lambda text, done: print(f"[{done + 1}/{total}] {text}", file=sys.stderr)
    else:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=total)
            yield lambda text, done: bar.update(task, description=text, completed=done)


def print_lines(lines: Iterable[str]) -> None:
    """Write to stdout; end the command quietly where its reader has gone away."""
    try:
        sys.stdout.writelines(line + "\n" for line in lines)
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter flushes once more at exit, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(_EXIT_BROKEN_PIPE) from None


def render(*parts: RenderableType, width: int) -> str:
    """Return tables and text for stdout: as wide as the terminal; plain and `width` wide if it is none."""
    from io import StringIO

    from rich.console import Console

    buffer = StringIO()
    terminal = sys.stdout.isatty()
    console = Console(file=buffer, force_terminal=terminal, width=None if terminal else width)
    for part in parts:
        console.print(part)
    return buffer.getvalue().rstrip("\n")


def note(message: str, *, quiet: bool) -> None:
    """Write to stderr unless `quiet`."""
    if not quiet:
        print(message, file=sys.stderr)
