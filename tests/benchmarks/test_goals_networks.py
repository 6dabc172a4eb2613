"""The networks that the goals table compares are the same network."""

import numpy as np

from sfgkeras.applications.inference.predictor import Predictor
from sfgkeras.networks import count_multiplies, count_parameters


def test_the_unet_of_keras_own_layers_has_the_weights_of_ours(load_benchmark):
    unet = load_benchmark("goals_unet")
    ours, stock = unet.our_unet(width=1 / 32), unet.stock_unet(16, 1 / 32)
    ours.build((None, 16, 16, 1))
    assert len(ours.trainable_weights) == len(stock.trainable_weights)
    assert count_parameters(ours) == count_parameters(stock)
    assert count_multiplies(ours, (16, 16, 1)) == count_multiplies(stock, (16, 16, 1))


def test_a_whole_volume_is_predicted_not_passed_over(load_benchmark):
    """Tasks that a predictor does not know for maps would leave it nothing to do, in no time."""
    networks = load_benchmark("goals_networks")
    network = networks.build_network("hard_sharing", 16)
    network.build((None, None, None, 1))
    predictor = Predictor(network, networks._plain_tasks(), (0, 0, 1), (0, 0, 0), "none", 4)
    volume = np.random.default_rng(0).normal(size=(16, 12, 2, 1)).astype("float32")
    found = predictor.volumes(volume)
    plain = network(volume[None, :, :, 1], training=False)
    assert found.keys() == networks.TASKS.keys()
    for name, outputs in found.items():
        np.testing.assert_allclose(outputs[:, :, 1], np.asarray(plain[name])[0], rtol=1e-3, atol=1e-4)
