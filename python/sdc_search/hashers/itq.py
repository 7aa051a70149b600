"""ITQ: principal components, rotated so that their signs lose least."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from sdc_search.arrays import as_count
from sdc_search.feature_rows import FeatureRows
from sdc_search.hashers.base import State
from sdc_search.hashers.linear import LinearHasher


class ITQ(LinearHasher):
    """Iterative quantisation: PCA to K dimensions, then the rotation R that minimises ``‖sign(VR) − VR‖²``.

    Gong & Lazebnik, "Iterative quantization: a Procrustean approach to learning binary codes", CVPR 2011. V
    are the centred features' first K principal components, not whitened; from a random rotation on, B =
    sign(VR) and the best R for that B take turns.

    Parameters
    ----------
    n_bits, random_state, verbose
        See `Hasher`; `n_bits` is at most ``min(n, d)``. A fit takes seconds and shows no progress.
    n_iter
        Rounds; the paper's 50.
    update
        ``"correct"``, the minimiser. ``"legacy_transposed"`` repeats an error of published code, which
        transposes one factor of the singular value decomposition once too often: still a rotation, but not
        the best one, hardly better than the random start. It is there only to compare with figures from such
        code.

    Attributes
    ----------
    quantization_errors_
        Mean over all entries of ``(sign(VR) − VR)²``, of the start and after each round; shape ``(n_iter +
        1,)``. A loaded hasher has none.

    Raises
    ------
    ValueError
        In `fit`: `n_bits` is above ``min(n, d)``, or `n_iter` or `update` is out of range; and what
        `Hasher.fit` raises.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import ITQ
    >>> X = np.random.default_rng(0).standard_normal((100, 16))
    >>> ITQ(n_bits=12, random_state=0).fit(X).encode(X).shape
    (100, 2)
    """

    quantization_errors_: npt.NDArray[np.float64]

    def __init__(
        self,
        n_bits: int = 64,
        *,
        n_iter: int = 50,
        update: Literal["correct", "legacy_transposed"] = "correct",
        random_state: int | None = None,
        verbose: bool = True,
    ) -> None:
        self.n_bits = n_bits
        self.n_iter = n_iter
        self.update = update
        self.random_state = random_state
        self.verbose = verbose

    def _fit(self, X: FeatureRows, rng: np.random.Generator, report: dict[str, Any]) -> State:
        most = min(X.shape)
        if self.n_bits > most:
            raise ValueError(f"n_bits must be at most min(n, d) = {most} for ITQ, got {self.n_bits}")
        n_iter = as_count("n_iter", self.n_iter, minimum=0)
        if self.update not in ("correct", "legacy_transposed"):
            raise ValueError(f"update must be 'correct' or 'legacy_transposed', got {self.update!r}")
        mean = X.mean()
        components = principal_components(X, mean, self.n_bits)
        projected = np.concatenate([(block - mean) @ components for block in X.blocks()])
        rotation = np.linalg.qr(rng.standard_normal((self.n_bits, self.n_bits)))[0]
        errors = [_quantization_error(projected @ rotation)]
        for _ in range(n_iter):
            rotation = best_rotation(
                projected, _signs(projected @ rotation), transposed=self.update != "correct"
            )
            errors.append(_quantization_error(projected @ rotation))
        self.quantization_errors_ = np.array(errors)
        return {"mean": mean.astype(X.dtype), "weight": (components @ rotation).astype(X.dtype)}


def best_rotation(
    projected: npt.NDArray[np.float64], bits: npt.NDArray[np.float64], *, transposed: bool = False
) -> npt.NDArray[np.float64]:
    """Solve orthogonal Procrustes: the rotation R, shape ``(K, K)``, that minimises ``‖B − VR‖``.

    With the decomposition ``BᵀV = U S Wᵀ`` it is ``R = W Uᵀ`` (Schönemann 1966). `transposed` gives the
    published code's ``Wᵀ Uᵀ``.

    Parameters
    ----------
    projected
        V, shape ``(n, K)``.
    bits
        B of ±1, shape ``(n, K)``.
    transposed
        Whether to repeat the error that `ITQ` describes.
    """
    U, _, Wt = np.linalg.svd(bits.T @ projected)
    return np.asarray((Wt if transposed else Wt.T) @ U.T)


def principal_components(
    X: FeatureRows, mean: npt.NDArray[np.float64], n_components: int
) -> npt.NDArray[Any]:
    """Orthonormal directions of largest variance, shape ``(d, n_components)``."""
    n_features = X.n_features
    scatter = np.zeros((n_features, n_features))
    for block in X.blocks():
        centred = (block - mean).reshape(-1, n_features)  # views and tokens count like rows
        scatter += centred.T @ centred
    _, vectors = eigh(scatter, subset_by_index=(n_features - n_components, n_features - 1), overwrite_a=True)
    return np.asarray(vectors)


def _signs(projections: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(projections > 0, 1.0, -1.0)


def _quantization_error(projections: npt.NDArray[np.float64]) -> float:
    return float(np.mean((_signs(projections) - projections) ** 2))
