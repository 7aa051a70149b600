"""What every hasher promises; each class's own properties are in test_hashers_<class>.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sdc_search import CorruptFileError, Hasher, NotFittedError, hashers, load_hasher, pack_bits, storage
from sdc_search.hashers import LSH, SDC, base
from sdc_search.hashers.loading import _MODULES

GOLDEN = Path(__file__).parent / "golden"
DETERMINISTIC = {"SpectralHashing"}

# a few rows in few dimensions have no commonest distance to speak of
pytestmark = pytest.mark.filterwarnings("ignore:SSDH finds no near pairs")


def sample(n: int = 60, d: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def make(name: str, **params) -> Hasher:
    hasher = getattr(hashers, name)(n_bits=8, random_state=0)
    quick = {"hidden": 8, "max_epochs": 2, "batch_size": 16}
    hasher.set_params(**{name: value for name, value in quick.items() if name in hasher.get_params()})
    return hasher.set_params(**params)


@pytest.fixture(params=sorted(_MODULES))
def name(request) -> str:
    return request.param


@pytest.fixture
def hasher(name) -> Hasher:
    return make(name).fit(sample())


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u1", "i8", ">f4"])
@pytest.mark.parametrize("n", [0, 1, 17])
def test_codes_are_the_packed_projections(hasher, dtype, n):
    X = (10 * sample(n)).astype(dtype) if dtype != "u1" else np.abs(10 * sample(n)).astype(dtype)
    projections, codes = hasher.project(X), hasher.encode(X)
    assert projections.dtype == (np.float64 if dtype == "f8" else np.float32)
    assert projections.shape == (n, 8)
    assert codes.dtype == np.uint8
    assert codes.tobytes() == pack_bits(projections).tobytes()
    assert hasher.transform(X).tobytes() == codes.tobytes()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.int32])
def test_a_tensor_gives_tensors(hasher, dtype):
    X = torch.from_numpy(10 * sample(17)).to(dtype).requires_grad_(dtype.is_floating_point)
    projections, codes = hasher.project(X), hasher.encode(X)
    assert projections.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert codes.dtype == torch.uint8
    assert torch.equal(codes, pack_bits(projections))
    assert not projections.requires_grad
    assert np.array_equal(codes.numpy(), hasher.encode(X.detach().numpy()))


def test_lists_strides_and_memory_maps_are_read_right(hasher, tmp_path):
    X = sample(17)
    codes = hasher.encode(X)
    assert np.array_equal(hasher.encode(X.tolist()), hasher.encode(X.astype(np.float64)))
    assert np.array_equal(hasher.encode(np.asfortranarray(X)), codes)
    assert np.array_equal(hasher.encode(np.repeat(X, 2, axis=0)[::2]), codes)
    assert np.array_equal(hasher.encode(torch.from_numpy(np.ascontiguousarray(X.T)).T).numpy(), codes)
    np.save(tmp_path / "X.npy", X)
    assert np.array_equal(hasher.encode(np.load(tmp_path / "X.npy", mmap_mode="r")), codes)


def test_blocks_do_not_show(hasher, monkeypatch):
    X = sample(50)
    projections = hasher.project(X)
    clear = np.abs(projections) > 1e-4  # below, rounding decides, and that depends on the shape of a product
    for block_rows in (1, 7, 50):
        monkeypatch.setattr(base, "_BLOCK_BYTES", block_rows * 8 * 8)
        np.testing.assert_allclose(hasher.project(X), projections, atol=1e-5)
        assert ((hasher.project(X) > 0) == (projections > 0))[clear].all()
        assert hasher.encode(X).tobytes() == pack_bits(hasher.project(X)).tobytes()
    rows = np.concatenate([hasher.project(row[None]) for row in X])
    assert ((rows > 0) == (projections > 0))[clear].all()


def test_a_late_nan_is_found(hasher, monkeypatch):
    monkeypatch.setattr(base, "_BLOCK_BYTES", 8 * 8)
    X = sample(50)
    X[-1, -1] = np.nan
    with pytest.raises(ValueError, match="X must be finite"):
        hasher.encode(X)


def test_encoding_a_memory_map_keeps_memory_flat(tmp_path):
    script = """
import resource, sys
import numpy as np
from sdc_search.hashers import LSH

few = np.random.default_rng(0).standard_normal((1000, 256))
hasher = LSH(16).fit(few)
hasher.encode(few)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
hasher.encode(np.load(sys.argv[1], mmap_mode="r"))
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
print(grown * (1 if sys.platform == "darwin" else 1024))
"""
    np.lib.format.open_memmap(tmp_path / "X.npy", "w+", "f2", (200_000, 256))
    result = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "X.npy"], capture_output=True, text=True, check=True
    )
    # the mapped pages count, 102 MB that the system takes back at need; a float32 copy would add 205 MB
    assert int(result.stdout) < 170 << 20


def test_the_same_seed_gives_the_same_codes(name):
    codes = make(name).fit_transform(sample())
    assert codes.tobytes() == make(name).fit_transform(sample()).tobytes()
    other = make(name, random_state=1).fit_transform(sample())
    assert (codes.tobytes() == other.tobytes()) == (name in DETERMINISTIC)


def test_the_same_seed_gives_the_same_codes_in_another_process():
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_hashers import make, sample
for name in ("ITQ", "LSH", "SDC"):
    sys.stdout.buffer.write(make(name).fit_transform(sample()).tobytes())
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert result.stdout == b"".join(
        make(name).fit_transform(sample()).tobytes() for name in ("ITQ", "LSH", "SDC")
    )


def test_no_seed_gives_other_codes_each_time(name):
    hasher = make(name, random_state=None)
    first, second = (hasher.fit_transform(sample()).tobytes() for _ in range(2))
    assert (first == second) == (name in DETERMINISTIC)


def test_the_global_generators_are_neither_used_nor_touched(name):
    np.random.seed(0)  # noqa: NPY002 - this is the global one
    torch.manual_seed(0)
    before = np.random.get_state()[1].tobytes(), torch.get_rng_state()  # noqa: NPY002
    codes = make(name).fit_transform(sample())
    assert np.random.get_state()[1].tobytes() == before[0]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[1])
    torch.manual_seed(1)
    assert make(name).fit_transform(sample()).tobytes() == codes.tobytes()


def test_a_loaded_hasher_is_the_saved_one(hasher, tmp_path):
    X = sample(30, seed=1)
    hasher.save(tmp_path / "a")
    loaded = load_hasher(tmp_path / "a")
    assert type(loaded) is type(hasher)
    assert loaded.get_params() == hasher.get_params()
    assert loaded.n_features_in_ == 8
    assert loaded.encode(X).tobytes() == hasher.encode(X).tobytes()
    assert loaded.project(X).tobytes() == hasher.project(X).tobytes()
    loaded.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_numpy_numbers_as_parameters_are_saved(name, tmp_path):
    make(name, n_bits=np.int64(8), random_state=np.int32(0)).fit(sample()).save(tmp_path / "a")
    make(name).fit(sample()).save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_holds_the_parameters_of_the_fit(hasher, tmp_path):
    hasher.set_params(n_bits=4).save(tmp_path / "a")
    assert load_hasher(tmp_path / "a").n_bits == 8


def test_files_of_version_1_give_the_codes_of_their_time(name):
    loaded = load_hasher(GOLDEN / f"hasher_{name}_v1.safetensors")
    X, codes = (np.load(GOLDEN / "hasher_v1.npz")[key] for key in ("X", name))
    assert loaded.n_bits == 12
    assert np.array_equal(loaded.encode(X), codes)


def test_a_truncated_file_is_corrupt(hasher, tmp_path):
    hasher.save(tmp_path / "a")
    data = (tmp_path / "a").read_bytes()
    for length in {*range(0, len(data), 1 + len(data) // 200), len(data) - 1}:
        (tmp_path / "cut").write_bytes(data[:length])
        with pytest.raises(CorruptFileError, match="cut: "):
            load_hasher(tmp_path / "cut")


def forge(path: Path, state: dict, **metadata) -> None:
    fields = {"class": "LSH", "params": {"n_bits": 8}, **metadata}
    storage.write(path, "sdc_search.hasher", state, fields, version=1, n_bits=8)


GOOD = {"mean": np.zeros(5), "weight": np.ones((5, 8))}


@pytest.mark.parametrize(
    ("state", "metadata", "message"),
    [
        (GOOD, {"class": "Popen"}, "class: unknown hasher 'Popen'"),
        (GOOD, {"class": ["LSH"]}, "class: unknown hasher"),
        (GOOD, {"params": {"colour": 1}}, "params"),
        (GOOD, {"params": None}, "params"),
        (GOOD, {"params": {"n_bits": 9}}, "params: n_bits is 9, not 8"),
        (GOOD, {"params": {"n_bits": "8"}}, "params: n_bits is '8', not 8"),
        ({"mean": np.zeros(5)}, {}, "tensors: wanted mean, weight"),
        ({**GOOD, "mean": np.zeros(4)}, {}, "'weight': shape"),
        ({**GOOD, "mean": np.zeros((5, 1))}, {}, "'mean': shape"),
        ({**GOOD, "mean": np.zeros(5, np.int32)}, {}, "'mean': wanted finite floating point"),
        ({**GOOD, "mean": np.full(5, np.nan)}, {}, "'mean': wanted finite floating point"),
    ],
)
def test_a_forged_file_is_corrupt(tmp_path, state, metadata, message):
    forge(tmp_path / "good", GOOD)
    load_hasher(tmp_path / "good")
    forge(tmp_path / "bad", state, **metadata)
    with pytest.raises(CorruptFileError, match=f"bad: .*{message}"):
        load_hasher(tmp_path / "bad")


def test_a_file_of_another_kind_is_corrupt(tmp_path):
    storage.write(tmp_path / "a", "sdc_search.index", GOOD, {}, version=1, n_bits=8)
    with pytest.raises(CorruptFileError, match=r"format: wanted 'sdc_search\.hasher'"):
        load_hasher(tmp_path / "a")


def test_ctrl_c_in_save_leaves_nothing(hasher, tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        hasher.save(tmp_path / "a")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fitted", [False, True])
def test_ctrl_c_in_fit_leaves_the_hasher_as_it_was(name, fitted, monkeypatch):
    X = sample()
    hasher = make(name)
    codes = hasher.fit(X).encode(X) if fitted else None

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    where = {
        "ITQ": "itq.best_rotation",
        "LSH": "lsh.np.full",
        "SpectralHashing": "spectral_hashing.smoothest_modes",
    }.get(name, "trained.train")
    monkeypatch.setattr(f"sdc_search.hashers.{where}", interrupt)
    if name == "LSH":
        hasher.set_params(center="scalar")
    with pytest.raises(KeyboardInterrupt):
        hasher.fit(sample(40, 9))
    if fitted:
        assert hasher.encode(X).tobytes() == codes.tobytes()
    else:
        with pytest.raises(NotFittedError):
            hasher.encode(X)


def test_before_fit_there_is_one_clear_error(name, tmp_path):
    hasher = make(name)
    for act in (hasher.encode, hasher.project, hasher.transform):
        with pytest.raises(NotFittedError, match=f"this {name} is not fitted"):
            act(sample())
    with pytest.raises(NotFittedError):
        hasher.save(tmp_path / "a")


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.zeros((5, 8), bool), TypeError, "X must be floating point or integer, got bool"),
        (np.zeros((5, 8), object), TypeError, "got object"),
        (np.zeros((5, 8), complex), TypeError, "got complex128"),
        (np.full((5, 8), "a"), TypeError, "got <U1"),
        ("text", TypeError, "X must be a numpy array"),
        (None, TypeError, "X must be a numpy array"),
        (sample()[0], ValueError, r"X must have shape \(n, d\).*, got \(8,\)"),
        (sample()[None, None, None], ValueError, r"X must have shape \(n, d\)"),
        (np.float32(1), ValueError, r"X must have shape \(n, d\)"),
        (np.full((5, 8), np.inf), ValueError, "X must be finite"),
    ],
)
def test_bad_features(name, hasher, X, error, message):
    for act in (make(name).fit, hasher.encode, hasher.project):
        with pytest.raises(error, match=message):
            act(X)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((0, 8)), "at least 2 rows"),
        (sample(1), "at least 2 rows"),
        (np.ones((50, 8)), "constant"),
        (np.zeros((50, 0)), "at least one feature"),
    ],
)
def test_features_that_nothing_can_be_learnt_from(name, X, message):
    with pytest.raises(ValueError, match=message):
        make(name).fit(X)


def test_another_number_of_features_than_in_fit(hasher):
    with pytest.raises(ValueError, match="X must have 8 columns as in fit, got 7"):
        hasher.encode(sample(5, 7))


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"n_bits": 0}, ValueError, "n_bits must be at least 1"),
        ({"n_bits": 8.0}, TypeError, "n_bits must be an integer"),
        ({"n_bits": True}, TypeError, "n_bits must be an integer"),
        ({"random_state": -1}, ValueError, "random_state must be at least 0"),
        ({"random_state": "0"}, TypeError, "random_state must be an integer"),
    ],
)
def test_bad_parameters(name, params, error, message):
    with pytest.raises(error, match=message):
        make(name, **params).fit(sample())


def test_constant_columns_and_duplicate_rows_are_fine(name):
    X = np.concatenate([sample(30), sample(30)])
    X[:, 3] = 7
    codes = make(name).fit_transform(X)
    assert np.array_equal(codes[:30], codes[30:]) or (np.unpackbits(codes[:30] ^ codes[30:]).sum() < 3)
    assert len(np.unique(codes)) > 5


def test_two_rows_are_enough(name):
    assert make(name, n_bits=2).fit_transform(sample(2)).shape == (2, 1)


def test_a_change_of_scale_or_dtype_hardly_changes_codes(name):
    X = sample()
    codes = make(name).fit_transform(X)
    for other in (X.astype(np.float64), 1024 * X, X / 1024):
        assert np.unpackbits(make(name).fit_transform(other) ^ codes).mean() < 0.02


def test_repr_shows_what_is_not_default():
    assert repr(LSH()) == "LSH()"
    assert repr(SDC(16, lr=0.1)) == "SDC(n_bits=16, lr=0.1)"


def test_set_params_knows_its_names(name):
    hasher = make(name)
    assert hasher.set_params(n_bits=3) is hasher
    assert hasher.get_params()["n_bits"] == 3
    with pytest.raises(ValueError, match="has no parameter 'bits'"):
        hasher.set_params(random_state=1, bits=3)
    assert hasher.random_state == 0


def test_scikit_learn_takes_it_for_a_transformer(name):
    from sklearn.base import clone
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils import get_tags
    from sklearn.utils.validation import check_is_fitted

    X = sample()
    hasher = make(name)
    twin = clone(hasher)
    assert twin is not hasher
    assert twin.get_params() == hasher.get_params()
    assert get_tags(hasher).estimator_type == "transformer"
    pipeline = make_pipeline(StandardScaler(), hasher)
    codes = pipeline.fit_transform(X)
    assert codes.tobytes() == pipeline.transform(X).tobytes()
    assert (
        codes.tobytes()
        == twin.fit(StandardScaler().fit_transform(X)).encode(StandardScaler().fit_transform(X)).tobytes()
    )
    check_is_fitted(hasher)
    pipeline.set_params(**{f"{name.lower()}__n_bits": 4})
    assert hasher.n_bits == 4


def test_importing_a_hasher_does_not_import_scikit_learn():
    code = "import sys; import sdc_search.hashers; sys.exit('sklearn' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
