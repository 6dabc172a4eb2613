"""Reorienting a volume: axes are permuted and flipped, voxels keep their values and places."""

from dataclasses import dataclass

from sfgkeras.data.nifti import axis_codes, reorient
from sfgkeras.data.orientation import check_axis_codes
from sfgkeras.preprocessing.volume import StepContext, Volume


@dataclass(frozen=True)
class ReorientSettings:
    """Settings of the step `reorient`.

    Attributes:
        axcodes: Directions in which the three axes shall grow: `RAS`, or `R, A, S`.
    """

    axcodes: tuple[str, ...] = ("R", "A", "S")

    def __post_init__(self) -> None:
        letters = self.axcodes[0] if len(self.axcodes) == 1 else self.axcodes
        object.__setattr__(self, "axcodes", check_axis_codes(tuple(letters)))


def reorient_step(volume: Volume, settings: ReorientSettings, context: StepContext) -> Volume:
    """Turns one subject's image and label maps; nothing is interpolated."""
    array, affine = reorient(volume.array, volume.affine, settings.axcodes)
    labels = {
        name: reorient(label_map, volume.affine, settings.axcodes)[0] for name, label_map in volume.labels.items()
    }
    before = "".join(axis_codes(volume.affine))
    return volume.with_grid(array, affine, labels, f"reoriented from {before} to {''.join(settings.axcodes)}")
