"""Mixtures of a task's layers, by hand; and plans of blocks as plain values."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.architecture.blocks.dilated_pyramid import plan_dilated_pyramid
from sfgkeras.architecture.blocks.global_convolution import plan_global_convolution
from sfgkeras.architecture.blocks.residual import plan_residual
from sfgkeras.architecture.stage import Stage
from sfgkeras.layers.activation import MaskedActivation, PReLU, build_activation
from sfgkeras.layers.block_plan import BlockConvolution, BlockPlan, read_plan
from sfgkeras.layers.convolution import Convolution
from sfgkeras.layers.cross_stitch import initial_mixtures
from sfgkeras.layers.layer_mixture import LayerMixture
from sfgkeras.layers.scaled_initializer import ScaledInitializer

SHAPES = [(2, 3, 3, 4), (2, 3, 3, 2), (2, 3, 3, 2)]


def layers():
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype("float32") for shape in SHAPES]


def build(own_weight=0.9, **kwargs):
    mixture = LayerMixture([Convolution(2, 2, 1), None], own_weight, **kwargs)
    mixture.build(SHAPES)
    return mixture


def test_a_mixture_is_the_weighed_sum_of_layers_and_of_projections_of_other_widths():
    mixture, (first, second, last) = build(), layers()
    mixture.beta.assign([2.0, -1.0, 0.5])
    kernel = np.asarray(mixture.projections[0].kernel)[0, 0]
    np.testing.assert_allclose(
        mixture([first, second, last]), 2 * first @ kernel - second + 0.5 * last, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(("own", "expected"), [(0.9, [0.05, 0.05, 0.9]), (1.0, [0, 0, 1]), (None, [1 / 3] * 3)])
def test_the_last_layer_begins_with_its_own_weight(own, expected):
    np.testing.assert_allclose(build(own).beta, expected, rtol=1e-6, atol=1e-7)


def test_weights_projections_and_layers_have_their_gradients():
    mixture, inputs = build(), [tf.Variable(each) for each in layers()]
    mixture.beta.assign([2.0, -1.0, 0.5])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(mixture([each * 1.0 for each in inputs]))
    to_beta, to_kernel, *to_inputs = tape.gradient(
        total, [mixture.beta.value, mixture.projections[0].kernel.value, *inputs]
    )
    kernel = np.asarray(mixture.projections[0].kernel)[0, 0]
    first, second, last = layers()
    np.testing.assert_allclose(to_beta, [(first @ kernel).sum(), second.sum(), last.sum()], rtol=1e-3)
    np.testing.assert_allclose(to_kernel[0, 0], 2 * first.sum((0, 1, 2))[:, None] * np.ones(2), rtol=1e-3)
    np.testing.assert_allclose(to_inputs[0], np.broadcast_to(2 * kernel.sum(1), SHAPES[0]), rtol=1e-4)
    np.testing.assert_allclose(to_inputs[1], np.full(SHAPES[1], -1.0))


def test_weights_stay_float32_in_half_precision():
    half = LayerMixture([Convolution(2, 2, 1, dtype="mixed_float16"), None], dtype="mixed_float16")
    half.build(SHAPES)
    whole = build()
    for target, source in zip(whole.weights, half.weights, strict=True):
        target.assign(source)
    assert half.beta.dtype == half.projections[0].kernel.dtype == "float32"
    found = half([each.astype("float16") for each in layers()])
    assert found.dtype == "float16"
    np.testing.assert_allclose(found, whole(layers()), atol=2e-2)


def test_a_mixture_comes_back_from_its_configuration():
    mixture = build(0.7)
    again = LayerMixture.from_config(mixture.get_config())
    again.build(SHAPES)
    assert again.own_weight == 0.7
    assert [each is None for each in again.projections] == [False, True]
    assert again([*layers()]).shape == SHAPES[-1]
    assert [weight.shape for weight in again.weights] == [weight.shape for weight in mixture.weights]


@pytest.mark.parametrize(("count", "own"), [(1, 0.3), (2, 0.0), (5, 0.9), (4, None)])
def test_rows_of_mixtures_sum_to_one_and_others_share_the_rest_alike(count, own):
    found = initial_mixtures(count, own)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(np.diag(found), 1.0 if count == 1 else 1 / count if own is None else own, rtol=1e-6)
    others = found[~np.eye(count, dtype=bool)]
    assert np.ptp(others) < 1e-7 if others.size else True


@pytest.mark.parametrize(
    ("size", "rank", "entries"), [(3, 2, 9), (3, 3, 27), ((5, 1), 2, 5), ((1, 7, 2), 3, 14), (1, 3, 1)]
)
def test_a_kernel_has_as_many_entries_as_voxels(size, rank, entries):
    assert BlockConvolution(size).entries(rank) == entries


def test_places_number_convolutions_branch_by_branch():
    plan = BlockPlan(((BlockConvolution(), BlockConvolution(dilation=2)), (BlockConvolution(5),)), adds_input=False)
    assert list(plan.places()) == [[0, 1], [2]]
    assert [part.kernel_size for part in plan.convolutions] == [3, 3, 5]
    assert plan.common_dilation == 1
    assert BlockPlan(((BlockConvolution(dilation=4),) * 2,)).common_dilation == 4


@pytest.mark.parametrize(
    "plan",
    [
        plan_residual(Stage(4, dilation=2), 2),
        plan_global_convolution(Stage(4, block_size=7), 3),
        plan_dilated_pyramid(Stage(4, kernel_size=(3, 1), dilation=3), 2),
    ],
)
def test_plans_come_back_from_their_values_also_as_lists_of_a_saved_file(plan):
    assert read_plan(plan) is plan
    assert read_plan(plan.values()) == plan

    def listed(value):
        if isinstance(value, dict):
            return {key: listed(each) for key, each in value.items()}
        return [listed(each) for each in value] if isinstance(value, tuple | list) else value

    assert read_plan(listed(plan.values())) == plan


def test_sizes_of_blocks_are_those_of_the_stage_unless_they_have_their_own():
    assert [part.kernel_size for part in plan_residual(Stage(4, kernel_size=5), 2).convolutions] == [5, 5]
    assert [part.kernel_size for part in plan_residual(Stage(4, kernel_size=5, block_size=3), 2).convolutions] == [3, 3]
    assert [part.dilation for part in plan_dilated_pyramid(Stage(4, dilation=3), 2).convolutions] == [3, 6, 12]
    way, back = plan_global_convolution(Stage(4, kernel_size=9), 3).branches
    assert [part.kernel_size for part in way] == [(9, 1, 1), (1, 9, 1), (1, 1, 9)]
    assert back == way[::-1]


@pytest.mark.parametrize(("name", "expected"), [("PReLU", PReLU), ("relu", keras.layers.Activation)])
def test_activations_are_built_by_name_in_any_case(name, expected):
    assert isinstance(build_activation(name), expected)


def test_slopes_begin_as_asked_for_and_come_back():
    layer = PReLU(0.5)
    layer.build((None, 3))
    np.testing.assert_allclose(layer(np.float32([[-2.0, 0.0, 4.0]])), [[-1.0, 0.0, 4.0]])
    assert PReLU.from_config(layer.get_config()).initial_slope == 0.5
    assert layer.compute_output_shape((None, 3)) == (None, 3)


@pytest.mark.parametrize("normalisation", ["batch", "none"])
def test_an_activation_comes_back_from_its_configuration_with_what_it_normalises_by(normalisation):
    layer = MaskedActivation(
        "elu", momentum=0.5, epsilon=0.1, statistics="population", folds_masks=False, normalisation=normalisation
    )
    again = MaskedActivation.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again.statistics == ("population" if normalisation == "batch" else None)
    layer.build((None, 2, 2, 3))
    assert len(layer.weights) == (4 if normalisation == "batch" else 0)


def test_without_normalisation_features_are_activated_as_they_are():
    layer = MaskedActivation("relu", normalisation="none")
    layer.build((None, 1, 1, 2))
    x = np.float32([[[[-3.0, 100.0]]]])
    for training in (True, False):
        np.testing.assert_array_equal(layer(x, training=training), [[[[0.0, 100.0]]]])
    np.testing.assert_array_equal(layer(x, np.float32([1.0, 0.25])), [[[[0.0, 25.0]]]])


def test_a_scaled_initialiser_multiplies_and_then_adds_and_keeps_its_seed():
    inner = keras.initializers.RandomNormal(seed=3)
    scaled = ScaledInitializer(inner, 0.1, offset=2.0)
    expected = 0.1 * np.asarray(keras.initializers.RandomNormal(seed=3)((4, 2))) + 2.0
    np.testing.assert_allclose(scaled((4, 2)), expected, rtol=1e-6)
    again = ScaledInitializer.from_config(scaled.get_config())
    np.testing.assert_allclose(again((4, 2)), expected, rtol=1e-6)


def test_a_model_with_a_mixture_is_saved_and_loaded(tmp_path):
    inputs = [keras.Input(shape[1:]) for shape in SHAPES]
    mixture = LayerMixture([Convolution(2, 2, 1), None], 0.6)
    model = keras.Model(inputs, mixture(inputs))
    model.save(tmp_path / "mixture.keras")
    loaded = keras.saving.load_model(tmp_path / "mixture.keras")
    np.testing.assert_allclose(loaded(layers()), model(layers()), rtol=1e-6)
