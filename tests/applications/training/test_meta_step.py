"""A step of meta-training against the formula by hand; and what it is for: fewer steps to learn another task."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.applications.training.meta_step import MetaTrainingStep
from sfgkeras.applications.training.optimizers import Optimizers
from sfgkeras.applications.training.step import TOTAL, TrainingStep
from sfgkeras.architecture.stage import Stage
from sfgkeras.data.samplers import UniformSampler
from sfgkeras.data.windows import PreparedSubject, WindowSource
from sfgkeras.errors import ConfigError
from sfgkeras.losses import ClassificationCrossEntropy, MeanSquaredError
from sfgkeras.networks import MultiTaskNetwork
from sfgkeras.phantom.breasts import QUESTIONS, build_breasts
from sfgkeras.tables.meta_learning import FirstOrderSettings

WEIGHTS, DECAY, RATE, INNER = {"a": 0.5, "b": 2.0}, 0.01, 0.1, 0.2


class SmallNetwork(MultiTaskNetwork):
    stages = (Stage(3), Stage(4))


def small_network():
    decay = keras.regularizers.L2(DECAY)
    network = SmallNetwork(
        {"a": 1, "b": 1}, sharing="hard_sharing", seed=2, balancing=WEIGHTS, kernel_regularizer=decay
    )
    network.build((None, 6, 6, 1))
    return network


def batch():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(4, 6, 6, 1)).astype("float32")
    targets = {name: rng.normal(size=(4, 6, 6, 1)).astype("float32") for name in WEIGHTS}
    weights = {name: np.ones((4, 6, 6), "float32") for name in WEIGHTS}
    weights["b"][3] = 0.0  # the second window of the query has no label of b
    return tf.nest.map_structure(tf.constant, (images, targets, weights))


def by_hand(network, task, rows, targets, images):
    variables = network.trainable_variables
    with tf.GradientTape() as tape:
        output = network(images[rows], training=True)[task]
        loss = WEIGHTS[task] * tf.reduce_mean(tf.square(output - targets[task][rows]))
        loss += sum(DECAY * tf.reduce_sum(v**2) for v in variables if v.path.endswith("kernel"))
    return gradients_of(tape, loss, variables)


def gradients_of(tape, loss, variables):
    found = zip(variables, tape.gradient(loss, variables), strict=True)
    return [tf.zeros_like(variable) if gradient is None else gradient for variable, gradient in found]


def test_a_step_adapts_on_one_half_and_learns_from_the_other():
    images, targets, weights = batch()
    network, other = small_network(), small_network()
    start = [variable.numpy() for variable in other.trainable_variables]
    total = [np.zeros_like(value) for value in start]
    for task in ("a", "b"):
        for _ in range(2):
            for variable, gradient in zip(
                other.trainable_variables, by_hand(other, task, slice(0, 2), targets, images), strict=True
            ):
                variable.assign_sub(INNER * gradient)
        if task == "b":  # normalisation sees the whole query; the loss its labelled part
            with tf.GradientTape() as tape:
                output = other(images[2:], training=True)["b"]
                loss = WEIGHTS["b"] * tf.reduce_mean(tf.square(output[:1] - targets["b"][2:3]))
                kernels = [v for v in other.trainable_variables if v.path.endswith("kernel")]
                loss += sum(DECAY * tf.reduce_sum(v**2) for v in kernels)
            found = gradients_of(tape, loss, other.trainable_variables)
        else:
            found = by_hand(other, task, slice(2, 4), targets, images)
        total = [one + gradient.numpy() for one, gradient in zip(total, found, strict=True)]
        for variable, value in zip(other.trainable_variables, start, strict=True):
            variable.assign(value)
    optimizers = Optimizers(keras.optimizers.SGD(RATE)).build(network)
    settings = FirstOrderSettings(inner_steps=2, inner_lr=INNER, tasks_per_step=2)
    losses = {name: MeanSquaredError() for name in WEIGHTS}
    step = MetaTrainingStep(settings, 0, network, optimizers, losses, network.balancer, tf.distribute.get_strategy(), 4)
    memory = {}
    parts = step.take((images, targets, weights), 0, memory)
    assert list(parts) == step.columns
    assert memory["picked"] == {"a": 1, "b": 1}
    assert np.isfinite(float(parts[TOTAL]))
    for variable, value, gradient in zip(network.trainable_variables, start, total, strict=True):
        np.testing.assert_allclose(variable.numpy(), value - RATE * gradient, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"MULTITASK.tasks": "ct"}, "picks 2 of several tasks, and there is one"),
        ({"TRAINING.first_order_tasks_per_step": 3}, "picks 3 of several tasks, and there are fewer"),
        ({"NETWORK.batch_size": 1}, "divides a batch into support and query"),
        ({"NETWORK.sharing": "joint_many"}, "sharing = 'joint_many' does not go with"),
        ({"TRAINING.balancing": "pcgrad"}, "has a curriculum in place of a rule"),
        ({"SYSTEM.num_gpus": 2}, "trains on one device"),
        ({"SYSTEM.jit_compile": "yes"}, "jit_compile = 'yes' does not go with"),
        ({"TRAINING.first_order_curriculum": "student"}, "uniform"),
    ],
)
def test_what_does_not_go_with_meta_training_is_refused(make_config, overrides, message):
    with pytest.raises(ConfigError, match=message):
        make_config({"TRAINING.meta_learning": "first_order", **overrides})


def test_a_resumed_meta_training_is_the_uninterrupted_one(make_config, tmp_path):
    from sfgkeras.applications import run
    from sfgkeras.applications.records.checkpoints import CheckpointFolder

    found = []
    for name, lengths in (("whole", [4]), ("parts", [2, 4])):
        for length in lengths:
            overrides = {"TRAINING.meta_learning": "first_order", "TRAINING.max_iter": length, "NETWORK.batch_size": 4}
            run.train(make_config({**overrides, "TRAINING.first_order_tasks_per_step": 1}, tmp_path / name))
        found.append(CheckpointFolder(tmp_path / name / "checkpoints").read(-1))
    whole, parts = found
    assert whole.record["progress"]["memory"] == parts.record["progress"]["memory"]
    assert sum(whole.record["progress"]["memory"]["picked"].values()) == 4
    for name, array in whole.arrays.items():
        np.testing.assert_array_equal(parts.arrays[name], array, err_msg=name)


test_a_resumed_meta_training_is_the_uninterrupted_one = pytest.mark.slow(
    test_a_resumed_meta_training_is_the_uninterrupted_one
)

# What it is for


class Lesions(MultiTaskNetwork):
    stages = (Stage(8, pools=True), Stage(16, pools=True), Stage(24, pools=True), Stage(32))


MANY, HELD_OUT = QUESTIONS[1:], QUESTIONS[0]


def source_of(seed, numbers, tasks):
    subjects = []
    for number in numbers:
        breasts = build_breasts(seed, number)
        image = (breasts.image - breasts.image.mean()) / breasts.image.std()
        targets = {task: np.array(breasts.answers[task]) for task in tasks}
        subjects.append(PreparedSubject(f"{number}", image[..., None, None], targets))
    size = (48, 48, 1)
    return WindowSource(subjects, size, UniformSampler(size), None, dict.fromkeys(tasks, "class"), seed=seed)


def network_of(tasks, seed):
    heads = dict.fromkeys(tasks, "vector")
    network = Lesions(dict.fromkeys(tasks, 2), sharing="hard_sharing", heads=heads, seed=seed)
    network.build((None, 48, 48, 1))
    return network


def step_of(network, count, meta=None):
    optimizers = Optimizers(keras.optimizers.Adam(2e-3)).build(network)
    losses = {task: ClassificationCrossEntropy() for task in network.task_names}
    arguments = (network, optimizers, losses, network.balancer, tf.distribute.get_strategy(), count)
    return TrainingStep(*arguments) if meta is None else MetaTrainingStep(*meta, *arguments)


def steps_to(score, seed, start):
    """Returns how many steps of fine-tuning the held-out question takes until new subjects are told this well."""
    network = network_of([HELD_OUT], seed)
    if start is not None:
        for variable, learned in zip(network.trunk.trainable_variables, start.trunk.trainable_variables, strict=True):
            variable.assign(learned)
    network.batch_norm = "batch"
    training, test = source_of(seed, range(400, 480), [HELD_OUT]), source_of(seed, range(500, 600), [HELD_OUT])
    images, targets, _ = test.batch(range(100))
    step = step_of(network, 16)
    for iteration in range(200):
        step.take(training.batch(range(16 * iteration, 16 * iteration + 16)), iteration, {})
        if iteration % 4 == 3:
            says = np.argmax(network(images, training=False)[HELD_OUT], axis=-1)
            if np.mean(says == targets[HELD_OUT]) >= score:
                return iteration + 1
    return 200


@pytest.mark.slow
def test_meta_training_on_small_tasks_saves_steps_on_another_one():
    found = []
    for seed in range(5):
        network, source = network_of(MANY, seed), source_of(seed, range(300), MANY)
        step = step_of(network, 32, (FirstOrderSettings(inner_lr=0.02), seed))
        memory = {}
        for iteration in range(150):
            step.take(source.batch(range(32 * iteration, 32 * iteration + 32)), iteration, memory)
        assert set(memory["picked"]) == set(MANY)
        found.append((steps_to(0.8, seed, network), steps_to(0.8, seed, None)))
    assert all(after < from_random for after, from_random in found), found
