"""Maps of classes: by hand, against gradients that TensorFlow finds, and the logit that they add up to."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sfgkeras.architecture.stage import Stage
from sfgkeras.networks import Head, MultiTaskNetwork, UNet
from sfgkeras.networks.class_maps import class_maps


@keras.saving.register_keras_serializable(package="tests_class_maps")
class Pooling(MultiTaskNetwork):
    """Two stages, the first of which pools."""

    stages = (Stage(6, pools=True), Stage(12))
    usual_head = "vector"


HEADS = {
    "plain": Head("vector"),
    "deep": Head("vector", layers=(5, 4)),
    "flat": Head("vector", layers=(3,), pooling="flatten"),
}


def build(rank=2, sharing="sfg", size=6):
    network = Pooling({"plain": 3, "deep": 2, "flat": 2}, sharing, spatial_rank=rank, heads=HEADS, seed=0)
    network.build((None, *(size,) * rank, 1))
    rng = np.random.default_rng(0)
    for variable in network.trainable_variables:
        if "head" in variable.path:
            variable.assign(rng.normal(size=variable.shape))
    return network


def images_of(rank=2, size=6):
    return np.random.default_rng(1).normal(size=(2, *(size,) * rank, 1)).astype("float32")


def features_of(network, images, task):
    masks = keras.ops.convert_to_tensor(network._mask_source)
    found = network.trunk(images, network.temperature, masks, training=False)
    return found[network.task_names.index(task)]


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("sharing", ["sfg", "cross_stitch", "sluice"])
def test_the_mean_of_a_class_activation_map_and_the_bias_are_the_logit(rank, sharing):
    network, images = build(rank, sharing), images_of(rank)
    maps = np.asarray(class_maps(network, images, "plain"))
    assert maps.shape == (*images.shape[:-1], 3)
    logits = maps.mean(axis=tuple(range(1, rank + 1))) + np.asarray(network.heads[0].projection.bias)
    np.testing.assert_allclose(logits, network(images)["plain"], atol=1e-4)


def test_a_class_activation_map_is_the_features_weighed_by_hand_and_interpolated():
    network, images = build(), images_of()
    features, kernel = np.asarray(features_of(network, images, "plain")), np.asarray(network.heads[0].projection.kernel)
    small = (features[..., None] * kernel).sum(axis=-2)
    weights = np.array([[1, 0, 0], [0.75, 0.25, 0], [0.25, 0.75, 0], [0, 0.75, 0.25], [0, 0.25, 0.75], [0, 0, 1]])
    expected = np.einsum("xi,yj,bijc->bxyc", weights, weights, small)
    np.testing.assert_allclose(class_maps(network, images, "plain"), expected, atol=1e-5)


@pytest.mark.parametrize("task", HEADS)
def test_grad_cam_weighs_by_the_gradients_that_tensorflow_finds(task):
    network, images = build(), images_of()
    features = tf.convert_to_tensor(features_of(network, images, task))
    head = network.heads[network.task_names.index(task)]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(features)
        logits = head(features)
        singles = [tf.reduce_sum(logits[:, number]) for number in range(head.channels)]
    weights = np.stack([tf.reduce_mean(tape.gradient(one, features), axis=(1, 2)) for one in singles], axis=-1)
    small = np.maximum(np.einsum("bxyk,bkc->bxyc", features, weights), 0)
    maps = np.asarray(class_maps(network, images, task, "grad_cam"))
    assert maps.max() > 0
    # Voxel 0 of six is nearer to the first of three than to any other: interpolation leaves it.
    np.testing.assert_allclose(maps[:, ::5, ::5], small[:, ::2, ::2], atol=1e-5)


def test_sizes_that_pooling_rounds_up_are_cut():
    network = UNet({"class": 2}, "hard_sharing", width=1 / 16, levels=2, heads={"class": "vector"}, seed=0)
    network.build((None, None, None, 1))
    assert class_maps(network, images_of(size=7), "class").shape == (2, 7, 7, 2)


@pytest.mark.parametrize("method", ["cam", "grad_cam"])
def test_one_logit_speaks_for_the_second_class_and_against_the_first(method):
    network = Pooling({"class": 1}, "hard_sharing", seed=0)
    images = images_of()
    with pytest.raises(ValueError, match="has no weights yet"):
        class_maps(network, images, "class", method)
    network(images)
    both = np.asarray(class_maps(network, images, "class", method, one_logit=True))
    one = np.asarray(class_maps(network, images, "class", method))
    np.testing.assert_allclose(both[..., 1:], one, atol=1e-6)
    if method == "cam":
        np.testing.assert_allclose(both[..., 0], -both[..., 1], atol=1e-6)
    else:
        assert (both[..., 0] * both[..., 1]).max() < 1e-6 or both.min() == 0


@pytest.mark.parametrize(
    ("task", "method", "message"),
    [
        ("plane", "cam", "has no task 'plane', did you mean 'plain'"),
        ("plain", "gradcam", "there is no map 'gradcam' of classes; there are cam, grad_cam"),
        ("deep", "cam", "has layers before that of the classes.*use grad_cam"),
        ("flat", "cam", "flattens its features.*use grad_cam"),
    ],
)
def test_what_has_no_map_is_refused(task, method, message):
    with pytest.raises(ValueError, match=message):
        class_maps(build(), images_of(), task, method)


def test_a_task_of_maps_is_refused():
    network = UNet({"organs": 2}, "hard_sharing", width=1 / 16, levels=1, seed=0)
    network.build((None, 6, 6, 1))
    with pytest.raises(ValueError, match="task 'organs' has a map of its own"):
        class_maps(network, images_of(), "organs")
