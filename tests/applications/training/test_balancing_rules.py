"""Rules of losses and of gradients in the training step: shared variables and heads, devices, precision, momentum."""

import os
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.applications.records.checkpoints import collect_arrays, restore_arrays
from sfgkeras.applications.training.optimizers import Optimizers, build_optimizer
from sfgkeras.applications.training.step import LABELLED, TrainingStep
from sfgkeras.architecture.stage import Stage
from sfgkeras.balancing import (
    MGDA,
    CAGrad,
    DynamicAverage,
    GradNorm,
    PCGrad,
    RandomWeights,
    SumOfGradients,
    Uncertainty,
)  # fmt: skip
from sfgkeras.losses import MeanSquaredError
from sfgkeras.networks import MultiTaskNetwork

TASKS = ("a", "b", "c")
OF_GRADIENTS = [PCGrad(), MGDA(normalisation="l2"), CAGrad(c=0.4)]
RULES = [*OF_GRADIENTS, GradNorm(lr=0.2), DynamicAverage(interval=1), RandomWeights(), SumOfGradients()]


def rules(*fast):
    """The rules; those that are not named take their turn among the slow tests."""
    return pytest.mark.parametrize(
        "rule",
        [pytest.param(each, id=each.name, marks=[] if each.name in fast else [pytest.mark.slow]) for each in RULES],
    )


RATE = 0.05


class Small(MultiTaskNetwork):
    stages = (Stage(3), Stage(4))


def build(balancing=None, sharing="hard_sharing", tasks=TASKS, **options):
    options = {"kernel_regularizer": keras.regularizers.L2(0.01), **options}
    network = Small(dict.fromkeys(tasks, 1), sharing, seed=2, balancing=balancing, **options)
    network.build((None, 6, 6, 1))
    return network


def batch(count=4, tasks=TASKS, seed=0):
    """Tasks a and b want opposite things, c something of its own; the second window has no label of b."""
    rng = np.random.default_rng(seed)
    images = rng.normal(size=(count, 6, 6, 1)).astype("float32")
    wanted = {"a": 2 * images, "b": -3 * images, "c": images**2}
    weights = {task: np.ones((count, 6, 6), "float32") for task in tasks}
    weights[tasks[1]][1] = 0.0
    return images, {task: wanted[task] for task in tasks}, weights


def step_of(network, optimizer=None, clip_norm=None, jit_compile=False, count=4):
    optimizers = Optimizers(optimizer or build_optimizer("sgd", RATE), clip_norm=clip_norm).build(network)
    losses = {task: MeanSquaredError() for task in network.tasks}
    strategy = tf.distribute.get_strategy()
    return TrainingStep(network, optimizers, losses, network.balancer, strategy, count, jit_compile)


def values(network):
    return {variable.path.partition("/")[2]: np.array(variable) for variable in network.trainable_variables}


def numbers(result):
    return {name: float(value) for name, value in result.items()}


def gradients_by_hand(network, data):
    """Returns each task's gradient and that of the regularisation, by variable; None where there is none."""
    images, targets, weights = data
    with tf.GradientTape(persistent=True) as tape:
        outputs = network(images, training=True)
        losses = {
            task: tf.reduce_sum(
                tf.reduce_mean((outputs[task][..., 0] - targets[task][..., 0]) ** 2, axis=(1, 2))
                * weights[task][:, 0, 0]
            )
            / len(images)
            for task in targets
        }
        extra = tf.add_n(network.losses)
    variables = network.trainable_variables
    found = {task: tape.gradient(loss, variables) for task, loss in [*losses.items(), ("extra", extra)]}
    return {
        name: {
            variable.path.partition("/")[2]: None if one is None else np.array(one)
            for variable, one in zip(variables, each, strict=True)
        }
        for name, each in found.items()
    }


def moved(network, before):
    """Returns by how much the step went down, in units of the rate."""
    return {name: (before[name] - value) / RATE for name, value in values(network).items()}


@pytest.mark.parametrize("rule", OF_GRADIENTS, ids=lambda rule: rule.name)
def test_what_tasks_share_gets_the_logged_mixture_of_their_gradients_and_a_head_its_own(rule):
    network, data = build(rule), batch()
    parts, before = gradients_by_hand(network, data), values(network)
    step = step_of(network)
    assert step.columns == [
        "loss", "regularisation", "a", "b", "c", "weight_a", "weight_b", "weight_c", "gradient_cosine",
    ]  # fmt: skip
    result = numbers(step(data))
    assert [name for name in result if not name.endswith(LABELLED)] == step.columns
    shared = [name for name in before if all(parts[task][name] is not None for task in TASKS)]
    assert 0 < len(shared) < len(before)
    mixture = {task: result[f"weight_{task}"] for task in TASKS}
    assert not np.allclose(list(mixture.values()), 1.0)
    for name, way in moved(network, before).items():
        own = [
            (mixture[task] if name in shared else 1.0) * parts[task][name]
            for task in TASKS
            if parts[task][name] is not None
        ]
        expected = sum(own) + (0.0 if parts["extra"][name] is None else parts["extra"][name])
        np.testing.assert_allclose(way, expected, rtol=1e-3, atol=1e-4, err_msg=name)
    flat = {task: np.concatenate([parts[task][name].ravel() for name in shared]) for task in TASKS}
    cosines = [
        flat[one] @ flat[other] / np.linalg.norm(flat[one]) / np.linalg.norm(flat[other])
        for one, other in ("ab", "ac", "bc")
    ]
    assert result["gradient_cosine"] == pytest.approx(np.mean(cosines), abs=1e-4)
    assert min(cosines) < -0.05  # there is a conflict to solve
    assert result["loss"] == pytest.approx(sum(result[task] for task in TASKS) + result["regularisation"], rel=1e-5)


def test_the_sum_of_gradients_is_the_sum_of_the_tasks_gradients_and_heads_have_their_own():
    network, data = build(SumOfGradients()), batch()
    parts, before = gradients_by_hand(network, data), values(network)
    step_of(network)(data)
    labelled = {"a": 1.0, "b": 0.75, "c": 1.0}
    for name, way in moved(network, before).items():
        terms = [parts[task][name] / labelled[task] for task in TASKS if parts[task][name] is not None]
        terms += [] if parts["extra"][name] is None else [parts["extra"][name]]
        np.testing.assert_allclose(RATE * way, RATE * sum(terms), atol=1e-6, err_msg=name)


@rules("pcgrad", "gradnorm")
def test_a_task_without_any_label_moves_nothing_of_its_own_and_leaves_finite_weights(rule):
    network = build(rule, kernel_regularizer=None)
    images, targets, weights = batch()
    before, step = values(network), step_of(network)
    for _ in range(3):
        result = numbers(step((images, targets, weights | {"b": 0 * weights["b"]})))
        assert np.isfinite(list(result.values())).all()
    for name, value in values(network).items():
        assert (value == before[name]).all() == ("head_b" in name), name


@rules("mgda")
def test_one_task_trains_as_with_fixed_weights(rule):
    network, plain = (build(each, tasks=("a",)) for each in (rule, None))
    images, targets, weights = batch(tasks=("a", "b"))
    for each in (network, plain):
        step = step_of(each)
        for _ in range(2):
            step((images, {"a": targets["a"]}, {"a": weights["a"]}))
    expected = values(plain)
    for path, value in values(network).items():
        np.testing.assert_allclose(value, expected[path], rtol=1e-5, atol=1e-7, err_msg=path)


@rules("cagrad")
def test_float16_finds_the_weights_of_float32(rule):
    """Scaled gradients are longer by 256: norms that no rule may see."""
    full, half = build(rule), build(rule, dtype="mixed_float16")
    seen = []
    optimizer = build_optimizer("sgd", RATE)
    scaled = keras.optimizers.LossScaleOptimizer(build_optimizer("sgd", RATE), initial_scale=256.0)
    for network, chosen in ((full, optimizer), (half, scaled)):
        step = step_of(network, chosen)
        before = values(network)
        results = [numbers(step(batch())) for _ in range(2)]
        seen.append(([results[1].get(f"weight_{task}", 1.0) for task in TASKS], moved(network, before)))
    np.testing.assert_allclose(seen[1][0], seen[0][0], rtol=0.03, atol=0.03)
    for name, way in seen[0][1].items():
        assert np.linalg.norm(seen[1][1][name] - way) < 0.1 * np.linalg.norm(way) + 1e-3, name


@pytest.mark.parametrize(
    "rule",
    [
        GradNorm(),
        pytest.param(PCGrad(), marks=pytest.mark.slow),
        pytest.param(DynamicAverage(), marks=pytest.mark.slow),
    ],
    ids=lambda rule: rule.name,
)
def test_a_step_that_overflows_in_float16_leaves_network_and_weights(rule):
    network = build(rule, dtype="mixed_float16")
    step = step_of(network, build_optimizer("momentum", RATE, "float16"))
    images, targets, weights = batch()
    step((images, targets, weights))
    before = values(network), network.balancer.current_weights()
    result = numbers(step((images, {task: target * np.float32(1e30) for task, target in targets.items()}, weights)))
    assert all(np.isfinite(result[f"weight_{task}"]) for task in TASKS)
    for name, value in values(network).items():
        np.testing.assert_array_equal(value, before[0][name], err_msg=name)
    assert network.balancer.current_weights() == before[1]


def test_clip_norm_shortens_the_gradient_that_the_rule_has_made():
    before, ways = None, []
    for clip_norm in (None, 0.1):
        network = build(PCGrad())
        before = values(network)
        step_of(network, clip_norm=clip_norm)(batch())
        ways.append(np.concatenate([way.ravel() for way in moved(network, before).values()]))
    norm = np.linalg.norm(ways[0])
    assert norm > 0.2
    np.testing.assert_allclose(ways[1], ways[0] * 0.1 / norm, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        (None, "adam"),
        (Uncertainty({}, dict.fromkeys(TASKS, "gaussian")), "adam"),
        (PCGrad(), "adam"),
        pytest.param(GradNorm(), "adam", marks=pytest.mark.slow),
        pytest.param(None, "momentum", marks=pytest.mark.slow),
        pytest.param(PCGrad(), "nadam", marks=pytest.mark.slow),
    ],
    ids=lambda given: getattr(given, "name", str(given)),
)
def test_a_stopped_tasks_own_variables_keep_their_values_to_the_bit(rule, name):
    """Whatever momentum the optimiser has, and whatever the regularisation wants; the others go on."""
    network = build(rule)
    step, data = step_of(network, build_optimizer(name, RATE)), batch()
    step(data)
    network.balancer.stop(["b"])
    before = values(network)
    for _ in range(2):
        step(data)
    still = {path for path, value in values(network).items() if (value == before[path]).all()}
    assert still == {path for path in before if "head_b" in path or path.endswith("log_sigma_1_b")}
    assert len(still) == 2 + (rule is not None and rule.name == "uncertainty")


@pytest.mark.parametrize("sharing", ["single_task", pytest.param("sfg", marks=pytest.mark.slow)])
def test_a_stopped_tasks_own_stages_stay_and_what_it_shared_goes_on(sharing):
    """With a network for each task half of it all; with filter groups its head, and what only its stream passes."""
    network = build(sharing=sharing, tasks=("a", "b"))
    step, data = step_of(network, build_optimizer("adam", RATE)), batch(tasks=("a", "b"))
    step(data)
    network.balancer.stop(["b"])
    before = values(network)
    step(data)
    still = {path for path, value in values(network).items() if (value == before[path]).all()}
    assert still == {path for path in before if "head_b" in path or "task_2" in path}
    assert len(still) == (len(before) // 2 if sharing == "single_task" else 8)


@rules("gradnorm")
def test_a_state_holds_all_that_a_rule_needs_to_go_on_bit_for_bit(rule):
    data = [batch(seed=seed) for seed in range(5)]

    def train(network, optimizer, batches):
        step = step_of(network, optimizer)
        return [numbers(step(each)) for each in batches]

    whole, parts, resumed = (build(rule, name="network") for _ in range(3))
    optimizers = [build_optimizer("adam", RATE) for _ in range(3)]
    expected = train(whole, optimizers[0], data)
    begun = train(parts, optimizers[1], data[:3])
    arrays = collect_arrays(parts, [optimizers[1]])
    resumed.balancer.set_seed(99)
    optimizers[2].build(resumed.trainable_variables)
    restore_arrays(arrays, resumed, [optimizers[2]])
    assert begun + train(resumed, optimizers[2], data[3:]) == expected
    of_whole = collect_arrays(whole, [optimizers[0]])
    for key, value in collect_arrays(resumed, [optimizers[2]]).items():
        np.testing.assert_array_equal(value, of_whole[key], err_msg=key)


@pytest.mark.slow
def test_two_devices_take_the_steps_of_one_by_every_rule():
    """In a process of its own, where the CPU is two devices with unequal windows; one of them has no label of c."""
    script = f"""
        import importlib.util
        import numpy as np
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        spec = importlib.util.spec_from_file_location("balancing_rules", {__file__!r})
        test = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(test)

        images, targets, weights = test.batch()
        weights["c"][2:] = 0.0
        data = images, targets, weights
        strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
        dataset = strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensors(data).unbatch().batch(4))
        for rule in test.RULES:
            one = test.build(rule)
            step = test.step_of(one)
            expected = [test.numbers(step(data)) for _ in range(3)]
            with strategy.scope():
                two = test.build(rule)
                step = test.step_of(two)
                found = [test.numbers(step(next(iter(dataset)))) for _ in range(3)]
            for each, other in zip(expected, found):
                assert each.keys() == other.keys()
                for name, value in each.items():
                    np.testing.assert_allclose(other[name], value, rtol=2e-3, atol=2e-4, err_msg=f"{{rule}} {{name}}")
            of_one = test.values(one)
            for name, value in test.values(two).items():
                np.testing.assert_allclose(value, of_one[name], rtol=1e-3, atol=1e-4, err_msg=f"{{rule}} {{name}}")
            weights = [each[f"weight_{{task}}"] for each in found for task in test.TASKS if "weight_a" in each]
            assert rule.name == "sum_of_gradients" or max(abs(weight - 1) for weight in weights) > 1e-3, rule
        """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False, env=os.environ
    )
    assert result.returncode == 0, result.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize("rule", [PCGrad(), MGDA(), CAGrad(), GradNorm()], ids=lambda rule: rule.name)
def test_a_step_compiled_by_xla_is_the_step(rule):
    found = []
    for jit_compile in (False, True):
        network = build(rule)
        step = step_of(network, jit_compile=jit_compile)
        found.append([numbers(step(batch())) for _ in range(2)])
    for plain, compiled in zip(*found, strict=True):
        assert compiled == pytest.approx(plain, rel=1e-3, abs=1e-4)
