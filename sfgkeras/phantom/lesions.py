"""A synthetic cohort of ultrasound images with one lesion each: picture, mask of the lesion, a table of what it is.

Speckled tissue in layers, darker with depth. A lesion is darker or brighter than what is around it (its echo), and has
a smooth margin or one of spikes: two of the signs by which breast lesions are described (BI-RADS). Layers are as bright
as bright lesions and shadows as dark as dark ones, so that brightness alone finds no lesion. Subject `i` of a seed is
the same whatever the number of subjects.
"""

import csv
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sfgkeras.data.subjects import write_split
from sfgkeras.files import replacing
from sfgkeras.phantom.shapes import pixel_centres
from sfgkeras.phantom.shapes_files import SPLIT, TABLE, phases, prepare_files

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
    if size not in SIDES:
        raise ValueError(f"size = {size!r} is not one of {', '.join(SIDES)}")
    rng = np.random.default_rng(np.random.SeedSequence([seed, subject]))
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
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Writes `images/lesion_0000.png`, `masks/lesion_0000.png` and so on, a table and a split.

    The table, `subjects.csv`, holds the numbers of echo and margin (`subject_id,echo,margin`). `split.csv` says which
    subjects are for which phase; it can be the `dataset_split_file` of a run.

    Args:
        folder: Created if it does not exist.
        num_subjects: How many subjects.
        size: A key of `SIDES`.
        seed: The same seed gives the same files.
        overwrite: Whether files that are there already may be replaced.
        progress: Called with the number of subjects drawn and their total, after each.

    Returns:
        The files written.

    Raises:
        DataError: If a file is there already and may not be replaced; nothing is written then.
        ValueError: If the number of subjects is not positive, or the size is unknown.
    """
    from PIL import Image

    folder = Path(folder)
    names = [f"lesion_{number:04d}" for number in range(num_subjects)]
    pictures = [folder / kind / f"{name}.png" for name in names for kind in ("images", "masks")]
    files = [*pictures, folder / TABLE, folder / SPLIT]
    prepare_files(files, num_subjects, overwrite)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["subject_id", "echo", "margin"])
    for number, name in enumerate(names):
        drawn = build_lesion(seed, number, size)
        for kind, array in (("images", drawn.image), ("masks", drawn.mask)):
            with replacing(folder / kind / f"{name}.png") as stream:
                Image.fromarray(array).save(stream, format="png")
        writer.writerow([name, drawn.echo, drawn.margin])
        if progress is not None:
            progress(number + 1, num_subjects)
    with replacing(folder / TABLE) as stream:
        stream.write(table.getvalue().encode())
    write_split(folder / SPLIT, {phase: [names[i] for i in found] for phase, found in phases(num_subjects).items()})
    return files
