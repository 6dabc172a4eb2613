"""The layer that holds and draws the grouping of filters."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from sfgkeras.layers import FilterGrouping
from sfgkeras.layers.filter_grouping import EntropyBonus, mask_source_index

SAMPLE, MEAN, MODE, AUTO = 0, 1, 2, 3


def build(*args, **kwargs):
    layer = FilterGrouping(*args, **kwargs)
    layer.build()
    return layer


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 5])
def test_masks_have_one_row_per_group_and_columns_that_sum_to_one(num_tasks):
    layer = build(12, num_tasks, seed=0)
    masks = layer(temperature=1.0, training=True)
    assert masks.shape == (num_tasks + 1, 12)
    np.testing.assert_allclose(np.sum(masks, 0), 1.0, rtol=1e-5)


@pytest.mark.parametrize("probabilities", [(0.2, 0.2, 0.6), (0.1, 0.6, 0.3)])
@pytest.mark.parametrize("assignment", ["soft", "hard"])
def test_twenty_thousand_filters_land_in_their_groups_as_often_as_p_says(probabilities, assignment):
    layer = build(20_000, 2, initial_probabilities=probabilities, assignment=assignment, seed=1)
    groups = np.asarray(layer(temperature=0.5, training=True)).argmax(0)
    counts = np.bincount(groups, minlength=3)
    assert scipy.stats.chisquare(counts, 20_000 * np.asarray(probabilities)).pvalue > 0.001


@pytest.mark.parametrize("per_sample", [False, True])
def test_hard_masks_are_one_hot_and_soft_ones_are_not(per_sample):
    hard, soft = (
        np.asarray(
            build(50, 2, assignment=name, per_sample=per_sample, seed=1)(temperature=1.0, batch_size=3, training=True)
        )
        for name in ("hard", "soft")
    )
    np.testing.assert_allclose(hard, hard.round(), atol=1e-6)
    assert set(hard.round().ravel().tolist()) == {0.0, 1.0}
    assert ((soft > 0.01) & (soft < 0.99)).mean() > 0.5


def test_a_filter_of_certain_group_always_lands_there():
    layer = build(10_000, 2, initial_probabilities=(0.0, 1.0, 0.0), seed=2)
    assert (np.asarray(layer(temperature=1.0, training=True)).argmax(0) == 1).all()


def test_training_samples_whatever_the_source():
    layer = build(50, 2, seed=0)
    first, second = (np.asarray(layer(temperature=1.0, source=MODE, training=True)) for _ in range(2))
    assert (first != second).any()
    assert ((first > 0) & (first < 1)).any()


def test_inference_takes_its_masks_from_the_source():
    layer = build(50, 2, initial_probabilities="dirichlet", seed=0)
    p = np.asarray(layer.probabilities())
    np.testing.assert_allclose(np.asarray(layer(temperature=1.0, source=MEAN)).T, p, rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(layer(temperature=1.0, source=MODE)).T, np.eye(3)[p.argmax(-1)])
    assert (
        np.asarray(layer(temperature=1.0, source=SAMPLE)) != np.asarray(layer(temperature=1.0, source=SAMPLE))
    ).any()


def test_draws_for_inference_do_not_change_the_draws_of_training():
    first, second = build(20, 2, seed=7), build(20, 2, seed=7)
    for _ in range(3):
        second(temperature=1.0, source=SAMPLE)
    np.testing.assert_array_equal(first(temperature=1.0, training=True), second(temperature=1.0, training=True))


def test_equal_seeds_draw_equal_masks_and_other_seeds_others():
    draws = [[np.asarray(build(20, 2, seed=seed)(temperature=1.0, training=True))] for seed in (3, 3, 4)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0][0] != draws[2][0]).any()


def test_a_restored_random_state_repeats_the_draws():
    layer = build(20, 2, seed=3)
    layer(temperature=1.0, training=True)
    state = layer.random_state()
    expected = np.asarray(layer(temperature=1.0, training=True))
    layer.set_random_state(state)
    np.testing.assert_array_equal(layer(temperature=1.0, training=True), expected)


def test_per_sample_draws_differ_between_samples_and_follow_p():
    layer = build(4, 2, per_sample=True, assignment="hard", seed=0)
    masks = np.asarray(layer(temperature=0.5, batch_size=5000, training=True))
    assert masks.shape == (3, 5000, 4)
    counts = np.bincount(masks.argmax(0).ravel(), minlength=3)
    assert scipy.stats.chisquare(counts, 20_000 * np.array([0.2, 0.2, 0.6])).pvalue > 0.001
    for source in (MEAN, MODE):
        fixed = np.asarray(layer(temperature=0.5, source=source, batch_size=3))
        np.testing.assert_allclose(fixed, fixed[:, :1].repeat(3, axis=1), rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.2, 2.0])
def test_the_average_of_all_draws_is_taken_at_the_temperature(temperature):
    layer = build(3, 2, initial_probabilities=(0.1, 0.2, 0.7), per_sample=True, seed=6)
    draws = np.asarray(layer(temperature=temperature, batch_size=20_000, training=True)).mean(axis=1)
    average = np.asarray(layer(temperature=temperature, source=AUTO, batch_size=1))[:, 0]
    np.testing.assert_allclose(average, draws, atol=0.03)


def test_inference_draws_once_for_the_whole_batch_whatever_its_size():
    draws = []
    for batch_size in (1, 4):
        layer = build(20, 2, per_sample=True, seed=5)
        draws.append(np.asarray(layer(temperature=1.0, source=SAMPLE, batch_size=batch_size)))
    np.testing.assert_array_equal(draws[1], draws[0].repeat(4, axis=1))


def test_per_sample_draws_without_a_batch_size_are_refused():
    with pytest.raises(ValueError, match="batch_size"):
        build(4, 2, per_sample=True)(temperature=1.0)


def test_grouping_stays_float32_under_mixed_precision():
    layer = build(8, 2, seed=0, dtype="mixed_float16")
    assert layer.grouping_logits.dtype == "float32"
    assert layer(temperature=tf.constant(0.1, "float16"), training=True).dtype == "float32"
    assert np.isfinite(layer(temperature=0.1, training=True)).all()


@pytest.mark.parametrize("dtype", ["mixed_float16", "float16", "bfloat16"])
def test_masks_are_the_same_in_every_precision(dtype):
    temperature = tf.constant(0.1234567)
    narrow, full = build(8, 2, seed=0, dtype=dtype), build(8, 2, seed=0)
    masks = [np.asarray(layer(temperature=temperature, training=True)) for layer in (narrow, full)]
    np.testing.assert_array_equal(*masks)
    assert masks[0].dtype == np.float32


def test_logits_that_are_not_learned_are_not_trainable_and_earn_no_entropy():
    fixed, learned = build(4, 2, learn_grouping=False), build(4, 2)
    assert (len(fixed.trainable_weights), len(fixed.losses)) == (0, 0)
    assert (len(learned.trainable_weights), len(learned.losses)) == (1, 1)


def test_entropy_bonus_is_minus_the_weighted_sum_of_entropies():
    layer = build(6, 3, initial_probabilities="dirichlet", entropy_decay=0.25, seed=0)
    entropies = scipy.stats.entropy(np.asarray(layer.probabilities()), axis=-1)
    assert float(layer.losses[0]) == pytest.approx(-0.25 * entropies.sum(), rel=1e-5)
    assert EntropyBonus.from_config(EntropyBonus(0.5).get_config()).decay == 0.5


def test_the_layer_comes_back_from_its_configuration():
    layer = build(6, 3, initial_probabilities="vertices", assignment="hard", per_sample=True, seed=9)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    again.build()
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(again.probabilities(), layer.probabilities())
    np.testing.assert_array_equal(
        again(temperature=1.0, batch_size=2, training=True),
        layer(temperature=1.0, batch_size=2, training=True),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"assignment": "firm"}, "unknown assignment 'firm'"), ({"num_tasks": 0}, "num_tasks = 0")],
)
def test_impossible_arguments_are_refused_with_their_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        FilterGrouping(**({"filters": 4, "num_tasks": 2} | arguments))


def test_an_unknown_mask_source_is_refused_with_a_suggestion():
    with pytest.raises(ValueError, match="unknown mask source 'modes', did you mean 'mode'"):
        mask_source_index("modes")


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_without_noise_masks_are_the_softmax_of_the_logarithm_of_p(temperature):
    layer = build(4, 2, initial_probabilities="dirichlet", seed=3, noise=False)
    p = np.asarray(layer.probabilities(), "float64")
    wanted = p ** (1.0 / temperature) / (p ** (1.0 / temperature)).sum(-1, keepdims=True)
    before = layer.random_state()
    for training, source in ((True, MODE), (False, SAMPLE), (False, AUTO)):
        masks = layer(temperature=temperature, source=source, training=training)
        np.testing.assert_allclose(np.asarray(masks).T, wanted, rtol=1e-4)
    for name, state in layer.random_state().items():
        np.testing.assert_array_equal(state, before[name])
    assert not FilterGrouping.from_config(layer.get_config()).noise
