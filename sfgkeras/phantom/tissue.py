"""A synthetic cohort of stained tissue with three diagnoses: photo, a map of the tissue, a table of diagnoses.

Pink stroma with fibres; epithelium with purple nuclei, small and evenly spaced where it is benign, large, crowded and
dark where it is malignant. A benign sample has benign glands only; carcinoma in situ fills some large round glands;
an invasive one is many small nests. So the diagnosis depends on which tissue is there, and on its arrangement. Subject
`i` of a seed is the same whatever the number of subjects.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sfgkeras.phantom.cohort_files import Drawn, subject_generator, write_cohort
from sfgkeras.phantom.kinds import Progress
from sfgkeras.phantom.shapes import blend, pixel_centres, share_of
from sfgkeras.phantom.solids import Ellipsoid, Shape, Texture, Union

DIAGNOSES = ("benign", "in situ", "invasive")
TISSUES = ("stroma", "benign epithelium", "malignant epithelium")
# Pixels of a side; "small" trains in minutes.
SIDES: dict[str, int] = {"full": 256, "small": 64}
GLANDS: dict[str, tuple[tuple[tuple[int, int], tuple[float, float]], ...]] = {
    "benign": (((3, 5), (0.2, 0.34)), ((0, 1), (0.1, 0.1))),
    "in situ": (((1, 3), (0.16, 0.26)), ((1, 3), (0.4, 0.52))),
    "invasive": (((0, 2), (0.16, 0.26)), ((7, 11), (0.12, 0.2))),
}
"""Of every diagnosis how many benign and malignant glands there are (below the second number), and their radii."""
STROMA, CYTOPLASM = np.array([0.9, 0.62, 0.76], np.float32), np.array([[0.8, 0.58, 0.8], [0.72, 0.45, 0.7]], np.float32)
NUCLEI = np.array([[0.42, 0.24, 0.58], [0.25, 0.1, 0.4]], np.float32)
NUCLEUS_RADII, NUCLEUS_DISTANCES = (0.028, 0.045), (0.13, 0.1)  # of half a side; benign, malignant


@dataclass(frozen=True)
class Sample:
    """One subject.

    Attributes:
        image: RGB, uint8, `(rows, columns, 3)`.
        tissue: A position in `TISSUES`, uint8, `(rows, columns)`.
        diagnosis: A position in `DIAGNOSES`.
    """

    image: np.ndarray
    tissue: np.ndarray
    diagnosis: int


def build_sample(seed: int, subject: int = 0, size: str = "small") -> Sample:
    """Draws one subject.

    Args:
        seed: Seed of the cohort.
        subject: Number of the subject in the cohort; the diagnoses take turns.
        size: A key of `SIDES`.

    Raises:
        ValueError: If the size is unknown.
    """
    rng = subject_generator(seed, subject, size, SIDES)
    x, y = pixel_centres(SIDES[size])
    diagnosis = subject % len(DIAGNOSES)
    stain = rng.uniform(0.93, 1.07, 3).astype(np.float32)
    fibres = Texture.draw(rng, 16)([x + 0.6 * y, 0.15 * (y - 0.6 * x), np.zeros_like(x)], 0.1)
    picture = STROMA * (1 + 0.04 * fibres[..., None])
    tissue = np.zeros(x.shape, np.uint8)
    taken: list[Shape] = []
    for kind, ((fewest, below), radii) in enumerate(GLANDS[DIAGNOSES[diagnosis]]):
        for _ in range(rng.integers(fewest, below)):
            gland = place_gland(rng, taken, radii)
            if gland is None:
                continue
            taken.append(gland)
            covered = share_of(gland, x, y)
            picture = blend(picture, np.broadcast_to(CYTOPLASM[kind], picture.shape), covered)
            picture = blend(picture, np.broadcast_to(NUCLEI[kind], picture.shape), draw_nuclei(rng, kind, gland, x, y))
            tissue[covered > 0.5] = kind + 1
    picture = picture * stain + 0.02 * rng.standard_normal(picture.shape, np.float32)
    return Sample(np.rint(255 * picture.clip(0, 1)).astype(np.uint8), tissue, diagnosis)


def place_gland(rng: np.random.Generator, taken: list[Shape], radii: tuple[float, float]) -> Ellipsoid | None:
    """Draws a gland that meets none of the others; None if no place is found."""
    for _ in range(60):
        longest = rng.uniform(*radii)
        middle = np.append(rng.uniform(-0.95 + longest, 0.95 - longest, 2), 0.0)
        at = [np.atleast_1d(each).astype(np.float32) for each in middle]
        if all(shape.distance(*at)[0] > longest + 0.04 for shape in taken):
            return Ellipsoid(middle, (longest, longest * rng.uniform(0.75, 1.0), 1.0), (0, 0, rng.uniform(0, 180)))
    return None


def draw_nuclei(rng: np.random.Generator, kind: int, gland: Ellipsoid, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns how much of every pixel nuclei of a gland cover: on a grid where it is benign, anywhere if malignant."""
    low, high = (np.asarray(each)[:2] for each in gland.bounds())
    step, radius = NUCLEUS_DISTANCES[kind], NUCLEUS_RADII[kind]
    axes = [np.arange(start + step / 2, stop, step) for start, stop in zip(low, high, strict=True)]
    places = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
    places = places + (0.02, 0.6 * step)[kind] * rng.uniform(-1, 1, places.shape)
    nuclei: list[Shape] = []
    for place in places:
        at = [np.atleast_1d(each).astype(np.float32) for each in (*place, 0.0)]
        if gland.distance(*at)[0] < -radius:
            sizes = radius * rng.uniform((0.95, 0.7)[kind], (1.05, 1.5)[kind], 2)
            nuclei.append(Ellipsoid((*place, 0.0), (*sizes, 1.0), (0, 0, rng.uniform(0, 180))))
    return share_of(Union(nuclei), x, y) if nuclei else np.zeros_like(x)


def write_tissue(
    folder: str | os.PathLike[str],
    num_subjects: int,
    size: str = "small",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Writes `images/tissue_0000.png`, `maps/tissue_0000.png` and so on, a table and a split.

    The maps hold positions in `TISSUES`; the table, `subjects.csv`, the diagnosis, a position in `DIAGNOSES`.
    `split.csv` says which subjects are for which phase; it can be the `dataset_split_file` of a run.

    Arguments, results and errors are those of `kinds.Writer`.
    """

    def draw(number: int) -> Drawn:
        sample = build_sample(seed, number, size)
        return Drawn({"images": sample.image, "maps": sample.tissue}, cells=(sample.diagnosis,))

    folder = Path(folder)
    names = [f"tissue_{number:04d}" for number in range(num_subjects)]
    files = {name: {part: folder / part / f"{name}.png" for part in ("images", "maps")} for name in names}
    return write_cohort(folder, files, draw, overwrite, progress, ("diagnosis",), splits=True)
