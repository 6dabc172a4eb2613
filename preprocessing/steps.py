"""What a preprocessing step of the user's own is."""

from dataclasses import dataclass
from typing import ClassVar, Literal

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

    def apply(self, volume: Volume, context: StepContext) -> Volume:
        """Returns the volume after the step.

        Args:
            volume: One subject's image, float32 `(x, y, z)`, with its label maps; see `Volume.with_array`.
            context: The subject's id and companion files.
        """
        raise NotImplementedError(f"{type(self).__name__} lacks apply")
