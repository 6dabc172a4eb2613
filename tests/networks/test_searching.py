"""`fit_auto`: candidates on the same batches, one of which is left."""

import keras
import numpy as np
import pytest
from keras import ops

from sfgkeras.architecture.stage import Stage
from sfgkeras.networks import MultiTaskNetwork, fit_auto, harden
from sfgkeras.networks.search_data import endless
from sfgkeras.networks.searching import _RateOfLogits
from sfgkeras.sharing import SFG
from sfgkeras.tables.grouping_schedules import Auto

STEPS, BATCH = 16, 4
TASKS = {"a": 1, "b": 2}


@keras.saving.register_keras_serializable(package="test_searching")
class Two(MultiTaskNetwork):
    """Two convolutions and a dense head per task."""

    stages = (Stage(4), Stage(4))
    usual_head = "vector"


def build(sharing="sfg", **settings):
    network = Two(TASKS, sharing, seed=5, **settings)
    network.compile(keras.optimizers.Adam(0.01), loss={"a": "mse", "b": "mse"})
    return network


def samples(count, seed):
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(count, 6, 6, 1)).astype("float32")
    mean = images.mean(axis=(1, 2))
    return images, {"a": mean * 5, "b": np.concatenate([mean, -mean], axis=-1)}


@pytest.fixture(scope="module")
def found():
    """The network of a search of three candidates, and what it told."""
    told = []
    auto = Auto(candidates=("learned", "shared", "separate"), rungs=(0.375, 0.625))
    network = fit_auto(
        build(), *samples(24, 0), steps=STEPS, batch_size=BATCH, validation_data=samples(8, 1), auto=auto,
        report=told.append,
    )  # fmt: skip
    return network, told


@pytest.mark.slow
@pytest.mark.ci_sample
def test_one_is_left_whose_groups_are_fixed_and_that_has_taken_all_steps(found):
    network, told = found
    assert not network.groupings()
    assert int(network.optimizer.iterations) == STEPS
    assert int(network.iteration) == STEPS
    assert network.statistics_fit
    assert [text.partition(" on;")[0].rpartition("from step ")[2] for text in told] == ["6", "10"]
    assert len(told[0].partition(": ")[2].split(", ")) == 3
    last = dict(each.split(" ") for each in told[1].partition(": ")[2].split(", "))
    assert set(last) < {"learned", "shared", "separate"}
    assert len(last) == 2
    winner = told[1].partition(" ")[0]
    assert float(last[winner]) <= min(map(float, last.values())) + 0.01
    images = samples(3, 2)[0]
    dense = harden(network)
    for task, output in network.predict(images, verbose=0).items():
        np.testing.assert_allclose(dense.predict(images, verbose=0)[task], output, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("candidate", "baseline"), [("shared", "hard_sharing")])
def test_a_fixed_candidate_alone_is_what_fit_makes_of_the_baseline(candidate, baseline):
    images, targets = samples(24, 0)
    given = build()
    ours = fit_auto(
        given, images, targets, steps=8, batch_size=BATCH, validation_data=samples(8, 1),
        auto=Auto(candidates=(candidate,), rungs=(0.7,)),
    )  # fmt: skip
    assert int(given.iteration) == 0
    plain = build(baseline)
    batches = endless(images, targets, None, BATCH, 5)()
    plain.fit((next(batches) for _ in range(8)), steps_per_epoch=8, verbose=0)
    for one, two in zip(ours.trainable_variables, plain.trainable_variables, strict=True):
        np.testing.assert_array_equal(one, two)


def test_logits_take_steps_of_their_own_rate():
    network = build(SFG(noise=False))
    images, targets = samples(BATCH, 0)
    network.build((None, 6, 6, 1))
    grouping = network.groupings()["sfg_1"]
    before, kernel = ops.convert_to_numpy(grouping.grouping_logits).copy(), network.trunk.convolutions[0].kernel
    at_start = ops.convert_to_numpy(kernel).copy()
    network.fit(images, targets, batch_size=BATCH, epochs=1, verbose=0, callbacks=[_RateOfLogits(0.3)])
    # Adam's first step is the learning rate, whatever the gradient: 0.3 of the logits, 0.01 of the kernels.
    moved = np.abs(ops.convert_to_numpy(grouping.grouping_logits) - before)
    np.testing.assert_allclose(moved[moved > 0.1], 0.3, rtol=0.02)
    assert (moved > 0.1).mean() > 0.5
    assert np.abs(ops.convert_to_numpy(kernel) - at_start).max() < 0.0101


def test_arrays_are_cut_into_the_same_shuffled_batches_for_everyone():
    images = np.arange(10, dtype="float32").reshape(10, 1)
    data = endless(images, {"a": images * 2}, {"a": images * 3}, 4, 7)
    first, second = data(), data()
    epochs = [[next(first) for _ in range(2)] for _ in range(2)]
    for batch in [batch for epoch in epochs for batch in epoch]:
        for one, two in zip(batch, next(second), strict=True):
            np.testing.assert_array_equal(
                one["a"] if isinstance(one, dict) else one, two["a"] if isinstance(two, dict) else two
            )
        np.testing.assert_array_equal(batch[0] * 2, batch[1]["a"])
        np.testing.assert_array_equal(batch[0] * 3, batch[2]["a"])
    seen = [np.concatenate([batch[0] for batch in epoch]).ravel().tolist() for epoch in epochs]
    assert all(len(set(epoch)) == 8 for epoch in seen)
    assert seen[0] != seen[1]


def test_batches_of_an_object_are_read_again_from_the_beginning():
    data = endless([(1,), (2,)], None, None, 4, 0)
    batches = data()
    assert [next(batches)[0] for _ in range(5)] == [1, 2, 1, 2, 1]
    assert next(data())[0] == 1
    with pytest.raises(ValueError, match="x has no batch"):
        next(endless([], None, None, 4, 0)())


@pytest.mark.parametrize(
    ("network", "x", "changes", "message"),
    [
        (lambda: Two(TASKS, "sfg"), None, {}, "is not compiled: call compile"),
        (lambda: build("hard_sharing"), None, {}, "has sharing = 'hard_sharing', which learns no groups; use 'sfg'"),
        (build, None, {"steps": 20}, "steps = 20 leaves a candidate fewer than 5 steps"),
        (build, iter([]), {}, "x can be read only once"),
        (build, None, {"y": None}, "there is no y: give the targets"),
        (build, None, {"batch_size": 25}, "batch_size = 25 is more than the 24 images"),
    ],
)
def test_what_cannot_be_searched_is_refused(network, x, changes, message):
    images, targets = samples(24, 0)
    arguments = {"y": targets, "steps": 100, "validation_data": samples(8, 1), **changes}
    with pytest.raises(ValueError, match=message):
        fit_auto(network(), images if x is None else x, **arguments)
