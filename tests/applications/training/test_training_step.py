"""One training step and one validation pass against the formula, on a tape written by hand."""

import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.applications.training.optimizers import Optimizers, build_optimizer
from sfgkeras.applications.training.step import LABELLED, TOTAL, TrainingStep, ValidationPass
from sfgkeras.architecture.stage import Stage
from sfgkeras.balancing import Balancing, Uncertainty
from sfgkeras.balancing.balancer import Balancer
from sfgkeras.losses import RootMeanSquaredError
from sfgkeras.networks import MultiTaskNetwork

WEIGHTS = {"a": 0.5, "b": 3.0}
RATE, GROUPING_RATE = 0.05, 0.4
KERNEL_DECAY, ENTROPY_DECAY = 0.01, 0.02
LOG_SIGMA = {"a": 0.4, "b": -0.3}
UNCERTAINTY = Uncertainty(LOG_SIGMA, {"a": "categorical", "b": "gaussian"})
DECAYS = {"kernel_regularizer": keras.regularizers.L2(KERNEL_DECAY), "entropy_decay": ENTROPY_DECAY}


class SmallNetwork(MultiTaskNetwork):
    stages = (Stage(3), Stage(4))


def build(dtype="float32", **options):
    keras.utils.set_random_seed(0)
    fixed = {"temperature": (1.0, 0.0, 1.0), "balancing": WEIGHTS, **DECAYS}
    network = SmallNetwork({"a": 1, "b": 1}, seed=2, dtype=dtype, **(fixed | options))
    network.build((None, 6, 6, 1))
    return network


def batch(count=3, seed=0):
    """Images, targets and weights: of the second window only a part counts, for task b nothing of it."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(count, 6, 6, 1)).astype("float32")
    targets = {name: rng.normal(size=(count, 6, 6, 1)).astype("float32") for name in WEIGHTS}
    weights = {name: np.ones((count, 6, 6), "float32") for name in WEIGHTS}
    weights["a"][1, :3] = 0.0
    weights["b"][1] = 0.0
    return images, targets, weights


def masked_rmse(targets, outputs, weights):
    """Root mean squared error of every window over the voxels that count; 0 where none does."""
    errors = []
    for target, output, weight in zip(targets, tf.unstack(outputs), weights, strict=True):
        total = tf.reduce_sum(weight)
        error = tf.reduce_sum(tf.square(output[..., 0] - target[..., 0]) * weight)
        errors.append(tf.sqrt(error / total) if total > 0 else tf.constant(0.0))
    return tf.stack(errors)


def weigh(network, parts, weights):
    """`sum_t w_t L_t`; with learned weights `L_a / s_a^2 + L_b / (2 s_b^2) + log s_a s_b`, of samples with a label."""
    if network.balancing != UNCERTAINTY:
        return sum(WEIGHTS[name] * parts[name] for name in WEIGHTS)
    log_a, log_b = (tf.convert_to_tensor(network.balancer.log_sigma[name].value) for name in "ab")
    labelled = {name: np.mean((weight > 0).any(axis=(1, 2))) for name, weight in weights.items()}
    total = parts["a"] / tf.exp(log_a) ** 2 + parts["b"] / (2 * tf.exp(log_b) ** 2)
    return total + np.float32(labelled["a"]) * log_a + np.float32(labelled["b"]) * log_b


def hand_written_loss(network, images, targets, weights, rows=None, training=True):
    """`sum_t w_t mean(L_t) + lambda_1 sum ||W||^2 - lambda_2 sum H(p)`, term by term."""
    outputs = network(images, training=training)
    parts = {name: tf.reduce_mean(masked_rmse(targets[name], outputs[name], weights[name])) for name in WEIGHTS}
    kernels = [v for v in network.trainable_variables if v.path.endswith("kernel")]
    regularisation = sum(KERNEL_DECAY * tf.reduce_sum(tf.cast(k, tf.float32) ** 2) for k in kernels)
    for layer in network.groupings().values():
        rho = tf.math.softplus(tf.convert_to_tensor(layer.grouping_logits))
        p = rho / tf.reduce_sum(rho, -1, keepdims=True)
        regularisation += ENTROPY_DECAY * tf.reduce_sum(p * tf.math.log(p))
    return weigh(network, parts, weights) + regularisation, parts, regularisation


def step_of(network, name="sgd", grouping=True, precision="none", rates=(RATE, GROUPING_RATE)):
    optimizer = build_optimizer(name, rates[0], precision)
    grouping_optimizer = build_optimizer(name, rates[1], precision) if grouping else None
    optimizers = Optimizers(optimizer, grouping_optimizer).build(network)
    losses = {task: RootMeanSquaredError() for task in WEIGHTS}
    step = TrainingStep(network, optimizers, losses, network.balancer, tf.distribute.get_strategy(), 3)
    return step, optimizer, grouping_optimizer


def values(variables):
    return {variable.path: np.array(variable) for variable in variables}


@pytest.mark.parametrize(
    ("grouping", "balancing"),
    [(True, WEIGHTS), (False, WEIGHTS), (True, UNCERTAINTY)],
    ids=["grouping_lr", "one_lr", "learned_weights"],
)
def test_a_step_goes_down_the_gradient_of_the_hand_written_loss(grouping, balancing):
    ours, theirs = build(balancing=balancing), build(balancing=balancing)
    data = batch()
    with tf.GradientTape() as tape:
        total, parts, regularisation = hand_written_loss(theirs, *data)
    gradients = tape.gradient(total, theirs.trainable_variables)
    # Every term matters: the test could not see what is not there.
    assert float(regularisation) > 0.01 * float(total)
    result = step_of(ours, grouping=grouping)[0](data)
    assert float(result[TOTAL]) == pytest.approx(float(total), rel=1e-5)
    assert float(result["regularisation"]) == pytest.approx(float(regularisation), rel=1e-5)
    for name, part in parts.items():
        assert float(result[name]) == pytest.approx(float(part), rel=1e-5)
    for ours_variable, variable, gradient in zip(
        ours.trainable_variables, theirs.trainable_variables, gradients, strict=True
    ):
        is_logit = variable.path.endswith("grouping_logits")
        rate = GROUPING_RATE if is_logit and grouping else RATE
        expected = np.array(variable) - rate * np.array(gradient)
        np.testing.assert_allclose(ours_variable, expected, rtol=1e-4, atol=1e-6, err_msg=variable.path)


def test_the_logged_weights_are_those_that_the_step_was_taken_with():
    network = build(balancing=UNCERTAINTY)
    step = step_of(network)[0]
    assert step.columns == ["loss", "regularisation", "a", "b", "weight_a", "weight_b"]
    for _ in range(2):
        before = network.balancer.current_weights()
        result = {name: float(value) for name, value in step(batch()).items()}
        assert [name for name in result if not name.endswith(LABELLED)] == step.columns
        assert (result["weight_a"], result["weight_b"]) == pytest.approx(tuple(before.values()))
        assert before != network.balancer.current_weights()
    assert step_of(build())[0].columns == ["loss", "regularisation", "a", "b"]


@pytest.mark.parametrize("balancing", [WEIGHTS, UNCERTAINTY], ids=["fixed", "uncertainty"])
def test_a_task_without_labels_and_a_task_that_was_stopped_move_nothing_of_their_own(balancing):
    """Neither its head, nor what the rule has learned of it; the other task goes on."""
    images, targets, weights = batch()
    settings = {"kernel_regularizer": None, "entropy_decay": 0.0, "balancing": balancing}
    unlabelled, stopped = build(**settings), build(**settings)
    stopped.balancer.stop(["a"])
    starts = [values(network.trainable_variables) for network in (unlabelled, stopped)]
    step_of(unlabelled)[0]((images, targets, weights | {"a": 0 * weights["a"]}))
    step = step_of(stopped)[0]
    step((images, targets, weights))
    for network, start in zip((unlabelled, stopped), starts, strict=True):
        moved = {path for path, value in values(network.trainable_variables).items() if (value != start[path]).any()}
        assert not [path for path in moved if "head_a" in path or path.endswith("log_sigma_0_a")]
        assert [path for path in moved if "head_b" in path]
        assert [path for path in moved if path.endswith("log_sigma_1_b")] or balancing is WEIGHTS
    # Stopped in the middle of a training, in the step that is compiled already.
    stopped.balancer.stop(["b"])
    before = values(stopped.trainable_variables)
    step((images, targets, weights))
    for path, value in values(stopped.trainable_variables).items():
        np.testing.assert_array_equal(value, before[path], err_msg=path)


class SumOfGradients(Balancer):
    """Asks for the gradients of the single tasks: their sum is the gradient of the sum."""

    asks_for_gradients = True

    def task_weights(self):
        return dict.fromkeys(self.tasks, tf.constant(1.0))

    def backward(self, losses, presence, extra, gradient):
        gradients = [gradient(loss) for loss in [*losses.values(), extra]]
        there = [[one for one in each if one is not None] for each in zip(*gradients, strict=True)]
        return sum(losses.values()) + extra, [sum(each) for each in there]


@dataclass(frozen=True)
class OfGradients(Balancing):
    name = "of_gradients"

    def build(self, tasks):
        return SumOfGradients(tasks)


def test_a_rule_may_make_the_step_of_the_gradients_of_the_single_tasks():
    one, other = build(balancing={"a": 1.0, "b": 1.0}), build(balancing=OfGradients())
    data = batch()
    expected = step_of(one)[0](data)
    result = step_of(other)[0](data)
    assert float(result[TOTAL]) == pytest.approx(float(expected[TOTAL]), rel=1e-6)
    for ours, theirs in zip(other.trainable_variables, one.trainable_variables, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7, err_msg=ours.path)


def test_regularisation_alone_moves_kernels_and_logits():
    """Where no voxel counts: W shrinks by 1 - 2 rate lambda, and p moves towards the even one."""
    network = build(initial_probabilities=(0.1, 0.2, 0.7))
    images, targets, weights = batch()
    before, entropies = values(network.trainable_variables), []
    step = step_of(network)[0]
    for _ in range(2):
        step((images, targets, {name: 0 * weight for name, weight in weights.items()}))
        p = np.concatenate(list(network.grouping_probabilities().values()))
        entropies.append(-(p * np.log(p)).sum())
    assert entropies[1] > entropies[0]
    for path, value in values(network.trainable_variables).items():
        if path.endswith("kernel"):
            shrunk = before[path] * (1 - 2 * RATE * KERNEL_DECAY) ** 2
            np.testing.assert_allclose(value, shrunk, rtol=1e-4, atol=1e-7, err_msg=path)


def test_float16_steps_unscale_kernels_and_logits():
    """With plain SGD a scaled gradient would move everything 32 768 times as far."""
    full, half = build(), build("mixed_float16")
    data = batch()
    start = values(full.trainable_variables)
    step_of(full)[0](data)
    step_of(half, precision="float16")[0](data)
    for one, other in zip(full.trainable_variables, half.trainable_variables, strict=True):
        moved, wanted = np.array(other) - start[one.path], np.array(one) - start[one.path]
        assert np.linalg.norm(moved - wanted) < 0.1 * np.linalg.norm(wanted) + 1e-5, one.path


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_a_step_that_overflows_moves_neither_kernels_nor_logits(name):
    network = build("mixed_float16")
    step, optimizer, grouping_optimizer = step_of(network, name, precision="float16")
    images, targets, weights = batch()
    step((images, targets, weights))  # the optimisers have a momentum now
    before = values(network.trainable_variables)
    scales = [float(one.dynamic_scale) for one in (optimizer, grouping_optimizer)]
    overflowing = {task: target * np.float32(1e30) for task, target in targets.items()}
    step((images, overflowing, weights))
    for path, value in values(network.trainable_variables).items():
        np.testing.assert_array_equal(value, before[path], err_msg=path)
    assert [float(one.dynamic_scale) for one in (optimizer, grouping_optimizer)] == [scale / 2 for scale in scales]
    step((images, targets, weights))
    after = values(network.trainable_variables)
    assert all(np.isfinite(value).all() for value in after.values())
    assert all((after[path] != before[path]).any() for path in before if path.endswith(("kernel", "grouping_logits")))


def test_optimisers_of_which_one_scales_the_loss_are_refused():
    with pytest.raises(ValueError, match="both scale the loss"):
        Optimizers(build_optimizer("sgd", 0.1, "float16"), build_optimizer("sgd", 0.1))


@pytest.mark.parametrize("balancing", [WEIGHTS, UNCERTAINTY], ids=["fixed", "uncertainty"])
def test_a_validation_pass_weighs_tasks_as_the_training_does_and_counts_every_window_once(balancing):
    network = build(masks="mean", batch_norm="population", balancing=balancing)
    network.balancer.stop(["a"])  # which leaves it out of training only
    batches = [batch(3, seed=1), batch(2, seed=2)]
    losses = {task: RootMeanSquaredError() for task in WEIGHTS}
    metrics = {"a": {"mse": keras.metrics.MeanSquaredError()}}
    validate = ValidationPass(network, losses, network.balancer, metrics, tf.distribute.get_strategy())
    scores = validate(batches)
    per_window = {task: [] for task in WEIGHTS}
    for images, targets, weights in batches:
        outputs = network(images, training=False)
        for task in WEIGHTS:
            per_window[task] += masked_rmse(targets[task], outputs[task], weights[task]).numpy().tolist()
    means = {task: np.mean(found) for task, found in per_window.items()}
    assert [name for name in scores if not name.endswith(LABELLED)] == validate.columns
    for task, mean in means.items():
        assert scores[f"{task}_loss"] == pytest.approx(mean, rel=1e-4)
    windows = {task: np.concatenate([weights[task] for *_, weights in batches]) for task in WEIGHTS}
    assert scores[TOTAL] == pytest.approx(float(weigh(network, means, windows)), rel=1e-4)
    assert validate(batches) == scores  # metrics begin anew
    assert validate([]) == {}


def test_a_step_on_two_devices_goes_down_the_gradient_of_the_loss_of_the_whole_batch():
    """In a process of its own, where the CPU is two devices, which have unequal windows."""
    script = f"""
        import importlib.util
        import numpy as np
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        spec = importlib.util.spec_from_file_location("step", {__file__!r})
        step = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(step)
        from sfgkeras.applications.training.averages import WeightAverages
        from sfgkeras.applications.training.optimizers import Optimizers, build_optimizer
        from sfgkeras.applications.training.step import TrainingStep

        data = step.batch(4)
        theirs = step.build(dropout=0.4, per_sample=True, balancing=step.UNCERTAINTY)
        with tf.GradientTape() as tape:
            total, parts, regularisation = step.hand_written_loss(theirs, *data)
        gradients = tape.gradient(total, theirs.trainable_variables)
        norm = float(tf.linalg.global_norm(gradients))
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        with strategy.scope():
            ours = step.build(dropout=0.4, per_sample=True, balancing=step.UNCERTAINTY)
            both = [build_optimizer("sgd", rate) for rate in (step.RATE, step.GROUPING_RATE)]
            optimizers = Optimizers(*both, clip_norm=norm / 2)  # of the whole gradient, not of a device's part
            optimizers.build(ours)
        losses = {{task: step.RootMeanSquaredError() for task in step.WEIGHTS}}
        averages = WeightAverages(ours, 0.5, strategy)
        take = TrainingStep(ours, optimizers, losses, ours.balancer, strategy, 4, averages=averages)
        dataset = strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensors(data).unbatch().batch(4))
        result = take(next(iter(dataset)))
        weights = {{"weight_a": np.exp(-0.8), "weight_b": 0.5 * np.exp(0.6)}}
        for name, expected in {{**parts, **weights, "loss": total, "regularisation": regularisation}}.items():
            np.testing.assert_allclose(float(result[name]), float(expected), rtol=1e-4, err_msg=name)
        for mine, variable, gradient in zip(ours.trainable_variables, theirs.trainable_variables, gradients):
            rate = step.GROUPING_RATE if variable.path.endswith("grouping_logits") else step.RATE
            expected = np.array(variable) - rate * np.array(gradient) / 2
            np.testing.assert_allclose(np.array(mine), expected, rtol=1e-3, atol=2e-5, err_msg=variable.path)
        before = np.array(ours.trainable_variables[0])
        take(next(iter(dataset)))
        after = np.array(ours.trainable_variables[0])
        with averages.in_use():  # after two steps: a tenth of the first, as n / (n + 9) is smaller than 0.5
            np.testing.assert_allclose(np.array(ours.trainable_variables[0]), 0.1 * before + 0.9 * after, rtol=1e-5)
            for device in (0, 1):
                local = strategy.experimental_local_results(ours.trainable_variables[0].value)[device]
                np.testing.assert_array_equal(np.array(ours.trainable_variables[0]), local.numpy())
        np.testing.assert_array_equal(np.array(ours.trainable_variables[0]), after)
        """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False, env=os.environ
    )
    assert result.returncode == 0, result.stderr[-3000:]
