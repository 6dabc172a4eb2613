"""A synthetic cohort of rooms: a photo with the depth, the surface normal and the kind of surface of every pixel.

A pinhole camera stands in a room of six planes with a few boxes in it. Depth is the distance along the camera's axis,
in m; normals point to the camera, x to the right, y down, z into the picture. As a depth camera's, both have holes:
where surfaces are seen at a slant, along the edges of what stands in front, and in a few spots. There depth is 0 and
the normal 0, 0, 0. Kinds of surface are known everywhere. Subject `i` of a seed is the same whatever the number of
subjects.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from sfgkeras.phantom.cohort_files import subject_generator

SURFACES = ("wall", "floor", "ceiling", "furniture")
# Pixels of a side.
SIDES: dict[str, int] = {"small": 64, "full": 256}
FOCAL = 0.9
"""Focal length by half of the width: 96 degrees of sight."""

SLANTED = 0.12
"""Cosine between ray and normal below which a depth camera sees nothing."""

COLOURS = np.array([[0.72, 0.68, 0.58], [0.42, 0.28, 0.18], [0.88, 0.88, 0.9], [0.3, 0.4, 0.55]])
"""Mean colour of every kind of surface; rooms differ from it."""


@dataclass(frozen=True)
class Room:
    """One subject.

    Attributes:
        image: RGB, uint8, `(rows, columns, 3)`.
        depth: In m, float32, `(rows, columns)`; 0 in holes.
        normals: Unit vectors, float32, `(rows, columns, 3)`; 0, 0, 0 in holes.
        labels: Positions in `SURFACES`, uint8, `(rows, columns)`.
        true_depth: The depth without holes.
        true_normals: The normals without holes.
    """

    image: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    labels: np.ndarray
    true_depth: np.ndarray
    true_normals: np.ndarray


def build_room(seed: int, subject: int = 0, size: str = "small") -> Room:
    """Draws one subject.

    Args:
        seed: Seed of the cohort.
        subject: Number of the subject in the cohort.
        size: A key of `SIDES`.

    Raises:
        ValueError: If the size is unknown.
    """
    rng = subject_generator(seed, subject, size, SIDES)
    side = SIDES[size]
    rays = pixel_rays(side)
    to_room, place, extent = draw_camera(rng)
    directions = rays @ to_room.T
    depth, normals, surface = hit_walls(place, directions, extent)
    furniture = [draw_box(rng, place, extent) for _ in range(rng.integers(1, 4))]
    for number, (low, high, turn) in enumerate(furniture):
        nearer, facing = hit_box(place, directions, low, high, turn)
        closer = nearer < depth
        depth = np.where(closer, nearer, depth)
        normals = np.where(closer[..., None], facing, normals)
        surface = np.where(closer, 6 + number, surface)
    # Rays are 1 along the camera's axis, so that lengths along them are depths.
    in_camera = normals @ to_room
    kinds = np.array([0, 0, 1, 2, 0, 0, *[3] * len(furniture)], np.uint8)
    holes = draw_holes(rng, rays, depth, in_camera)
    return Room(
        paint(rng, rays, depth, normals, surface, kinds),
        np.where(holes, 0, depth).astype(np.float32),
        np.where(holes[..., None], 0, in_camera).astype(np.float32),
        kinds[surface],
        depth.astype(np.float32),
        in_camera.astype(np.float32),
    )


def pixel_rays(side: int) -> np.ndarray:
    """Returns the direction of every pixel's ray in the camera, 1 along its axis, `(side, side, 3)`."""
    steps = ((2 * np.arange(side) + 1) / side - 1) / FOCAL
    x, y = np.meshgrid(steps, steps)
    return np.stack([x, y, np.ones_like(x)], axis=-1)


def draw_camera(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws a room and how a camera stands in it.

    The room's axes are right, down and ahead; its middle is 0.

    Returns:
        What turns the camera's directions into the room's `(3, 3)`, the camera's place `(3,)`, and half of the room's
        width, height and length, in m.
    """
    extent = np.array([rng.uniform(1.6, 3.0), rng.uniform(1.15, 1.6), rng.uniform(2.0, 4.0)])
    place = np.array([rng.uniform(-0.4, 0.4), rng.uniform(-0.35, 0.15), -rng.uniform(0.55, 0.9)]) * extent
    turn = Rotation.from_euler("yxz", [rng.uniform(-35, 35), rng.uniform(-12, 8), rng.uniform(-4, 4)], degrees=True)
    return turn.as_matrix(), place, extent


def hit_walls(
    place: np.ndarray, directions: np.ndarray, extent: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns where rays from inside of a room meet its planes.

    Args:
        place: Where they begin, `(3,)`.
        directions: `(..., 3)`.
        extent: Half of the room along each axis.

    Returns:
        Lengths of the rays `(...)`, normals that point inwards `(..., 3)`, and the plane: 0 and 1 are left and right, 3
        is above, 2 below, 4 and 5 are behind and ahead.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        lengths = (np.sign(directions) * extent - place) / directions
    lengths = np.where(np.isfinite(lengths), lengths, np.inf)
    axis = np.argmin(lengths, axis=-1)
    length = np.take_along_axis(lengths, axis[..., None], axis=-1)[..., 0]
    ahead = np.take_along_axis(directions, axis[..., None], axis=-1)[..., 0] > 0
    normals = np.where(ahead, -1.0, 1.0)[..., None] * np.eye(3)[axis]
    # Downwards is the floor, 2; upwards the ceiling, 3.
    planes = np.array([[0, 1], [3, 2], [4, 5]])
    return length, normals, planes[axis, ahead.astype(int)]


def draw_box(
    rng: np.random.Generator, place: np.ndarray, extent: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws a box that stands on the floor and does not hold the camera.

    Returns:
        Its low and high corner in its own axes, and what turns the room's directions into these.
    """
    while True:
        half = np.array([rng.uniform(0.25, 0.6), rng.uniform(0.25, 0.5) * extent[1], rng.uniform(0.25, 0.6)])
        middle = np.array(
            [rng.uniform(-0.8, 0.8) * extent[0], extent[1] - half[1], rng.uniform(-0.3, 0.85) * extent[2]]
        )
        turn = Rotation.from_euler("y", rng.uniform(0, 90), degrees=True).as_matrix()
        centre = turn @ middle
        if np.any(np.abs(turn @ place - centre) > half + 0.4):
            return centre - half, centre + half, turn


def hit_box(
    place: np.ndarray, directions: np.ndarray, low: np.ndarray, high: np.ndarray, turn: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns where rays from outside meet a turned box, by the slabs between its planes.

    Args:
        place: Where they begin.
        directions: `(..., 3)`.
        low: Low corner in the box's axes.
        high: High corner.
        turn: From the room's axes to the box's.

    Returns:
        Lengths of the rays `(...)`, infinite where they miss it, and normals that point outwards `(..., 3)`, in the
        room's axes.
    """
    own, start = directions @ turn.T, turn @ place
    own = np.where(own == 0, np.finfo(float).tiny, own)
    first, second = (low - start) / own, (high - start) / own
    enters, leaves = np.minimum(first, second), np.maximum(first, second).min(axis=-1)
    axis = np.argmax(enters, axis=-1)
    length = enters.max(axis=-1)
    meets = (length < leaves) & (length > 0)
    sign = -np.sign(np.take_along_axis(own, axis[..., None], axis=-1))
    return np.where(meets, length, np.inf), (sign * np.eye(3)[axis]) @ turn


def draw_holes(rng: np.random.Generator, rays: np.ndarray, depth: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Draws the pixels of which a depth camera tells nothing, bool `(rows, columns)`."""
    slant = -(rays * normals).sum(axis=-1) / np.linalg.norm(rays, axis=-1)
    steps = [np.abs(np.diff(np.log(depth), axis=axis, append=np.log(depth).take([-1], axis))) for axis in (0, 1)]
    spots = gaussian_filter(rng.standard_normal(depth.shape), depth.shape[0] / 24)
    return (slant < SLANTED) | (np.maximum(*steps) > 0.25) | (spots > 2.2 * spots.std())


def paint(
    rng: np.random.Generator,
    rays: np.ndarray,
    depth: np.ndarray,
    normals: np.ndarray,
    surface: np.ndarray,
    kinds: np.ndarray,
) -> np.ndarray:
    """Colours every surface, lit by a lamp at the camera and by light from above, with texture and noise; uint8 RGB."""
    colours = np.clip(COLOURS[kinds] + rng.normal(0, 0.07, (len(kinds), 3)), 0.05, 0.95)
    distance = depth * np.linalg.norm(rays, axis=-1)
    from_above = 0.5 - 0.5 * normals[..., 1]
    light = 0.35 + 0.3 * from_above + rng.uniform(0.5, 0.8) / (1 + 0.25 * distance**2)
    texture = gaussian_filter(rng.standard_normal(depth.shape), depth.shape[0] / 64)
    picture = colours[surface] * (light + 0.06 * texture / texture.std())[..., None]
    picture += rng.uniform(0.01, 0.02) * rng.standard_normal(picture.shape)
    return np.rint(255 * picture.clip(0, 1)).astype(np.uint8)
