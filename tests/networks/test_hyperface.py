"""The HyperFace network: what it fuses, its five heads and losses, every sharing mechanism on it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.architecture.graph import build_architecture
from sfgkeras.networks import HyperFace, count_multiplies, harden
from sfgkeras.networks.hyperface import hyperface_stages
from sfgkeras.sharing import SHARING
from sfgkeras.tables.losses import LOSSES
from sfgkeras.tables.networks import HyperFaceSettings

TASKS = {"face": 1, "landmarks": 10, "visibility": 5, "pose": 3, "gender": 2}
WEIGHTS = {"face": 1, "landmarks": 5, "visibility": 0.5, "pose": 5, "gender": 2}
LOSS_NAMES = {
    "face": ("classification", "binary_crossentropy"),
    "landmarks": ("landmarks", "landmarks"),
    "visibility": ("regression", "mse"),
    "pose": ("regression", "mse"),
    "gender": ("classification", "crossentropy"),
}


def losses():
    return {name: LOSSES[kind][loss].load()() for name, (kind, loss) in LOSS_NAMES.items()}


def build(images, scramble, sharing="hard_sharing", tasks=TASKS, rank=2, **settings):
    # Sluices divide the filters of both tasks in two: a thirty-second of the first stage would be three.
    width = 1 / 24 if sharing == "sluice" else 1 / 32
    network = HyperFace(tasks, sharing, width=width, seed=0, masks="mode", spatial_rank=rank, **settings)
    network(images(size=9, rank=rank))
    scramble(network)
    return network


def test_the_last_stage_reads_the_first_third_and_fifth_convolution():
    architecture = build_architecture(hyperface_stages(HyperFaceSettings()), 1.0, [None])
    names = architecture.names
    assert [names[source] for source in architecture.sources(5)] == ["conv_5", "conv_1", "conv_3"]
    assert [stage.kernel_size for stage in architecture.stages] == [5, 5, 3, 3, 3, 1]
    assert [stage.filters for stage in architecture.stages] == [96, 256, 384, 384, 256, 192]
    plain = build_architecture(hyperface_stages(HyperFaceSettings(())), 1.0, [None])
    assert [len(plain.sources(index)) for index in range(6)] == [0, 1, 1, 1, 1, 1]


def test_the_stages_that_are_fused_change_what_is_computed_and_unknown_ones_are_refused(images, scramble):
    x = images(size=9)
    fusions = ([], ["conv_1"], ["conv_1", "conv_3"])
    found = [np.asarray(build(images, scramble, fused=fused)(x)["pose"]) for fused in fusions]
    assert all(np.abs(one - other).max() > 1e-3 for one, other in zip(found, found[1:], strict=False))
    for fused, message in (
        (["conv_5"], "names 'conv_5', which is no stage before the fifth"),
        (["conv_1"] * 2, "twice"),
    ):
        with pytest.raises(ValueError, match=message):
            HyperFaceSettings(tuple(fused))


def test_each_loss_is_that_of_the_paper(images):
    rng = np.random.default_rng(0)
    face, outputs = np.array([1, 0]), {name: rng.normal(size=(2, n)).astype(np.float32) for name, n in TASKS.items()}
    points, visible = rng.uniform(size=(2, 5, 2)).astype(np.float32), np.array([[1, 0, 1, 1, 1], [0] * 5], np.float32)
    angles, gender, each = rng.normal(size=(2, 3)).astype(np.float32), np.array([0, 1]), losses()
    p = 1 / (1 + np.exp(-outputs["face"][:, 0]))
    by_hand = {"face": -(1 - face) * np.log(1 - p) - face * np.log(p)}
    squares = np.square(outputs["landmarks"].reshape(2, 5, 2) - points)
    by_hand["landmarks"] = (visible * (squares[..., 0] + squares[..., 1])).sum(axis=1) / (2 * 5)
    by_hand["visibility"] = np.square(outputs["visibility"] - visible).sum(axis=1) / 5
    by_hand["pose"] = np.square(outputs["pose"] - angles).sum(axis=1) / 3
    p_0, p_1 = (np.exp(outputs["gender"]) / np.exp(outputs["gender"]).sum(axis=1, keepdims=True)).T
    by_hand["gender"] = -(1 - gender) * np.log(p_0) - gender * np.log(p_1)
    targets = {"face": face, "landmarks": points, "visibility": visible, "pose": angles, "gender": gender}
    for name, loss in each.items():
        weight = (visible,) if name == "landmarks" else ()
        np.testing.assert_allclose(loss.per_sample(targets[name], outputs[name], *weight), by_hand[name], rtol=1e-4)


def test_all_five_heads_and_the_fused_stages_are_trained(images):
    network = HyperFace(TASKS, width=1 / 32, seed=0)
    network.compile(optimizer=keras.optimizers.SGD(0.05), loss=losses(), loss_weights=WEIGHTS)
    rng = np.random.default_rng(1)
    targets = {
        "face": np.ones((4, 1), np.int32),
        "landmarks": rng.uniform(size=(4, 5, 2)).astype(np.float32),
        "visibility": np.ones((4, 5), np.float32),
        "pose": rng.normal(size=(4, 3)).astype(np.float32),
        "gender": np.array([0, 1, 0, 1]),
    }
    x = images(size=16)[:1].repeat(4, axis=0) + rng.normal(0, 0.1, (4, 16, 16, 1)).astype(np.float32)
    with tf.GradientTape() as tape:
        outputs = network(x, training=True)
        parts = {name: tf.reduce_mean(loss.per_sample(targets[name], outputs[name])) for name, loss in losses().items()}
        total = tf.add_n([WEIGHTS[name] * part for name, part in parts.items()])
    gradients = tape.gradient(total, network.trainable_variables)
    still = [
        v.path
        for v, g in zip(network.trainable_variables, gradients, strict=True)
        if g is None or not np.abs(np.asarray(g)).max() > 0
    ]
    assert not still
    # Keras weighs the parts as the paper does.
    reported = network.evaluate(x, targets, verbose=0, return_dict=True)
    weighed = sum(WEIGHTS[name] * reported[f"{name}_loss"] for name in TASKS)
    regularisation = sum(float(term) for term in network.losses)
    assert reported["loss"] == pytest.approx(weighed + regularisation, rel=1e-4)


@pytest.mark.parametrize(
    ("sharing", "rank"),
    [
        ("sfg", 2),
        *(pytest.param(sharing, 2, marks=pytest.mark.slow) for sharing in SHARING if sharing != "sfg"),
        pytest.param("sfg", 3, marks=pytest.mark.slow),
    ],
)
def test_every_mechanism_hardens_for_sizes_that_do_not_divide(sharing, rank, images, scramble):
    network = build(images, scramble, sharing, {"face": 1, "pose": 3}, rank)
    hardened = harden(network)
    for size in (9, 8):
        x = images(size=size, rank=rank)
        for name, values in hardened(x).items():
            expected = np.asarray(network(x)[name])
            np.testing.assert_allclose(values, expected, atol=1e-4 * np.abs(expected).max())
    shape = (9,) * rank + (1,)
    assert count_multiplies(hardened, shape) <= count_multiplies(network, shape)


def test_it_is_saved_with_what_it_fuses(images, scramble, tmp_path):
    network = build(images, scramble, fused=["conv_2"])
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    loaded.masks = "mode"
    assert loaded.shape == network.shape == HyperFaceSettings(("conv_2",))
    x = images(size=9)
    np.testing.assert_array_equal(loaded(x)["landmarks"], network(x)["landmarks"])
