"""Grids of images: how large voxels and volumes are, whether images of a subject share a grid, how to cut them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sfgkeras.data.grids import Grid, overlaps, resampled_shape, turned_grid
from sfgkeras.data.image_formats import times
from sfgkeras.data.references import ImageRef

AXES = ("R", "A", "S")
DIRECTIONS = ("left to right", "back to front", "foot to head")
ANISOTROPIC = 3.0
"""How many times another side of a voxel the thickest is from which on slices count as thick; nnU-Net's value."""
SAME = 0.01
"""Relative difference of voxel sides up to which they are the same."""
THIN = 0.5
"""Part of the other axes' voxels below which an axis is that of a slab, across which slices are cut."""


def relation(one: Mapping[str, ImageRef], other: Mapping[str, ImageRef]) -> str:
    """Says how two sources lie to each other: on the `same` grid, `overlapping`, `apart`, or without `shared` subject.

    Orientations may differ. The worst of the subjects that have both counts, but for one in ten.
    """
    found = []
    for subject in one.keys() & other.keys():
        a, b = one[subject].header(), other[subject].header()
        are_photos = one[subject].is_photo and other[subject].is_photo
        if (are_photos and a.shape[:3] == b.shape[:3]) or turned_grid(a, AXES).is_same(turned_grid(b, AXES)):
            found.append("same")
        else:
            found.append("overlapping" if overlaps(a, b) else "apart")
    if not found:
        return "shared"
    counts = Counter(found)
    for worst in ("apart", "overlapping"):
        if counts[worst] > len(found) // 10:
            return worst
    return "same"


@dataclass(frozen=True)
class Geometry:
    """Voxels and volumes of a source, axes turned to right, front and head.

    Attributes:
        spacings: Voxel sides in mm, `(subjects, 3)`.
        shapes: Voxels, `(subjects, 3)`.
        orientations: How many files are stored in which orientation.
    """

    spacings: np.ndarray
    shapes: np.ndarray
    orientations: Mapping[str, int]

    @property
    def median_spacing(self) -> np.ndarray:
        """Median voxel sides in mm, `(3,)`."""
        return np.median(self.spacings, axis=0)

    @property
    def is_uniform(self) -> bool:
        """Whether all volumes have the same voxels."""
        return bool((np.ptp(self.spacings, axis=0) <= SAME * self.median_spacing).all())

    def target_spacing(self) -> tuple[tuple[float, float, float], str]:
        """Returns the voxels that volumes are best brought to, and why; nnU-Net's rule.

        It is the median; across slices that are three times as thick as wide, and three times as few, the 10th
        percentile, so that thin slices are not thrown away.
        """
        sides = self.median_spacing.copy()
        shape = np.median([self.shape_at(sides, i) for i in range(len(self.shapes))], axis=0)
        worst = int(sides.argmax())
        others = [axis for axis in range(3) if axis != worst]
        why = f"the median of {len(self.spacings)} volumes, which have {self.describe_spacings()}"
        if sides[worst] >= ANISOTROPIC * sides[others].max() and shape[worst] * ANISOTROPIC <= shape[others].min():
            thin = float(np.percentile(self.spacings[:, worst], 10))
            if thin < sides[worst] * (1 - SAME):
                sides[worst] = max(thin, sides[others].max())
                why += f"; across the thick slices the 10th percentile, {sides[worst]:.3g} mm, to keep the thin ones"
        x, y, z = (float(f"{side:.5g}") for side in sides)
        return (x, y, z), why

    def shape_at(self, spacing: Sequence[float] | np.ndarray, index: int) -> tuple[int, int, int]:
        """Returns the voxels of one volume resampled to a voxel size."""
        return resampled_shape(self.shapes[index], self.spacings[index], spacing)

    def shapes_at(self, spacing: Sequence[float] | None) -> np.ndarray:
        """Returns the voxels of all volumes resampled to a voxel size; as they are for None. `(subjects, 3)`."""
        if spacing is None:
            return self.shapes
        return np.array([self.shape_at(spacing, index) for index in range(len(self.shapes))])

    def describe_spacings(self) -> str:
        """Words the voxel sizes, e.g. `1 x 1 x 3 mm`, or from which to which."""
        low, high = self.spacings.min(axis=0), self.spacings.max(axis=0)
        if self.is_uniform:
            return f"{times([float(f'{side:.3g}') for side in self.median_spacing])} mm"
        return f"{times([float(f'{s:.3g}') for s in low])} to {times([float(f'{s:.3g}') for s in high])} mm"

    def describe_shapes(self) -> str:
        """Words the sizes of volumes."""
        low, high = self.shapes.min(axis=0), self.shapes.max(axis=0)
        if (low == high).all():
            return f"{times(low)} voxels"
        return f"{times(low)} to {times(high)} voxels"


def measure_geometry(images: Mapping[str, ImageRef]) -> Geometry:
    """Reads the geometry of all images of a source from their headers."""
    grids: list[Grid] = []
    orientations: Counter[str] = Counter()
    for image in images.values():
        header = image.header()
        orientations["".join(header.axcodes)] += 1
        grids.append(turned_grid(header, None if image.is_photo else AXES))
    shapes = np.array([grid.shape[:3] for grid in grids])
    return Geometry(np.array([grid.spacing for grid in grids]), shapes, dict(orientations.most_common()))


def slice_axis(shape: Sequence[float], spacing: Sequence[float]) -> tuple[int, str]:
    """Returns the axis that slices are cut across, and why."""
    sides, sizes = np.asarray(spacing, float), np.asarray(shape, float)
    worst, fewest = int(sides.argmax()), int(sizes.argmin())
    if sides[worst] >= 1.5 * np.delete(sides, worst).max():
        return worst, f"slices are thickest from {DIRECTIONS[worst]}, {sides[worst]:.3g} mm"
    if sizes[fewest] < THIN * np.delete(sizes, fewest).min():
        return fewest, f"the volume is thinnest from {DIRECTIONS[fewest]}, {sizes[fewest]:.0f} voxels"
    return 2, "no axis has thicker or fewer slices than the others, and axial ones are the usual"
