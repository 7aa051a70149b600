"""What can be reproduced: data sets, the features that stand for their images, and who asks whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class FeatureSpec:
    """A backbone, the side of its images in pixels (None: its own), and how the data set is loaded for it."""

    backbone: str
    image_size: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.backbone if self.image_size is None else f"{self.backbone}@{self.image_size}"


@dataclass(frozen=True)
class Experiment:
    """One data set's evaluation.

    Parameters
    ----------
    title
        The data set's name, as people write it.
    features
        What is evaluated where the user names no backbone.
    query_sets
        Options of `sdc_search.datasets.load_dataset`, one for each choice of queries. Images, database and
        rows to learn from are the same in all of them.
    """

    title: str
    features: tuple[FeatureSpec, ...]
    query_sets: tuple[Mapping[str, Any], ...] = ({},)


_PAPER = (FeatureSpec("vgg16"),)

EXPERIMENTS = {
    "cifar10": Experiment("CIFAR10", _PAPER),
    "imagenet100": Experiment("ImageNet100", _PAPER),
    "nuswide": Experiment("NUS-WIDE", _PAPER),
    "coco": Experiment("MS-COCO", _PAPER),
    "fashion-mnist": Experiment(
        "Fashion-MNIST",
        # The network knows photographs, whose background is bright more often than black.
        (FeatureSpec("efficientnet_lite0", 112, {"inverted": True}), FeatureSpec("pixels", 28)),
        ({}, {"queries": 1000}),
    ),
}


def parse_features(dataset: str, texts: list[str]) -> tuple[FeatureSpec, ...]:
    """Read what ``--backbone`` is given: ``NAME`` or ``NAME@SIZE``; none means those of the experiment.

    A backbone that the experiment lists keeps what the experiment says of it, unless a size is given.

    Raises
    ------
    ValueError
        A size is no positive number.

    Examples
    --------
    >>> from sdc_search.reproduction.experiments import parse_features
    >>> [str(spec) for spec in parse_features("fashion-mnist", ["pixels", "resnet50@64"])]
    ['pixels@28', 'resnet50@64']
    """
    experiment = EXPERIMENTS[dataset]
    known = {spec.backbone: spec for spec in experiment.features}
    specs: dict[str, FeatureSpec] = {}
    for text in texts:
        name, _, size = text.partition("@")
        if size and not (size.isdecimal() and int(size)):
            raise ValueError(f"--backbone {text!r}: the size behind @ must be a positive number of pixels")
        spec = known.get(name, FeatureSpec(name))
        spec = FeatureSpec(name, int(size) if size else spec.image_size, spec.options)
        specs[str(spec)] = spec
    return tuple(specs.values()) or experiment.features
