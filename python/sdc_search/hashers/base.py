"""What all hash functions share: checks, blocks of rows, packing, files and scikit-learn's protocol."""

from __future__ import annotations

import inspect
import os
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, Self, TypeAlias, overload

import numpy as np
import numpy.typing as npt

from sdc_search import storage
from sdc_search.arrays import ArrayLike, as_count, as_features, is_tensor, like, to_numpy
from sdc_search.bit_statistics import bit_statistics
from sdc_search.codes import pack_bits
from sdc_search.errors import NotFittedError
from sdc_search.feature_rows import FeatureRows, Features

if TYPE_CHECKING:
    import torch

State: TypeAlias = dict[str, npt.NDArray[Any]]

FORMAT = "sdc_search.hasher"
VERSION = 1
_BLOCK_BYTES = 2 << 20  # of float64 rows: what passes over a block then finds it in the cache
_SAMPLE_ROWS = 2000  # for the bit statistics
_WORTH_TORCH = 1 << 30  # of half precision: from here on torch's conversion gains more than its import takes


class Hasher(ABC):
    """A hash function from real vectors to binary codes.

    A method is a subclass with three hooks: `_fit` learns named arrays, the *state*; `_project` maps rows to
    real numbers by that state alone; `_shapes` says what a state looks like, so that a file can be checked.
    It goes into the table of `sdc_search.hashers.loading`. Parameters are set in the constructor, unchecked,
    under their own names, as scikit-learn's `clone` wants it; `fit` checks them.

    Parameters
    ----------
    n_bits
        Length K of a code.
    random_state
        Seed: the same one gives the same codes on the same machine with the same number of threads. None
        draws a fresh one. The global generators of numpy and torch are neither used nor touched.
    verbose
        Whether a fit that takes long shows its progress, on stderr and only if that is a terminal.

    Attributes
    ----------
    n_features_in_
        Columns of the features of `fit`.
    state_
        The fitted arrays by name: all that `project` uses.
    report_
        How the fit went: ``"seconds"`` (not in a file), the `bit_statistics` of the codes of up to 2,000
        training rows, and what the method adds; the trained ones ``"epochs"``, ``"steps"``, ``"loss"``,
        ``"interrupted"`` and which ``"views"`` were used.

    Notes
    -----
    The sign of a projection that rounding alone decides may differ between machines, numbers of
    threads, numbers of rows in one call and dtypes of the same features, because matrix products differ there
    in their last bits.
    """

    n_bits: int
    random_state: int | None
    verbose: bool
    n_features_in_: int
    state_: State
    report_: dict[str, Any]
    _fitted_params: dict[str, Any]

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Learn the hash function from unlabelled features.

        Failing, it leaves the hasher as it was before: not fitted, or with the fit that it
        had.

        Parameters
        ----------
        X
            Features, shape ``(n, d)`` with n at least 2, floating point or integer; computed in float32,
            float64 stays.
        y
            Ignored; scikit-learn's pipelines pass it.

        Returns
        -------
        The hasher itself.

        Raises
        ------
        TypeError
            `X` is not real, or a parameter is of the wrong kind.
        ValueError
            `X` is not of rank 2, holds NaN or infinity, has fewer than 2 rows or only equal ones; or a
            parameter is out of range.
        """
        start = time.perf_counter()
        rows = FeatureRows("X", X, self._fit_shapes)
        if len(rows) < 2:
            raise ValueError(f"X must have at least 2 rows to learn from, got {len(rows)}")
        if rows.is_constant():
            raise ValueError("X must not be constant: all rows are equal, so there is nothing to tell apart")
        as_count("n_bits", self.n_bits)
        seed = None if self.random_state is None else as_count("random_state", self.random_state, minimum=0)
        report: dict[str, Any] = {}
        state = self._fit(rows, np.random.default_rng(seed), report)
        fitted = copy(self)._keep(state, rows.n_features, report)
        report |= bit_statistics(fitted.encode(_sample(rows)), self.n_bits)
        report["seconds"] = time.perf_counter() - start
        if report.get("interrupted"):
            warnings.warn(
                f"{type(self).__name__}: interrupted after {report['epochs']} epochs;"
                " the weights so far are kept",
                RuntimeWarning,
                stacklevel=2,
            )
        return self._keep(state, rows.n_features, report)

    @overload
    def project(self, X: torch.Tensor) -> torch.Tensor: ...
    @overload
    def project(self, X: npt.ArrayLike) -> npt.NDArray[Any]: ...
    def project(self, X: ArrayLike) -> Any:
        """Map features to the real numbers whose signs are the bits.

        Rows are read, checked and computed in blocks, so that a memory-mapped `X` of any dtype never lies in
        memory as a whole.

        Parameters
        ----------
        X
            Shape ``(n, n_features_in_)``, floating point or integer.

        Returns
        -------
        Shape ``(n, n_bits)``, the threshold subtracted: float64 if `X` is, else float32; a
        tensor on the device of `X` if that is one.

        Raises
        ------
        NotFittedError
            There was no `fit` yet.
        TypeError
            `X` is not real.
        ValueError
            `X` is not of rank 2, has another number of columns than in `fit`, or holds NaN or infinity.
        """
        return like(X, np.concatenate(list(self._projections(X))))

    @overload
    def encode(self, X: torch.Tensor) -> torch.Tensor: ...
    @overload
    def encode(self, X: npt.ArrayLike) -> npt.NDArray[np.uint8]: ...
    def encode(self, X: ArrayLike) -> Any:
        """Map features to packed codes: ``pack_bits(project(X))``, without the real numbers in between.

        Parameters
        ----------
        X
            As in `project`.

        Returns
        -------
        uint8, shape ``(n, ceil(n_bits / 8))``; a tensor on the device of `X` if that is one.

        Raises
        ------
        NotFittedError, TypeError, ValueError
            As in `project`.
        """
        return like(X, np.concatenate([pack_bits(block) for block in self._projections(X)]))

    def transform(self, X: ArrayLike) -> Any:
        """Return `encode` of X, under scikit-learn's name."""
        return self.encode(X)

    def fit_transform(self, X: ArrayLike, y: object = None) -> Any:
        """Return the codes of the features that `fit` learns from."""
        return self.fit(X, y).encode(X)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted hasher to one safetensors file; `load_hasher` reads it.

        The file is written whole or not at all, see `storage.write`. The same fit gives the same bytes.

        Raises
        ------
        NotFittedError
            There was no `fit` yet.
        OSError
            The file cannot be written; the message names it.
        """
        self._check_fitted()
        params = {name: _plain(value) for name, value in self._fitted_params.items() if name != "callbacks"}
        report = {name: value for name, value in self.report_.items() if name != "seconds"}
        metadata = {"class": type(self).__name__, "params": params, "report": report}
        storage.write(path, FORMAT, self.state_, metadata, version=VERSION, n_bits=params["n_bits"])

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's parameters by name; `deep` is scikit-learn's and changes nothing here."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name for the next `fit`; what was fitted before stays in use until then.

        Raises
        ------
        ValueError
            The hasher has no such parameter.
        """
        known = self.get_params()
        for name in params:
            if name not in known:
                raise ValueError(f"{type(self).__name__} has no parameter {name!r}, only {', '.join(known)}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self)).parameters
        given = [f"{n}={v!r}" for n, v in self.get_params().items() if v != defaults[n].default]
        return f"{type(self).__name__}({', '.join(given)})"

    def __sklearn_tags__(self) -> Any:
        """Describe the estimator to scikit-learn, which alone calls this."""
        from sklearn.utils import Tags, TargetTags, TransformerTags

        return Tags(
            estimator_type="transformer",
            target_tags=TargetTags(required=False),
            transformer_tags=TransformerTags(preserves_dtype=[]),
        )

    @property
    def _fit_shapes(self) -> tuple[str, ...]:
        """What `fit` takes, see `FeatureRows`."""
        return ("n, d",)

    @abstractmethod
    def _fit(self, X: FeatureRows, rng: np.random.Generator, report: dict[str, Any]) -> State:
        """Learn the state from checked features; every random choice comes from `rng`.

        What else is worth knowing goes into `report`.
        """

    @abstractmethod
    def _project(self, X: Features) -> Features:
        """Project checked rows, in the dtype of `X`, by `state_` alone."""

    @abstractmethod
    def _shapes(self) -> Mapping[str, tuple[int | str, ...]]:
        """Return the shapes of the state's arrays.

        A dimension is a number, or a name that stands for one number throughout; ``"n_features"`` must be
        one.
        """

    def _restore(self, state: State, report: dict[str, Any]) -> Self:
        """Take over the state of a file, after a check."""
        shapes = self._shapes()
        if state.keys() != shapes.keys():
            raise ValueError(f"tensors: wanted {', '.join(shapes)}, got {', '.join(state)}")
        sizes: dict[int | str, int] = {}
        for name, shape in shapes.items():
            array = state[name]
            wanted = tuple(
                sizes.setdefault(dimension, size) if isinstance(dimension, str) else dimension
                for dimension, size in zip(shape, array.shape, strict=False)
            )
            if array.ndim != len(shape) or array.shape != wanted:
                raise ValueError(f"tensor {name!r}: shape {array.shape} does not fit {shape}")
            if array.dtype.kind != "f" or not np.isfinite(array).all():
                raise ValueError(f"tensor {name!r}: wanted finite floating point")
        return self._keep(state, sizes["n_features"], report)

    def _keep(self, state: State, n_features: int, report: dict[str, Any]) -> Self:
        """Become fitted, in one step that Ctrl-C cannot split."""
        fit = {
            "state_": state,
            "n_features_in_": n_features,
            "report_": report,
            "_fitted_params": self.get_params(),
        }
        vars(self).update(fit)
        return self

    def _check_fitted(self) -> None:
        if not hasattr(self, "state_"):
            raise NotFittedError(f"this {type(self).__name__} is not fitted yet: call fit, or load_hasher")

    def _projections(self, X: ArrayLike) -> Iterator[Features]:
        """Project block by block; no rows are one empty block."""
        self._check_fitted()
        rows: Any = np.asarray(X) if isinstance(X, (list, tuple)) else X if is_tensor(X) else to_numpy("X", X)
        if rows.ndim != 2:
            _features(rows)  # raises
        if rows.shape[1] != self.n_features_in_:
            raise ValueError(f"X must have {self.n_features_in_} columns as in fit, got {rows.shape[1]}")
        if rows.dtype == np.float16 and rows.nbytes > _WORTH_TORCH:
            import torch  # noqa: F401 - see `convert`
        step = max(1, _BLOCK_BYTES // (8 * self.n_features_in_))
        for start in range(0, len(rows), step) or (0,):
            yield self._project(_features(rows[start : start + step]))


def _features(X: Any) -> Features:
    return as_features("X", X.cpu() if is_tensor(X) else X)


def _sample(rows: FeatureRows) -> Features:
    """Up to 2,000 vectors at equal distances."""
    chosen = np.linspace(0, len(rows) - 1, min(len(rows), _SAMPLE_ROWS), dtype=np.int64)
    return rows.vectors(chosen)


def _plain(value: Any) -> Any:
    """Return a numpy scalar as the Python number that JSON can hold."""
    return value.item() if isinstance(value, np.generic) else value
