"""Revisited Oxford and Paris (Radenović et al., CVPR 2018): buildings at three levels of difficulty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sdc_search.datasets.images import FileImages
from sdc_search.datasets.landmark_dataset import LandmarkDataset
from sdc_search.datasets.published_files import check_count, find_folder
from sdc_search.datasets.restricted_pickle import load_restricted
from sdc_search.errors import CorruptFileError
from sdc_search.landmarks import LandmarkProtocol

_N_QUERIES = 70
_LEVELS = ("easy", "hard", "junk")


def load_roxford(root: Path, *, crop: bool = True, verify: bool = True) -> LandmarkDataset:
    """Load Revisited Oxford: 70 queries, 4,993 images.

    Parameters
    ----------
    root
        The folder with ``gnd_roxford5k.pkl`` and the images in ``jpg``, or the one that holds it as
        ``roxford5k``.
    crop
        Whether a query is the part of its image within the published box, as in the published protocol.
    verify
        Whether the numbers of queries and images must be those that were published.

    Raises
    ------
    FileNotFoundError
        The pickle or an image is missing.
    CorruptFileError
        The pickle is damaged, asks for more than lists and numbers, or with `verify` is not the published
        one.
    """
    return _load("roxford", "roxford5k", root, crop, 4_993 if verify else None)


def load_rparis(root: Path, *, crop: bool = True, verify: bool = True) -> LandmarkDataset:
    """Load Revisited Paris: 70 queries, 6,322 images.

    Parameters
    ----------
    root
        The folder with ``gnd_rparis6k.pkl`` and the images in ``jpg``, or the one that holds it as
        ``rparis6k``.
    crop, verify
        As `load_roxford`.

    Raises
    ------
    FileNotFoundError, CorruptFileError
        As `load_roxford`.
    """
    return _load("rparis", "rparis6k", root, crop, 6_322 if verify else None)


def _load(name: str, published_name: str, root: Path, crop: bool, n_images: int | None) -> LandmarkDataset:
    file_name = f"gnd_{published_name}.pkl"
    folder = find_folder(Path(root), [file_name], f"ground truth of {published_name}", (published_name,))
    path = folder / file_name
    document: Any = load_restricted(path, path.read_bytes())
    try:
        database = [str(image) for image in document["imlist"]]
        queries = [str(image) for image in document["qimlist"]]
        entries = list(document["gnd"])
        boxes = [tuple(float(edge) for edge in np.asarray(entry["bbx"]).ravel()) for entry in entries]
        ground_truth = [
            {level: np.sort(np.array(entry[level], dtype=np.int64).ravel()) for level in _LEVELS}
            for entry in entries
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFileError(
            f"{path} is not a ground truth: expected imlist, qimlist and gnd with bbx, easy, hard and junk; "
            f"{type(error).__name__}: {error}"
        ) from error
    if len(entries) != len(queries) or not queries:
        raise CorruptFileError(
            f"{path} holds {len(queries)} queries and ground truth of {len(entries)}, expected one for each"
        )
    for query, box in zip(queries, boxes, strict=True):
        if len(box) != 4:
            raise CorruptFileError(f"{path} gives query {query} a box of {len(box)} edges, expected 4")
    if n_images is not None:
        check_count(path, "queries", len(queries), _N_QUERIES)
        check_count(path, "images", len(database), n_images)
    named = np.concatenate([rows for entry in ground_truth for rows in entry.values()])
    if (wrong := (named < 0) | (named >= len(database))).any():
        raise CorruptFileError(
            f"{path} names image {named[np.argmax(wrong)]}, but lists {len(database)}, from 0"
        )
    names = [*queries, *database]
    crops = [*((box[0], box[1], box[2], box[3]) for box in boxes), *[None] * len(database)] if crop else None
    return LandmarkDataset(
        name=name,
        images=FileImages.in_layout(
            folder, names, [[f"jpg/{name}.jpg" for name in names], [f"{name}.jpg" for name in names]], crops
        ),
        query=np.arange(len(queries)),
        database=np.arange(len(queries), len(names)),
        train=np.empty(0, dtype=np.int64),
        ground_truth=tuple(ground_truth),
        protocols=tuple(LandmarkProtocol.revisited(level) for level in ("easy", "medium", "hard")),
        split_text=(
            f"Queries: the {len(queries)} of {file_name}, "
            f"{'cropped to their boxes' if crop else 'uncropped'}. "
            f"Database: its {len(database):,} images. Training: none."
        ),
    )
