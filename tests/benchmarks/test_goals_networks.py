"""The networks that the goals table compares are the same network."""

from sfgkeras.networks import count_multiplies, count_parameters


def test_the_unet_of_keras_own_layers_has_the_weights_of_ours(load_benchmark):
    unet = load_benchmark("goals_unet")
    ours, stock = unet.our_unet(width=1 / 32), unet.stock_unet(16, 1 / 32)
    ours.build((None, 16, 16, 1))
    assert len(ours.trainable_weights) == len(stock.trainable_weights)
    assert count_parameters(ours) == count_parameters(stock)
    assert count_multiplies(ours, (16, 16, 1)) == count_multiplies(stock, (16, 16, 1))
