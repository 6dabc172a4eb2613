"""Joint many-task networks: where heads sit, the successive regularisation by hand, and what moves in whose turn."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.applications.training.optimizers import Optimizers, build_optimizer
from sfgkeras.applications.training.step import TrainingStep
from sfgkeras.architecture.stage import Stage
from sfgkeras.balancing import Uncertainty
from sfgkeras.errors import Problem
from sfgkeras.losses import RootMeanSquaredError
from sfgkeras.networks import VGG11, Head, HighResNet, MultiTaskNetwork, UNet, harden, recalibrate
from sfgkeras.networks.moments import slots_of

TASKS = {"a": 1, "b": 1, "c": 1}


@keras.saving.register_keras_serializable(package="tests")
class Three(MultiTaskNetwork):
    """Three stages, blocks behind the second."""

    stages = (Stage(3, name="first"), Stage(4, name="second", num_blocks=1), Stage(3, name="third"))


def build(tasks=TASKS, network=Three, size=(None, None, 1), **settings):
    built = network(tasks, "joint_many", seed=0, **settings)
    built.build((None, *size))
    return built


def taps(network):
    architecture = network.trunk.architecture
    return [architecture.names[tap] for tap in architecture.taps]


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [5]), (2, [3, 5]), (3, [2, 4, 5]), (4, [2, 3, 4, 5]), (5, [1, 2, 3, 4, 5])]
)
def test_heads_are_spread_evenly_over_the_depth(count, expected):
    network = HighResNet(dict.fromkeys("abcde"[:count], 1), "joint_many", width=0.25, seed=0)
    assert taps(network) == [f"stage_{place}" for place in expected]


def test_order_says_who_is_lowest():
    assert taps(build(order=("c", "A", "b"))) == ["second", "third", "first"]
    assert build(order=("c", "A", "b")).trunk.order == (2, 0, 1)


def test_a_head_with_a_tap_stays_there_and_the_tasks_follow_the_depth_of_their_heads():
    network = build(heads={"c": "map@first"})
    assert taps(network) == ["second", "third", "first"]
    assert network.trunk.order == (2, 0, 1)


def test_maps_of_a_u_net_sit_where_the_image_has_its_size_and_vectors_where_they_always_do():
    network = UNet(TASKS, "joint_many", width=1 / 16, levels=2, seed=0, heads={"c": "vector"})
    assert taps(network) == ["decoder_1_1", "decoder_1", "encoding"]
    assert network.trunk.order == (2, 0, 1)


def test_vectors_of_a_chain_are_spread():
    assert taps(VGG11({"a": 1, "b": 1}, "joint_many", width=1 / 16, seed=0)) == ["stage_4", "stage_8"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"order": ("a", "b", "d")}, "order = 'a, b, d' names 'd', which is no task; the tasks are a, b, c"),
        ({"order": ("a", "b")}, "order = 'a, b' does not name each of a, b, c once; name all tasks, or none"),
        ({"order": ("a", "b", "b")}, "does not name each of a, b, c once"),
        (
            {"order": ("a", "b", "c"), "heads": {"a": "map@third", "b": "map@first"}},
            "order = 'a, b, c' puts 'b' behind 'a', but its head reads 'first', before 'third'; change the order",
        ),
    ],
)
def test_an_order_that_does_not_fit_is_refused(settings, message):
    with pytest.raises(Problem, match=message):
        Three(TASKS, "joint_many", **settings)


def test_rules_that_weigh_several_tasks_in_a_step_do_not_go_with_turns():
    with pytest.raises(Problem, match="trained does not go with balancing = pcgrad.*use fixed or uncertainty, or"):
        Three(TASKS, "joint_many", trained="in_turns", balancing="pcgrad")


def stage_parameters(network, *stages):
    """The trained variables of stages and heads by the names of their layers."""
    names = {f"convolution_{n}_shared" for n in stages} | {f"activation_{n}_shared" for n in stages}
    names |= {f"blocks_{n}_shared" for n in stages}
    return [v for v in network.trunk.trainable_variables if v.path.split("/")[2] in names]


def head_parameters(network, *tasks):
    return [v for task in tasks for v in network.heads[task].trainable_variables]


def in_mind(network, turn, trained):
    """What is kept near what it was: first, second and third are the stages of a, b and c."""
    below = {
        0: stage_parameters(network, 1),
        1: stage_parameters(network, 1) + head_parameters(network, 0),
        2: stage_parameters(network, 1, 2) + head_parameters(network, 0, 1),
    }
    return below[2 if trained == "together" else turn]


def penalty(network):
    return float(network.trunk.penalties()[0])


@pytest.mark.parametrize("trained", ["together", "in_turns"])
def test_the_term_is_the_squared_distance_from_the_parameters_when_the_period_began(trained):
    network = build(trained=trained, period=2, strength=0.3, dropout=0.0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 6, 6, 1)).astype("float32")
    network(x)
    assert penalty(network) == 0
    for step in range(7):
        if step % 2 == 0:
            begun = {variable.path: variable.numpy() for variable in network.trainable_variables}
        network(x, training=True)
        if step % 2 == 0:
            assert penalty(network) == 0
            assert len([loss for loss in network.losses if float(loss) == 0]) == 1
        for variable in network.trainable_variables:
            variable.assign_add(rng.normal(size=variable.shape))
        kept = in_mind(network, step // 2 % 3, trained)
        expected = 0.3 * sum(np.sum((variable.numpy() - begun[variable.path]) ** 2) for variable in kept)
        assert penalty(network) == pytest.approx(expected, rel=1e-4)


def test_every_setting_counts():
    assert build(strength=0.5).trunk.sharing.strength == 0.5
    turns = [build(trained="in_turns", period=3, order=tuple("cba")).trunk.turn(i) for i in range(10)]
    assert turns == [2, 2, 2, 1, 1, 1, 0, 0, 0, 2]
    assert build().trunk.turn(0) is None


def test_one_task_remembers_nothing_and_has_no_turns():
    network = build({"a": 1}, trained="in_turns")
    network(np.zeros((1, 6, 6, 1), "float32"), training=True)
    assert network.trunk.penalties() == []
    assert network.trunk.turn(5) is None


def batch(count=2):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(count, 6, 6, 1)).astype("float32")
    targets = {name: rng.normal(size=(count, 6, 6, 1)).astype("float32") for name in TASKS}
    return images, targets, {name: np.ones((count, 6, 6), "float32") for name in TASKS}


@pytest.fixture(scope="module")
def steps():
    """A run of seven steps in turns of two: the variables after each, those of the optimiser among them."""
    network = build(trained="in_turns", period=2, balancing=Uncertainty(likelihood=dict.fromkeys(TASKS, "gaussian")))
    optimizers = Optimizers(build_optimizer("adam", 0.01)).build(network)
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    losses = dict.fromkeys(TASKS, RootMeanSquaredError())
    step = TrainingStep(network, optimizers, losses, network.balancer, strategy, 2)
    variables = {v.path: v for v in network.trainable_variables}
    (adam,) = optimizers
    slots = {
        (v.path, name): slot
        for name, found in adam.slots().items()
        for v, slot in zip(adam._trainable_variables, found, strict=True)
    }

    def values():
        return {key: np.array(v) for key, v in (variables | slots).items()}

    seen = [values()]
    for iteration in range(7):
        result = step(batch(), network.trunk.turn(iteration))
        assert set(TASKS) <= set(result)
        seen.append(values())
    return network, seen


def test_only_what_the_task_of_the_turn_uses_moves_whatever_the_optimiser_remembers(steps):
    network, seen = steps
    for number, (before, after) in enumerate(zip(seen, seen[1:], strict=False)):
        task = number // 2 % 3
        uses = stage_parameters(network, *range(1, task + 2)) + head_parameters(network, task)
        paths = {v.path for v in uses} | {v.path for v in [network.balancer.log_sigma["abc"[task]]]}
        moved = {key for key in after if (after[key] != before[key]).any()}
        assert {key for key in moved if isinstance(key, str)} == paths
        assert {key[0] for key in moved if not isinstance(key, str)} == paths


def test_in_fit_no_other_task_s_head_gets_a_gradient():
    network = build(trained="in_turns", period=2, kernel_regularizer=None)
    network.compile(keras.optimizers.SGD(0.1), loss="mse")
    images, targets, _ = batch()
    for task in (0, 0, 1, 1, 2):
        before = [np.array(v) for head in network.heads for v in head.trainable_variables]
        network.fit(images, targets, batch_size=2, verbose=0)
        after = [np.array(v) for head in network.heads for v in head.trainable_variables]
        moved = [(one != two).any() for one, two in zip(before, after, strict=True)]
        assert moved == [place // 2 == task for place in range(6)]


def optimizer_values(network):
    """What an optimiser keeps of each variable, by its path."""
    optimizer = network.optimizer
    return {
        v.path: [np.array(slots[place]) for slots in slots_of(optimizer).values()]
        for place, v in enumerate(optimizer._trainable_variables)
    }


def test_in_fit_nothing_moves_but_what_the_task_of_the_turn_uses_and_the_rule_learns():
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.1)
    network = build(trained="in_turns", period=2, balancing=Uncertainty(likelihood=dict.fromkeys(TASKS, "gaussian")))
    network.compile(optimizer, loss=dict.fromkeys(TASKS, RootMeanSquaredError()), jit_compile=False)
    images, targets, _ = batch()
    network.train_on_batch(images, targets)
    for iteration in range(1, 8):
        task = iteration // 2 % 3
        before = {v.path: np.array(v) for v in network.trainable_variables}
        gathered = optimizer_values(network)
        network.train_on_batch(images, targets)
        uses = stage_parameters(network, *range(1, task + 2)) + head_parameters(network, task)
        paths = {v.path for v in uses}
        moved = {v.path for v in network.trainable_variables if (np.array(v) != before[v.path]).any()}
        of_rule = {v.path for v in network.balancer.trainable_variables}
        assert paths <= moved <= paths | of_rule
        after = optimizer_values(network)
        changed = {
            path for path in after if any((a != b).any() for a, b in zip(after[path], gathered[path], strict=True))
        }
        assert paths <= changed <= paths | of_rule


TWO_DEVICES = """
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from sfgkeras.networks import HighResNet
rng = np.random.default_rng(0)
images = rng.normal(size=(4, 6, 6, 1)).astype("float32")
targets = {"a": images + 1, "b": images - 1}
found = []
for devices in (["CPU:0"], ["CPU:0", "CPU:1"]):
    with tf.distribute.MirroredStrategy(devices).scope():
        network = HighResNet({"a": 1, "b": 1}, "joint_many", width=0.25, trained="in_turns", period=1, seed=0)
        network.build((None, 6, 6, 1))
        network.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss="mse")
    network.fit(images, targets, batch_size=4, epochs=2, shuffle=False, verbose=0)
    kept = [np.array(variable) for variable in network.heads[0].trainable_variables]
    network.fit(images, targets, batch_size=4, epochs=1, shuffle=False, verbose=0)
    assert all((np.array(v) != old).any() for v, old in zip(network.heads[0].trainable_variables, kept))
    kept = [np.array(variable) for variable in network.heads[0].trainable_variables]
    network.fit(images, targets, batch_size=4, epochs=1, shuffle=False, verbose=0)
    assert all((np.array(v) == old).all() for v, old in zip(network.heads[0].trainable_variables, kept))
    found.append([np.array(variable) for variable in network.trainable_variables])
for one, two in zip(*found):
    np.testing.assert_allclose(one, two, atol=1e-4)
"""


@pytest.mark.slow
def test_in_fit_a_turn_is_on_two_devices_what_it_is_on_one():
    done = subprocess.run([sys.executable, "-c", TWO_DEVICES], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_network_saved_in_a_turn_goes_on_in_it(tmp_path):
    network = build(trained="in_turns", period=2)
    x = np.ones((1, 6, 6, 1), "float32")
    for _ in range(3):
        network(x, training=True)
    network.heads[0].projection.bias.assign_add([2.0])
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    assert loaded.trunk.turn(int(loaded.iteration)) == 1
    assert penalty(loaded) == penalty(network) == pytest.approx(4 * 0.01)
    np.testing.assert_array_equal(loaded.trunk.turn_factors(), [0, 1, 0])


def test_heads_of_several_layers_belong_to_their_task():
    network = build(heads={"a": Head("map", layers=(4,))}, trained="in_turns")
    ids = {id(v) for v in network.trunk.used_by(0)}
    assert ids == {id(v) for v in [*stage_parameters(network, 1), *network.heads[0].trainable_variables]}


def test_stages_per_task_belong_to_their_task():
    network = build({"a": 1, "b": 1}, UNet, width=1 / 16, levels=2, decoder_start="decoder", trained="in_turns")
    names = {v.path.split("/")[2] for v in network.trunk.used_by(0) if "/trunk/" in v.path}
    assert any(name.endswith("_shared") for name in names)
    assert any(name.endswith("_task_1") for name in names)
    assert not any(name.endswith("_task_2") for name in names)


def fed(kinds=("map", "map", "map"), **settings):
    heads = {name: kind for name, kind in zip("abc", kinds, strict=True) if kind != "map"}
    tasks = {"a": 3, "b": 1, "c": 2}
    network = build(tasks, feed_outputs=("a", "b: sigmoid"), embedding=2, heads=heads, trained="together", **settings)
    rng = np.random.default_rng(0)
    for variable in network.trainable_variables:
        variable.assign(rng.normal(size=variable.shape) / 2)
    return network


def test_a_stage_behind_heads_reads_their_embedded_outputs_by_hand(monkeypatch):
    """Behind `first` the softmax of a; behind `second` it again, and the sigmoid of b, each times its vectors."""
    network = fed(batch_norm="population")
    read = {}
    plain = network.trunk.run_stage

    def run_stage(index, streams, *others):
        read[index] = np.asarray(next(iter(streams.values())))
        return plain(index, streams, *others)

    monkeypatch.setattr(network.trunk, "run_stage", run_stage)
    outputs = network(np.random.default_rng(1).normal(size=(2, 5, 5, 1)).astype("float32"))
    powers = np.exp(np.asarray(outputs["a"]))
    of_a = powers / powers.sum(axis=-1, keepdims=True) @ np.array(network.trunk.embeddings["0"].vectors)
    of_b = 1 / (1 + np.exp(-np.asarray(outputs["b"]))) @ np.array(network.trunk.embeddings["1"].vectors)
    assert [read[index].shape[-1] for index in range(3)] == [1, 3 + 2, 4 + 2 + 2]
    np.testing.assert_allclose(read[1][..., 3:], of_a, atol=1e-5)
    np.testing.assert_allclose(read[2][..., 4:], np.concatenate([of_a, of_b], axis=-1), atol=1e-5)


@keras.saving.register_keras_serializable(package="tests")
class Pooled(MultiTaskNetwork):
    """A stage that pools, with heads of maps before it and of vectors behind it."""

    stages = (Stage(3, name="first"), Stage(4, name="second", pools=True), Stage(3, name="third"))
    usual_head = "vector"


FED = {
    "maps": lambda: fed(),
    "vectors": lambda: fed(("vector", "vector", "vector")),
    "pooled": lambda: fed(("map@first", "vector@second", "vector"), network=Pooled),
}


@pytest.mark.parametrize("kind", ["maps", "vectors", "pooled"])
def test_higher_tasks_depend_on_what_lower_ones_say_and_train_their_vectors(kind):
    network = FED[kind]()
    x = np.random.default_rng(1).normal(size=(2, 6, 6, 1)).astype("float32")
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(network(x)["c"] ** 2)
    vectors = [embedding.vectors.value for embedding in network.trunk.embeddings.values()]
    for gradient in tape.gradient(total, [*vectors, *(v.value for v in network.heads[0].trainable_variables)]):
        assert np.abs(gradient).max() > 0
    before = {name: np.asarray(value) for name, value in network(x).items()}
    network.heads[1].projection.bias.assign_add([1.0])
    after = network(x)
    np.testing.assert_array_equal(before["a"], after["a"])
    assert np.abs(before["c"] - after["c"]).max() > 1e-4


def test_what_is_fed_is_used_by_the_tasks_that_read_it():
    network = fed()
    used = [{id(v) for v in network.trunk.used_by(task)} for task in range(3)]
    of_a, of_b = (id(network.trunk.embeddings[key].vectors) for key in "01")
    assert [of_a in ids for ids in used] == [False, True, True]
    assert [of_b in ids for ids in used] == [False, False, True]
    assert id(network.heads[0].projection.kernel) in used[2]


@pytest.mark.parametrize("kind", ["maps", "vectors", "pooled"])
def test_a_fed_network_is_saved_and_hardened_whole_and_for_one_task(kind, tmp_path):
    network = FED[kind]()
    x = np.random.default_rng(1).normal(size=(2, 6, 6, 1)).astype("float32")
    recalibrate(network, [x])
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    whole, alone = harden(network), harden(network, "c")
    assert set(alone.output) == {"c"}
    for name, expected in network(x).items():
        expected = np.asarray(expected)
        for found in (loaded(x)[name], whole(x)[name], *([alone(x)["c"]] if name == "c" else [])):
            np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("fed_outputs", "message"),
    [
        (("a: softmin",), "has 'softmin' behind the colon of 'a: softmin'; use softmax, sigmoid, linear"),
        (("d",), "names 'd', which is no task; the tasks are a, b, c"),
        (("a", "A: linear"), "names 'A' twice"),
        (("c",), "names 'c', whose head reads the last stage, so that nothing behind can read what it says"),
    ],
)
def test_outputs_that_cannot_be_fed_are_refused(fed_outputs, message):
    with pytest.raises(Problem, match=message):
        build(feed_outputs=fed_outputs)
