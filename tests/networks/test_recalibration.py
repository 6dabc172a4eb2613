"""Population statistics measured again are those of all data pooled."""

import keras
import numpy as np
import pytest

from sfgkeras.layers.normalization import measuring
from sfgkeras.networks import recalibrate

TASKS = {"ct": 1, "organs": 3}


def batches(images, sizes=(5, 2, 7)):
    return [images(batch=size, seed=index) * (index + 1) for index, size in enumerate(sizes)]


def test_recalibrated_statistics_equal_those_of_all_voxels_pooled(small_network, images):
    network = small_network(TASKS, masks="mean", seed=0)
    data = batches(images)
    network(data[0])
    recalibrate(network, [(batch, None) for batch in data])
    first = network.trunk.convolutions[0]
    features = [keras.ops.convert_to_numpy(keras.ops.conv(batch, first.kernel, padding="same")) for batch in data]
    voxels = np.concatenate([part.reshape(-1, part.shape[-1]) for part in features]).astype("float64")
    for unit in first.activations:
        np.testing.assert_allclose(unit.normalization.moving_mean, voxels.mean(0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(unit.normalization.moving_variance, voxels.var(0), rtol=1e-4)


def test_every_normalisation_is_pooled_over_all_batches(small_network, images):
    network = small_network(TASKS, masks="mode", seed=0)
    data = batches(images)
    network(data[0])
    means, squares, counts = {}, {}, {}
    for batch in data:
        with measuring() as measurement:
            network(batch)
        for moments in measurement:
            key, count = moments.layer.path, int(moments.count)
            mean, variance = np.asarray(moments.mean, "float64"), np.asarray(moments.variance, "float64")
            counts[key] = counts.get(key, 0) + count
            means[key] = means.get(key, 0) + count * mean
            squares[key] = squares.get(key, 0) + count * (variance + mean**2)
    recalibrate(network, data)
    layers = network.normalizations()
    assert len(layers) == len(means) == 3 * 3 + 3 * 2
    for layer in layers:
        mean = means[layer.path] / counts[layer.path]
        variance = squares[layer.path] / counts[layer.path] - mean**2
        np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-3, atol=1e-6)


def test_inference_by_recalibrated_statistics_of_one_batch_equals_batch_statistics(small_network, images):
    network = small_network(TASKS, masks="mode", seed=0)
    x = images()
    before = network(x)["ct"]
    recalibrate(network, [x], steps=1)
    recalibrated = network(x)["ct"]
    network.batch_norm = "batch"
    np.testing.assert_allclose(recalibrated, network(x)["ct"], rtol=1e-3, atol=1e-4)
    assert np.abs(np.asarray(before) - recalibrated).max() > 0.01


def test_recalibration_changes_no_weight_no_iteration_and_no_training_draw(small_network, images):
    network = small_network(TASKS, seed=0)
    network(images())
    weights = [w.numpy() for w in network.trainable_variables]
    state = network.random_state()["sfg_1/training"]
    recalibrate(network, batches(images), steps=2)
    for weight, expected in zip(network.trainable_variables, weights, strict=True):
        np.testing.assert_array_equal(weight, expected)
    assert int(network.iteration) == 0
    np.testing.assert_array_equal(network.random_state()["sfg_1/training"], state)


@pytest.mark.parametrize(("data", "steps"), [([], None), ([np.zeros((1, 10, 10, 1), "float32")], 3)])
def test_too_little_data_is_refused(data, steps, small_network, images):
    network = small_network(TASKS, seed=0)
    network(images())
    with pytest.raises(ValueError, match=f"recalibration read {len(data)} batches"):
        recalibrate(network, data, steps)
