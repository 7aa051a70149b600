from __future__ import annotations

import pytest
import torch

from sdc_search.hashers.binarization import signs, straight_through


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_bit_is_one_only_above_zero(dtype):
    bits = signs(torch.tensor([[-2.0, 0.0, 0.5]], dtype=dtype))
    assert bits.tolist() == [[-1, -1, 1]]
    assert bits.dtype == dtype


def test_values_are_those_of_the_step_and_the_slope_that_of_the_smooth_function():
    outputs = torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64, requires_grad=True)
    bits = straight_through(signs(outputs), outputs.sigmoid())
    bits.sum().backward()
    assert bits.tolist() == [-1, -1, 1]
    p = outputs.detach().sigmoid()
    torch.testing.assert_close(outputs.grad, p * (1 - p))
