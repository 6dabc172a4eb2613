"""The ONNX form of a hardened network gives the masked network's numbers under onnxruntime."""

import keras
import numpy as np
import pytest

from sfgkeras.architecture.stage import Stage
from sfgkeras.networks import VGG11, Head, HighResNet, MultiTaskNetwork, UNet, harden
from sfgkeras.networks.onnx_export import build_onnx_model

onnxruntime = pytest.importorskip("onnxruntime")


def run(model, images):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": images}), strict=True))


def assert_same(outputs, network, images):
    """Equal to 1e-4 of the largest output of the masked network."""
    expected = network(images)
    for name, output in outputs.items():
        reference = np.asarray(expected[name])
        assert reference.std() > 0
        np.testing.assert_allclose(output, reference, atol=1e-4 * np.abs(reference).max())


def tasks_of(count):
    return {f"task {index}": index + 1 for index in range(count)}


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("kind", ["highresnet", "vgg11"])
def test_onnxruntime_gives_the_numbers_of_the_masked_network(kind, rank, num_tasks, images, scramble):
    network_class, width = {"highresnet": (HighResNet, 0.3), "vgg11": (VGG11, 0.06)}[kind]
    network = network_class(tasks_of(num_tasks), spatial_rank=rank, width=width, masks="mode", seed=0)
    x = images(9, rank, channels=2)
    network(x)
    scramble(network)
    outputs = run(build_onnx_model(harden(network)), x)
    assert set(outputs) == set(network.tasks)
    assert_same(outputs, network, x)


@pytest.mark.parametrize("normalisation", ["batch", "none"])
@pytest.mark.parametrize("rank", [2, 3])
def test_a_unet_takes_any_size_in_onnx_too(rank, normalisation, images, scramble):
    heads = {"box": Head("vector", layers=(6,)), "flat": Head("vector", pooling="flatten")}
    network = UNet(
        {"mask": 1, "box": 4, "flat": 2}, "sfg", rank, 1 / 16, 2, 1, normalisation, heads=heads, masks="mode", seed=0
    )
    x = images(7, rank)
    network(x)
    scramble(network)
    assert_same(run(build_onnx_model(harden(network)), x), network, x)
    plain = harden(network, "mask")
    free = build_onnx_model(plain)
    for shape in ((1, *(6, 9, 5)[:rank], 1), (4, *(7, 8, 10)[:rank], 1)):
        x = np.random.default_rng(1).normal(size=shape).astype("float32")
        expected = np.asarray(plain(x)["mask"])
        np.testing.assert_allclose(run(free, x)["mask"], expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("rank", [2, 3])
def test_batch_and_every_axis_are_free(rank, small_network, images, scramble):
    network = small_network(tasks_of(2), spatial_rank=rank, masks="mode", seed=0)
    network(images(10, rank))
    scramble(network)
    model = build_onnx_model(harden(network))
    for shape in ((1, *(6, 9, 11)[:rank], 1), (4, *(7, 5, 8)[:rank], 1)):
        x = np.random.default_rng(1).normal(size=shape).astype("float32")
        outputs = run(model, x)
        assert outputs["task 1"].shape == (*shape[:-1], 2)
        assert_same(outputs, network, x)


ACTIVATIONS = [
    "prelu", "relu", "relu6", "leaky_relu", "elu", "selu", "softplus", "softsign", "tanh", "sigmoid",
]  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_of_the_configuration_has_an_onnx_form(activation, small_network, images, scramble):
    network = small_network(tasks_of(2), masks="mode", seed=0, activation=activation)
    x = images()
    network(x)
    scramble(network)
    assert_same(run(build_onnx_model(harden(network)), x), network, x)


@pytest.mark.parametrize("form", [{"keep_prelu": True}, {"keep_prelu": False}, {"fold": False}])
def test_one_task_can_be_cut_out_in_every_form(form, small_network, images, scramble):
    network = small_network(tasks_of(3), masks="mode", seed=0)
    x = images()
    network(x)
    scramble(network)
    outputs = run(build_onnx_model(harden(network, "task 1", **form)), x)
    assert list(outputs) == ["task 1"]
    assert_same(outputs, network, x)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_cross_stitch_units_have_an_onnx_form(num_tasks, per_channel, small_network, images, scramble):
    network = small_network(tasks_of(num_tasks), "cross_stitch", seed=0, per_channel=per_channel)
    x = images()
    network(x)
    scramble(network)
    rng = np.random.default_rng(3)
    for unit in network.trunk.units:
        unit.alpha.assign(rng.normal(size=unit.alpha.shape))
    assert_same(run(build_onnx_model(harden(network)), x), network, x)


def test_empty_groups_are_written_too(small_network, images, scramble):
    network = small_network(tasks_of(2), masks="mode", seed=0)
    x = images()
    network(x)
    scramble(network, groups=[[1, 1, 2, 2, 2, 1], [1] * 9, [1, 1, 2, 2, 2, 2, 1, 1]])
    outputs, expected = run(build_onnx_model(harden(network)), x), network(x)
    for name, output in outputs.items():
        np.testing.assert_allclose(output, expected[name], atol=1e-4)


@keras.saving.register_keras_serializable(package="test_onnx_export")
class Hourglass(MultiTaskNetwork):
    """One level down, and up again beside a skip."""

    stages = (Stage(4, name="down", pools=True), Stage(6), Stage(6, upsamples=True, skip="down"))


def test_a_skip_beside_a_stream_of_zeros_is_written_too(images):
    """The stage below has filters of task 1 only, so that the way up reads task 0's skip alone."""
    network = Hourglass(tasks_of(2), masks="mode", seed=0)
    x = images(9, batch=1)
    network(x)
    for grouping, groups in zip(network.groupings().values(), [[0, 0, 1, 1], [1] * 6, [0, 0, 1, 1, 0, 1]], strict=True):
        grouping.grouping_logits.assign(np.where(np.eye(3)[groups] == 1, 5.0, -200.0))
    hardened, expected = harden(network), network(x)
    assert [layer for layer in hardened.layers if layer.name.startswith("identity")]
    for name, output in run(build_onnx_model(hardened), x).items():
        np.testing.assert_allclose(output, expected[name], atol=1e-4)
        assert np.std(output) > 0


def test_what_has_no_onnx_form_is_refused_by_name(small_network, images):
    network = small_network(tasks_of(2), masks="mode", seed=0, batch_norm="batch")
    network(images())
    with pytest.raises(ValueError, match="is a StreamNormalization, which has no ONNX form here"):
        build_onnx_model(harden(network))


def test_mixed_precision_is_refused(small_network, images):
    network = small_network(tasks_of(2), masks="mode", seed=0, dtype="mixed_bfloat16")
    network(images())
    with pytest.raises(ValueError, match="computes in bfloat16; harden the network in float32"):
        build_onnx_model(harden(network))


def test_a_task_called_as_the_input_is_refused(small_network, images):
    network = small_network({"image": 1}, masks="mode", seed=0)
    network(images())
    with pytest.raises(ValueError, match="give the task another name"):
        build_onnx_model(harden(network))


def test_strided_convolutions_are_refused():
    inputs = keras.Input((None, None, 1))
    outputs = keras.layers.Conv2D(2, 3, strides=2, padding="same", name="shrinks")(inputs)
    with pytest.raises(ValueError, match="'shrinks' is no convolution of stride 1"):
        build_onnx_model(keras.Model(inputs, {"task": outputs}))
