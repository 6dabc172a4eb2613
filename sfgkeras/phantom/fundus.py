"""A synthetic cohort of eye fundus photographs with two types of lesion: photo, a mask for each type, a table.

A disc of orange ground on black, its light uneven; a bright optic disc, dark red vessels that leave it; red lesions
(small and dark, as bleedings are) and bright ones (yellow, as exudates are). Vessels have the colour of the red
lesions and the optic disc that of the bright ones, so that colour alone tells no lesion. Subject `i` of a seed is the
same whatever the number of subjects.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sfgkeras.phantom.cohort_files import Drawn, subject_generator, write_cohort
from sfgkeras.phantom.kinds import Progress
from sfgkeras.phantom.shapes import blend, pixel_centres, share_of
from sfgkeras.phantom.solids import Ellipsoid, Shape, Texture, Tube, Union

LESIONS = ("red", "bright")
# Pixels of a side; "small" trains in minutes.
SIDES: dict[str, int] = {"full": 512, "small": 64}
FUNDUS_RADIUS = 0.94  # of half a side
DISC_RADIUS = 0.17
NONE = 0.25  # part of the subjects without lesions of a type
GROUND, VESSEL, DISC = np.array([[0.72, 0.36, 0.16], [0.45, 0.12, 0.08], [0.95, 0.82, 0.5]], np.float32)
LESION_COLOURS = np.array([[0.42, 0.08, 0.07], [0.95, 0.85, 0.45]], np.float32)


@dataclass(frozen=True)
class Fundus:
    """One subject.

    Attributes:
        image: RGB, uint8, `(rows, columns, 3)`.
        masks: 1 on the lesions of each type of `LESIONS`, else 0; uint8, `(2, rows, columns)`. No pixel is both.
    """

    image: np.ndarray
    masks: np.ndarray


def build_fundus(seed: int, subject: int = 0, size: str = "small") -> Fundus:
    """Draws one subject.

    Args:
        seed: Seed of the cohort.
        subject: Number of the subject in the cohort.
        size: A key of `SIDES`.

    Raises:
        ValueError: If the size is unknown.
    """
    rng = subject_generator(seed, subject, size, SIDES)
    x, y = pixel_centres(SIDES[size])
    disc = np.array([rng.choice([-1.0, 1.0]) * rng.uniform(0.42, 0.55), rng.uniform(-0.15, 0.15), 0.0])
    texture = Texture.draw(rng, 16)([x, y, np.zeros_like(x)], rng.uniform(0.2, 0.5))
    picture = GROUND * (1 + 0.08 * texture[..., None])
    picture = blend(picture, np.broadcast_to(VESSEL, picture.shape), share_of(draw_vessels(rng, disc), x, y))
    radii = DISC_RADIUS * rng.uniform(0.9, 1.1, 2)
    picture = blend(picture, np.broadcast_to(DISC, picture.shape), share_of(Ellipsoid(disc, (*radii, 1.0)), x, y))
    masks, taken = [], Ellipsoid(disc, (1.4 * DISC_RADIUS, 1.4 * DISC_RADIUS, 1.0)).distance(x, y, 0 * x) < 0
    for colour in LESION_COLOURS:
        lesions = draw_lesions(rng, disc) if rng.random() >= NONE else None
        share = np.zeros_like(x) if lesions is None else np.where(taken, 0, share_of(lesions, x, y))
        picture = blend(picture, colour * rng.uniform(0.9, 1.1) * np.ones_like(picture), 0.9 * share)
        masks.append((share > 0.5).astype(np.uint8))
        taken = taken | (share > 0)
    light = 1 - rng.uniform(0.1, 0.35) * ((x - rng.uniform(-0.3, 0.3)) ** 2 + (y - rng.uniform(-0.3, 0.3)) ** 2)
    picture = picture * light[..., None] + 0.02 * rng.standard_normal(picture.shape, np.float32)
    picture = picture * share_of(Ellipsoid((0, 0, 0), (FUNDUS_RADIUS, FUNDUS_RADIUS, 1.0)), x, y)[..., None]
    return Fundus(np.rint(255 * picture.clip(0, 1)).astype(np.uint8), np.stack(masks))


def draw_vessels(rng: np.random.Generator, disc: np.ndarray) -> Shape:
    """Draws vessels that leave the optic disc and bend towards the other side."""
    vessels: list[Shape] = []
    for angle in np.linspace(0, 2 * np.pi, 6, endpoint=False) + rng.uniform(0, 1):
        points, direction = [disc], angle
        for _ in range(5):
            step = 0.28 * np.array([np.cos(direction), np.sin(direction), 0.0])
            points.append(points[-1] + step)
            towards = np.arctan2(-points[-1][1], -np.sign(disc[0]) - points[-1][0])
            turn = (towards - direction + np.pi) % (2 * np.pi) - np.pi
            direction += 0.25 * turn + rng.uniform(-0.25, 0.25)
        vessels.append(Tube(points, np.linspace(0.035, 0.012, len(points)).tolist()))
    return Union(vessels)


def draw_lesions(rng: np.random.Generator, disc: np.ndarray) -> Shape:
    """Draws some lesions of a type on the fundus, away from the optic disc."""
    lesions: list[Shape] = []
    while len(lesions) < rng.integers(2, 6):
        angle, distance = rng.uniform(0, 2 * np.pi), 0.75 * np.sqrt(rng.random())
        centre = np.array([distance * np.cos(angle), distance * np.sin(angle), 0.0])
        if np.linalg.norm(centre - disc) > 0.35:
            radii = rng.uniform(0.07, 0.14, 2)
            lesions.append(Ellipsoid(centre, (*radii, 1.0), (0, 0, rng.uniform(0, 180))))
    return Union(lesions)


def write_fundus(
    folder: str | os.PathLike[str],
    num_subjects: int,
    size: str = "small",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Writes `images/fundus_0000.png`, `red/fundus_0000.png`, `bright/fundus_0000.png` and so on, a table and a split.

    The table, `subjects.csv`, says of every type whether the subject has such lesions (`subject_id,red,bright`; 0 or
    1). `split.csv` says which subjects are for which phase; it can be the `dataset_split_file` of a run.

    Arguments, results and errors are those of `kinds.Writer`.
    """

    def draw(number: int) -> Drawn:
        drawn = build_fundus(seed, number, size)
        parts = dict(zip(kinds, (drawn.image, *drawn.masks), strict=True))
        return Drawn(parts, cells=[int(mask.any()) for mask in drawn.masks])

    folder, kinds = Path(folder), ("images", *LESIONS)
    names = [f"fundus_{number:04d}" for number in range(num_subjects)]
    files = {name: {kind: folder / kind / f"{name}.png" for kind in kinds} for name in names}
    return write_cohort(folder, files, draw, overwrite, progress, LESIONS, splits=True)
