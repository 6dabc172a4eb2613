"""Which tasks find the same samples easy, and into which groups that divides them (Lu et al. 2017, section 3.2)."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

_MIDDLES: Mapping[str, Callable[..., np.ndarray]] = {"median": np.nanmedian, "mean": np.nanmean}

EXHAUSTIVE = 8
"""Most branches of which every grouping is tried; of more of them only the groupings of a hierarchical clustering."""


def task_affinity(errors: np.ndarray, threshold: str = "median") -> np.ndarray:
    """Returns how often two tasks agree on whether a sample is easy: `A_ij = E[e_i e_j + (1 - e_i)(1 - e_j)]`.

    `e_in` is 1 where the error of task i on sample n lies above the task's own threshold. Only errors of one task are
    compared with each other, so that tasks may have losses of any kind and unit.

    Args:
        errors: Error of every sample for every task, `(samples, tasks)`; NaN where a task has no label.
        threshold: `median` or `mean`; see `FullyAdaptive`.

    Returns:
        `(tasks, tasks)`, 1 on the diagonal; 0.5, as of tasks that have nothing to do with each other, where no sample
        has a label of both.

    Examples:
        >>> errors = np.array([[0.1, 3.0], [0.2, 4.0], [0.3, 5.0], [0.4, 1.0]])
        >>> task_affinity(errors).tolist()  # hard for task 1: samples 3, 4; for task 2: samples 2, 3
        [[1.0, 0.5], [0.5, 1.0]]
    """
    errors = np.asarray(errors, np.float64)
    num_tasks = errors.shape[1]
    affinity = np.full((num_tasks, num_tasks), 0.5)
    np.fill_diagonal(affinity, 1.0)
    is_hard = [errors[:, task] > _middle(errors[:, task], threshold) for task in range(num_tasks)]
    for i, j in itertools.combinations(range(num_tasks), 2):
        both = np.isfinite(errors[:, i]) & np.isfinite(errors[:, j])
        if both.any():
            affinity[i, j] = affinity[j, i] = np.mean(is_hard[i][both] == is_hard[j][both])
    return affinity


def _middle(errors: np.ndarray, threshold: str) -> float:
    return float(_MIDDLES[threshold](errors)) if np.isfinite(errors).any() else np.nan


def branch_affinity(affinity: np.ndarray, branches: Sequence[Sequence[int]]) -> np.ndarray:
    """Returns the affinity of branches of tasks, `(branches, branches)`.

    The mean over the tasks of one branch of their smallest affinity to a task of the other, made symmetric by the mean
    of both directions; 1 on the diagonal.

    Args:
        affinity: Affinity of all tasks.
        branches: The tasks of every branch.

    Examples:
        >>> affinity = np.array([[1.0, 0.9, 0.4], [0.9, 1.0, 0.6], [0.4, 0.6, 1.0]])
        >>> branch_affinity(affinity, [(0, 1), (2,)])[0, 1].round(3).item()  # ((0.4 + 0.6) / 2 + 0.4) / 2
        0.45
    """
    found = np.eye(len(branches))
    for one, other in itertools.combinations(range(len(branches)), 2):
        block = affinity[np.ix_(branches[one], branches[other])]
        found[one, other] = found[other, one] = (block.min(axis=1).mean() + block.min(axis=0).mean()) / 2
    return found


def separation_loss(affinity: np.ndarray, groups: Sequence[Sequence[int]]) -> float:
    """Returns what a grouping of branches loses by keeping unlike ones together.

    The mean over the branches of 1 less their smallest affinity within their group. Groups of one branch lose nothing.
    The paper takes the mean over groups of those means: a group of one would then make up for one of many unlike ones.

    Args:
        affinity: Affinity of all branches.
        groups: The branches of every group.

    Examples:
        >>> affinity = np.array([[1.0, 0.9, 0.4], [0.9, 1.0, 0.6], [0.4, 0.6, 1.0]])
        >>> round(separation_loss(affinity, [(0, 1), (2,)]), 3)  # (0.1 + 0.1 + 0) / 3
        0.067
        >>> round(separation_loss(affinity, [(0, 1, 2)]), 3)  # 1 - (0.4 + 0.6 + 0.4) / 3
        0.533
    """
    losses = [1.0 - affinity[np.ix_(group, group)].min(axis=1) for group in groups]
    return float(np.mean(np.concatenate(losses)))


def best_grouping(
    affinity: np.ndarray, branches: Sequence[tuple[int, ...]], cost_per_group: float
) -> tuple[tuple[int, ...], ...]:
    """Returns the tasks of each group of branches that go on together below the stage at which the branches meet.

    It is the grouping with the smallest `cost_per_group * (groups - 1) + separation_loss`; of equal ones that of fewer
    groups. The paper looks at the groupings of a spectral clustering; here all of them are tried, or those of an
    average-linkage clustering where there are more than 8 branches.

    Args:
        affinity: Affinity of all tasks.
        branches: The tasks of every branch.
        cost_per_group: What another group costs.

    Examples:
        >>> affinity = np.array([[1.0, 0.9, 0.4], [0.9, 1.0, 0.6], [0.4, 0.6, 1.0]])
        >>> best_grouping(affinity, [(0,), (1,), (2,)], 0.2)
        ((0, 1), (2,))
    """
    between = branch_affinity(affinity, branches)
    count = len(branches)
    candidates = _partitions(range(count)) if count <= EXHAUSTIVE else _clusterings(between)

    def cost(groups: Sequence[Sequence[int]]) -> tuple[float, int, Sequence[Sequence[int]]]:
        value = cost_per_group * (len(groups) - 1) + separation_loss(between, groups)
        return round(value, 12), len(groups), sorted(map(sorted, groups))

    best = min(candidates, key=cost)
    return tuple(sorted(tuple(sorted(task for place in group for task in branches[place])) for group in best))


def _partitions(places: Sequence[int]) -> Iterator[list[list[int]]]:
    """Yields every division into groups."""
    if not places:
        yield []
        return
    for groups in _partitions(places[1:]):
        yield [[places[0]], *groups]
        for number, group in enumerate(groups):
            yield [*groups[:number], [places[0], *group], *groups[number + 1 :]]


def _clusterings(affinity: np.ndarray) -> Iterator[list[list[int]]]:
    """Yields the groups of a hierarchical clustering, for every number of them."""
    from scipy.cluster.hierarchy import cut_tree, linkage
    from scipy.spatial.distance import squareform

    tree = linkage(squareform(1.0 - affinity, checks=False), "average")
    for labels in cut_tree(tree).T:
        yield [np.flatnonzero(labels == label).tolist() for label in np.unique(labels)]
