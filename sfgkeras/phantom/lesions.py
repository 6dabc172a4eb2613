"""A synthetic cohort of ultrasound images with one lesion each: picture, mask of the lesion, a table of what it is.

Speckled tissue in layers, brighter with depth, as by a gain that grows with it. A lesion is darker or brighter than
what is around it (its echo), and has a smooth margin or one of spikes: two of the signs by which breast lesions are
described (BI-RADS). Layers are as bright as bright lesions and shadows as dark as dark ones, so that brightness alone
finds no lesion. Subject `i` of a seed is the same whatever the number of subjects.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sfgkeras.phantom.cohort_files import Drawn, subject_generator, write_cohort
from sfgkeras.phantom.kinds import Progress
from sfgkeras.phantom.shapes import pixel_centres

ECHOES, MARGINS = ("dark", "bright"), ("smooth", "spiked")
SIDES: dict[str, int] = {"full": 256, "small": 64}
"""Pixels of a side."""
TISSUE, CONTRAST = 0.45, 0.6
"""Brightness of tissue, and by what part of it a lesion differs."""
RADII = (0.32, 0.48)
"""Between which a lesion's mean radius lies, as a part of half a side."""
SPIKES = (8, 12)


@dataclass(frozen=True)
class Lesion:
    """One subject.

    Attributes:
        image: Grey, uint8, `(rows, columns)`.
        mask: 1 on the lesion, else 0; uint8.
        echo: Number of the lesion's echo in `ECHOES`.
        margin: Number of its margin in `MARGINS`.
    """

    image: np.ndarray
    mask: np.ndarray
    echo: int
    margin: int


def build_lesion(seed: int, subject: int = 0, size: str = "small") -> Lesion:
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
    echo, margin = (int(number) for number in rng.integers(0, 2, 2))
    inside = _inside(rng, x, y, spiked=bool(margin))
    tissue = TISSUE * _layers(rng, x, y) * (1 - 0.15 * (y + 1))
    picture = tissue * (1 + (CONTRAST if echo else -CONTRAST) * inside)
    # Speckle: the size of a sum of many echoes of any phase (Rayleigh), on pixels of about a wave.
    speckle = np.hypot(*rng.standard_normal((2, *x.shape))) / np.sqrt(np.pi / 2)
    picture = picture * (0.65 + 0.35 * speckle)
    return Lesion(np.rint(255 * picture.clip(0, 1)).astype(np.uint8), (inside > 0.5).astype(np.uint8), echo, margin)


def _inside(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, spiked: bool) -> np.ndarray:
    """Returns how much of every pixel the lesion covers, from 0 to 1."""
    centre, radius = rng.uniform(-0.45, 0.45, 2), rng.uniform(*RADII)
    stretch, turn, phase = rng.uniform(0.8, 1.25), rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
    across, along = x - centre[0], y - centre[1]
    along, across = np.cos(turn) * along - np.sin(turn) * across, np.sin(turn) * along + np.cos(turn) * across
    angle, distance = np.arctan2(along, across * stretch), np.hypot(along, across * stretch)
    waves = int(rng.integers(*SPIKES, endpoint=True))
    spikes = 0.3 * np.cos(waves * angle + phase) if spiked else 0.05 * np.cos(3 * angle + phase)
    return np.clip(0.5 - (distance - radius * (1 + spikes)) * x.shape[0] / 2, 0, 1)


def _layers(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns by what tissue is brighter or darker: two bent layers, and two shadows from above."""
    factor = np.ones_like(x)
    for _ in range(2):
        depth, bend, phase = rng.uniform(-0.9, 0.9), rng.uniform(0.05, 0.2), rng.uniform(0, 2 * np.pi)
        middle = depth + bend * np.sin(2 * x + phase)
        factor = factor + CONTRAST * np.exp(-(((y - middle) / 0.07) ** 2))
    for _ in range(2):
        shadow = np.exp(-(((x - rng.uniform(-0.9, 0.9)) / 0.14) ** 2))
        factor = factor * (1 - CONTRAST * shadow * (y > rng.uniform(-0.7, 0.1)))
    return factor


def write_lesions(
    folder: str | os.PathLike[str],
    num_subjects: int,
    size: str = "small",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Writes `images/lesion_0000.png`, `masks/lesion_0000.png` and so on, a table and a split.

    The table, `subjects.csv`, holds the numbers of echo and margin (`subject_id,echo,margin`). `split.csv` says which
    subjects are for which phase; it can be the `dataset_split_file` of a run.

    Arguments, results and errors are those of `kinds.Writer`.
    """

    def draw(number: int) -> Drawn:
        drawn = build_lesion(seed, number, size)
        return Drawn({"images": drawn.image, "masks": drawn.mask}, cells=(drawn.echo, drawn.margin))

    folder = Path(folder)
    names = [f"lesion_{number:04d}" for number in range(num_subjects)]
    files = {name: {part: folder / part / f"{name}.png" for part in ("images", "masks")} for name in names}
    return write_cohort(folder, files, draw, overwrite, progress, ("echo", "margin"), splits=True)
