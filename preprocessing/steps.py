"""What a preprocessing step of the user's own is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from sfgkeras.preprocessing.fitted import FittedSettings
from sfgkeras.preprocessing.volume import StepContext, Volume


@dataclass(frozen=True)
class OwnStep:
    """Base of a step of the user's own, named `my.module.Class` in `steps`.

    A subclass is a frozen dataclass: its fields, each with a type and a default, are settings, named
    `<class name>_<field>` in lower case. A result is known by the path of the class and its settings; a change of the
    code is not seen: give the class another name, or the results another folder.

    Attributes:
        changes: What the step changes: `values` on the same grid; `grid`, with every voxel at its place in space; or
            `place`, which moves the image.
    """

    changes: ClassVar[Literal["values", "grid", "place"]] = "values"
    all_fields_are_settings: ClassVar[bool] = True

    def apply(self, volume: Volume, context: StepContext) -> Volume:
        """Returns the volume after the step.

        Args:
            volume: One subject's image, float32 `(x, y, z)`, with its label maps; see `Volume.with_array`.
            context: The subject's id and companion files.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks apply")


@dataclass(frozen=True)
class OwnFittedStep(FittedSettings, OwnStep):
    """Base of a step of the user's own that learns from the training subjects.

    Every training subject is measured as the steps before leave it, what `fit` makes of all of them is kept in a file,
    and `apply` finds it in `context.fitted.numbers`.
    """

    def measure(self, volume: Volume) -> np.ndarray:
        """Returns what is measured of one training subject, `(n,)`; every subject gives as many numbers.

        Args:
            volume: The subject as the steps before left it.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks measure")

    def fit(self, measured: Sequence[np.ndarray]) -> Mapping[str, float | Sequence[float]]:
        """Returns what the step learns, by name: numbers, or lists of them.

        Args:
            measured: What `measure` returned, by training subject.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks fit")
