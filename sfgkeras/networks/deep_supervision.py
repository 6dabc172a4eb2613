"""Deep supervision: in training a map is also predicted, and judged, on the coarser levels of the way up to its head.

The way of nnU-Net (Isensee et al. 2021; Dou et al. 2017): a head on every level, each with the task's loss against the
target at that size. The loss of a level weighs half of that of the next finer one, and the weights sum to 1:

    L = sum_k w_k L_k,    w_k = 2^-k / sum_j 2^-j,    k = 0 at the head that predicts.

Such heads are part of the training only. Predictions, validation, hardening and export know nothing of them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras import ops

from sfgkeras.architecture.graph import Architecture
from sfgkeras.errors import Problem, suggestion
from sfgkeras.losses.levels import targets_at_level

DeepSupervision = int | Mapping[str, int]
"""Levels below its head on which a map has further heads: of every task, or by task."""

KEY = "deep_supervision"


def level_weights(count: int) -> tuple[float, ...]:
    """Returns what the losses of a head and of so many levels below it count, the head first.

    Examples:
        >>> level_weights(1)
        (0.6666666666666666, 0.3333333333333333)
    """
    halves = [0.5**level for level in range(count + 1)]
    return tuple(half / sum(halves) for half in halves)


def deep_name(task: str, stage: str) -> str:
    """Returns the name of the outputs, and of the loss, of a task's head on a stage."""
    return f"{task}@{stage}"


def supervised_levels(given: DeepSupervision, task_names: Sequence[str], kinds: Sequence[str]) -> list[int]:
    """Returns on how many levels every task has further heads; a number for all is for those that are maps.

    Args:
        given: See `DeepSupervision`.
        task_names: Names of the tasks.
        kinds: The kind of every task's head.

    Raises:
        Problem: If there is no such task, it is no map, or the number is none.
    """
    by_task = given if isinstance(given, Mapping) else None
    for name in by_task or ():
        if name not in task_names:
            hint = suggestion(name, list(task_names)) or f"; the tasks are {', '.join(task_names)}"
            raise Problem(f"names {name!r}, which is no task{hint}", key=KEY, value=dict(by_task or {}))
    found = []
    for name, kind in zip(task_names, kinds, strict=True):
        count = given if by_task is None else by_task.get(name, 0)
        if isinstance(count, bool) or not hasattr(count, "__index__") or int(count) < 0:
            remedy = "write how many levels have heads of their own, e.g. 2; 0 for none"
            raise Problem("is no number of levels", remedy, key=KEY, value=count)
        if count and by_task is not None and kind != "map":
            raise Problem(f"is for maps, and task {name!r} is a {kind}", "leave it out", key=KEY, value=dict(by_task))
        found.append(int(count) if kind == "map" else 0)
    if given and by_task is None and not any(found):
        what = f"is for maps, and {', '.join(task_names)} {'are' if len(task_names) > 1 else 'is'} none"
        raise Problem(what, "write 0, or give a task a head of kind map", key=KEY, value=given)
    return found


def check_way_up(architecture: Architecture, levels: Sequence[int], network: Any) -> None:
    """Refuses more levels than the way up to any head has, and levels whose streams would cost more.

    Where the way up to one head is shorter than that to others, its task has heads on as many levels as there are.

    Args:
        architecture: Of the network.
        levels: What `supervised_levels` returned.
        network: The network; its class and its mechanism are named.

    Raises:
        Problem: Says how many levels there are, or what else to choose.
    """
    routing = getattr(network.sharing, "routing", "mixed")
    there = [len(architecture.way_up(tap)) for tap, count in zip(architecture.taps, levels, strict=True) if count]
    if there and max(levels) > max(there):
        most = max(there)
        has = f"that of {type(network).__name__} has {most}" if most else f"{type(network).__name__} has none"
        remedy = f"write {most} at most" if most else "write 0, or use a network with a way up, e.g. unet"
        raise Problem(f"is more levels than the way up to the heads has: {has}", remedy, key=KEY, value=max(levels))
    for _, index in architecture.supervised:
        stage = architecture.stages[index]
        if routing != "mixed" and stage.num_blocks and not stage.per_task:
            what = (
                f"needs further blocks behind stage {architecture.names[index]!r}: with group_connection = {routing} "
                "no later stage reads what a head there does"
            )
            raise Problem(what, "write group_connection = mixed, or 0 levels", key=KEY, value=max(levels))


def deep_outputs(network: Any, task: str, outputs: Mapping[str, Any]) -> dict[int, tuple[str, Any]]:
    """Returns what the further heads of a task said, with its name, by how many levels below the image they sit.

    Nothing where there are none, or where outputs are not those of a training call.
    """
    architecture, own, found = network.trunk.architecture, network.task_names.index(task), {}
    for other, index in architecture.supervised:
        name = deep_name(task, architecture.names[index])
        if other == own and name in outputs:
            found[architecture.levels[index]] = name, outputs[name]
    return found


def deep_losses(
    network: Any,
    task: str,
    loss: Any,
    outputs: Mapping[str, Any],
    target: Any,
    weight: Any,
    measure: Callable[[Any, Any, Any], Any],
) -> dict[str, Any]:
    """Returns the losses of a task's further heads by `deep_name`, the finest first; none outside of training.

    Args:
        network: A `MultiTaskNetwork`.
        task: Name of the task.
        loss: Its loss, which says what targets are.
        outputs: What the network returned.
        target: Of the task, at the size of the image.
        weight: Of its target, as the loss takes it.
        measure: Returns the loss of target, output and weight.
    """
    found = {}
    for level, (name, output) in sorted(deep_outputs(network, task, outputs).items()):
        size = ops.shape(output)[1:-1]
        at_level, weights = targets_at_level(loss, target, weight, level, size)
        found[name] = measure(at_level, output, weights)
    return found


def weighed(loss: Any, deep: Mapping[str, Any]) -> Any:
    """Returns a task's loss with those of its further heads: the sum by `level_weights`.

    Args:
        loss: Of the head that predicts.
        deep: As `deep_losses` returned them.
    """
    if not deep:
        return loss
    parts = [loss, *deep.values()]
    terms = [weight * part for weight, part in zip(level_weights(len(deep)), parts, strict=True)]
    return sum(terms[1:], terms[0])
