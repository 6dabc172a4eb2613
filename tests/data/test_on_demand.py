"""Arrays that are computed when they are looked at are the arrays that they stand for, and memory has its bound."""

import gc

import numpy as np
import pytest

from sfgkeras.data.augmentation import Augmentation
from sfgkeras.data.on_demand import KEPT, OnDemand, OnDemandStore
from sfgkeras.data.samplers import ResizeSampler, UniformSampler
from sfgkeras.data.windows import PreparedSubject, WindowSource

RNG = np.random.default_rng(3)


def on_demand(array):
    return OnDemand(array.shape, array.dtype, lambda: array)


def test_it_looks_like_the_array_and_computes_it_anew():
    array, calls = RNG.normal(size=(3, 4, 5)), []
    late = OnDemand(array.shape, array.dtype, lambda: calls.append(1) or array)
    assert (late.shape, late.ndim, late.size, late.dtype, len(late)) == ((3, 4, 5), 3, 60, array.dtype, 3)
    assert late.reshape((12, 5)).shape == late.reshape(12, -1).shape == (12, 5)
    assert not calls
    assert np.array_equal(np.asarray(late), array)
    assert np.array_equal(late[1, ..., 2], array[1, ..., 2])
    assert np.array_equal(np.asarray(late.reshape((12, 5))), array.reshape(12, 5))
    assert len(calls) == 3


def test_arrays_stay_in_memory_while_there_is_room_and_someone_has_them():
    large = np.ones(KEPT, np.float64)
    store, calls = OnDemandStore(room=2 * large.nbytes), []

    def compute():
        calls.append(1)
        return large

    kept = [store.array({}, compute), store.array({}, compute)[1:]]
    assert all(isinstance(array, np.ndarray) for array in kept)
    late = store.array({}, compute)
    assert isinstance(late, OnDemand)
    assert len(calls) == 3
    assert np.array_equal(np.asarray(late), large)
    assert isinstance(store.array({}, lambda: large[:2]), np.ndarray)
    # A view counts as the array that it is a view of.
    del kept[0]
    gc.collect()
    kept.append(store.array({}, compute))
    assert isinstance(kept[-1], np.ndarray)
    assert isinstance(store.array({}, compute), OnDemand)


@pytest.mark.parametrize("window", [(8, 6, 1), (5, 5, 5)])
@pytest.mark.parametrize("sampler", [UniformSampler, ResizeSampler])
def test_windows_of_it_are_those_of_the_array(window, sampler):
    image, labels = RNG.normal(size=(12, 11, 9, 2)), RNG.integers(0, 3, (12, 11, 9, 1))
    wrapped = [
        PreparedSubject("p", wrap(image), {"m": wrap(image[..., :1]), "v": wrap(image[..., 0]), "l": wrap(labels)})
        for wrap in (np.asarray, on_demand)
    ]
    kinds = {"m": "map", "v": "map", "l": "labels"}
    turn = Augmentation(rotation_angle=(-10, 10), flip_axes=(0,))
    plain, late = (WindowSource([each], window, sampler(window), turn, kinds, seed=1) for each in wrapped)
    for number in range(4):
        (one, targets, _), (other, late_targets, _) = plain.window(number), late.window(number)
        assert np.array_equal(one, other)
        assert all(np.array_equal(targets[task], late_targets[task]) for task in kinds)
