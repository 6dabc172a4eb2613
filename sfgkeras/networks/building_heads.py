"""The heads of a network and their adversaries, made from what is said of each task."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from sfgkeras.architecture.layer_settings import LayerSettings, seeded_initializer
from sfgkeras.layers.adversary import WIDTHS, Adversary
from sfgkeras.layers.scaled_initializer import ScaledInitializer
from sfgkeras.networks.fitting import check_names
from sfgkeras.networks.heads import Head, TaskHead
from sfgkeras.networks.motion_head import MotionHead

if TYPE_CHECKING:
    from sfgkeras.networks.base import MultiTaskNetwork


def build_head(
    network: "MultiTaskNetwork",
    task: int,
    head: Head,
    settings: LayerSettings,
    bias_initializer: Any,
    dropout: float,
    stage: int | None = None,
) -> TaskHead | MotionHead:
    """Builds the head of a task on the trunk of a network.

    Args:
        network: Its trunk is there already.
        task: Number of the task.
        head: What the head is to be.
        settings: Rank, regulariser, and the seeds, of which a head takes as many as it has layers, and one more.
        bias_initializer: Of its biases.
        dropout: Probability of dropping a feature before the head in training.
        stage: Where it is a further one that a map has in training: the stage of the way up that it reads.

    Raises:
        ValueError: If the features that it would read are not of its kind.
    """
    own_name = layer_name("head", network.task_names[task])
    if stage is None:
        check_place(network, task, head)
    else:
        own_name = f"{own_name}_{layer_name('on', network.trunk.architecture.names[stage])}"
    common: dict[str, Any] = {
        "kernel_regularizer": settings.kernel_regularizer,
        "dropout": dropout,
        "name": own_name,
    }
    channels = network.tasks[network.task_names[task]]
    if head.kind == "motion":
        kernels = [settings.initializer() for _ in range(MotionHead.num_layers)]
        seed, reach = settings.next_seed(), network.motion_reach
        # Drawn last: networks of earlier versions have none.
        kernels += [settings.initializer()] if reach else []
        return MotionHead(head, channels, settings.spatial_rank, kernels, seed=seed, reach=reach, **common)

    # The layer that gives the logits draws its seeds first: networks of earlier versions have no other one.
    seeds = [(settings.initializer(), seeded_initializer(bias_initializer, settings.next_seed()))]
    seed = settings.next_seed()
    seeds += [(settings.initializer(), seeded_initializer(bias_initializer, settings.next_seed())) for _ in head.layers]
    return TaskHead(
        head,
        channels,
        settings.spatial_rank,
        kernel_initializers=[_scaled(seeds[0][0], head.start), *(kernel for kernel, _ in seeds[1:])],
        bias_initializers=[_moved(seeds[0][1], head.offset), *(bias for _, bias in seeds[1:])],
        seed=seed,
        **common,
    )


def _scaled(initializer: Any, factor: float) -> Any:
    return initializer if factor == 1 else ScaledInitializer(initializer, factor)


def _moved(initializer: Any, offset: float) -> Any:
    return initializer if offset == 0 else ScaledInitializer(initializer, 1.0, offset)


def check_place(network: "MultiTaskNetwork", task: int, head: Head) -> None:
    """Refuses a head that cannot be where it is to be.

    Raises:
        ValueError: If it wants motion, and the network does not see frames, or a map, and the features are pooled.
    """
    name, architecture = network.task_names[task], network.trunk.architecture
    if head.kind == "motion" and not network.is_siamese:
        raise ValueError(
            f"task {name!r} wants motion between frames, but {type(network).__name__} does not see them one by one; "
            "use qin, or a network of your own with is_siamese = True"
        )
    if head.kind != "vector" and architecture.level_after(architecture.taps[task]):
        tap = architecture.names[architecture.taps[task]]
        raise ValueError(
            f"task {name!r} wants a {head.kind}, but {type(network).__name__} pools its features to a smaller size at "
            f"stage {tap!r}; put it on a stage of the image's size, use a network that keeps the size, e.g. "
            "HighResNet, or a 'vector' head"
        )


def build_adversaries(
    network: "MultiTaskNetwork", weights: Mapping[str, float], settings: LayerSettings
) -> dict[str, Adversary]:
    """Builds the adversary of every task that has one.

    Args:
        network: Its heads are there already.
        weights: What the judgement counts beside the loss, by task.
        settings: Rank and seeds.

    Raises:
        ValueError: If a task is unknown or no map.
    """
    check_names(network.task_names, adversaries=dict(weights))
    for task, head in zip(network.tasks, network.heads, strict=True):
        if task in weights and head.kind != "map":
            raise ValueError(f"task {task!r} is a vector; adversaries judge maps: leave it out of adversaries")
    return {
        task: Adversary(
            settings.spatial_rank,
            weights[task],
            [seeded_initializer("he_normal", settings.next_seed()) for _ in range(len(WIDTHS) + 1)],
            name=layer_name("adversary", task),
        )
        for task in network.tasks
        if task in weights
    }


def layer_name(kind: str, task: str) -> str:
    """Returns the name of a task's layer, which Keras wants of letters, digits and underscores."""
    return f"{kind}_{re.sub('[^A-Za-z0-9_]', '_', task)}"


def check_tasks(tasks: Mapping[str, int]) -> None:
    """Refuses tasks that no network can have.

    Raises:
        ValueError: If there is no task, or one has no output channel.
    """
    if not isinstance(tasks, Mapping):
        names = [tasks] if isinstance(tasks, str) else list(tasks)
        example = ", ".join(f"{str(name)!r}: 1" for name in names) or "'ct': 1"
        raise ValueError(
            f"tasks = {tasks!r} does not say how many output channels each task has; write e.g. {{{example}}}: 1 for a "
            "regression, the number of classes for a segmentation or classification"
        )
    if not tasks:
        raise ValueError("tasks is empty: name at least one task and its output channels, e.g. {'ct': 1}")
    for name, channels in tasks.items():
        if not isinstance(channels, int | np.integer) or channels < 1:
            raise ValueError(f"task {name!r} has {channels!r} output channels; it needs at least 1")
