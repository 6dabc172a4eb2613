"""How the learning rate changes while a network trains: what `[TRAINING] lr_schedule` may choose."""

import math
from collections.abc import Callable

from sfgkeras.tables.entry import Entry

Schedule = Callable[[float], float]
"""Gives the factor of the learning rate for the fraction of the training that has passed, 0 to 1."""

POWER = 0.9
"""The power of nnU-Net's polynomial (Isensee et al. 2021)."""


def _constant() -> Schedule:
    return lambda passed: 1.0


def _linear() -> Schedule:
    return lambda passed: 1.0 - passed


def _polynomial() -> Schedule:
    return lambda passed: (1.0 - passed) ** POWER


def _cosine() -> Schedule:
    return lambda passed: 0.5 * (1.0 + math.cos(math.pi * passed))


SCHEDULES: dict[str, Entry[Schedule]] = {
    "constant": Entry(_constant, "it stays"),
    "linear": Entry(_linear, "it falls to 0 in a straight line"),
    "polynomial": Entry(_polynomial, "it falls to 0 as (1 - t)^0.9, as nnU-Net's"),
    "cosine": Entry(_cosine, "it falls to 0 along half a cosine (Loshchilov and Hutter 2017)"),
}


def rate_factor(step: int, steps: int, schedule: Schedule, warm_up: int = 0) -> float:
    """Returns the factor of the learning rate for one step.

    Args:
        step: Number of the step, from 0.
        steps: How many there are in all.
        schedule: What follows the warm-up.
        warm_up: Steps in which the rate rises in a straight line, to reach its full value in the last of them.

    Example:
        >>> [rate_factor(step, 6, lambda passed: 1 - passed, warm_up=2) for step in range(6)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if step < warm_up:
        return (step + 1) / warm_up
    return schedule((step - warm_up) / max(1, steps - warm_up))
