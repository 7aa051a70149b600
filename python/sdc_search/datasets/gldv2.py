"""Google Landmarks Dataset v2 (Weyand et al., CVPR 2020), for retrieval: 1,129 queries, 761,757 images."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from sdc_search.datasets.images import FileImages
from sdc_search.datasets.landmark_dataset import LandmarkDataset
from sdc_search.datasets.published_files import check_count, find_file
from sdc_search.errors import CorruptFileError
from sdc_search.landmarks import LandmarkProtocol

_SOLUTION = "retrieval_solution_v2.1.csv"
_USAGES = {"both": ("Public", "Private"), "public": ("Public",), "private": ("Private",)}
_N_QUERIES = 1_129
_N_INDEX = 761_757


def load_gldv2(
    root: Path, *, usage: str = "both", train: bool = False, verify: bool = True
) -> LandmarkDataset:
    """Load the retrieval task of GLDv2.

    Parameters
    ----------
    root
        The folder with ``index.csv``, ``retrieval_solution_v2.1.csv`` and the images as their archives
        unpack: ``index/0/1/2/0123456789abcdef.jpg``, ``test/...``; tables may also lie in ``metadata``, or
        in the folders ``index``, ``test`` and ``train``.
    usage
        Which queries: ``"public"``, ``"private"`` or ``"both"``.
    train
        Whether to load the images of ``train_clean.csv``, from ``train/...``.
    verify
        Whether the numbers of images and (for ``"both"``) queries must be those that were published.

    Raises
    ------
    FileNotFoundError
        A table or an image is missing.
    CorruptFileError
        A table is damaged, names an image that is not in the index, or with `verify` is not the published
        one.
    ValueError
        `usage` is unknown.
    """
    root = Path(root)
    if usage not in _USAGES:
        raise ValueError(f"usage must be one of {', '.join(_USAGES)}, got {usage!r}")
    index_path = _find(root, ["index.csv", "index_image_to_landmark.csv"], "index")
    index_ids = [row["id"] for row in _read_table(index_path, ("id",))]
    solution_path = _find(root, [_SOLUTION], "test")
    solution = [
        (row["id"], row["images"].split())
        for row in _read_table(solution_path, ("id", "images", "Usage"))
        if row["Usage"] in _USAGES[usage]
    ]
    if not solution:
        raise CorruptFileError(f"{solution_path} holds no query whose Usage is {' or '.join(_USAGES[usage])}")
    if verify:
        check_count(index_path, "images", len(index_ids), _N_INDEX)
        if usage == "both":
            check_count(solution_path, "queries", len(solution), _N_QUERIES)
    places = {image: place for place, image in enumerate(index_ids)}
    ground_truth = []
    for query, relevant in solution:
        unknown = [image for image in relevant if image not in places]
        if unknown:
            raise CorruptFileError(
                f"{solution_path} names {unknown[0]} for query {query}, but {index_path} does not hold it"
            )
        ground_truth.append(np.array(sorted({places[image] for image in relevant}), dtype=np.int64))
    train_ids, train_text = [], "none"
    if train:
        table = _read_table(_find(root, ["train_clean.csv"], "train"), ("landmark_id", "images"))
        train_ids = [image for row in table for image in row["images"].split()]
        train_text = f"the {len(train_ids):,} images of train_clean.csv"
    parts = {"test": [query for query, _ in solution], "index": index_ids, "train": train_ids}
    paths = [
        f"{part}/{image[:1]}/{image[1:2]}/{image[2:3]}/{image}.jpg"
        for part, ids in parts.items()
        for image in ids
    ]
    ends = np.cumsum([len(ids) for ids in parts.values()])
    return LandmarkDataset(
        name="gldv2",
        images=FileImages(root, paths),
        query=np.arange(ends[0]),
        database=np.arange(ends[0], ends[1]),
        train=np.arange(ends[1], ends[2]),
        ground_truth=tuple(ground_truth),
        protocols=(LandmarkProtocol.gldv2(), LandmarkProtocol.gldv2_sdc()),
        split_text=(
            f"Queries: the {len(solution):,} of {_SOLUTION} ({usage}). Database: the {len(index_ids):,} "
            f"images of the index. Training: {train_text}."
        ),
    )


def _find(root: Path, names: list[str], part: str) -> Path:
    folders = [root, root / "metadata", root / part]
    for folder in folders:
        if any((folder / name).is_file() for name in names):
            return find_file(folder, names)
    return find_file(root, names)


def _read_table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise CorruptFileError(
                    f"{path} has no column {missing[0]!r}, expected {', '.join(columns)}, "
                    f"got {', '.join(reader.fieldnames or ['nothing'])}"
                )
            rows = []
            for row in reader:
                if None in row or None in row.values():
                    raise CorruptFileError(
                        f"{path}, line {reader.line_num}: expected {', '.join(columns)}; is the file whole?"
                    )
                rows.append(row)
            return rows
    except (csv.Error, UnicodeDecodeError) as error:
        raise CorruptFileError(f"{path} is not a whole CSV file: {error}") from error
