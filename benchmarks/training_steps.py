"""Training steps of HighResNet as the applications take them, on batches of random data; shared by the measurements."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

CLASSES = 6
KINDS: Mapping[str, str] = {"ct": "map", "organs": "labels", "fat": "map", "bones": "labels"}
"""Tasks in the order in which they are added: regressions learn one channel, segmentations `CLASSES`."""


def channels_of(num_tasks: int) -> dict[str, int]:
    """Returns the output channels of the first tasks, by name."""
    return {name: 1 if kind == "map" else CLASSES for name, kind in list(KINDS.items())[:num_tasks]}


def build_network(num_tasks: int, sharing: str, spatial_rank: int = 2, width: float = 1.0) -> Any:
    """Builds a network with all its variables; in the scope of a strategy where it is to be distributed."""
    from sfgkeras.networks import HighResNet

    network = HighResNet(channels_of(num_tasks), sharing, spatial_rank=spatial_rank, width=width, seed=0)
    network.build((None, *(None,) * spatial_rank, 1))
    return network


def build_losses(network: Any) -> dict[str, Any]:
    """Builds the losses of the paper, by task."""
    from sfgkeras.losses import REGRESSION_LOSSES, SEGMENTATION_LOSSES

    return {
        name: REGRESSION_LOSSES["rmse"]() if KINDS[name] == "map" else SEGMENTATION_LOSSES["dicecrossentropy"]()
        for name in network.tasks
    }


def build_step(network: Any, strategy: Any, global_batch_size: int) -> tuple[Any, Any]:
    """Builds the step with the losses of the paper, and its optimiser, Adam; in the scope of the strategy."""
    from sfgkeras.applications.training.optimizers import Optimizers, build_optimizer
    from sfgkeras.applications.training.step import TrainingStep

    optimizer = build_optimizer("adam", 1e-3)
    optimizers = Optimizers(optimizer).build(network)
    return TrainingStep(
        network, optimizers, build_losses(network), network.balancer, strategy, global_batch_size
    ), optimizer


def random_batch(num_tasks: int, batch_size: int, window: Sequence[int], rows: tuple[int, int] = (0, 1)) -> Any:
    """Returns images, targets and weights that are the same in every process.

    Args:
        num_tasks: Number of tasks.
        batch_size: Windows of the global batch.
        window: Spatial shape.
        rows: `(w, n)` gives every n-th row of the global batch from row w on, the share of worker w of n.

    Returns:
        Images `(rows, *window, 1)`, targets by task (`(rows, *window, 1)` or labels `(rows, *window)`) and weights by
        task, all ones.
    """
    import tensorflow as tf

    random_generator = np.random.default_rng(0)
    own = slice(rows[0], None, rows[1])
    images = random_generator.normal(size=(batch_size, *window, 1)).astype(np.float32)
    targets = {}
    for name in channels_of(num_tasks):
        if KINDS[name] == "map":
            targets[name] = tf.constant(0.5 * images[own] + 0.25)
        else:
            labels = random_generator.integers(0, CLASSES, (batch_size, *window), np.int32)
            targets[name] = tf.constant(labels[own])
    weights = {name: tf.ones(target.shape[: 1 + len(window)]) for name, target in targets.items()}
    return tf.constant(images[own]), targets, weights
