"""The network of Qin et al.: frames one by one, motion by hand, every mechanism, and the disc that moves."""

import keras
import numpy as np
import pytest
from keras import ops

from sfgkeras.losses import DiceCrossEntropy, WarpingLoss
from sfgkeras.networks import Head, QinNet, UNet, count_multiplies, count_parameters, group_network, harden, recalibrate
from sfgkeras.networks.frames import frames_apart, frames_in_batch
from sfgkeras.sharing import SHARING
from sfgkeras.warping import warp

TASKS = {"motion": 4, "heart": 3}  # of three frames
HEADS = {"motion": Head("motion", layers=(5,))}
WIDTH = 1 / 8


def build(sharing, images, scramble, rank=2, **settings):
    tasks = {"motion": 2 * rank, "heart": 3}
    settings = {"scales": 3, "convolutions": 1, "width": WIDTH} | settings
    network = QinNet(tasks, sharing, heads=HEADS, seed=0, masks="mode", spatial_rank=rank, **settings)
    network(images(size=8, rank=rank, channels=3))
    scramble(network)
    network.heads[0].projection.kernel.assign(100 * network.heads[0].projection.kernel)
    return network


def test_frames_go_into_the_batch_and_come_apart_again(images):
    x = images(channels=3)
    one_by_one = frames_in_batch(x, 3)
    assert one_by_one.shape == (9, 10, 10, 1)
    for frame, found in enumerate(frames_apart(one_by_one, 3)):
        np.testing.assert_array_equal(found[..., 0], x[..., frame])


def test_motion_is_the_recurrence_over_frames(images, scramble):
    network = build("hard_sharing", images, scramble)
    x = images(size=8, channels=3)
    features = network.trunk(network.trunk_images(x), training=False)[0]
    head = network.heads[0]
    first, second, third = frames_apart(features, 3)

    def convolve(inputs, layer, part=slice(None)):
        return ops.conv(inputs, layer.kernel[..., part], padding="same") + layer.bias[part]

    n = head.state
    kept = convolve(first, head.pair, slice(0, n))
    states = [ops.tanh(kept + convolve(second, head.pair, slice(n, None)))]
    states.append(ops.tanh(kept + convolve(third, head.pair, slice(n, None)) + convolve(states[0], head.recurrence)))
    expected = np.concatenate([convolve(state, head.projection) for state in states], axis=-1)
    np.testing.assert_allclose(network(x)["motion"], expected, atol=1e-4 * np.abs(expected).max())


def test_matches_are_added_before_the_tanh(images, scramble):
    network = build("hard_sharing", images, scramble, reach=1)
    x = images(size=8, channels=3)
    head, n = network.heads[0], network.heads[0].state
    (features, *_) = network.trunk(network.trunk_images(x), training=False)
    convolved = ops.conv(features, head.pair.kernel, padding="same") + head.pair.bias
    first, *others = (ops.convert_to_numpy(each) for each in frames_apart(convolved, 3))
    state, expected = 0.0, []
    for other in others:
        matches = np.zeros((*x.shape[:3], 9))
        for row, column in np.ndindex(8, 8):
            for number, (down, right) in enumerate(np.ndindex(3, 3)):
                place = row + down - 1, column + right - 1
                if min(place) >= 0 and max(place) < 8:
                    one, two = first[:, *place, 2 * n :], other[:, row, column, 2 * n :]
                    lengths = [np.sqrt((each**2).sum(axis=-1) + 1e-3) for each in (one, two)]
                    matches[:, row, column, number] = (one * two).sum(axis=-1) / (lengths[0] * lengths[1])
        matches -= matches.mean(axis=-1, keepdims=True)
        summed = first[..., :n] + other[..., n : 2 * n]
        summed += ops.conv(matches.astype("float32"), head.matching.kernel, padding="same") + head.matching.bias
        if expected:
            summed += ops.conv(state, head.recurrence.kernel, padding="same") + head.recurrence.bias
        state = ops.tanh(summed)
        expected.append(ops.conv(state, head.projection.kernel, padding="same") + head.projection.bias)
    expected = np.concatenate(expected, axis=-1)
    np.testing.assert_allclose(network(x)["motion"], expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(ops.convert_to_numpy(head.matching.kernel)).max() > 0


def test_without_a_reach_a_network_is_as_it_was_before_there_was_one(images):
    """The same draws, layers and configuration as of networks that were saved without the setting."""
    network = QinNet({"motion": 4, "heart": 3}, heads=HEADS, seed=0, scales=1, convolutions=1, width=WIDTH)
    network(images(size=8, channels=3))
    assert network.heads[0].matching is None
    assert [layer.name for layer in network.heads[0].products] == ["pair", "recurrence", "projection"]
    assert network.heads[0].pair.kernel.shape[-1] == 2 * 5
    saved = {name: value for name, value in network.get_config().items() if name != "reach"}
    again = QinNet.from_config(saved)
    again(images(size=8, channels=3))
    for one, other in zip(network.weights, again.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_motion_begins_near_none_however_the_network_is_built(images):
    """Built by `fit`, kernels began at their full size: what `build` assigned was forgotten."""
    x, motions = images(size=8, channels=3), []
    for _ in range(2):
        network = QinNet({"motion": 4}, heads=HEADS, seed=0, scales=1, convolutions=1, width=WIDTH)
        if motions:
            network.compile(keras.optimizers.SGD(0.0), WarpingLoss())
            network.fit(x, {"motion": x}, batch_size=len(x), verbose=0)
        else:
            network(x)
        motions.append(ops.convert_to_numpy(network.heads[0].projection.kernel))
    np.testing.assert_array_equal(*motions)
    assert 0 < np.abs(motions[0]).max() < 0.01


def test_labels_belong_to_the_first_frame_and_motion_to_all(images, scramble):
    network = build("hard_sharing", images, scramble)
    x = images(size=8, channels=3)
    other = x.copy()
    other[..., 2] += 1
    outputs, changed = network(x), network(other)
    np.testing.assert_array_equal(outputs["heart"], changed["heart"])
    assert np.abs(outputs["motion"][..., 2:] - changed["motion"][..., 2:]).max() > 1e-3
    np.testing.assert_allclose(outputs["motion"][..., :2], changed["motion"][..., :2], atol=1e-5)


@pytest.mark.parametrize(
    ("sharing", "rank", "reach"),
    [
        ("sfg", 2, 1),
        pytest.param("sfg", 2, 0, marks=pytest.mark.slow),
        *(pytest.param(sharing, 2, 0, marks=pytest.mark.slow) for sharing in SHARING if sharing != "sfg"),
        *(pytest.param("sfg", 3, reach, marks=pytest.mark.slow) for reach in (0, 1)),
    ],
)
def test_every_mechanism_hardens_for_sizes_that_do_not_divide(sharing, rank, reach, images, scramble, tmp_path):
    network = build(sharing, images, scramble, rank, reach=reach)
    hardened = harden(network)
    hardened.save(tmp_path / "hardened.keras")
    loaded = keras.saving.load_model(tmp_path / "hardened.keras", custom_objects={})
    for size in (8, 7):
        x = images(size=size, rank=rank, channels=3)[:, : size - 1]
        expected = network(x)
        for same in (group_network(network), hardened, loaded):
            for name, values in same(x).items():
                np.testing.assert_allclose(values, expected[name], atol=1e-4 * np.abs(expected[name]).max())
    shape = (8,) * rank + (3,)
    assert count_multiplies(hardened, shape) <= count_multiplies(network, shape)
    alone = harden(network, task="heart")(x)
    np.testing.assert_allclose(alone["heart"], expected["heart"], atol=1e-4 * np.abs(expected["heart"]).max())


def test_every_frame_costs_its_multiplies(images, scramble):
    """An encoder of three frames costs three times that of one, whoever counts."""
    network = build("hard_sharing", images, scramble)
    first = network.trunk.convolutions["0_2"]
    assert first.kernel.shape == (3, 3, 1, 4)
    counts = [count_multiplies(each, (8, 8, 3)) for each in (network, harden(network))]
    one = QinNet({"heart": 3}, "hard_sharing", scales=3, convolutions=1, width=WIDTH, seed=0)
    alone = count_multiplies(one, (8, 8, 1))
    assert counts[0] == counts[1] > 3 * alone
    assert count_parameters(network) > count_parameters(one)


@pytest.mark.parametrize("reach", [0, 2])
def test_a_saved_network_loads_and_is_measured_again(reach, images, scramble, tmp_path):
    network = build("sfg", images, scramble, reach=reach)
    x = images(size=7, channels=3)
    recalibrate(network, [x])
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    loaded.masks = "mode"
    assert loaded.get_config() == network.get_config()
    for name, values in network(x).items():
        np.testing.assert_array_equal(loaded(x)[name], values)


@pytest.mark.parametrize("reach", [0, 2])
def test_it_is_written_as_onnx(reach, images, scramble):
    onnxruntime = pytest.importorskip("onnxruntime")
    from sfgkeras.networks.onnx_export import build_onnx_model

    network = build("sfg", images, scramble, reach=reach)
    x = images(size=7, channels=3)
    session = onnxruntime.InferenceSession(build_onnx_model(harden(network)).SerializeToString())
    found = dict(zip([output.name for output in session.get_outputs()], session.run(None, {"image": x}), strict=True))
    for name, values in network(x).items():
        np.testing.assert_allclose(found[name], values, atol=1e-4 * np.abs(values).max())


def test_what_cannot_be_is_refused(images):
    with pytest.raises(ValueError, match="'motion' wants motion between frames, but UNet does not see them one by one"):
        UNet({"motion": 4}, heads={"motion": "motion"}, levels=1, width=WIDTH)
    with pytest.raises(ValueError, match="motion of 3 frames, and the image 2; give it 2 for every frame after"):
        QinNet(TASKS, heads=HEADS, scales=1, width=WIDTH)(images(channels=2))
    with pytest.raises(ValueError, match="'head_motion' has 3 outputs; motion has 2 for each frame"):
        QinNet({"motion": 3}, heads={"motion": "motion"}, scales=1, width=WIDTH)
    with pytest.raises(ValueError, match="must be one number, the features that it keeps from frame to frame"):
        QinNet(TASKS, heads={"motion": Head("motion", layers=(4, 4))}, scales=1, width=WIDTH)
    with pytest.raises(ValueError, match="'motion' pools nothing"):
        Head("motion", pooling="flatten")
    with pytest.raises(ValueError, match="heads of kind 'motion', whose outputs are any number"):
        Head("motion", activation="relu")


def discs(number, side=24, seed=0):
    """Soft textured discs that move from one frame to the next by one displacement; labels of the first and last."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.arange(side, dtype="float32")] * 2, indexing="ij"), axis=-1)
    frames, masks, shifts = [], [], []
    for _ in range(number):
        shift, middle, radius = rng.uniform(-3, 3, 2), rng.uniform(9, side - 10, 2), rng.uniform(5, 6.5)
        # What is at x in the second frame was at x + shift in the first.
        distances = [np.linalg.norm(grid + moved - middle, axis=-1) for moved in (0.0, shift)]
        frames.append(np.stack([1 / (1 + np.exp(each - radius)) for each in distances], axis=-1))
        masks.append(np.stack([each < radius for each in distances], axis=-1))
        shifts.append(shift)
    return np.stack(frames).astype("float32"), np.stack(masks), np.stack(shifts)


@pytest.mark.slow
def test_the_motion_of_a_disc_is_found_without_labels_and_carries_its_label():
    frames, masks, _ = discs(400)
    network = QinNet({"motion": 2, "disc": 2}, scales=4, convolutions=1, width=0.5, seed=0,
                     heads={"motion": Head("motion", layers=(32,))})  # fmt: skip
    network.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, 500)),
        loss={"motion": WarpingLoss(smoothness=0.02), "disc": DiceCrossEntropy()},
    )
    network.fit(frames, {"motion": frames, "disc": masks[..., 0].astype(int)}, batch_size=16, epochs=20, verbose=0)
    unseen, masks, shifts = discs(40, seed=1)
    outputs = network.predict(unseen, verbose=0)
    # On the edge of the disc, where there is something to see.
    edge = np.abs(np.gradient(unseen[..., 1], axis=(1, 2))).sum(axis=0) > 0.1
    errors = np.linalg.norm(outputs["motion"] - shifts[:, None, None], axis=-1)
    assert errors[edge].mean() < 1
    first, second = masks[..., 0].astype("float32"), masks[..., 1]
    moved = np.asarray(warp(first, outputs["motion"])) > 0.5
    dice = 2 * (moved & second).sum(axis=(1, 2)) / (moved.sum(axis=(1, 2)) + second.sum(axis=(1, 2)))
    assert dice.mean() > 0.9
    found = outputs["disc"].argmax(axis=-1) == 1
    assert 2 * (found & masks[..., 0]).sum() / (found.sum() + masks[..., 0].sum()) > 0.9
