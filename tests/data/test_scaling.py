"""Conversions in pieces are those of the whole."""

import numpy as np
import pytest

from sfgkeras.data.scaling import BLOCK, convert_in_blocks, count_not_finite

LARGE = (5, BLOCK // 64, 130)  # several pieces, and a rest


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [LARGE, (3, 4), (1,), (), (0, 4)])
def test_pieces_give_what_the_whole_gives_in_the_same_memory_order(shape, order):
    array = np.asarray(np.random.default_rng(0).normal(size=shape), np.float32, order=order)
    result = convert_in_blocks(lambda part: np.float64(2.1) * part + 0.3, array)
    np.testing.assert_array_equal(result, (np.float64(2.1) * array.astype(np.float64) + 0.3).astype(np.float32))
    assert result.flags.f_contiguous == array.flags.f_contiguous


def test_an_array_may_be_its_own_result():
    array = np.random.default_rng(0).normal(size=LARGE).astype(np.float32).transpose(2, 0, 1)
    expected = array * 3
    assert convert_in_blocks(lambda part: part * 3, array, out=array) is array
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("shape", [LARGE, (7,), ()])
def test_every_value_that_is_not_finite_is_counted(shape):
    array = np.zeros(shape, np.float32, order="F")
    assert count_not_finite(array) == 0
    flat = array.reshape(-1, order="F")
    flat[[0, -1]] = np.nan, np.inf
    assert count_not_finite(flat.reshape(shape, order="F")) == min(2, array.size)
    assert count_not_finite(np.ones(shape, np.int16)) == 0
