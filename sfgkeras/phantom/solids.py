"""Solid shapes for synthetic cohorts: each tells how far a point lies outside it, in mm.

Distances are negative inside. They are exact for tubes and spheres and first-order approximations near the
surface for the rest, which is what soft edges need. All coordinates are float32 arrays of one shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

Point = Sequence[float] | np.ndarray


class Shape(Protocol):
    """What a shape can do."""

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the lowest and highest corner of a box around the shape, in mm."""

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Returns the signed distance of every point from the surface, in mm; negative inside."""


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid, or with a power above 2 something between an ellipsoid and a box.

    Attributes:
        center: In mm.
        radii: Half axes in mm.
        angles: Rotation about x, y and z in degrees, in that order.
        power: 2 for an ellipsoid; 4 for rounded boxes.
    """

    center: Point
    radii: Point
    angles: Point = (0.0, 0.0, 0.0)
    power: int = 2

    @cached_property
    def _axes(self) -> np.ndarray:
        return Rotation.from_euler("xyz", self.angles, degrees=True).as_matrix().astype(np.float32)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the box around the shape."""
        half = np.abs(self._axes) @ np.asarray(self.radii, np.float32)
        return np.asarray(self.center) - half, np.asarray(self.center) + half

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Returns `f (f - 1) / |grad f|` for an ellipsoid, `(f - 1) / |grad f|` otherwise."""
        shifted = [p - np.float32(c) for p, c in zip((x, y, z), self.center, strict=True)]
        inverse = (1.0 / np.asarray(self.radii)).astype(np.float32)
        scaled = [sum(self._axes[row, axis] * shifted[row] for row in range(3)) * inverse[axis] for axis in range(3)]
        tiny = np.float32(1e-8)
        if self.power == 2:
            squares = [q * q for q in scaled]
            norm = np.sqrt(sum(squares) + tiny)
            slope = np.sqrt(sum(s * i * i for s, i in zip(squares, inverse, strict=True)) + tiny * inverse.max() ** 2)
            return norm * (norm - 1) / slope
        powers = [np.abs(q) ** (self.power - 1) for q in scaled]
        norm = (sum(p * np.abs(q) for p, q in zip(powers, scaled, strict=True)) + tiny) ** np.float32(1 / self.power)
        slope = np.sqrt(sum((p * i) ** 2 for p, i in zip(powers, inverse, strict=True)) + tiny**2)
        slope = slope * norm ** (1 - self.power)
        return np.maximum((norm - 1) / np.maximum(slope, tiny), -np.float32(min(self.radii)))


@dataclass(frozen=True)
class Tube:
    """A chain of round cones: spheres swept along line segments.

    Attributes:
        points: Corners of the centre line in mm.
        radii: Radius at every corner in mm.
    """

    points: Sequence[Point]
    radii: Sequence[float]

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the box around the shape."""
        corners, radii = np.asarray(self.points, float), np.asarray(self.radii, float)[:, None]
        return (corners - radii).min(axis=0), (corners + radii).max(axis=0)

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Returns the distance from the centre line less the radius at the nearest point of the line."""
        nearest: np.ndarray = np.full(x.shape, np.inf, np.float32)
        for start, end, first, last in zip(
            self.points[:-1], self.points[1:], self.radii[:-1], self.radii[1:], strict=True
        ):
            along = np.subtract(end, start).astype(np.float32)
            dx, dy, dz = (p - np.float32(s) for p, s in zip((x, y, z), start, strict=True))
            share = (dx * along[0] + dy * along[1] + dz * along[2]) / np.float32(along @ along)
            share = np.clip(share, 0, 1)
            dx, dy, dz = dx - share * along[0], dy - share * along[1], dz - share * along[2]
            distance = np.sqrt(dx * dx + dy * dy + dz * dz)
            distance -= np.float32(first) + share * np.float32(last - first)
            np.minimum(nearest, distance, out=nearest)
        return nearest


@dataclass(frozen=True)
class Cup:
    """A piece of a spherical shell, open on one side.

    Attributes:
        center: In mm.
        inner: Inner radius in mm.
        outer: Outer radius in mm.
        direction: Where the bottom of the cup points.
        cut: The shell ends where a point lies less than this far along the direction, in mm.
    """

    center: Point
    inner: float
    outer: float
    direction: Point
    cut: float

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the box around the whole sphere."""
        return np.asarray(self.center) - self.outer, np.asarray(self.center) + self.outer

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Returns the largest of the distances from the two spheres and the plane."""
        unit = (np.asarray(self.direction) / np.linalg.norm(self.direction)).astype(np.float32)
        dx, dy, dz = (p - np.float32(c) for p, c in zip((x, y, z), self.center, strict=True))
        radius = np.sqrt(dx * dx + dy * dy + dz * dz)
        shell = np.maximum(radius - np.float32(self.outer), np.float32(self.inner) - radius)
        return np.maximum(shell, np.float32(self.cut) - (dx * unit[0] + dy * unit[1] + dz * unit[2]))


@dataclass(frozen=True)
class Trunk:
    """The outline of the body: a flattened oval that runs through all slices.

    Attributes:
        half_width: Left to right, in mm, at the widest level.
        depth: Half the extent from back to front, in mm.
        center: Centre of the oval (x, y) in mm.
        back: The y of the table that flattens the back, in mm.
        waist: How much narrower the body is 100 mm above the hips, as a fraction.
    """

    half_width: float
    depth: float
    center: tuple[float, float]
    back: float
    waist: float

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns a box without limits in z."""
        reach = np.array([self.half_width, self.depth + abs(self.center[1]), np.inf]) * 1.2
        return -reach, reach

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Returns the distance within the slice."""
        narrowing = 1 - np.float32(self.waist) * np.clip((z + 20) / 100, -0.3, 1) ** 2
        across = np.abs(x - np.float32(self.center[0])) / (np.float32(self.half_width) * narrowing)
        deep = np.abs(y - np.float32(self.center[1])) / np.float32(self.depth)
        norm = np.sqrt(across**2.4 + deep**2.4 + 1e-6) ** np.float32(2 / 2.4)
        steepness = np.sqrt((across / self.half_width) ** 2 + (deep / self.depth) ** 2 + 1e-8)
        oval = norm * (norm - 1) / steepness.astype(np.float32)
        table = np.float32(self.back) - y
        return 0.5 * (oval + table + np.sqrt((oval - table) ** 2 + 64))


@dataclass(frozen=True)
class Union:
    """All points that lie in at least one of several shapes."""

    shapes: Sequence[Shape]

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the box around all shapes."""
        boxes = [shape.bounds() for shape in self.shapes]
        return np.min([low for low, _ in boxes], axis=0), np.max([high for _, high in boxes], axis=0)

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Returns the smallest of the distances."""
        distance = self.shapes[0].distance(x, y, z)
        for shape in self.shapes[1:]:
            np.minimum(distance, shape.distance(x, y, z), out=distance)
        return distance


@dataclass(frozen=True)
class Intersection:
    """All points that lie in both of two shapes; the first may be shrunk.

    Attributes:
        first: A shape.
        second: Another.
        shrink: How far the surface of the first moves inwards, in mm.
    """

    first: Shape
    second: Shape
    shrink: float = 0.0

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the common part of the two boxes."""
        (low, high), (other_low, other_high) = self.first.bounds(), self.second.bounds()
        return np.maximum(low, other_low), np.minimum(high, other_high)

    def distance(self, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Returns the larger of the distances."""
        return np.maximum(self.first.distance(x, y, z) + np.float32(self.shrink), self.second.distance(x, y, z))


@dataclass(frozen=True)
class Texture:
    """Smooth random values that fill space: linear interpolation in a periodic lattice, two octaves.

    Attributes:
        lattice: Standard normal values, `(n, n, n)`.
    """

    lattice: np.ndarray

    @classmethod
    def draw(cls, rng: np.random.Generator, size: int = 24) -> "Texture":
        """Draws a lattice of `size` cells per axis."""
        return cls(rng.standard_normal((size,) * 3).astype(np.float32))

    def __call__(self, points: Sequence[np.ndarray], scale: float) -> np.ndarray:
        """Returns values of mean 0 and about unit variance that change over `scale` mm.

        Args:
            points: x, y and z in mm.
            scale: Size of a cell of the lattice in mm.
        """
        total = np.zeros(points[0].shape, np.float32)
        for octave, weight in ((1.0, 1.5), (2.0, 1.0)):
            cells = np.stack([p * np.float32(octave / scale) for p in points])
            total += np.float32(weight) * map_coordinates(
                self.lattice, cells, output=np.float32, order=1, mode="grid-wrap"
            )
        return total
