"""How the learning rate changes while a network trains: what `[TRAINING] lr_schedule` may choose."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sfgkeras.errors import Problem
from sfgkeras.settings import Settings, setting
from sfgkeras.tables.entry import Entry

Schedule = Callable[[float], float]
"""Gives the factor of the learning rate for the fraction of the training that has passed, 0 to 1."""

BuildSchedule = Callable[..., Schedule]
"""Builds a schedule of the fields of its settings."""


@dataclass(frozen=True)
class PolynomialSettings(Settings):
    """Settings of `polynomial`."""

    power: float = setting(0.9, "Power of the fraction that is left; 0.9 is nnU-Net's, 1 a straight line.", gt=0)


@dataclass(frozen=True)
class CosineSettings(Settings):
    """Settings of `cosine`."""

    end: float = setting(0.0, "Fraction of the learning rate that is left at the end.", ge=0, le=1)


@dataclass(frozen=True)
class StepsSettings(Settings):
    """Settings of `steps`.

    Attributes:
        at: Rising fractions of what follows the warm-up.
        factor: What the rate is multiplied by at each of them.
    """

    at: tuple[float, ...] = setting(
        (0.5, 0.75), "Fractions of the training, after `warm_up`, at which the rate changes.", gt=0, lt=1
    )
    factor: float = setting(0.1, "What the rate is multiplied by at each of them.", gt=0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", tuple(self.at))
        super().__post_init__()
        if not self.at or list(self.at) != sorted(set(self.at)):
            raise Problem("is no list of rising fractions", "write e.g. 0.5, 0.75", key="at", value=self.at)


def _constant() -> BuildSchedule:
    return lambda: lambda passed: 1.0


def _linear() -> BuildSchedule:
    return lambda: lambda passed: 1.0 - passed


def _polynomial() -> BuildSchedule:
    return lambda power: lambda passed: (1.0 - passed) ** power


def _cosine() -> BuildSchedule:
    return lambda end: lambda passed: end + (1.0 - end) * 0.5 * (1.0 + math.cos(math.pi * passed))


def _steps() -> BuildSchedule:
    return lambda at, factor: lambda passed: factor ** sum(passed >= each for each in at)


SCHEDULES: dict[str, Entry[BuildSchedule]] = {
    "constant": Entry(_constant, "it stays"),
    "linear": Entry(_linear, "it falls to 0 in a straight line"),
    "polynomial": Entry(_polynomial, "it falls to 0 as a power of what is left, as nnU-Net's", PolynomialSettings),
    "cosine": Entry(_cosine, "it falls along half a cosine (Loshchilov and Hutter 2017)", CosineSettings),
    "steps": Entry(_steps, "it falls in steps", StepsSettings),
}


def build_schedule(name: str, settings: dict[str, Any] | None = None) -> Schedule:
    """Builds a schedule by its name; settings that are not given have their defaults.

    Examples:
        >>> schedule = build_schedule("steps", {"at": (0.25, 0.5), "factor": 0.5})
        >>> [schedule(passed) for passed in (0, 0.25, 0.4, 0.5, 1)]
        [1.0, 0.5, 0.5, 0.25, 0.25]
    """
    entry = SCHEDULES[name]
    defaults = vars(entry.settings()) if entry.settings is not None else {}
    return entry.load()(**{**defaults, **(settings or {})})


def rate_factor(step: int, steps: int, schedule: Schedule, warm_up: int = 0) -> float:
    """Returns the factor of the learning rate for one step.

    Args:
        step: Number of the step, from 0.
        steps: How many there are in all.
        schedule: What follows the warm-up.
        warm_up: Steps in which the rate rises in a straight line, to reach its full value in the last of them.

    Examples:
        >>> [rate_factor(step, 6, lambda passed: 1 - passed, warm_up=2) for step in range(6)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """
    if step < warm_up:
        return (step + 1) / warm_up
    return schedule((step - warm_up) / max(1, steps - warm_up))
