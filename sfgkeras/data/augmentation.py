"""Random augmentation of a window: what is drawn, and the affine map that it amounts to.

Rotation, scaling and flips are one linear map about the centre of the window, so that every voxel is
interpolated once, straight from the volume. `sfgkeras.data.interpolation` samples; `sfgkeras.data.windows`
puts both together.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sfgkeras.data.intensity import Intensities
from sfgkeras.errors import ConfigError

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
"""Width of a Gaussian at half maximum, in standard deviations."""


@dataclass(frozen=True)
class Deformation:
    """Elastic deformation by a cubic B-spline with random control points, as NiftyNet's.

    Attributes:
        num_control_points: Intervals of the control point grid along each axis of the volume.
        sigma: Standard deviation of the control points' displacements, in voxels of the finest axis. An axis
            with larger voxels is deformed by the same length in mm.
        proportion: Probability that a window is deformed.
    """

    num_control_points: int = 4
    sigma: float = 15.0
    proportion: float = 0.5

    def __post_init__(self) -> None:
        if int(self.num_control_points) != self.num_control_points or self.num_control_points < 1:
            raise ConfigError(f"num_ctrl_points = {self.num_control_points!r} is not a whole number of at least 1")
        if not 0 <= self.sigma < math.inf:
            raise ConfigError(f"deformation_sigma = {self.sigma!r} is not a number of voxels of at least 0")
        if not 0 <= self.proportion <= 1:
            raise ConfigError(f"proportion_to_deform = {self.proportion!r} is not between 0 and 1")


@dataclass(frozen=True)
class AugmentationParameters:
    """One draw of everything that is random, for one window.

    Attributes:
        angles: Degrees: one angle for 2-D windows, the angles about x, y and z for 3-D ones.
        factors: Magnification along each axis of the window.
        flips: For each of the three axes of the volume, whether it is mirrored.
        bias_coefficients: `(order + 1,) * rank`, or None for no bias field.
        control_points: Displacements in units of voxels of the finest axis, `(rank, n + 3, ..)`, or None.
    """

    angles: tuple[float, ...]
    factors: tuple[float, ...]
    flips: tuple[bool, bool, bool] = (False, False, False)
    bias_coefficients: np.ndarray | None = None
    control_points: np.ndarray | None = None

    @property
    def is_exact(self) -> bool:
        """Whether voxels are only copied (and mirrored), so that nothing is interpolated."""
        return not any(self.angles) and all(f == 1 for f in self.factors) and self.control_points is None


@dataclass(frozen=True)
class Augmentation:
    """What may be drawn at random; everything is off by default.

    Attributes:
        rotation_angle: Lowest and highest angle in degrees. 2-D windows turn about the normal of their slice,
            a positive angle from the first axis towards the second as in `numpy.rot90`; 3-D windows turn
            about x, then y, then z, by one angle each, a positive one right-handed. Angles are true in mm
            whatever the spacing.
        scaling_percentage: Lowest and highest magnification in percent: (-10, 10) draws factors between 0.9
            and 1.1; a structure is larger in the window where the factor is above 1.
        isotropic_scaling: Whether all axes share one factor.
        flip_axes: Axes of the volume (0, 1, 2), each mirrored with probability 1/2.
        bias_field_range: Lowest and highest coefficient of the bias field's polynomial.
        bias_field_order: Highest total power of that polynomial.
        deformation: Elastic deformation, or None.
        antialiasing: Whether images are smoothed before they are shrunk.
        intensities: What is changed of the image's intensities, once it has its place.
    """

    rotation_angle: tuple[float, float] | None = None
    scaling_percentage: tuple[float, float] | None = None
    isotropic_scaling: bool = False
    flip_axes: tuple[int, ...] = ()
    bias_field_range: tuple[float, float] | None = None
    bias_field_order: int = 3
    deformation: Deformation | None = None
    antialiasing: bool = True
    intensities: Intensities = field(default_factory=Intensities)

    def __post_init__(self) -> None:
        for name in ("rotation_angle", "scaling_percentage", "bias_field_range"):
            _check_range(name, getattr(self, name))
        if self.scaling_percentage is not None and self.scaling_percentage[0] <= -100:
            raise ConfigError(
                f"scaling_percentage = {self.scaling_percentage} shrinks to nothing; both must be above -100"
            )
        if any(axis not in (0, 1, 2) for axis in self.flip_axes) or len(set(self.flip_axes)) != len(self.flip_axes):
            raise ConfigError(f"random_flipping_axes = {tuple(self.flip_axes)}: axes are 0, 1 and 2, each at most once")
        if int(self.bias_field_order) != self.bias_field_order or self.bias_field_order < 1:
            raise ConfigError(f"bf_order = {self.bias_field_order!r} is not a whole number of at least 1")

    def draw(self, rng: np.random.Generator, spatial_rank: int) -> AugmentationParameters:
        """Draws the parameters of one window.

        Args:
            rng: Source of randomness.
            spatial_rank: 2 or 3.

        Returns:
            The parameters; those of what is off are neutral.
        """
        angles: tuple[float, ...] = (0.0,) if spatial_rank == 2 else (0.0, 0.0, 0.0)
        factors: tuple[float, ...] = (1.0,) * spatial_rank
        flips = [False, False, False]
        if self.rotation_angle is not None:
            angles = tuple(rng.uniform(*self.rotation_angle, len(angles)).tolist())
        if self.scaling_percentage is not None:
            count = 1 if self.isotropic_scaling else spatial_rank
            drawn = (1.0 + rng.uniform(*self.scaling_percentage, count) / 100.0).tolist()
            factors = tuple(drawn * (spatial_rank // count))
        for axis in self.flip_axes:
            flips[axis] = bool(rng.random() < 0.5)
        return AugmentationParameters(
            angles,
            factors,
            (flips[0], flips[1], flips[2]),
            self._draw_bias(rng, spatial_rank),
            self._draw_control_points(rng, spatial_rank),
        )

    def smoothing(self, parameters: AugmentationParameters) -> tuple[float, ...]:
        """Returns the standard deviations in voxels, one per axis, that shrinking by the drawn factors calls for.

        A Gaussian whose width at half maximum joins that of the old voxels to that of the new ones (Cardoso et al.
        2015, "Scale factor point spread function matching"): `sqrt(1 / factor^2 - 1) / 2.355`.
        """
        if not self.antialiasing:
            return ()
        return tuple(math.sqrt(max(factor**-2 - 1.0, 0.0)) / FWHM_PER_SIGMA for factor in parameters.factors)

    def _draw_bias(self, rng: np.random.Generator, spatial_rank: int) -> np.ndarray | None:
        if self.bias_field_range is None:
            return None
        shape = (int(self.bias_field_order) + 1,) * spatial_rank
        coefficients = rng.uniform(*self.bias_field_range, shape)
        return np.where(np.sum(np.indices(shape), axis=0) <= self.bias_field_order, coefficients, 0.0)

    def _draw_control_points(self, rng: np.random.Generator, spatial_rank: int) -> np.ndarray | None:
        if self.deformation is None or rng.random() >= self.deformation.proportion:
            return None
        points = int(self.deformation.num_control_points) + 3
        return self.deformation.sigma * rng.standard_normal((spatial_rank, *(points,) * spatial_rank))


def sampling_matrix(
    angles: Sequence[float], factors: Sequence[float], flips: Sequence[bool], spacing: Sequence[float]
) -> np.ndarray:
    """Returns the matrix that leads from a voxel of the window to the voxel of the volume that it shows.

    The content of the window is mirrored, then scaled, then rotated, in mm, about the window's centre; this
    is the inverse of that map, in voxels.

    Args:
        angles: Degrees, one (2-D) or three (3-D).
        factors: Magnification along each axis.
        flips: Whether each axis is mirrored.
        spacing: Voxel size along each axis in mm.

    Returns:
        A matrix `(rank, rank)` for offsets from the window's centre.
    """
    rank = len(factors)
    rotation = _plane_rotation(angles[0], 0, 1, 2) if rank == 2 else _rotation_3d(angles)
    signed = np.array([-factor if flip else factor for factor, flip in zip(factors, flips, strict=True)])
    millimetres = np.array(spacing, np.float64)
    return rotation.T * millimetres / (signed * millimetres)[:, None]


def _rotation_3d(angles: Sequence[float]) -> np.ndarray:
    """Returns the rotation about x, then y, then z."""
    about_x, about_y, about_z = (
        _plane_rotation(angle, (axis + 1) % 3, (axis + 2) % 3, 3) for axis, angle in enumerate(angles)
    )
    return about_z @ about_y @ about_x


def _plane_rotation(degrees: float, first: int, second: int, rank: int) -> np.ndarray:
    """Returns the rotation that turns the axis `first` towards the axis `second`."""
    radians = math.radians(degrees)
    cosine, sine = math.cos(radians), math.sin(radians)
    if rank == 2:
        return np.array(((cosine, -sine), (sine, cosine)))
    rotation = np.eye(rank)
    rotation[first, first] = rotation[second, second] = cosine
    rotation[second, first] = sine
    rotation[first, second] = -sine
    return rotation


def _check_range(name: str, values: tuple[float, float] | None) -> None:
    if values is None:
        return
    if len(values) != 2 or not all(math.isfinite(value) for value in values) or values[0] > values[1]:
        raise ConfigError(f"{name} = {tuple(values)} is not a lowest and a highest number, e.g. -10, 10")
