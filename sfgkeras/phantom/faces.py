"""A synthetic cohort of faces drawn of ellipses: photo, and a table of landmarks, visibility, pose and attributes.

A head is an ellipsoid that is turned by three angles; eyes, nose and mouth lie on its surface, and are seen where it
looks to the camera and no hand is before it. Some pictures show no face: the same parts, but nowhere in place. Of some
faces nobody has marked the landmarks. Subject `i` of a seed is the same whatever the number of subjects.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from sfgkeras.phantom.cohort_files import Drawn, subject_generator, write_cohort
from sfgkeras.phantom.kinds import Progress
from sfgkeras.phantom.shapes import blend, pixel_centres, share_of
from sfgkeras.phantom.solids import Ellipsoid, Shape, Texture, Tube, Union

# Pixels of a side; "small" trains in minutes.
SIDES: dict[str, int] = {"full": 128, "small": 48}
LANDMARKS: Mapping[str, tuple[float, float]] = {
    "left_eye": (-0.27, 0.16),
    "right_eye": (0.27, 0.16),
    "nose": (0.0, -0.12),
    "mouth_left": (-0.22, -0.43),
    "mouth_right": (0.22, -0.43),
}
"""Where on the head that looks ahead, as seen: x to the right of the picture, y upwards, half heads."""

ATTRIBUTES = ("gender", "smile", "glasses")
POSE = ("roll", "pitch", "yaw")
LARGEST_ANGLES = (25.0, 20.0, 50.0)
"""Degrees either way: about the axis to the camera, the one to the right and the vertical one."""

HEAD = np.array([0.62, 0.8, 0.68])
NOSE = 0.1  # what it stands out from the head
FACING = 0.2  # cosine between a part's normal and the axis to the camera, from which on it is seen
NO_FACE, HIDDEN, UNMARKED = 0.25, 0.25, 0.1
"""Parts: of pictures without a face, of faces behind a hand, of faces whose landmarks nobody has marked."""

WHITE, PUPIL, LIP, FRAME = np.array([[0.95, 0.95, 0.93], [0.08, 0.06, 0.06], [0.66, 0.14, 0.16], [0.1, 0.1, 0.25]])


@dataclass(frozen=True)
class Face:
    """One subject.

    Attributes:
        image: RGB, uint8, `(rows, columns, 3)`.
        is_face: Whether it shows a face.
        points: Each landmark's x to the right and y down in pixels from the picture's outer edge, `(5, 2)`; NaN where
            it is not visible.
        visible: Whether each landmark is seen, `(5,)`.
        is_marked: Whether the table says where landmarks are.
        angles: Roll, pitch and yaw in degrees, `(3,)`.
        attributes: 0 or 1 for each of `ATTRIBUTES`.
    """

    image: np.ndarray
    is_face: bool
    points: np.ndarray
    visible: np.ndarray
    is_marked: bool
    angles: np.ndarray
    attributes: tuple[int, ...]

    def row(self) -> list[str]:
        """Returns the cells of the table, those of `columns`; empty where nothing is known."""
        nothing = [""] * (len(ATTRIBUTES) + len(POSE) + 3 * len(LANDMARKS))
        if not self.is_face:
            return ["0", *nothing]
        cells = ["1", *map(str, self.attributes), *(f"{angle:.2f}" for angle in self.angles)]
        for point, visible in zip(self.points, self.visible, strict=True):
            place = [f"{value:.2f}" for value in point] if visible else ["", ""]
            cells += [*place, str(int(visible))] if self.is_marked else ["", "", ""]
        return cells


def columns() -> list[str]:
    """Returns the columns of the table after the subject."""
    points = [f"{name}_{what}" for name in LANDMARKS for what in ("x", "y", "visible")]
    return ["face", *ATTRIBUTES, *POSE, *points]


def build_face(seed: int, subject: int = 0, size: str = "small") -> Face:
    """Draws one subject.

    Args:
        seed: Seed of the cohort.
        subject: Number of the subject in the cohort.
        size: A key of `SIDES`.

    Raises:
        ValueError: If the size is unknown.
    """
    rng = subject_generator(seed, subject, size, SIDES)
    is_face, side = bool(rng.random() >= NO_FACE), SIDES[size]
    angles = rng.uniform(-1, 1, 3) * LARGEST_ANGLES
    attributes = tuple(int(value) for value in rng.integers(0, 2, len(ATTRIBUTES)))
    scale, middle = rng.uniform(0.72, 0.92), rng.uniform(-0.14, 0.14, 2)
    places, facing = turned_landmarks(angles)
    places = places * scale + middle
    if not is_face:
        places, facing = rng.uniform(-0.85, 0.85, places.shape), rng.uniform(0.4, 1, facing.shape)
    drawing = _Drawing(side, _ground(rng, side))
    skin = np.array([0.86, 0.66, 0.52]) * rng.uniform(0.55, 1.1)
    _draw_head(drawing, rng, skin, angles, scale, middle, attributes[0])
    _draw_parts(drawing, places, facing, scale, angles[0], attributes, skin)
    hand = Ellipsoid((*rng.uniform(-0.5, 0.5, 2), 0.0), (*rng.uniform(0.18, 0.34, 2), 1.0), (0, 0, rng.uniform(0, 180)))
    visible = facing > FACING
    if rng.random() < HIDDEN:
        drawing.add(hand, skin * rng.uniform(0.75, 0.9))
        visible &= hand.distance(places[:, 0], places[:, 1], np.zeros(len(places))) > 0
    picture = drawing.picture * rng.uniform(0.8, 1.1) + 0.03 * rng.standard_normal(drawing.picture.shape)
    points = (places * (1, -1) + 1) / 2 * side
    is_marked = bool(rng.random() >= UNMARKED)
    return Face(
        np.rint(255 * picture.clip(0, 1)).astype(np.uint8),
        is_face,
        np.where(visible[:, None], points, np.nan),
        visible,
        is_marked,
        angles,
        attributes,
    )


def turned_landmarks(angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the landmarks of a head of size 1 in the middle are seen, and how much they face the camera.

    Args:
        angles: Roll, pitch and yaw in degrees; a positive yaw turns the face to the right of the picture, a positive
            pitch upwards, a positive roll counterclockwise.

    Returns:
        x and y, `(5, 2)`, and the cosine between each part's normal and the axis to the camera, `(5,)`.

    Examples:
        >>> places, facing = turned_landmarks(np.zeros(3))
        >>> places[2].tolist(), bool(facing.min() > 0.6)
        ([0.0, -0.12], True)
    """
    roll, pitch, yaw = angles
    seen = np.array(list(LANDMARKS.values()))
    depth = HEAD[2] * np.sqrt(1 - np.square(seen / HEAD[:2]).sum(axis=1))
    points = np.column_stack([seen, depth])
    normals = points / np.square(HEAD)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    points[list(LANDMARKS).index("nose"), 2] += NOSE
    turn = Rotation.from_euler("zxy", [roll, -pitch, yaw], degrees=True).as_matrix()
    return (points @ turn.T)[:, :2], (normals @ turn.T)[:, 2]


class _Drawing:
    """A picture to which shapes are added, each over the earlier ones."""

    def __init__(self, side: int, ground: np.ndarray) -> None:
        self.x, self.y = pixel_centres(side)
        self.picture = ground

    def add(self, shape: Shape, colour: np.ndarray) -> None:
        share = share_of(shape, self.x, self.y)
        self.picture = blend(self.picture, np.broadcast_to(colour, self.picture.shape), share)


def _ground(rng: np.random.Generator, side: int) -> np.ndarray:
    x, y = pixel_centres(side)
    texture = Texture.draw(rng, 16)([x, y, np.zeros_like(x)], rng.uniform(0.2, 0.6))
    return np.asarray(rng.uniform(0.15, 0.75, 3) * (1 + 0.2 * texture[..., None]))


def _draw_head(
    drawing: _Drawing,
    rng: np.random.Generator,
    skin: np.ndarray,
    angles: np.ndarray,
    scale: float,
    middle: np.ndarray,
    has_long_hair: int,
) -> None:
    """Draws hair, long for gender 1 and short for 0, and the face, as wide as the turned head is seen."""
    roll, _, yaw = np.radians(angles)
    width = np.hypot(HEAD[0] * np.cos(yaw), HEAD[2] * np.sin(yaw))
    hair = np.array([0.3, 0.18, 0.1]) * rng.uniform(0.3, 1.6)
    upwards = np.array([-np.sin(roll), np.cos(roll)])
    reach, shift = ((1.22, 1.12), -0.1) if has_long_hair else ((1.04, 0.85), 0.28)
    for size, offset, colour in ((np.array(reach), shift, hair), (np.ones(2), 0.0, skin)):
        radii = scale * size * (width, HEAD[1])
        place = middle + scale * offset * upwards
        drawing.add(Ellipsoid((*place, 0.0), (*radii, 1.0), (0, 0, float(np.degrees(roll)))), colour)


def _draw_parts(
    drawing: _Drawing,
    places: np.ndarray,
    facing: np.ndarray,
    scale: float,
    roll: float,
    attributes: tuple[int, ...],
    skin: np.ndarray,
) -> None:
    """Draws those of eyes, nose and mouth that are seen; a smile bends the mouth, glasses are rings around the eyes."""
    _, smiles, has_glasses = attributes
    left, right, nose, *corners = places
    for eye, seen in ((left, facing[0]), (right, facing[1])):
        if seen > FACING:
            for size, colour in (((0.13 * max(seen, 0.4), 0.085), WHITE), ((0.055, 0.06), PUPIL)):
                radii = scale * np.array(size)
                drawing.add(Ellipsoid((*eye, 0.0), (*radii, 1.0), (0, 0, roll)), colour)
    if facing[2] > FACING:
        drawing.add(Ellipsoid((*nose, 0.0), (0.075 * scale, 0.09 * scale, 1.0), (0, 0, roll)), 0.68 * skin)
    downwards = np.array([np.sin(np.radians(roll)), -np.cos(np.radians(roll))])
    bend = 0.3 if smiles else -0.05
    between = [
        corners[0] + share * (corners[1] - corners[0]) + 4 * share * (1 - share) * 0.5 * bend * scale * downwards
        for share in np.linspace(0, 1, 7)
    ]
    if max(facing[3:]) > FACING:
        drawing.add(Tube([np.append(point, 0.0) for point in between], [0.045 * scale] * 7), LIP)
    if has_glasses:
        turns = np.linspace(0, 2 * np.pi, 13)
        rings: list[Shape] = []
        for eye, seen in ((left, facing[0]), (right, facing[1])):
            if seen > FACING:
                ring = eye + 0.19 * scale * np.column_stack([np.cos(turns) * max(seen, 0.4), np.sin(turns)])
                rings.append(Tube([np.append(point, 0.0) for point in ring], [0.028 * scale] * len(ring)))
        if rings:
            drawing.add(Union(rings), FRAME)


def write_faces(
    folder: str | os.PathLike[str],
    num_subjects: int,
    size: str = "small",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Writes `images/face_0000.png` and so on, a table and a split.

    The table, `subjects.csv`, says of every subject whether it is a face; of faces gender, smile and glasses (0 or 1),
    roll, pitch and yaw in degrees; and of marked ones the place of every landmark in pixels and whether it is visible.
    What is not known is empty. `split.csv` says which subjects are for which phase; it can be the `dataset_split_file`
    of a run.

    Arguments, results and errors are those of `kinds.Writer`.
    """

    def draw(number: int) -> Drawn:
        face = build_face(seed, number, size)
        return Drawn({"images": face.image}, cells=face.row())

    folder = Path(folder)
    names = [f"face_{number:04d}" for number in range(num_subjects)]
    files = {name: {"images": folder / "images" / f"{name}.png"} for name in names}
    return write_cohort(folder, files, draw, overwrite, progress, columns(), splits=True)
