"""The optimisers that `[TRAINING] optimiser` may choose: Keras', under NiftyNet's names."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sfgkeras.settings import Settings, setting
from sfgkeras.tables.entry import Entry

if TYPE_CHECKING:
    import keras

BuildOptimiser = Callable[..., "keras.optimizers.Optimizer"]
"""Builds an optimiser of a learning rate and of the fields of the settings."""


@dataclass(frozen=True)
class AdamSettings(Settings):
    """Settings of `adam` and `nadam` (Kingma and Ba 2015)."""

    beta_1: float = setting(0.9, "Decay per iteration of the mean of the gradients.", ge=0, lt=1)
    beta_2: float = setting(0.999, "Decay per iteration of the mean of their squares.", ge=0, lt=1)
    epsilon: float = setting(1e-7, "What is added to the root of that mean, so that nothing is divided by 0.", gt=0)


@dataclass(frozen=True)
class AdagradSettings(Settings):
    """Settings of `adagrad`."""

    initial_accumulator_value: float = setting(0.1, "What the sums of squares of the gradients start from.", ge=0)
    epsilon: float = setting(1e-7, "What is added to the root of the sum, so that nothing is divided by 0.", gt=0)


@dataclass(frozen=True)
class RmspropSettings(Settings):
    """Settings of `rmsprop`."""

    rho: float = setting(0.9, "Decay per iteration of the mean of the squares of the gradients.", ge=0, lt=1)
    momentum: float = setting(0.0, "Fraction of the last step that the next one begins with.", ge=0, lt=1)
    epsilon: float = setting(1e-7, "What is added to the root of that mean, so that nothing is divided by 0.", gt=0)


@dataclass(frozen=True)
class MomentumSettings(Settings):
    """Settings of `momentum` and `nesterov`."""

    momentum: float = setting(0.9, "Fraction of the last step that the next one begins with.", ge=0, lt=1)


def _adam() -> BuildOptimiser:
    from sfgkeras.networks.flat_adam import FlatAdam

    return FlatAdam


def _nadam() -> BuildOptimiser:
    import keras

    return keras.optimizers.Nadam


def _adagrad() -> BuildOptimiser:
    import keras

    return keras.optimizers.Adagrad


def _rmsprop() -> BuildOptimiser:
    import keras

    return keras.optimizers.RMSprop


def _momentum() -> BuildOptimiser:
    import keras

    return functools.partial(keras.optimizers.SGD, nesterov=False)


def _nesterov() -> BuildOptimiser:
    import keras

    return functools.partial(keras.optimizers.SGD, nesterov=True)


def _sgd() -> BuildOptimiser:
    import keras

    return keras.optimizers.SGD


OPTIMISERS: dict[str, Entry[BuildOptimiser]] = {
    "adam": Entry(_adam, "steps scaled by running means of the gradients and their squares", AdamSettings),
    "nadam": Entry(_nadam, "`adam` with Nesterov's look ahead", AdamSettings),
    "adagrad": Entry(_adagrad, "steps scaled by the sum of squares of the gradients", AdagradSettings),
    "rmsprop": Entry(_rmsprop, "steps scaled by a running mean of squares of the gradients", RmspropSettings),
    "momentum": Entry(_momentum, "gradient descent with momentum", MomentumSettings),
    "nesterov": Entry(_nesterov, "gradient descent with Nesterov's momentum", MomentumSettings),
    "sgd": Entry(_sgd, "gradient descent", aliases=("gradientdescent",)),
}
