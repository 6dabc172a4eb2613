"""Deep supervision: what it adds to the objective, and that it adds nothing else."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.architecture.graph import build_architecture, stages_behind
from sfgkeras.architecture.stage import Stage
from sfgkeras.errors import Problem
from sfgkeras.losses import CrossEntropy, MeanSquaredError
from sfgkeras.networks import HighResNet, MultiTaskNetwork, UNet, count_multiplies, count_parameters, harden
from sfgkeras.networks.deep_supervision import level_weights
from sfgkeras.networks.mgcn import mgcn_stages
from sfgkeras.networks.settling import settle
from sfgkeras.networks.unet import unet_stages
from sfgkeras.networks.ynet import ynet_stages
from sfgkeras.sharing import SHARING
from sfgkeras.tables.networks import MGCNSettings, UNetSettings, YNetSettings

TASKS = {"organs": 3, "ct": 1}
COARSE = ["organs@up_2", "ct@up_2"]


@keras.saving.register_keras_serializable(package="tests")
class DeepValley(MultiTaskNetwork):
    """Down twice, up twice."""

    stages = (
        Stage(6, name="down_1", pools=True),
        Stage(6, name="down_2", pools=True),
        Stage(6, name="bottom"),
        Stage(6, name="up_2", upsamples=True, skip="down_2"),
        Stage(6, name="up_1", upsamples=True, skip="down_1"),
    )


def build(sharing="hard_sharing", deep_supervision=1, **settings):
    settings = {"seed": 0, "batch_norm": "batch", "deep_supervision": deep_supervision} | settings
    network = DeepValley(TASKS, sharing, **settings)
    network.build((None, 7, 6, 1))
    return network


@pytest.fixture(scope="module")
def network():
    return build()


@pytest.fixture(scope="module")
def batch():
    """Images, targets and weights; half of a map is not known."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 7, 6, 1)).astype("float32")
    targets = {"organs": rng.integers(0, 3, (2, 7, 6)), "ct": rng.normal(size=(2, 7, 6, 1)).astype("float32")}
    weights = {"organs": np.ones((2, 7, 6), "float32"), "ct": np.ones((2, 7, 6), "float32")}
    weights["ct"][1, :4] = 0.0
    return images, targets, weights


def own(network):
    return {each.path.split("/", 1)[1]: each.numpy() for each in network.predicting_variables}


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_level_counts_half_of_the_next_finer_one_and_all_together_one(count):
    weights = level_weights(count)
    assert sum(weights) == pytest.approx(1.0)
    assert [finer / coarser for finer, coarser in zip(weights, weights[1:], strict=False)] == [2.0] * count


def test_the_way_up_is_the_last_stage_of_each_coarser_level_without_the_bottom():
    for shape in (UNetSettings(levels=3), UNetSettings(levels=3, upsampling="convolution", decoder_start="decoder")):
        stages = unet_stages(shape)
        plain = build_architecture(stages, 1 / 16, [None])
        assert [plain.names[stage] for stage in plain.way_up(len(stages) - 1)] == ["decoder_2", "decoder_3"]
        assert plain.way_up(plain.names.index("encoding")) == ()
    large = build_architecture(mgcn_stages(MGCNSettings(levels=3)), 1 / 16, [None])
    assert [large.names[stage] for stage in large.way_up(large.taps[0])] == ["decoder_2"]
    branched = build_architecture(stages_behind(ynet_stages(YNetSettings()), ["decoder_1"]), 1 / 16, ["decoder_1"])
    assert [branched.names[stage] for stage in branched.way_up(branched.taps[0])] == ["decoder_2"]
    deep = build_architecture(unet_stages(UNetSettings(levels=3)), 1 / 16, [None, "encoding"], [1, 0])
    assert [(task, deep.names[stage]) for task, stage in deep.supervised] == [(0, "decoder_2")]


def test_the_rest_of_the_network_starts_and_predicts_as_without(network, batch):
    plain = build(deep_supervision=0)
    first, second = own(plain), own(network)
    assert first.keys() == second.keys()
    for path, values in first.items():
        np.testing.assert_array_equal(values, second[path], err_msg=path)
    images, shape = batch[0], (7, 6, 1)
    for name, values in plain(images).items():
        np.testing.assert_array_equal(values, network(images)[name])
    assert sorted(network(images)) == sorted(TASKS)
    assert count_parameters(network) == count_parameters(plain)
    assert count_multiplies(network, shape) == count_multiplies(plain, shape)
    assert "deep_supervision" not in plain.get_config()
    assert len(network.trainable_variables) == len(plain.trainable_variables) + 4


def test_a_training_call_gives_maps_of_the_coarser_level_besides(network, batch):
    outputs = network(batch[0], training=True)
    assert sorted(outputs) == sorted([*TASKS, *COARSE])
    assert [outputs[name].shape for name in COARSE] == [(2, 4, 3, 3), (2, 4, 3, 1)]
    assert network.deep_stages("ct") == pytest.approx({"up_1": 2 / 3, "up_2": 1 / 3})


def test_the_objective_is_the_weighed_sum_of_the_losses_of_all_heads(batch):
    network = build(kernel_regularizer=None)
    images, targets, weights = batch
    network.compile("sgd", {"organs": CrossEntropy(), "ct": MeanSquaredError()})
    outputs = network(images, training=True)
    found = float(network.compute_loss(images, targets, outputs, weights))

    def entropy(name, labels):
        logits = np.asarray(outputs[name], "float64")
        logs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        return -np.take_along_axis(logs, labels[..., None], axis=-1).mean()

    def squares(name, image, shares):
        errors = (np.asarray(outputs[name])[..., 0] - image) ** 2 * shares
        return np.mean(errors.sum(axis=(1, 2)) / shares.sum(axis=(1, 2)))

    padded = np.pad(weights["ct"] * targets["ct"][..., 0], [(0, 0), (0, 1), (0, 0)])
    shares = np.pad(weights["ct"], [(0, 0), (0, 1), (0, 0)])
    there = np.pad(np.ones_like(weights["ct"]), [(0, 0), (0, 1), (0, 0)])
    sums, known, count = (each.reshape(2, 4, 2, 3, 2).sum(axis=(2, 4)) for each in (padded, shares, there))
    mean = np.divide(sums, known, out=np.zeros_like(sums), where=known > 0)
    fine = entropy("organs", targets["organs"]) + squares("ct", targets["ct"][..., 0], weights["ct"])
    coarse = entropy("organs@up_2", targets["organs"][:, ::2, ::2]) + squares("ct@up_2", mean, known / count)
    assert found == pytest.approx(2 / 3 * fine + 1 / 3 * coarse, rel=1e-5)
    predicted = network(images, training=False)
    judged = float(network.compute_loss(images, targets, predicted, weights, training=False))
    outputs = predicted
    fine = entropy("organs", targets["organs"]) + squares("ct", targets["ct"][..., 0], weights["ct"])
    assert judged == pytest.approx(fine, rel=1e-5)


def test_it_may_be_of_some_tasks_alone_and_is_saved_with_the_network(batch, tmp_path):
    network = build(deep_supervision={"ct": 1})
    assert network.deep_names == ["ct@up_2"]
    network.deep_heads[0].projection.bias.assign([3.0])
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    assert loaded.deep_names == ["ct@up_2"]
    np.testing.assert_array_equal(loaded.deep_heads[0].projection.bias, [3.0])
    np.testing.assert_array_equal(loaded(batch[0])["ct"], network(batch[0])["ct"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: build(deep_supervision=2),
            "deep_supervision = 2 is more levels .* DeepValley has 1; write 1 at most",
        ),
        (lambda: build(deep_supervision=True), "deep_supervision = True is no number of levels"),
        (lambda: build(deep_supervision=-1), "deep_supervision = -1 is no number of levels"),
        (lambda: build(deep_supervision={"cat": 1}), "names 'cat', which is no task"),
        (
            lambda: build(deep_supervision={"ct": 1}, heads={"ct": "vector"}),
            "is for maps, and task 'ct' is a vector; leave it out",
        ),
        (
            lambda: HighResNet({"ct": 1}, width=1 / 16, deep_supervision=1),
            "HighResNet has none; write 0, or use a network with a way up, e.g. unet",
        ),
        (lambda: UNet({"a": 2}, heads={"a": "vector"}, width=1 / 16, deep_supervision=1), "is for maps, and a is none"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(make, message):
    with pytest.raises(Problem, match=message):
        make()


def test_blocks_that_no_later_stage_reads_are_refused():
    class WithBlocks(MultiTaskNetwork):
        stages = (
            Stage(6, name="down", pools=True),
            Stage(6, name="middle", pools=True),
            Stage(6, name="bottom"),
            Stage(6, name="up_2", upsamples=True, num_blocks=1),
            Stage(6, name="up_1", upsamples=True),
        )

    WithBlocks(TASKS, "sfg", deep_supervision=1)
    with pytest.raises(Problem, match="behind stage 'up_2': with group_connection = dense"):
        WithBlocks(TASKS, "sfg", routing="dense", deep_supervision=1)


FORMS = [(name, {}) for name in SHARING] + [
    ("sfg", {"routing": "separate"}),
    ("sfg", {"routing": "dense"}),
    ("constant_mask", {"routing": "separate"}),
    ("sluice", {"beta": False}),
    ("joint_many", {"trained": "in_turns"}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("sharing", "settings"), FORMS)
def test_under_every_mechanism_a_head_reads_what_its_stage_leaves_for_the_task(sharing, settings, batch, scramble):
    images = batch[0]
    network = build(sharing, **settings)
    scramble(network)
    trunk, seen = network.trunk, {}
    usual = trunk.run_stage

    def run_stage(index, *arguments):
        left = usual(index, *arguments)
        seen[trunk.architecture.names[index]] = left
        return left

    trunk.run_stage = run_stage
    outputs = network(images, training=True)
    trunk.run_stage = usual
    for task, name in enumerate(TASKS):
        features = np.asarray(seen["up_2"][trunk.task_reader(task)])
        projection = network.deep_heads[task].projection
        wanted = np.einsum("bxyc,co->bxyo", features, np.asarray(projection.kernel)[0, 0]) + np.asarray(projection.bias)
        np.testing.assert_allclose(outputs[f"{name}@up_2"], wanted, rtol=1e-4, atol=1e-5)
        assert np.abs(features).max() > 0


@pytest.mark.slow
@pytest.mark.parametrize(("sharing", "settings"), FORMS)
def test_under_every_mechanism_it_trains_the_bottom_and_is_gone_when_hardened(sharing, settings, batch):
    images = batch[0]
    network = build(sharing, masks="mode", **settings)
    with tf.GradientTape() as tape:
        outputs = network(images, training=True)
        loss = tf.reduce_sum([tf.reduce_sum(outputs[name] ** 2) for name in COARSE])
    pairs = zip(network.trainable_variables, tape.gradient(loss, network.trainable_variables), strict=True)
    reached = {variable.path for variable, gradient in pairs if gradient is not None}
    assert {each.path for each in network.deep_variables} <= reached
    assert any(re.search(r"/(convolution|sfg)_3(_|/)", path) for path in reached)
    assert not any(re.search(r"/(convolution|sfg)_5(_|/)", path) for path in reached)
    grouped = settle(network)
    for old, new in zip(network.deep_heads, grouped.deep_heads, strict=True):
        np.testing.assert_array_equal(np.asarray(old.projection.bias), np.asarray(new.projection.bias))
    hardened = harden(network)
    assert sorted(hardened.output) == sorted(TASKS)
    for name, values in hardened(images).items():
        np.testing.assert_allclose(values, network(images)[name], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_fit_trains_by_it_and_reports_the_metrics_of_the_tasks(batch):
    images, targets, weights = batch
    histories = {}
    for levels in (0, 1):
        network = build(deep_supervision=levels)
        losses, metrics = {"organs": CrossEntropy(), "ct": MeanSquaredError()}, {"ct": ["mae"], "organs": []}
        network.compile("sgd", losses, metrics=metrics)
        histories[levels] = network.fit(images, targets, sample_weight=weights, epochs=2, verbose=0).history
        assert network.evaluate(images, targets, sample_weight=weights, verbose=0, return_dict=True)["loss"] > 0
    assert histories[0].keys() == histories[1].keys() == {"loss", "organs_loss", "ct_loss", "ct_mae"}
    assert histories[1]["ct_loss"][0] == pytest.approx(histories[0]["ct_loss"][0])
    assert histories[1]["loss"][0] != pytest.approx(histories[0]["loss"][0])
    assert histories[1]["ct_loss"][1] != pytest.approx(histories[0]["ct_loss"][1], rel=1e-6)
