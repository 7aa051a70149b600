"""SDC: codes whose similarities follow a calibrated distribution."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sdc_search.arrays import as_count
from sdc_search.hashers.base import Features, Hasher, State
from sdc_search.losses import Pairs, SDCLoss
from sdc_search.training import train


class SDC(Hasher):
    """Similarity distribution calibration on features, without labels.

    A small network, Linear–GELU–Linear–BatchNorm, learns to move the similarities of its outputs, in the
    order of the features' cosines, on to a Beta distribution, so that near and far pairs do not collapse onto
    the same few Hamming distances. Bit = 1 iff its output is positive, with the running statistics of the
    BatchNorm. Ng et al., "Unsupervised Hashing with Similarity Distribution Calibration", BMVC 2023; the loss
    is `SDCLoss`.

    Parameters
    ----------
    n_bits, random_state, verbose
        See `Hasher`.
    hidden
        Width of the hidden layer.
    alpha, beta, pairs, quantization
        See `SDCLoss`.
    lr, weight_decay, batch_size, max_epochs
        Of the training, see `sdc_search.training.train`.
    device
        Where `fit` trains: ``"auto"``, CUDA where there is one; or any name that torch knows. Projecting runs
        on the CPU.

    Raises
    ------
    ValueError
        In `fit`: a parameter is out of range, or the training diverged; and what `Hasher.fit` raises.

    Notes
    -----
    Features are divided by one scalar, so that their mean square is 1: the learning rate then
    suits features of any scale. Training is in float32 whatever the features are.

    Examples
    --------
    >>> import numpy as np
    >>> from sdc_search import SDC
    >>> X = np.random.default_rng(0).standard_normal((100, 16))
    >>> SDC(n_bits=32, max_epochs=2, random_state=0).fit(X).encode(X).shape
    (100, 4)
    """

    def __init__(
        self,
        n_bits: int = 64,
        *,
        hidden: int = 512,
        alpha: float = 5.0,
        beta: float = 5.0,
        pairs: Pairs = "half",
        quantization: float = 1.0,
        lr: float = 1e-3,
        weight_decay: float = 1e-5,
        batch_size: int = 64,
        max_epochs: int = 40,
        random_state: int | None = None,
        verbose: bool = True,
        device: str = "auto",
    ) -> None:
        self.n_bits = n_bits
        self.hidden = hidden
        self.alpha = alpha
        self.beta = beta
        self.pairs = pairs
        self.quantization = quantization
        self.lr = lr
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.random_state = random_state
        self.verbose = verbose
        self.device = device

    def _fit(self, X: Features, rng: np.random.Generator) -> State:
        hidden = as_count("hidden", self.hidden)
        batch_size = as_count("batch_size", self.batch_size, minimum=2)
        max_epochs = as_count("max_epochs", self.max_epochs)
        if not 0 < self.lr < float("inf"):
            raise ValueError(f"lr must be positive and finite, got {self.lr}")
        if not 0 <= self.weight_decay < float("inf"):
            raise ValueError(f"weight_decay must be non-negative and finite, got {self.weight_decay}")
        loss = SDCLoss(self.alpha, self.beta, self.pairs, self.quantization)
        device = _device(self.device)
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))

        scale = float(1 / np.sqrt(np.mean(np.square(X, dtype=np.float64))))
        first = _linear(X.shape[1], hidden, generator)
        last = _linear(hidden, self.n_bits, generator)
        norm = nn.BatchNorm1d(self.n_bits)
        train(
            nn.Sequential(first, nn.GELU(), last, norm).to(device),
            loss,
            torch.from_numpy((X * scale).astype(np.float32, copy=False)).to(device),
            max_epochs=max_epochs,
            batch_size=batch_size,
            lr=self.lr,
            weight_decay=self.weight_decay,
            generator=generator,
            verbose=self.verbose,
            label=f"SDC, {self.n_bits} bits",
        )
        return _fold(first, last, norm, scale)

    def _project(self, X: Features) -> Features:
        x = torch.from_numpy(X if X.flags.writeable else X.copy())  # torch warns of a read-only memory map
        state = {name: torch.from_numpy(array).to(x.dtype) for name, array in self.state_.items()}
        hidden = functional.gelu(functional.linear(x, state["hidden_weight"], state["hidden_bias"]))
        projections: Features = functional.linear(hidden, state["weight"], state["bias"]).numpy()
        return projections

    def _shapes(self) -> Mapping[str, tuple[int | str, ...]]:
        return {
            "hidden_weight": (self.hidden, "n_features"),
            "hidden_bias": (self.hidden,),
            "weight": (self.n_bits, self.hidden),
            "bias": (self.n_bits,),
        }


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device  # the names of absent devices parse too
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device must be 'auto' or one that torch can use, got {name!r}: {error}") from error


def _linear(n_in: int, n_out: int, generator: torch.Generator) -> nn.Linear:
    """Make a layer with PyTorch's default initialisation, drawn from `generator`."""
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, n_in, n_out)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-(n_in**-0.5), n_in**-0.5, generator=generator)
    return layer


def _fold(first: nn.Linear, last: nn.Linear, norm: nn.BatchNorm1d, scale: float) -> State:
    """Fold the scale of the features into the first layer and the BatchNorm into the last one."""

    def array(tensor: torch.Tensor | None) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        assert tensor is not None
        return tensor.detach().cpu().double().numpy()

    gain = array(norm.weight) / np.sqrt(array(norm.running_var) + norm.eps)
    state = {
        "hidden_weight": array(first.weight) * scale,
        "hidden_bias": array(first.bias),
        "weight": array(last.weight) * gain[:, None],
        "bias": (array(last.bias) - array(norm.running_mean)) * gain + array(norm.bias),
    }
    return {name: value.astype(np.float32) for name, value in state.items()}
