from __future__ import annotations

import numpy as np
import pytest
import torch

from sdc_search import pack_bits, unpack_bits


def test_bits_are_packed_as_numpy_packs_them(rng: np.random.Generator) -> None:
    for n_bits in (1, 7, 8, 9, 64, 100):
        h = rng.standard_normal((5, n_bits))
        h[0] = 0.0
        np.testing.assert_array_equal(pack_bits(h), np.packbits(h > 0, axis=1))
        np.testing.assert_array_equal(unpack_bits(pack_bits(h), n_bits), h > 0)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int64", "float16", "float32", "float64", ">f4"])
def test_every_real_dtype_packs_its_signs(dtype: str) -> None:
    h = np.array([[1, 0, 1, 0, 0, 0, 0, 0, 1]]).astype(dtype)
    np.testing.assert_array_equal(pack_bits(h), [[0b10100000, 0b10000000]])


def test_a_tensor_comes_back_as_a_tensor() -> None:
    h = torch.tensor([[1.0, -1.0, 0.0]], requires_grad=True)
    codes = pack_bits(h)
    assert isinstance(codes, torch.Tensor)
    assert codes.dtype == torch.uint8
    assert codes.tolist() == [[0b10000000]]
    bits = unpack_bits(codes, 3)
    assert isinstance(bits, torch.Tensor)
    assert bits.tolist() == [[True, False, False]]


def test_no_rows_is_no_error() -> None:
    assert pack_bits(np.empty((0, 12))).shape == (0, 2)
    assert unpack_bits(np.empty((0, 2), dtype=np.uint8), 12).shape == (0, 12)


def test_strided_and_dlpack_input_is_read_right(rng: np.random.Generator) -> None:
    h = rng.standard_normal((6, 32))
    np.testing.assert_array_equal(pack_bits(h[::2, ::-1]), np.packbits(h[::2, ::-1] > 0, axis=1))

    class OnlyDlpack:
        def __dlpack__(self, **kwargs: object) -> object:
            return h.__dlpack__(**kwargs)  # type: ignore[arg-type]

        def __dlpack_device__(self) -> tuple[int, int]:
            return h.__dlpack_device__()

    np.testing.assert_array_equal(pack_bits(OnlyDlpack()), np.packbits(h > 0, axis=1))  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("h", "error", "message"),
    [
        (np.zeros(3), ValueError, r"h must have shape \(n, n_bits\).*\(3,\)"),
        (np.zeros((2, 0)), ValueError, "n_bits at least 1"),
        (np.array([[np.nan]]), ValueError, "h must not hold NaN"),
        (np.array([["a"]]), TypeError, "h must be bool or real"),
        (np.array([[1j]]), TypeError, "complex128"),
        ([[1.0]], TypeError, "h must be a numpy array or a torch tensor, got list"),
    ],
)
def test_bad_input_to_pack_bits(h: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        pack_bits(h)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("codes", "n_bits", "error", "message"),
    [
        (np.zeros((1, 2), dtype=np.uint8), 17, ValueError, "codes must have 3 bytes a code, got 2"),
        (np.array([[0], [1]], dtype=np.uint8), 7, ValueError, "padding bits after bit 7, got a one in row 1"),
        (np.zeros((1, 1)), 8, TypeError, "codes must be packed codes of dtype uint8, got float64"),
        (np.zeros((1, 1), dtype=np.uint8), 0, ValueError, "n_bits must be at least 1, got 0"),
        (np.zeros((1, 1), dtype=np.uint8), True, TypeError, "n_bits must be an integer, got bool"),
        (np.zeros((1, 1), dtype=np.uint8), 8.0, TypeError, "n_bits must be an integer, got float"),
    ],
)
def test_bad_input_to_unpack_bits(codes: object, n_bits: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        unpack_bits(codes, n_bits)  # type: ignore[call-overload]
