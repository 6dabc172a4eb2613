"""Pictures of slices, decoded again by Pillow; outlines, filled again by matplotlib; blocks against loops."""

import base64
import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.path import Path as Polygon
from PIL import Image

from sfgkeras.analysis.pictures import choose_slices, label_colour
from sfgkeras.analysis.planes import block_factors, block_means, block_middles, quantised
from sfgkeras.analysis.slice_viewer import LARGEST_PNG, image_uri, outline_paths

NAN = float("nan")


def decoded(uri):
    """Returns the kind of a picture and its pixels."""
    kind, content = re.fullmatch(r"data:image/(png|jpeg);base64,(.*)", uri).groups()
    return kind, np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))).astype(int)


def test_grey_levels_lie_between_the_limits_and_what_is_no_number_is_dark():
    image = np.array([[-5.0, 0.0, 2.5, 10.0, 99.0, NAN, np.inf, -np.inf]])
    kind, pixels = decoded(image_uri(image, (0.0, 10.0)))
    assert kind == "png"
    assert pixels.tolist() == [[0, 0, 64, 255, 255, 0, 255, 0]]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(arrays(np.float32, (3, 4), elements=st.floats(-50, 150, width=32)), st.floats(-20, 20), st.floats(1, 100))
def test_grey_levels_are_right_to_half_a_step(image, low, width):
    _, pixels = decoded(image_uri(image, (low, low + width)))
    expected = np.clip((image.astype(float) - low) / width, 0, 1) * 255
    assert np.abs(pixels - expected).max() <= 0.501


def test_a_difference_of_nothing_is_nearly_white_blue_below_and_red_above():
    _, pixels = decoded(image_uri(np.array([[-10.0, 0.0, 10.0, NAN]]), (-10, 10), "difference"))
    below, zero, above, unknown = pixels[0]
    assert below[2] > below[0] + 40
    assert above[0] > above[2] + 40
    assert zero.min() > 240
    np.testing.assert_array_equal(unknown, zero)


@pytest.mark.parametrize("colours", ["photo", "vectors"])
def test_three_channels_stay_red_green_and_blue(colours):
    image = np.array([[[255, 0, 0], [0, 128, 255]]])
    _, pixels = decoded(image_uri(image, (0, 255), colours))
    assert pixels.tolist() == image.tolist()


def test_small_pictures_lose_nothing_and_large_ones_little():
    side = round(LARGEST_PNG**0.5)
    image = np.add.outer(np.arange(side + 1.0), np.arange(side))
    assert decoded(image_uri(image[:-1], (0, 2 * side)))[0] == "png"
    kind, pixels = decoded(image_uri(image, (0, 2 * side)))
    assert kind == "jpeg"
    assert np.abs(pixels - image / (2 * side) * 255).mean() < 2


def test_a_window_without_width_draws_nothing_brighter_than_white():
    _, pixels = decoded(image_uri(np.array([[3.0, 2.0, 4.5]]), (3.0, 3.0)))
    assert pixels.tolist() == [[0, 0, 255]]


def filled(path, shape):
    """Fills an SVG path by the even-odd rule, at the centres of the pixels."""
    rows, columns = np.indices(shape)
    centres = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5], axis=1)
    inside = np.zeros(len(centres), bool)
    for piece in path.removeprefix("M").removesuffix("Z").split("ZM"):
        points = [tuple(map(float, point.split())) for point in piece.split("L")]
        inside ^= Polygon([*points, points[0]], closed=True).contains_points(centres)
    return inside.reshape(shape)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(arrays(np.uint8, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.sampled_from([0, 0, 1, 3, 9])))
def test_outlines_enclose_the_centres_of_their_pixels_and_no_others(label_map):
    found = outline_paths(label_map)
    values = [value for value in np.unique(label_map) if value]
    assert [colour for colour, _ in found] == [label_colour(int(value)) for value in values]
    for value, (_, path) in zip(values, found, strict=True):
        np.testing.assert_array_equal(filled(path, label_map.shape), label_map == value)


SHAPES = st.tuples(*[st.integers(1, 9)] * 3)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(SHAPES, st.tuples(*[st.integers(1, 4)] * 3))
def test_blocks_of_labels_are_voxels_of_theirs_and_as_many_as_blocks_of_means(shape, factors):
    labels = np.arange(np.prod(shape)).reshape(shape)
    found = block_middles(labels, factors)
    assert found.shape == block_means(labels, factors).shape
    for place in np.ndindex(found.shape):
        block = labels[tuple(slice(p * f, (p + 1) * f) for p, f in zip(place, factors, strict=True))]
        assert found[place] in block
        if block.shape == tuple(factors):
            assert found[place] == block[tuple(f // 2 for f in factors)]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.tuples(*[st.integers(1, 40)] * 3), st.tuples(*[st.floats(0.3, 6)] * 3), st.integers(1, 5000))
def test_volumes_are_thinned_until_they_fit_and_no_further(shape, spacing, most):
    factors = block_factors(shape, spacing, most)
    left = [-(-size // factor) for size, factor in zip(shape, factors, strict=True)]
    assert np.prod(left) <= max(most, 1)
    if factors != (1, 1, 1):
        # One step less along some axis, the last that was taken, would not have fitted.
        fewer = [
            np.prod(
                [-(-size // (f - (axis == other))) for other, (size, f) in enumerate(zip(shape, factors, strict=True))]
            )
            for axis in range(3)
            if factors[axis] > 1
        ]
        assert max(fewer) > most


def test_steps_begin_at_the_low_end_and_stop_at_the_last_one():
    found = quantised(np.array([-9.0, 0.0, 0.24, 0.26, 63.5, 999.0]), 0.0, 0.5)
    assert found.tolist() == [0, 0, 0, 1, 127, found.max()]
    assert quantised(np.array([-50.0, 0.0, 50.0]), -50.0, 100 / 254).tolist() == [0, 127, 254]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 60), st.integers(1, 6), st.data())
def test_slices_are_there_rise_and_split_the_labels_evenly(length, number, data):
    assert all(0.24 * length - 1 <= index <= 0.76 * length for index in choose_slices(length, number))
    per_slice = np.array(data.draw(st.lists(st.integers(0, 9), min_size=length, max_size=length)))
    found = choose_slices(length, number, per_slice)
    assert found == sorted(set(found))
    assert 1 <= len(found) <= number
    assert 0 <= found[0] <= found[-1] < length
    if per_slice.any():
        assert (per_slice[found] > 0).all()
        half = choose_slices(length, 1, per_slice)[0]
        assert per_slice[:half].sum() < per_slice.sum() / 2 + 1e-9
        assert per_slice[: half + 1].sum() >= per_slice.sum() / 2
