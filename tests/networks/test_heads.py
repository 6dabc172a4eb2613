"""Heads with layers of their own: against NumPy, hardened, saved, and refused where they make no sense."""

import keras
import numpy as np
import pytest

from sfgkeras.architecture.stage import Stage
from sfgkeras.networks import Head, MultiTaskNetwork, count_multiplies, harden
from sfgkeras.networks.heads import TaskHead, find_head

SIZE = 8
TASKS = {"mask": 1, "class": 2, "box": 4}
HEADS = {
    "mask": Head("map", layers=(5,)),
    "class": Head("vector", tap="bottom", layers=(7, 6)),
    "box": Head("vector", tap="bottom", layers=(9,), pooling="flatten"),
}


@keras.saving.register_keras_serializable(package="tests")
class SmallHourglass(MultiTaskNetwork):
    """One level down and up again."""

    stages = (
        Stage(6, name="down", pools=True),
        Stage(8, name="bottom"),
        Stage(6, name="up", upsamples=True, skip="down"),
    )


def build_head(head: Head, channels: int, shape: tuple) -> TaskHead:
    count = 1 + len(head.layers)
    layer = TaskHead(head, channels, len(shape) - 2, ["he_normal"] * count, ["ones"] * count, None, name="head_x")
    layer.build(shape)
    return layer


def through(features: np.ndarray, layer: TaskHead) -> np.ndarray:
    """What the layers of a head make of features, with NumPy."""
    for product in layer.products:
        kernel, bias = (np.asarray(weight) for weight in product.weights)
        features = features @ kernel.reshape(kernel.shape[-2:]) + bias
        features = features if product is layer.projection else np.maximum(features, 0)
    return features


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize(
    ("head", "pool"),
    [
        (Head("vector", layers=(5, 3)), lambda features: features.mean(axis=tuple(range(1, features.ndim - 1)))),
        (Head("vector", layers=(5,), pooling="flatten"), lambda features: features.reshape(len(features), -1)),
        (Head("map", layers=(5,)), lambda features: features),
    ],
)
def test_a_head_is_pooling_and_layers_with_relu_and_a_linear_one(head, pool, rank, images):
    features = images(size=3, rank=rank, channels=4)
    layer = build_head(head, 2, features.shape)
    expected = through(pool(features), layer)
    np.testing.assert_allclose(layer(features), expected, rtol=1e-4, atol=1e-5)
    assert [product.kernel.shape[-1] for product in layer.products] == [*head.layers, 2]


def build(sharing, scramble, images, rank=2):
    network = SmallHourglass(TASKS, sharing, spatial_rank=rank, heads=HEADS, seed=0, masks="mode", dropout=0.5)
    network(images(size=SIZE, rank=rank))
    scramble(network)
    return network


@pytest.mark.parametrize("sharing", ["sfg", "hard_sharing", "cross_stitch"])
def test_heads_with_layers_harden_to_an_ordinary_network_that_loads(sharing, images, scramble, tmp_path):
    network, x = build(sharing, scramble, images), images(size=SIZE)
    expected = network(x)
    harden(network).save(tmp_path / "hardened.keras")
    loaded = keras.saving.load_model(tmp_path / "hardened.keras", custom_objects={})
    for name, values in expected.items():
        np.testing.assert_allclose(loaded(x)[name], values, atol=1e-4 * np.abs(values).max())
    assert count_multiplies(harden(network, task="mask"), x.shape[1:]) < count_multiplies(network, x.shape[1:])
    any_size = harden(network, task="class")
    assert any_size.inputs[0].shape == (None, None, None, 1)


def test_the_multiplies_of_a_head_are_counted_before_and_after_hardening(images):
    network = SmallHourglass(TASKS, "hard_sharing", heads=HEADS, seed=0)
    bare = SmallHourglass(TASKS, "hard_sharing", heads={"class": "vector@bottom", "box": "vector@bottom"}, seed=0)
    for one in (network, bare):
        one(images(size=SIZE))
    vector = 8 * 7 + 7 * 6 + 6 * 2 - 8 * 2
    box = 8 * (SIZE // 2) ** 2 * 9 + 9 * 4 - 8 * 4
    mask = SIZE**2 * (6 * 5 + 5 * 1 - 6 * 1)
    for counted in (lambda one: one, harden):
        counts = [count_multiplies(counted(one), (SIZE, SIZE, 1)) for one in (network, bare)]
        assert counts[0] - counts[1] == vector + box + mask


def test_a_network_with_such_heads_loads_and_goes_on(images, scramble, tmp_path):
    network, x = build("sfg", scramble, images), images(size=SIZE)
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    loaded.masks = "mode"
    assert [head.head for head in loaded.heads] == [HEADS[task] for task in TASKS]
    for name, values in network(x).items():
        np.testing.assert_array_equal(loaded(x)[name], values)
    loaded.compile("adam", loss={"mask": "mse", "class": "mse", "box": "mse"})
    targets = {"mask": images(size=SIZE), "class": np.zeros((3, 2)), "box": np.zeros((3, 4))}
    before = [np.asarray(weight) for weight in loaded.heads[2].trainable_weights]
    loaded.fit(x, targets, batch_size=3, verbose=0)
    for old, new in zip(before, loaded.heads[2].trainable_weights, strict=True):
        assert np.abs(np.asarray(new) - old).max() > 0


def test_a_head_in_short_is_a_head_of_that_kind_on_that_stage():
    assert find_head("vector@bottom") == Head("vector", tap="bottom")
    assert find_head("map") == Head()
    described = Head("vector", "bottom", (3, 2), "flatten")
    assert find_head(described.values()) == described


def test_a_head_starts_with_a_part_of_what_is_drawn_and_keeps_its_layers_before(images, tmp_path):
    """Only the layer that gives the logits is scaled and moved, and nothing else draws other numbers."""
    networks = [
        SmallHourglass({"a": 1, "b": 2}, "hard_sharing", heads={"a": head}, seed=0)
        for head in (Head("map", layers=(5,)), Head("map", layers=(5,), start=0.25, offset=0.5))
    ]
    x = images(size=SIZE)
    outputs = [network(x) for network in networks]
    np.testing.assert_allclose(outputs[1]["a"], 0.25 * outputs[0]["a"] + 0.5, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(outputs[1]["b"], outputs[0]["b"])
    networks[1].save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    np.testing.assert_array_equal(loaded(x)["a"], outputs[1]["a"])
    assert loaded.heads[0].head == Head("map", layers=(5,), start=0.25, offset=0.5)
    assert not {"start", "offset"} & set(Head("map").values())


def test_flattening_needs_the_size_that_the_network_was_built_for(images):
    network = SmallHourglass(TASKS, heads=HEADS)
    with pytest.raises(ValueError, match="'head_box' flattens its features, and so needs images of one size"):
        network.build((None, None, None, 1))
    network = SmallHourglass(TASKS, heads=HEADS)
    network(images(size=SIZE))
    with pytest.raises(ValueError, match=r"flattens features of spatial shape \(4, 4\).*received \(3, 3\)"):
        network(images(size=6))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "box"}, "unknown kind of head 'box'; use one of map, vector"),
        ({"kind": "vector", "pooling": "flat"}, "unknown pooling of a head 'flat', did you mean 'flatten'"),
        ({"kind": "vector", "layers": (0,)}, r"layers = \(0,\) of a head must be positive"),
        ({"kind": "vector", "layers": 128}, "layers = 128 of a head must be numbers"),
        ({"kind": "map", "pooling": "flatten"}, "is for heads of kind 'vector'"),
        ({"start": 0.0}, "start = 0.0 of a head must be a positive factor"),
        ({"kind": "motion", "start": 0.1}, "start = 0.1 is not for heads of kind 'motion'"),
        ({"kind": "motion", "offset": 0.5}, "offset = 0.5 is not for heads of kind 'motion'"),
        ({"offset": float("nan")}, "offset = nan of a head must be a number"),
    ],
)
def test_heads_that_cannot_be_are_refused_with_what_was_written(arguments, message):
    with pytest.raises(ValueError, match=message):
        Head(**arguments)
    with pytest.raises(ValueError, match="neither a Head nor the name of a kind"):
        find_head({"sort": "vector"})
