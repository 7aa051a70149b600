"""The native module, or one sentence that says why it is not there."""

from __future__ import annotations

try:
    from sdc_search import _core as core
except ImportError as error:
    raise ImportError(
        f"the native module of sdc_search could not be loaded ({error}); install the package with "
        "'pip install .' from its source directory, outside of which Python must then be started"
    ) from error

__all__ = ["core"]
