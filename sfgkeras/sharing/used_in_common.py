"""How much of what a task uses others use too: the one measure by which all mechanisms are compared."""

from collections.abc import Mapping, Sequence

import numpy as np

from sfgkeras.architecture.graph import Architecture
from sfgkeras.layers.routing import groups_read


def used_in_common(use: np.ndarray) -> np.ndarray:
    """Returns which part of what each task uses every other task uses, too.

    Entry `[i, j]` is `sum_f min(u_if, u_jf) / sum_f u_if`: 0 where two tasks use nothing in common, 1 where j uses all
    that i uses at least as much as i does, and 1 on the diagonal. A task that uses nothing shares nothing.

    Args:
        use: How much each task uses each thing, e.g. each filter, not negative, `(tasks, ...)`.

    Returns:
        The matrix, `(tasks, tasks)` float64, entries from 0 to 1.
    """
    use = np.asarray(use, np.float64).reshape(len(use), -1)
    common = np.minimum(use[:, None], use[None]).sum(axis=-1)
    total = np.broadcast_to(use.sum(axis=-1, keepdims=True), common.shape)
    matrix = np.divide(common, total, out=np.zeros_like(common), where=total > 0)
    np.fill_diagonal(matrix, 1.0)
    return matrix


def mixed_in_common(weights: np.ndarray) -> np.ndarray:
    """Returns `used_in_common` of tasks that read mixtures of the same features.

    A task uses a feature by the size of its weight, as a part of all its weights: networks that only exchange their
    features are as independent as those that keep them.

    Args:
        weights: What each task's mixture weighs each feature by, `(tasks, ...)`.
    """
    size = np.abs(np.asarray(weights, np.float64)).reshape(len(weights), -1)
    total = size.sum(axis=-1, keepdims=True)
    return used_in_common(np.divide(size, total, out=np.zeros_like(size), where=total > 0))


def among_all(matrix: np.ndarray, tasks: Sequence[int], num_tasks: int) -> np.ndarray:
    """Returns a matrix of some tasks as one of all tasks, `(num_tasks, num_tasks)`; the others share nothing.

    Args:
        matrix: `(tasks, tasks)`.
        tasks: Which tasks these are, e.g. `Architecture.tasks_behind`.
        num_tasks: Number of all tasks.
    """
    whole = np.eye(num_tasks)
    whole[np.ix_(tasks, tasks)] = matrix
    return whole


def groups_in_common(
    architecture: Architecture, probabilities: Sequence[np.ndarray], routing: str
) -> dict[str, np.ndarray]:
    """Returns `used_in_common` of every stage whose filters belong to groups.

    A filter serves the tasks that its group serves (`tasks_served`), and a task uses it by the probability that it is
    in such a group. With `mixed` routing that is `sum_k p_k(shared) / sum_k (p_k(i) + p_k(shared))` for all j.

    Args:
        architecture: The stages.
        probabilities: p of every stage, `(filters, groups)`, shared last; one-hot where groups are fixed.
        routing: See `layers.routing.groups_read`.

    Returns:
        `(tasks, tasks)` by the name of the stage.
    """
    served = tasks_served(architecture, [p.sum(axis=0) > 0 for p in probabilities], routing)
    return {
        name: used_in_common(groups.T[:, None] * np.asarray(p, np.float64))
        for name, groups, p in zip(architecture.names, served, probabilities, strict=True)
    }


def tasks_served(architecture: Architecture, present: Sequence[np.ndarray], routing: str) -> list[np.ndarray]:
    """Returns which tasks depend on the filters of each group, found from the last stage back.

    Args:
        architecture: The stages.
        present: For every stage whether a group has filters, `(groups,)`.
        routing: See `layers.routing.groups_read`; heads and stages per task read their own stream and the shared one.

    Returns:
        For every stage whether a group serves a task, `(groups, tasks)`.
    """
    num_tasks = len(architecture.taps)
    num_groups = num_tasks + 1
    served = [np.zeros((num_groups, num_tasks), bool) for _ in architecture.stages]
    for index in reversed(range(len(architecture.stages))):
        own = {task for task, tap in enumerate(architecture.taps) if tap == index}
        for later in architecture.readers(index):
            if architecture.stages[later].per_task:
                own.update(architecture.tasks_behind(later))
                continue
            for reader in np.flatnonzero(present[later]):
                for group in groups_read(routing, num_groups, int(reader)):
                    served[index][group] |= served[later][reader]
        for task in own:
            served[index][[task, num_tasks], task] = True
    return served


def learned_by_stage(quantity: str, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns what was learned at every stage by `<quantity>/<stage>`, the names of `Trunk.learned`."""
    return {f"{quantity}/{stage}": np.asarray(value) for stage, value in values.items()}
