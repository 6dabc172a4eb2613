"""What hardening may cost: statistics that do not fit, filters without a group, and losses before and after."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from sfgkeras.grouping import DECIDED_PROBABILITY
from sfgkeras.layers.statistics_record import StatisticsRecord


def refuse_stale_statistics(owner: StatisticsRecord, statistics: str | None) -> None:
    """Refuses what was trained after its normalisation statistics were measured.

    Args:
        owner: A network, or an SFG layer with a count of its own.
        statistics: What inference normalises with; only with `recalibrated` there is something to refuse.

    Raises:
        ValueError: Says what to do.
    """
    if statistics == "recalibrated" and not owner.statistics_fit:
        name = getattr(owner, "name", "network")
        raise ValueError(
            f"{name!r} was trained after its normalisation statistics were measured, so a hardened model would be far "
            "off: call recalibrate(network, dataset) with training data first, or harden(network, data=dataset)"
        )


def warn_of_undecided(name: str, share: float, has_data: bool) -> None:
    """Warns that masks of `mode` are not what was trained."""
    remedy = "" if has_data else "; harden(network, data=dataset) measures what that costs, and better statistics"
    warnings.warn(
        f"{share:.0%} of the filters of {name!r} have no group with a probability of {DECIDED_PROBABILITY} or more: "
        f"hardening gives each to its most probable group, which is not what was trained{remedy}",
        stacklevel=3,
    )


def warn_of_moved(name: str, moved: int, multiple_of: int, changes: Mapping[str, float], on_data: bool) -> None:
    """Warns that groups of suitable sizes are not what was trained.

    Args:
        name: Of the network.
        moved: How many filters are not in their most probable group.
        multiple_of: What the filters per group are multiples of.
        changes: What `output_changes` returned.
        on_data: Whether it was measured on data rather than on noise.
    """
    by_task = ", ".join(f"{task} by {change:.2%}" for task, change in changes.items())
    where = "the data given" if on_data else "images of noise"
    outputs = f"; on {where} that moves outputs, by their spread, of {by_task}" if changes else ""
    warnings.warn(
        f"{moved} filters of {name!r} leave their most probable group, so that groups hold multiples of "
        f"{multiple_of}{outputs}: train group_network(network, multiple_of={multiple_of}) on, which heals it",
        stacklevel=3,
    )


def noise_images(image_size: Sequence[int | None], channels: int) -> np.ndarray:
    """Returns two images of standard normal noise; axes of any size have 32 pixels, or 16 voxels."""
    length = 2 ** (7 - len(image_size))
    shape = (2, *(size or length for size in image_size), channels)
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def report_cost(network: keras.Model, hardened: keras.Model, batches: Sequence[Any]) -> None:
    """Prints the losses of every task before and after hardening, or how far outputs moved where there is no loss."""
    before, after = mean_losses(network, network, batches), mean_losses(hardened, network, batches)
    for task in (name for name in before if name in after):
        print(f"{task}: loss {before[task]:.4g}, hardened {after[task]:.4g}")  # noqa: T201
    if not before:
        for task, moved in output_changes(network, hardened, batches).items():
            print(f"{task}: hardening moves outputs by {moved:.2%} of their spread")  # noqa: T201


def mean_losses(model: keras.Model, compiled: keras.Model, batches: Iterable[Any]) -> dict[str, float]:
    """Returns the mean loss of every task over batches; empty without targets, or without losses by task.

    Args:
        model: Gives the outputs by task.
        compiled: The model that was compiled with losses.
        batches: `(images, targets)` or `(images, targets, weights)`, the last two dicts by task.
    """
    losses = getattr(compiled, "loss", None)
    if not isinstance(losses, Mapping):
        return {}
    sums: dict[str, list[tuple[float, int]]] = {}
    for batch in batches:
        if not isinstance(batch, list | tuple) or len(batch) < 2 or not isinstance(batch[1], Mapping):
            return {}
        images, targets, weights = batch[0], batch[1], batch[2] if len(batch) > 2 else None
        outputs = model.predict_on_batch(images)
        for task in (name for name in outputs if losses.get(name) is not None and name in targets):
            weight = weights.get(task) if isinstance(weights, Mapping) else weights
            loss = keras.losses.get(losses[task])
            weighted = [weight] if isinstance(loss, keras.losses.Loss) else []
            value = loss(ops.convert_to_tensor(targets[task]), ops.convert_to_tensor(outputs[task]), *weighted)
            sums.setdefault(task, []).append((float(ops.convert_to_numpy(ops.mean(value))), len(outputs[task])))
    return {
        task: sum(value * count for value, count in values) / sum(count for _, count in values)
        for task, values in sums.items()
    }


def output_changes(network: keras.Model, hardened: keras.Model, batches: Iterable[Any]) -> dict[str, float]:
    """Returns, by task, the root mean square change of the outputs over their standard deviation; {} without names."""
    changes: dict[str, list[tuple[float, float]]] = {}
    for batch in batches:
        images = batch[0] if isinstance(batch, list | tuple) else batch
        before, after = network.predict_on_batch(images), hardened.predict_on_batch(images)
        if not isinstance(before, Mapping):
            return {}
        for task in (name for name in before if name in after):
            moved = float(np.mean((np.asarray(after[task]) - np.asarray(before[task])) ** 2))
            changes.setdefault(task, []).append((moved, float(np.var(before[task]))))
    return {
        task: float(np.sqrt(sum(moved for moved, _ in values) / max(sum(spread for _, spread in values), 1e-30)))
        for task, values in changes.items()
    }
