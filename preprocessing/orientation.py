"""Reorienting a volume: axes are permuted and flipped, voxels keep their values and places."""

from dataclasses import dataclass

from sfgkeras.data.nifti import axis_codes, reorient
from sfgkeras.data.orientation import check_axis_codes
from sfgkeras.preprocessing.volume import StepContext, Volume
from sfgkeras.settings import Settings, setting
from sfgkeras.values import Reads, parse_axcodes


@dataclass(frozen=True)
class ReorientSettings(Settings):
    """Settings of the step `reorient`."""

    axcodes: tuple[str, ...] = setting(
        ("R", "A", "S"),
        "Directions in which the three axes shall grow: `RAS`, or `R, A, S`.",
        reads=Reads(parse_axcodes, "orientation"),
    )

    def __post_init__(self) -> None:
        letters = self.axcodes[0] if len(self.axcodes) == 1 else self.axcodes
        object.__setattr__(self, "axcodes", check_axis_codes(tuple(letters)))
        super().__post_init__()


def reorient_step(volume: Volume, settings: ReorientSettings, context: StepContext) -> Volume:
    """Turns one subject's image and label maps; nothing is interpolated."""
    array, affine = reorient(volume.array, volume.affine, settings.axcodes)
    labels = {
        name: reorient(label_map, volume.affine, settings.axcodes)[0] for name, label_map in volume.labels.items()
    }
    before = "".join(axis_codes(volume.affine))
    return volume.with_grid(array, affine, labels, f"reoriented from {before} to {''.join(settings.axcodes)}")
