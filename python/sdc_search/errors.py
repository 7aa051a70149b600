"""The exceptions that callers may want to catch by name."""

from __future__ import annotations


class NotFittedError(ValueError, AttributeError):
    """A hasher was asked to project or save before it was fitted.

    Both bases are scikit-learn's convention, so that code written for its estimators catches this one too.
    """


class CorruptFileError(ValueError):
    """A file is not what its name or header promises; the message names the file and the section."""


class MissingExtraError(ImportError):
    """An optional dependency is absent; the message holds the pip command that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}: pip install 'sdc-search[{extra}]'", name=package)
