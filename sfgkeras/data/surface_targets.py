"""Targets that change with what is done to the picture of a scene: how far it is, and how its surfaces are turned.

A window that is turned, mirrored or zoomed is the picture of another scene (Eigen and Fergus 2015, section 5): zoomed
by s it is s times as near, and its normals turn with it. Both follow from how positions change from voxel to voxel of
the window, and so hold for elastic deformations too.
"""

import numpy as np

from sfgkeras.data.directions import unit_vectors
from sfgkeras.data.window_targets import MapTarget, Place


class LogDepthTarget(MapTarget):
    """The natural logarithm of a depth per voxel; what is zoomed by s is s times as near."""

    def fill_values(self, target: np.ndarray, place: Place, out: np.ndarray) -> None:
        """Interpolates, and takes the logarithm of the zoom off."""
        super().fill_values(target, place, out)
        steps = place.window_map.steps()
        # The window shows 1 / |det| times what it covers; a zoom is that along one axis.
        nearer = np.log(np.maximum(np.abs(np.linalg.det(steps)), np.finfo(np.float32).tiny)) / steps.shape[-1]
        out += np.asarray(nearer, np.float32)[..., None]


class VectorsTarget(MapTarget):
    """A normal of three components per voxel, along the axes of the volume; it turns with the window, and has length 1.

    A normal stands on the surface: with tangents `t = A t'` of volume and window, and both products zero, it is
    `n' = A^T n`, in mm. The components along axes that the network does not see stay.
    """

    def fill_values(self, target: np.ndarray, place: Place, out: np.ndarray) -> None:
        """Interpolates and turns."""
        super().fill_values(target, place, out)
        axes, spacing = list(place.cut.axes), np.asarray(place.spacing)
        in_mm = place.window_map.steps() * spacing[:, None] / spacing[None, :]
        if not np.array_equal(in_mm, np.eye(len(axes))):
            out[..., axes] = np.einsum("...ij,...i->...j", in_mm, out[..., axes])
        out[...] = unit_vectors(out)
