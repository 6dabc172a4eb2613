"""Which of several allocations of filters is the best one, by losses on held-out data."""

import math
from collections.abc import Mapping

Losses = Mapping[str, float]
"""Mean loss by task."""


def missed_shares(untrained: Losses, losses: Mapping[str, Losses]) -> dict[str, float]:
    """Returns the score of every candidate: the share of the possible improvement that it misses; less is better.

    For task t and candidate c that is `(L_ct - min_c L_ct) / (L_0t - min_c L_ct)`, with the loss `L_0t` of the
    untrained network: 0 for the best candidate of the task, 1 for one that has learned nothing. It is the same
    whatever the unit of a loss and wherever its zero is, so that tasks can be averaged; the weights of the tasks do not
    enter, for they say how losses are traded in training, not what each task is worth. A task that no candidate has
    improved says nothing, and does not count.

    Args:
        untrained: Losses of the untrained network.
        losses: Losses by candidate; one of them that is no finite number makes the score infinite.

    Examples:
        >>> scores = missed_shares({"ct": 1.0, "organs": 20.0}, {
        ...     "a": {"ct": 0.5, "organs": 15.0}, "b": {"ct": 0.6, "organs": 10.0}})
        >>> {name: round(score, 3) for name, score in scores.items()}  # (0 + 0.5) / 2 and (0.2 + 0) / 2
        {'a': 0.25, 'b': 0.1}
    """
    finite = {name: found for name, found in losses.items() if all(map(math.isfinite, found.values()))}
    lowest = {task: min((found[task] for found in finite.values()), default=math.nan) for task in untrained}
    scale = {task: untrained[task] - lowest[task] for task in untrained}
    telling = [task for task in untrained if scale[task] > 0]
    scores = dict.fromkeys(losses, math.inf)
    for name, found in finite.items():
        shares = [(found[task] - lowest[task]) / scale[task] for task in telling]
        scores[name] = sum(shares) / len(shares) if shares else 0.0
    return scores


def select(scores: Mapping[str, float], multiplies: Mapping[str, int], keep: int, tolerance: float) -> list[str]:
    """Returns the candidates that go on, in their order in `scores`.

    Args:
        scores: Scores by candidate, from `missed_shares`.
        multiplies: Multiplies of each candidate's network.
        keep: How many go on: those of the lowest scores, the cheaper ones first; or one, which `choose` finds. Those
            that have diverged never go on.
        tolerance: See `choose`.

    Raises:
        ValueError: If no score is finite.

    Examples:
        >>> select({"a": 0.1, "b": 0.105, "c": 0.3}, {"a": 20, "b": 10, "c": 5}, 2, 0.01)
        ['a', 'b']
    """
    best = choose(scores, multiplies, tolerance)
    if keep == 1:
        return [best]
    finite = [name for name in scores if math.isfinite(scores[name])]
    kept = sorted(finite, key=lambda name: (scores[name], multiplies[name]))[:keep]
    return [name for name in scores if name in kept]


def survivors(standing: int, rungs_left: int) -> int:
    """Returns how many candidates go on from a rung: as many leave at each, rather later than earlier; one stays.

    Args:
        standing: Candidates that are judged at this rung.
        rungs_left: Rungs from this one on, itself included.

    Examples:
        >>> survivors(4, 3), survivors(3, 2), survivors(2, 1)
        (3, 2, 1)
        >>> survivors(4, 2), survivors(5, 2), survivors(2, 3)
        (3, 3, 2)
    """
    return standing - (standing - 1) // rungs_left


def choose(scores: Mapping[str, float], multiplies: Mapping[str, int], tolerance: float) -> str:
    """Returns the candidate that goes on: the cheapest of those whose score is the lowest, to a tolerance.

    Args:
        scores: Scores by candidate, from `missed_shares`.
        multiplies: Multiplies of each candidate's network; of two with as many the first one is taken.
        tolerance: How far above the lowest a score counts as the lowest.

    Raises:
        ValueError: If no score is finite.

    Examples:
        >>> choose({"a": 0.1, "b": 0.105, "c": 0.3}, {"a": 20, "b": 10, "c": 5}, 0.01)
        'b'
    """
    lowest = min(scores.values())
    if not math.isfinite(lowest):
        raise ValueError(f"no candidate of {', '.join(scores)} has a finite loss: training has diverged")
    equal = [name for name, score in scores.items() if score <= lowest + tolerance]
    return min(equal, key=lambda name: multiplies[name])
