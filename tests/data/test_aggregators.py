"""Windows put back together."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfgkeras.data.aggregators import SlabAggregator, grid_starts, slab_axis
from sfgkeras.errors import ConfigError


@st.composite
def grids(draw):
    """A volume, a window that fits, a border that leaves something of it; 2-D or 3-D."""
    shape = [draw(st.integers(2, 14)) for _ in range(3)]
    window = [draw(st.integers(2, n)) for n in shape]
    sliced = draw(st.sampled_from([None, 0, 1, 2]))
    if sliced is not None:
        window[sliced] = 1
    border = [draw(st.integers(0, (w - 1) // 2)) for w in window]
    return tuple(shape), tuple(window), tuple(border)


def kept_region(start, shape, window, border):
    return tuple(
        slice(s + (b if s else 0), s + w - (b if s + w < n else 0))
        for s, n, w, b in zip(start, shape, window, border, strict=True)
    )


@given(grids())
@settings(max_examples=100, deadline=None)
def test_what_is_left_of_the_windows_covers_every_voxel(grid):
    shape, window, border = grid
    covered = np.zeros(shape, int)
    for start in grid_starts(shape, window, border):
        assert all(0 <= s <= n - w for s, n, w in zip(start, shape, window, strict=True))
        covered[kept_region(start, shape, window, border)] += 1
    assert covered.min() >= 1


def test_windows_do_not_overlap_where_they_need_not():
    assert grid_starts((8, 6, 2), (4, 3, 1)) == [(x, y, z) for x in (0, 4) for y in (0, 3) for z in (0, 1)]
    assert [x for x, _, _ in grid_starts((10, 4, 1), (4, 4, 1), (1, 1, 0))] == [0, 2, 4, 6]
    assert [x for x, _, _ in grid_starts((9, 4, 1), (4, 4, 1))] == [0, 4, 5]


def by_slabs(outputs, starts, shape, window, border=(0, 0, 0), blending="gaussian", axis=0):
    """Puts windows together slab by slab; returns the volume, and the thickness of the slabs in order."""
    channels = outputs[0].shape[-1]
    aggregator = SlabAggregator(shape, channels, window, border, blending, axis)
    volume, thickness, reached = np.full((*shape, channels), np.nan, np.float32), [], 0

    def take(up_to):
        finished = aggregator.finished(up_to)
        if finished is not None:
            region, values = finished
            assert np.isnan(volume[region]).all()  # every voxel once
            volume[region] = values
            thickness.append(region[axis].stop - region[axis].start)

    for output, start in zip(outputs, starts, strict=True):
        if start[axis] > reached:
            reached = start[axis]
            take(reached)
        aggregator.add(output, start)
    take(None)
    return volume, thickness


@given(grids(), st.sampled_from(["gaussian", "none"]), st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_overlapping_windows_of_constant_seven_give_a_constant_volume_of_seven(grid, blending, channels):
    shape, window, border = grid
    output = np.full((*(w for w in window if w > 1), channels), 7.0, np.float32)
    starts = grid_starts(shape, window, border)
    result, _ = by_slabs([output] * len(starts), starts, shape, window, border, blending)
    assert result.shape == (*shape, channels)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, 7.0, rtol=2e-6)


@given(grids(), st.sampled_from(["gaussian", "none"]))
@settings(max_examples=80, deadline=None)
def test_windows_of_a_volume_give_the_volume_back(grid, blending):
    shape, window, border = grid
    volume = np.random.default_rng(0).normal(size=(*shape, 2)).astype(np.float32)
    starts, pieces = grid_starts(shape, window, border), []
    for start in starts:
        piece = volume[tuple(slice(s, s + w) for s, w in zip(start, window, strict=True))]
        pieces.append(piece.reshape(*(w for w in window if w > 1), 2))
    result, _ = by_slabs(pieces, starts, shape, window, border, blending)
    np.testing.assert_allclose(result, volume, rtol=1e-5, atol=1e-5)


def test_gaussian_blending_weights_by_distance_from_the_centre():
    outputs = [np.zeros((8, 8, 1)), np.ones((8, 8, 1))]
    result, _ = by_slabs(outputs, [(0, 0, 0), (4, 0, 0)], (12, 8, 1), (8, 8, 1))
    weight = np.exp(-0.5 * (np.arange(8) - 3.5) ** 2)  # sigma = 8 / 8
    blended = weight[:4] / (weight[:4] + weight[4:])
    expected = np.concatenate([np.zeros(4), blended, np.ones(4)])
    np.testing.assert_allclose(result[:, 3, 0, 0], expected, rtol=1e-5)


def test_without_blending_the_border_is_cut_and_the_rest_averaged():
    first, second = np.full((6, 4, 1), 2.0), np.full((6, 4, 1), 4.0)
    first[5], second[0] = np.nan, np.nan  # the borders inside the volume; those at its edges are kept
    cut, _ = by_slabs([first, second], [(0, 0, 0), (4, 0, 0)], (10, 4, 1), (6, 4, 1), (1, 0, 0), "none")
    np.testing.assert_array_equal(cut[:, 0, 0, 0], [2] * 5 + [4] * 5)
    outputs = [np.full((6, 4, 1), 2.0), np.full((6, 4, 1), 4.0)]
    averaged, _ = by_slabs(outputs, [(0, 0, 0), (2, 0, 0)], (8, 4, 1), (6, 4, 1), blending="none")
    np.testing.assert_array_equal(averaged[:, 0, 0, 0], [2, 2, 3, 3, 3, 3, 4, 4])


def test_large_windows_do_not_underflow_in_their_corners():
    size = (65, 64, 33)
    result, _ = by_slabs([np.full((*size, 1), 7.0, np.float32)], [(0, 0, 0)], size, size)
    np.testing.assert_allclose(result, 7.0, rtol=1e-6)


def test_voxels_that_no_window_reached_are_refused():
    aggregator = SlabAggregator((6, 4, 1), 1, (4, 4, 1), axis=0)
    aggregator.add(np.ones((4, 4, 1)), (0, 0, 0))
    _, reached = aggregator.finished(2)
    np.testing.assert_allclose(reached, 1.0, rtol=1e-6)
    with pytest.raises(ValueError, match="8 of 16 voxels are covered by no window"):
        aggregator.finished()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: grid_starts((4, 9, 9), (5, 5, 1)),
            ConfigError,
            r"window of \(5, 5, 1\) .* volume of \(4, 9, 9\)",
        ),
        (lambda: grid_starts((9, 9, 9), (4, 4, 1), (2, 0, 0)), ConfigError, r"border = \(2, 0, 0\)"),
        (lambda: grid_starts((9, 9, 9), (4, 4, 1), (0, 0, 1)), ConfigError, r"border = \(0, 0, 1\)"),
        (lambda: grid_starts((9, 9, 9), (4, 4, 1), (1, 1)), ConfigError, "three whole numbers"),
        (lambda: SlabAggregator((9, 9, 9), 1, (4, 4, 4), (2, 2, 2), "none"), ConfigError, "border"),
        (
            lambda: SlabAggregator((9, 9, 9), 1, (4, 4, 4), blending="gausian"),
            ConfigError,
            "did you mean 'gaussian'",
        ),
        (
            lambda: SlabAggregator((9, 9, 9), 1, (4, 4, 1)).add(np.ones((4, 4)), (0, 0, 0)),
            ValueError,
            r"\(4, 4, 1\)",
        ),
        (
            lambda: SlabAggregator((9, 9, 9), 1, (4, 4, 1)).add(np.ones((4, 4, 1)), (6, 0, 0)),
            ValueError,
            "inside",
        ),
    ],
)
def test_what_cannot_be_put_together_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


@given(grids(), st.sampled_from(["gaussian", "none"]), st.integers(1, 3), st.integers(0, 2))
@settings(max_examples=100, deadline=None)
def test_slabs_are_the_whole_volumes_average_to_the_last_bit(grid, blending, channels, axis):
    """The reference sums a plain list of windows over the whole volume, in the order in which they come."""
    shape, window, border = grid
    starts = sorted(grid_starts(shape, window, border), key=lambda start: start[axis])
    random_generator = np.random.default_rng(0)
    size = [n for n in window if n > 1]
    outputs = [random_generator.normal(size=(*size, channels)).astype(np.float32) for _ in starts]
    total, weights = np.zeros((*shape, channels), np.float32), np.zeros(shape, np.float32)
    for output, start in zip(outputs, starts, strict=True):
        weight = np.ones(window, np.float32)
        kept = tuple(slice(s, s + n) for s, n in zip(start, window, strict=True))
        if blending == "gaussian":
            x, y, z = (np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2).astype(np.float32) for n in window)
            weight = x[:, None, None] * y[:, None] * z
        else:
            kept = kept_region(start, shape, window, border)
        inside = tuple(slice(k.start - s, k.stop - s) for k, s in zip(kept, start, strict=True))
        total[kept] += output.reshape(*window, channels)[inside] * weight[inside][..., None]
        weights[kept] += weight[inside]
    volume, thickness = by_slabs(outputs, starts, shape, window, border, blending, axis)
    np.testing.assert_array_equal(volume, total / weights[..., None])
    assert max(thickness) <= window[axis]


def test_slabs_are_finished_as_soon_as_no_window_reaches_them():
    outputs, starts = [np.ones((4, 4, 4, 1))] * 3, grid_starts((4, 4, 9), (4, 4, 4), (0, 0, 1))
    assert [start[2] for start in starts] == [0, 2, 4, 5]
    outputs.append(outputs[0])
    _, thickness = by_slabs(outputs, starts, (4, 4, 9), (4, 4, 4), (0, 0, 1), "gaussian", 2)
    assert thickness == [2, 2, 1, 4]


def test_slabs_lie_across_the_sliced_axis_or_else_where_windows_are_shortest():
    assert slab_axis((5, 9, 9), (1, 4, 4)) == 0
    assert slab_axis((100, 100, 400), (50, 50, 50)) == 2
    assert slab_axis((100, 100, 100), (50, 50, 50)) == 0
    assert slab_axis((100, 100, 100), (100, 50, 100)) == 1


def test_windows_out_of_order_or_missing_ones_are_refused():
    aggregator = SlabAggregator((4, 4, 9), 1, (4, 4, 4), axis=2)
    aggregator.add(np.ones((4, 4, 4, 1)), (0, 0, 0))
    with pytest.raises(ValueError, match="does not begin where"):
        aggregator.add(np.ones((4, 4, 4, 1)), (0, 0, 2))
    with pytest.raises(ValueError, match="without holes"):
        aggregator.finished(5)
    aggregator.finished(2)
    with pytest.raises(ValueError, match="cannot follow"):
        aggregator.finished(1)
    with pytest.raises(ValueError, match="covered by no window"):
        aggregator.finished(5)
