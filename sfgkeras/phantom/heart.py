"""A synthetic cohort of moving hearts: short-axis slices of a beating heart, their labels, and the true motion.

A bright chamber in a dark wall, a second chamber beside it, textured tissue around. What is at x in frame t was at
x + u_t(x) in the first frame, with a u_t that is known everywhere: a contraction towards the middle of the heart and a
twist about it, both less the further away. Every frame is the first one, drawn at the moved places, with noise of its
own. Subject `i` of a seed is the same whatever the number of subjects.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sfgkeras.phantom.cohort_files import Drawn, subject_generator, write_cohort
from sfgkeras.phantom.kinds import Progress
from sfgkeras.phantom.solids import Ellipsoid, Shape, Texture

# Pixels of a side; "small" trains in minutes.
SIDES: dict[str, int] = {"full": 192, "small": 64}
FIELD = 128.0  # mm of a side
FRAMES = (0.0, 0.45, 1.0, 0.6)  # how far the contraction has come, from one frame to the next
LABELS = ("background", "left ventricle", "myocardium", "right ventricle")
BLOOD, WALL, TISSUE = 0.9, 0.3, 0.5
NOISE = 0.01


@dataclass(frozen=True)
class Heart:
    """One subject; all arrays of one slice, x to the right and y to the front.

    Attributes:
        frames: About 0 to 1, float32, `(x, y, frames)`.
        labels: Positions in `LABELS` of every frame, uint8, `(x, y, frames)`.
        flow: u of every frame after the first in mm, float32, `(x, y, frames - 1, 2)`.
        spacing: Size of a pixel in mm.
    """

    frames: np.ndarray
    labels: np.ndarray
    flow: np.ndarray
    spacing: float


@dataclass(frozen=True)
class Anatomy:
    """What is drawn, in mm from the middle of the slice.

    Attributes:
        centre: Middle of the left ventricle.
        parts: The left ventricle, its wall with it, and the right ventricle.
        texture: Of the tissue.
        contraction: Part by which the wall comes nearer to the middle.
        twist: Angle about the middle, in radians.
        reach: Distance from the middle by which the motion has fallen to 1/e.
    """

    centre: np.ndarray
    parts: tuple[Shape, Shape, Shape]
    texture: Texture
    contraction: float
    twist: float
    reach: float

    def moved(self, points: np.ndarray, share: float) -> np.ndarray:
        """Returns where points of a frame were in the first one, `(..., 2)`.

        Args:
            points: In mm, `(..., 2)`.
            share: How far the contraction has come in that frame.
        """
        offset = points - self.centre
        fading = share * np.exp(-np.sum(np.square(offset), axis=-1, keepdims=True) / self.reach**2)
        angle = self.twist * fading
        x, y = offset[..., :1], offset[..., 1:]
        turned = np.concatenate([np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y], axis=-1)
        return self.centre + (1 + self.contraction * fading) * turned


def build_heart(seed: int, subject: int = 0, size: str = "small") -> Heart:
    """Draws one subject.

    Args:
        seed: Seed of the cohort.
        subject: Number of the subject in the cohort.
        size: A key of `SIDES`.

    Raises:
        ValueError: If the size is unknown.
    """
    rng = subject_generator(seed, subject, size, SIDES)
    anatomy, spacing = draw_anatomy(rng), FIELD / SIDES[size]
    steps = (np.arange(SIDES[size]) + 0.5) * spacing - FIELD / 2
    points = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1)
    frames, labels, flows = [], [], []
    for share in FRAMES:
        places = anatomy.moved(points, share)
        image, label = draw(anatomy, places, spacing)
        frames.append(image + NOISE * rng.standard_normal(image.shape))
        labels.append(label)
        flows.append(places - points)
    return Heart(
        np.stack(frames, axis=-1).astype(np.float32),
        np.stack(labels, axis=-1),
        np.stack(flows[1:], axis=2).astype(np.float32),
        spacing,
    )


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draws the shape, the place and the motion of a heart."""
    centre = rng.uniform(-10, 10, 2)
    radii, thickness = rng.uniform(15, 20, 2), rng.uniform(8, 11)
    angle = rng.uniform(0, 180)
    inner = Ellipsoid((*centre, 0), (*radii, 100), (0, 0, angle))
    outer = Ellipsoid((*centre, 0), (*(radii + thickness), 100), (0, 0, angle))
    side = np.deg2rad(rng.uniform(150, 210))
    beside = centre + rng.uniform(26, 30) * np.array([np.cos(side), np.sin(side)])
    right = Ellipsoid((*beside, 0), (rng.uniform(16, 20), rng.uniform(18, 24), 100), (0, 0, np.rad2deg(side)))
    return Anatomy(
        centre,
        (inner, outer, right),
        Texture.draw(rng, 16),
        contraction=rng.uniform(0.3, 0.45),
        twist=rng.uniform(-0.2, 0.2),
        reach=rng.uniform(32, 38),
    )


def draw(anatomy: Anatomy, places: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Draws the first frame at given places.

    Args:
        anatomy: What is drawn.
        places: In mm, `(x, y, 2)`.
        spacing: Over how many mm edges are soft.

    Returns:
        Intensities and labels, `(x, y)` each.
    """
    x, y = (np.ascontiguousarray(places[..., axis], np.float32) for axis in range(2))
    z = np.zeros_like(x)
    inner, outer, right = anatomy.parts
    image = TISSUE + 0.12 * anatomy.texture([x, y, z], 12.0)
    labels = np.zeros(x.shape, np.uint8)
    # The wall lies before the right ventricle, which it dents.
    for label, shape, value, grain in (
        (3, right, BLOOD, 0.03), (2, outer, WALL, 0.05), (1, inner, BLOOD, 0.03)
    ):  # fmt: skip
        distance = shape.distance(x, y, z)
        share = np.clip(0.5 - distance / spacing, 0, 1)
        image += share * (value + grain * anatomy.texture([x, y, z], 8.0) - image)
        labels[distance < 0] = label
    return image, labels


def write_hearts(
    folder: str | os.PathLike[str],
    num_subjects: int,
    size: str = "small",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Writes `heart_000_frame1.nii.gz` to `_frame4`, `_labels1` to `_labels4`, and the true motion, `_flow`.

    The motion is one file of vectors in mm along the scanner's axes, `(x, y, 1, 3, 3)`: of the three frames after the
    first, as a task of `type = motion` writes it.

    Arguments, results and errors are those of `kinds.Writer`.
    """

    def draw_files(number: int) -> Drawn:
        heart = build_heart(seed, number, size)
        affine = np.diag([heart.spacing, heart.spacing, 8.0, 1.0])
        affine[:2, 3] = heart.spacing / 2 - FIELD / 2
        flow = np.zeros((*heart.flow.shape[:2], 1, len(FRAMES) - 1, 3), np.float32)
        flow[..., 0, :, :2] = heart.flow
        parts = {"flow": flow}
        for frame in range(len(FRAMES)):
            parts[f"frame{frame + 1}"], parts[f"labels{frame + 1}"] = heart.frames[..., frame], heart.labels[..., frame]
        return Drawn(parts, affine)

    folder, numbers = Path(folder), range(1, len(FRAMES) + 1)
    parts = [f"{kind}{number}" for kind in ("frame", "labels") for number in numbers] + ["flow"]
    names = [f"heart_{subject:03d}" for subject in range(num_subjects)]
    files = {name: {part: folder / f"{name}_{part}.nii.gz" for part in parts} for name in names}
    return write_cohort(folder, files, draw_files, overwrite, progress)
