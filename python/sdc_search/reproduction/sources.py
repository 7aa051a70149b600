"""Where a block's features come from: images through a backbone, or a folder of an earlier extraction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdc_search.backbones import load_backbone
from sdc_search.datasets import Dataset, load_dataset
from sdc_search.extraction import Features, extract_features, open_features
from sdc_search.labelled_features import LabelledFeatures
from sdc_search.reproduction.experiments import Experiment, FeatureSpec
from sdc_search.reproduction.slices import Slice, slice_datasets


@dataclass(frozen=True, eq=False)
class Source:
    """The features of one block.

    Parameters
    ----------
    spec
        Backbone and size.
    dataset
        The first of those that differ in their queries.
    part
        What of them is used.
    folder
        Where the features are, or will be.
    given
        Whether they were made beforehand, of all images.
    weights
        A file for the backbone.
    """

    spec: FeatureSpec
    dataset: Dataset
    part: Slice
    folder: Path
    given: bool = False
    weights: Path | None = None

    def opened(self) -> Features | None:
        """Return the features if they are all there."""
        try:
            return open_features(self.folder)
        except FileNotFoundError:
            return None

    def extract(self, report: Callable[[str, int], None] | None, workers: int) -> Features:
        """Compute what is missing of the features.

        Raises
        ------
        ValueError, OSError, ImportError
            As `load_backbone` and `extract_features`.
        """
        backbone = load_backbone(self.spec.backbone, weights=self.weights, image_size=self.spec.image_size)
        return extract_features(self.part.images, backbone, self.folder, workers=workers, report=report)

    def labelled(self, features: Features, title: str) -> LabelledFeatures:
        """Put features and labels together.

        Raises
        ------
        ValueError
            The features are of tokens.
        """
        array: Any = features.array
        if array.ndim != 2:
            raise ValueError(
                f"{self.folder} holds features of shape {array.shape}; wanted one vector an image, (n, d)"
            )
        if self.given and len(self.part.rows) < len(array):
            array = array[self.part.rows]
        return LabelledFeatures(title, array, self.part.labels, self.part.train, self.part.query_sets)


def plan_sources(
    name: str,
    experiment: Experiment,
    root: Path,
    specs: Sequence[FeatureSpec],
    cache: Path,
    *,
    fraction: float = 1.0,
    weights: Path | None = None,
) -> list[Source]:
    """List the features to be computed, one folder below `cache` for each.

    Raises
    ------
    ValueError, OSError
        As `load_dataset`.
    """
    sources = []
    for spec in specs:
        datasets = _datasets(name, experiment, root, spec)
        part = slice_datasets(datasets, fraction)
        # A path of an .onnx file becomes one name; other images, another folder.
        folder = f"{str(spec).replace('/', '_').replace(':', '_')}{'' if fraction == 1 else f'-{fraction:g}'}"
        sources.append(Source(spec, datasets[0], part, cache / folder, weights=weights))
    return sources


def given_sources(
    name: str, experiment: Experiment, root: Path, folders: Sequence[Path], *, fraction: float = 1.0
) -> list[Source]:
    """Take the features that lie in `folders`, each of all images of the data set.

    Raises
    ------
    ValueError, OSError
        As `load_dataset` and `open_features`; or the features are of other images.
    """
    sources = []
    for folder in folders:
        description = open_features(folder).description
        known = {spec.backbone: spec for spec in experiment.features}
        backbone = description["backbone"]
        size = description["transform"]["size"]
        spec = FeatureSpec(backbone, size, known[backbone].options if backbone in known else {})
        datasets = _datasets(name, experiment, root, spec)
        if description["images"]["sha256"] != datasets[0].images.digest():
            raise ValueError(f"{folder} holds features of other images than {root}")
        sources.append(Source(spec, datasets[0], slice_datasets(datasets, fraction), folder, given=True))
    return sources


def _datasets(name: str, experiment: Experiment, root: Path, spec: FeatureSpec) -> list[Dataset]:
    return [load_dataset(name, root, **spec.options, **queries) for queries in experiment.query_sets]
