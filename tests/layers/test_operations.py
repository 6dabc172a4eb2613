"""Operations that layers are made of: sums in order, copies, phases, normalisation, and numbers per axis."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from sfgkeras.layers import multiplies
from sfgkeras.layers.backend import (
    batch_normalize,
    compiled,
    convolve,
    fan_out,
    fused_operations,
    join_phases,
    normalize,
    ordered_sum,
    pays_to_split,
    prelu,
    split_phases,
    uses_tensorflow,
)
from sfgkeras.layers.convolution import Convolution, apply_mask, as_written, per_axis
from sfgkeras.layers.routing import groups_read, merge_sources, merge_streams, one_each
from sfgkeras.layers.statistics_record import KEY, StatisticsRecord

FUSED = pytest.mark.parametrize("fused", [True, False])


def normal(*shape, seed=0, dtype="float32"):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@FUSED
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_sum_is_that_of_all_terms_from_the_first_on_and_each_has_the_gradient_of_the_sum(fused, count):
    """In float32 2^24 + 1 is 2^24: terms that are added from the other end would not be lost."""
    terms = [tf.Variable(value) for value in [2.0**24, 1.0, 1.0, 1.0, 1.0][:count]]
    with fused_operations(fused), tf.GradientTape() as tape:
        total = ordered_sum([term * 1.0 for term in terms])
    assert float(total) == 2.0**24
    assert [float(each) for each in tape.gradient(total, terms)] == [1.0] * count


@FUSED
@pytest.mark.parametrize("count", [0, 1, 2, 3, 6])
def test_copies_are_equal_and_their_gradients_add_up(fused, count):
    tensor = tf.Variable([1.0, -2.0])
    with fused_operations(fused), tf.GradientTape() as tape:
        copies = fan_out(tensor, count)
        total = tf.reduce_sum(tf.zeros(2)) + sum(
            tf.reduce_sum((place + 1.0) * copy**2) for place, copy in enumerate(copies)
        )
    assert len(copies) == count
    if count:
        expected = count * (count + 1) / 2 * 2 * np.array([1.0, -2.0])
        np.testing.assert_allclose(tape.gradient(total, tensor), expected)


def test_the_tensorflow_forms_are_for_tensors_and_can_be_left_out():
    symbolic = keras.KerasTensor((2, 3))
    assert uses_tensorflow(tf.zeros(1))
    assert not uses_tensorflow(tf.zeros(1), symbolic)
    with fused_operations(False):
        assert not uses_tensorflow(tf.zeros(1))
        with fused_operations(True):
            assert uses_tensorflow(tf.zeros(1))
        assert not uses_tensorflow(tf.zeros(1))
    assert fan_out(symbolic, 4) == [symbolic] * 4


@pytest.mark.parametrize(("shape", "dilation"), [((2, 6, 4, 3), 2), ((1, 6, 9, 2), 3), ((2, 4, 4, 2, 3), 2)])
def test_phases_are_images_of_every_dth_voxel_and_convolve_as_the_dilated_image(shape, dilation):
    image, rank = normal(*shape), len(shape) - 2
    phases = np.asarray(split_phases(tf.constant(image), dilation))
    assert phases.shape == (dilation**rank * shape[0], *(size // dilation for size in shape[1:-1]), shape[-1])
    first = image[(slice(None), *(slice(0, None, dilation),) * rank)]
    np.testing.assert_array_equal(phases[: shape[0]], first)
    np.testing.assert_array_equal(join_phases(tf.constant(phases), dilation), image)
    kernel = normal(*(3,) * rank, shape[-1], 2, seed=1)
    expected = convolve(tf.constant(image), tf.constant(kernel), dilation)
    found = join_phases(convolve(tf.constant(phases), tf.constant(kernel)), dilation)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_phases_pay_only_where_every_axis_is_a_multiple_of_the_dilation_and_something_is_trained():
    image = tf.zeros((1, 4, 6, 1))
    assert not pays_to_split(image, 1, training=True)
    assert not pays_to_split(image, 4, training=True)
    assert not pays_to_split(keras.KerasTensor((1, 4, 6, 1)), 2, training=True)
    with fused_operations(False):
        assert not pays_to_split(image, 2, training=True)


@FUSED
@pytest.mark.parametrize("shape", [(4, 3, 2, 3), (2, 2, 3, 2, 3), (5, 3)])
def test_normalisation_is_that_of_numpy_with_the_mean_of_squares_as_variance(fused, shape):
    x, scale, offset = normal(*shape) * 3 + 7, np.float32([0.5, -1.0, 2.0]), np.float32([1.0, 0.0, -3.0])
    with fused_operations(fused):
        found, mean, variance = batch_normalize(*map(tf.constant, (x, scale, offset)), 0.01)
    axes = tuple(range(len(shape) - 1))
    np.testing.assert_allclose(mean, x.mean(axes), rtol=1e-5)
    np.testing.assert_allclose(variance, x.var(axes), rtol=1e-4)
    expected = (x - x.mean(axes)) / np.sqrt(x.var(axes) + 0.01) * scale + offset
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    with fused_operations(fused):
        given = normalize(*map(tf.constant, (x, np.float32([1, 2, 3]), np.float32([4, 1, 0.25]), scale, offset)), 0.01)
    expected = (x - [1, 2, 3]) / np.sqrt(np.array([4, 1, 0.25]) + 0.01) * scale + offset
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-4)


@FUSED
def test_given_statistics_are_constants(fused):
    x, statistics = tf.Variable(normal(2, 3, 3, 2)), [tf.Variable([1.0, 2.0]), tf.Variable([4.0, 1.0])]
    with fused_operations(fused), tf.GradientTape() as tape:
        found = normalize(x * 1.0, statistics[0] * 1.0, statistics[1] * 1.0, tf.ones(2), tf.zeros(2), 0.0)
        total = tf.reduce_sum(found)
    to_x, *to_statistics = tape.gradient(total, [x, *statistics], unconnected_gradients="zero")
    np.testing.assert_allclose(to_x, np.broadcast_to([0.5, 1.0], x.shape), rtol=1e-5)
    for gradient in to_statistics:
        np.testing.assert_array_equal(gradient, 0.0)


@FUSED
def test_gradients_of_normalisation_are_those_of_finite_differences(fused):
    """Of a weighed sum, with respect to what is normalised: the batch's own mean and variance take part."""
    x, weights = normal(2, 2, 2, 2), normal(2, 2, 2, 2, seed=1)
    scale, offset = np.float32([1.5, -0.5]), np.float32([0.1, 0.2])

    def value(x):
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        return (weights * ((x - mean) / np.sqrt(variance + 0.1) * scale + offset)).sum()

    tensor = tf.Variable(x)
    with fused_operations(fused), tf.GradientTape() as tape:
        found, _, _ = batch_normalize(tensor * 1.0, tf.constant(scale), tf.constant(offset), 0.1)
        total = tf.reduce_sum(found * weights)
    wide, expected = x.astype("float64"), np.zeros_like(x)
    for place in np.ndindex(x.shape):
        step = np.zeros_like(wide)
        step[place] = 1e-5
        expected[place] = (value(wide + step) - value(wide - step)) / 2e-5
    np.testing.assert_allclose(tape.gradient(total, tensor), expected, rtol=1e-3, atol=1e-4)


@FUSED
@pytest.mark.parametrize("slope", [0.0, 0.25, 1.5, -0.5])
def test_prelu_and_its_slope_by_hand(fused, slope):
    x, slopes = tf.Variable([[-2.0], [0.0], [3.0]]), tf.Variable([slope])
    with fused_operations(fused), tf.GradientTape() as tape:
        found = prelu(x * 1.0, slopes * 1.0)
        total = tf.reduce_sum(found * [[1.0], [1.0], [10.0]])
    np.testing.assert_allclose(found, [[-2.0 * slope], [0.0], [3.0]])
    to_x, to_slope = tape.gradient(total, [x, slopes])
    np.testing.assert_allclose(to_x, [[slope], [slope], [10.0]])
    np.testing.assert_allclose(to_slope, [-2.0])


def test_what_is_compiled_is_the_function_with_the_models_weights_of_now():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    function = compiled(lambda x: model(x) * 2.0, model)
    x = np.float32([[1.0, 2.0]])
    assert float(function(x)[0, 0]) == 6.0
    model.layers[0].kernel.assign([[10.0], [1.0]])
    assert float(function(x)[0, 0]) == 24.0


def test_multiplies_are_counted_by_every_recording_that_is_open():
    multiplies.record(1000)  # nobody listens
    with multiplies.recording() as outer:
        multiplies.record(2)
        with multiplies.recording() as inner:
            multiplies.record_convolution((2, 4, 5, 7), (3, 3, 6, 7))
        multiplies.record_convolution((None, 10, 8), (6, 8))
    assert inner == [2 * 4 * 5 * 9 * 6 * 7]
    assert outer == [2, inner[0], 10 * 6 * 8]  # an unknown batch counts as one


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    padding=st.sampled_from(["same", "valid"]),
)
def test_a_convolution_foretells_its_shape(sizes, kernel, stride, padding):
    layer = Convolution(2, 2, kernel, strides=stride, padding=padding)
    layer.build((None, *sizes, 1))
    found = layer(np.ones((1, *sizes, 1), "float32"))
    assert tuple(found.shape) == layer.output_shape_of((1, *sizes, 1))
    assert layer.output_shape_of((None, None, sizes[1], 1))[:2] == (None, None)


def test_one_number_is_for_all_axes_and_is_written_as_one():
    assert per_axis(3, 2, "size") == (3, 3)
    assert per_axis([1, np.int64(2), 3], 3, "size") == (1, 2, 3)
    assert as_written((3, 3)) == 3
    assert as_written((3, 1)) == (3, 1)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "3", [1, 2, 3], [1], [1, 0], None])
def test_numbers_per_axis_that_are_none_are_refused_by_name_and_value(value):
    with pytest.raises(
        ValueError, match="kernel_size = .* must be a positive whole number, or 2 of them, one for each"
    ):
        per_axis(value, 2, "kernel_size")


@pytest.mark.parametrize("rank", [2, 3])
def test_masks_are_factors_of_channels_for_all_samples_or_each(rank):
    features = normal(2, *(2,) * rank, 3, dtype="float16")
    for mask in (np.float32([1.0, 0.0, 0.5]), np.float32([[1.0, 0.0, 0.5], [2.0, 1.0, 0.0]])):
        found = apply_mask(tf.constant(features), tf.constant(mask))
        assert found.dtype == "float16"
        shaped = mask if mask.ndim == 1 else mask.reshape(2, *(1,) * rank, 3)
        np.testing.assert_allclose(found, features * shaped, rtol=1e-3)


@pytest.mark.parametrize("routing", ["mixed", "separate", "dense"])
@pytest.mark.parametrize("num_tasks", [1, 2, 4])
def test_streams_are_merged_by_who_reads_whom(routing, num_tasks):
    """By powers of 10, of which the digits say which streams are in a sum."""
    streams = [tf.constant(10.0**group) for group in range(num_tasks + 1)]
    found = [float(each) for each in merge_streams(streams, routing)]
    everything, shared = sum(10.0**group for group in range(num_tasks + 1)), 10.0**num_tasks
    expected = {
        "mixed": [*(10.0**task + shared for task in range(num_tasks)), shared],
        "separate": [10.0**group for group in range(num_tasks + 1)],
        "dense": [everything] * (num_tasks + 1),
    }[routing]
    assert found == expected
    assert [float(each) for each in merge_streams(streams, routing, num_tasks)] == expected[:-1]
    for reader in range(num_tasks + 1):
        assert sum(10.0**group for group in groups_read(routing, num_tasks + 1, reader)) == expected[reader]


def test_readers_of_the_same_groups_have_one_tensor_until_each_is_given_its_own():
    streams = {group: tf.Variable(float(group + 1)) for group in range(3)}
    with tf.GradientTape() as tape:
        merged = merge_sources(
            {group: stream * 1.0 for group, stream in streams.items()}, {0: (0, 2), 1: (0, 2), 5: (1,)}
        )
        own = one_each(merged)
        total = sum((place + 1) * own[reader] for place, reader in enumerate((0, 1, 5)))
    assert merged[0] is merged[1]
    assert [float(merged[reader]) for reader in (0, 1, 5)] == [4.0, 4.0, 2.0]
    assert list(own) == [0, 1, 5]
    gradients = tape.gradient(total, streams)
    assert {group: float(each) for group, each in gradients.items()} == {0: 3.0, 1: 3.0, 2: 3.0}


class Counting(StatisticsRecord):
    def __init__(self):
        self.iteration = keras.Variable(0, dtype="int32")


def test_statistics_fit_until_something_is_trained_and_again_when_they_are_measured():
    record, store = Counting(), {}
    assert record.statistics_fit
    record.iteration.assign(5)
    assert not record.statistics_fit
    record.record_statistics()
    assert record.statistics_fit
    record._save_record(store)
    assert int(store[KEY]) == 5
    other = Counting()
    other._load_record(store)
    assert not other.statistics_fit  # of a network that has trained nothing
    other.iteration.assign(5)
    assert other.statistics_fit


def test_an_old_file_that_does_not_say_is_taken_to_fit():
    record, store = Counting(), {}
    record._load_record({})
    record.iteration.assign(7)
    assert record.statistics_fit
    record._save_record(store)
    assert store == {}


def test_ops_of_keras_and_of_tensorflow_are_one_convolution():
    """A stride and a dilation per axis, padded or not, against a loop over the kernel."""
    image, kernel = normal(1, 7, 6, 2), normal(2, 3, 2, 3, seed=1)
    found = np.asarray(convolve(ops.convert_to_tensor(image), ops.convert_to_tensor(kernel), (2, 1), padding="valid"))
    expected = np.zeros((1, 5, 4, 3))
    for i in range(2):
        for j in range(3):
            expected += image[:, 2 * i : 2 * i + 5, j : j + 4] @ kernel[i, j]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    strided = convolve(ops.convert_to_tensor(image), ops.convert_to_tensor(kernel), strides=(2, 3), padding="valid")
    plain = convolve(ops.convert_to_tensor(image), ops.convert_to_tensor(kernel), padding="valid")
    np.testing.assert_allclose(strided, np.asarray(plain)[:, ::2, ::3], rtol=1e-4, atol=1e-5)
