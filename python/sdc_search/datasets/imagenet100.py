"""ImageNet100: the hundred classes of ImageNet (ILSVRC 2012) that HashNet chose, and its lists."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from sdc_search.datasets.dataset import Dataset
from sdc_search.datasets.image_lists import read_image_lists
from sdc_search.datasets.images import FileImages
from sdc_search.errors import CorruptFileError
from sdc_search.protocols import Protocol

_PUBLISHED = (5_000, 128_503, 13_000)
_N_CLASSES = 100
_SYNSET = re.compile(r"n\d{8}(?=_)")


def load_imagenet100(root: Path, *, seed: int = 0, lists: Path | None = None, verify: bool = True) -> Dataset:
    """Load ImageNet100 by the lists of HashNet (Cao et al., ICCV 2017): 5,000 / 128,503 / 13,000.

    Parameters
    ----------
    root
        The folder of the images, as HashNet packs them (``image/n01440764_3.JPEG``,
        ``val_image/ILSVRC2012_val_00000007.JPEG``) or as ImageNet does (``train/n01440764/...``, and ``val/``
        with or without a folder a class).
    seed
        Not used: the split is published.
    lists
        The folder of ``train.txt``, ``test.txt`` and ``database.txt``; None: `root`.
    verify
        Whether the lists must have the published numbers of images and classes.

    Raises
    ------
    FileNotFoundError
        A list or an image is missing.
    CorruptFileError
        A list is damaged, gives an image no class or several, or with `verify` is not the published one.
    """
    root = Path(root)
    folder = root if lists is None else Path(lists)
    listed = read_image_lists(folder, _PUBLISHED if verify else None, _N_CLASSES if verify else None)
    if (wrong := listed.labels.sum(axis=1) != 1).any():
        raise CorruptFileError(
            f"{folder}: the lists must give each image one class, but "
            f"{listed.names[int(np.argmax(wrong))]} has {listed.labels[np.argmax(wrong)].sum()}"
        )
    labels = listed.labels.argmax(axis=1).astype(np.int64)
    classes = [str(label) for label in range(listed.labels.shape[1])]
    for name, label in zip(listed.names, labels.tolist(), strict=True):
        if synset := _SYNSET.search(name):
            classes[label] = synset.group()
    file_names = [name.rpartition("/")[2] for name in listed.names]
    class_of = [classes[label] for label in labels.tolist()]
    is_validation = [_SYNSET.match(name) is None for name in file_names]
    layouts = [listed.names] + [
        [
            (validation.format(synset=synset) if from_validation else f"train/{synset}/") + name
            for name, synset, from_validation in zip(file_names, class_of, is_validation, strict=True)
        ]
        for validation in ("val/", "val/{synset}/")
    ]
    return Dataset(
        name="imagenet100",
        images=FileImages.in_layout(root, listed.names, layouts),
        labels=labels,
        class_names=tuple(classes),
        query=listed.split.query,
        database=listed.split.database,
        train=listed.split.train,
        protocol=Protocol.imagenet100_sdc(),
        split_text=listed.split.text,
    )
