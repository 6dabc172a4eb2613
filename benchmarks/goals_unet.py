"""Rows of the goals table about U-Net: training steps against Keras' own layers and against MONAI's U-Net.

Four levels, two convolutions on each, filters 32 to 512, batch normalisation and PReLU: half the width of the paper, so
that a step takes seconds on two cores.
"""

from typing import Any

from goals_networks import TASKS, limit_tensorflow, training_step
from goals_timing import Settings, alternate, ratio

WIDTH, LEVELS = 0.5, 4


def our_unet(sharing: str = "hard_sharing", width: float = WIDTH) -> Any:
    """Builds our U-Net."""
    from sfgkeras.networks import UNet

    return UNet(TASKS, sharing, width=width, levels=LEVELS, seed=0)


def stock_unet(size: int, width: float = WIDTH) -> Any:
    """Builds the network of `hard_sharing` from Keras' own layers: the plain way that a user would take."""
    import keras
    from keras import layers

    regularizer = keras.regularizers.L2(1e-6)

    def convolve_twice(x: Any, level: int) -> Any:
        for _ in range(2):
            filters = round(64 * 2**level * width)
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_regularizer=regularizer)(x)
            x = layers.PReLU(shared_axes=[1, 2])(layers.BatchNormalization()(x))
        return x

    x = inputs = keras.Input((size, size, 1))
    left = []
    for level in range(LEVELS):
        left.append(convolve_twice(x, level))
        x = layers.MaxPooling2D()(left[-1])
    x = convolve_twice(x, LEVELS)
    for level in reversed(range(LEVELS)):
        x = convolve_twice(layers.Concatenate()([layers.UpSampling2D()(x), left[level]]), level)
    heads = {
        name: layers.Conv2D(channels, 1, dtype="float32", kernel_regularizer=regularizer)(x)
        for name, channels in TASKS.items()
    }
    return keras.Model(inputs, heads)


def against_stock(settings: Settings) -> dict[str, float]:
    """One training step, ours against Keras' own layers."""
    limit_tensorflow(settings.threads)
    networks = {"ours": our_unet(), "peer": stock_unet(settings.size)}
    steps = {name: training_step(network, settings.size, settings.batch) for name, network in networks.items()}
    return ratio(alternate(steps, settings.repeats), "ours", "peer")


def against_monai(settings: Settings) -> dict[str, float]:
    """One training step, ours against MONAI's `BasicUNet` of the same levels and filters, eager, channels last.

    MONAI's way up is its own, transposed convolutions, which has a fifth fewer multiplies than repeated voxels.
    """
    import torch
    from monai.networks.nets import BasicUNet

    limit_tensorflow(settings.threads)
    torch.set_num_threads(settings.threads)
    size, batch = settings.size, settings.batch
    filters = [round(64 * 2**level * WIDTH) for level in range(LEVELS + 1)]
    peer = BasicUNet(2, 1, sum(TASKS.values()), (*filters, filters[0]), act="prelu", norm="batch")
    peer = peer.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(peer.parameters(), lr=1e-3)
    images = torch.randn(batch, 1, size, size).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 6, (batch, size, size))

    def step() -> float:
        optimizer.zero_grad()
        outputs = peer(images)
        loss = ((outputs[:, :1] - images) ** 2).mean() + torch.nn.functional.cross_entropy(outputs[:, 1:], labels)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    step()
    ours = training_step(our_unet(), size, batch)
    return ratio(alternate({"ours": ours, "peer": step}, settings.repeats), "ours", "peer")
