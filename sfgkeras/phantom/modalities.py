"""A synthetic cohort of slices of three modalities, each with organs that no other shows, in one set of labels.

Brains in MR with white matter, grey matter and cerebrospinal fluid; breasts in MR with the pectoral muscle; hearts in
CT with coronary arteries (after Moeskops et al. 2016). Intensities are in the modality's own unit. Label 0 is whatever
else there is, in all of them. Subject `i` of a seed is the same whatever the number of subjects; the modalities take
turns.
"""

import os
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from sfgkeras.phantom.cohort_files import Drawn, subject_generator, write_cohort
from sfgkeras.phantom.kinds import Progress

LABELS: dict[str, tuple[str, ...]] = {
    "brain": ("white matter", "grey matter", "cerebrospinal fluid"),
    "breast": ("pectoral muscle",),
    "heart": ("coronary arteries",),
}
"""What each modality shows; labels count from 1 in this order over all of them."""

SIDES: dict[str, int] = {"small": 64, "full": 256}


def labels_of(modality: str) -> range:
    """Returns the labels that a modality shows.

    Examples:
        >>> list(labels_of("breast"))
        [4]
    """
    names = list(LABELS)
    first = 1 + sum(len(LABELS[name]) for name in names[: names.index(modality)])
    return range(first, first + len(LABELS[modality]))


def modality_of(subject: int) -> str:
    """Returns the modality of a subject by its number."""
    return list(LABELS)[subject % len(LABELS)]


def build_slice(seed: int, subject: int = 0, size: str = "small") -> tuple[np.ndarray, np.ndarray]:
    """Draws one subject.

    Args:
        seed: Seed of the cohort.
        subject: Number of the subject in the cohort.
        size: A key of `SIDES`.

    Returns:
        Image float32 and labels uint8, `(side, side)`; x to the right, y to the front.

    Raises:
        ValueError: If the size is unknown.
    """
    rng = subject_generator(seed, subject, size, SIDES)
    side, modality = SIDES[size], modality_of(subject)
    steps = (2 * np.arange(side) + 1) / side - 1
    x, y = np.meshgrid(steps, steps, indexing="ij")
    draw = {"brain": draw_brain, "breast": draw_breast, "heart": draw_heart}[modality]
    image, organs = draw(rng, x, y)
    labels = np.zeros(image.shape, np.uint8)
    for number, label in enumerate(labels_of(modality), 1):
        labels[organs == number] = label
    spread = np.ptp(image)
    smooth = gaussian_filter(image, side / 128) + 0.03 * spread * rng.standard_normal(image.shape)
    return smooth.astype(np.float32), labels


def bent(rng: np.random.Generator, x: np.ndarray, y: np.ndarray, amount: float) -> np.ndarray:
    """Returns a smooth random field of about some amount, to bend outlines by, of the shape of `x`."""
    field = gaussian_filter(rng.standard_normal(x.shape), x.shape[0] / 10)
    return amount * field / field.std()


def draw_brain(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draws a head: white matter, around it grey matter, fluid in the ventricles and around the brain, the skull."""
    wide, long = rng.uniform(0.62, 0.72), rng.uniform(0.76, 0.86)
    radius = np.hypot(x / wide, y / long)
    fold = bent(rng, x, y, 0.05)
    organs = np.zeros(x.shape, np.uint8)
    organs[radius < 0.97] = 3
    organs[radius + 0.4 * fold < 0.9] = 2
    organs[radius + fold < 0.7] = 1
    for sign in (-1, 1):
        apart, thick = rng.uniform(0.1, 0.14), rng.uniform(0.05, 0.08)
        organs[np.hypot((x - sign * apart) / thick, y / rng.uniform(0.22, 0.3)) < 1] = 3
    values = np.array([40.0, 620, 450, 180]) * rng.uniform(0.9, 1.1) + rng.normal(0, 15, 4)
    image = values[organs]
    image[(radius >= 1.02) & (radius < 1.12)] = rng.uniform(650, 780)
    return image, organs


def draw_breast(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draws two breasts of fat and glands on the chest's wall: a band of muscle, ribs and lungs behind it."""
    wall = -0.35 + rng.uniform(-0.06, 0.06) - rng.uniform(0.1, 0.25) * x**2 + bent(rng, x, y, 0.015)
    thick = rng.uniform(0.1, 0.16)
    organs = ((y < wall) & (y > wall - thick) & (np.abs(x) < 0.92)).astype(np.uint8)
    image = np.full(x.shape, 30.0)
    for sign in (-1, 1):
        middle, wide, high = sign * rng.uniform(0.43, 0.5), rng.uniform(0.36, 0.42), rng.uniform(0.75, 1.0)
        breast = (np.hypot((x - middle) / wide, (y - wall) / high) < 1) & (y >= wall)
        image[breast] = rng.uniform(560, 640)
        glands = (
            np.hypot((x - middle) / (0.6 * wide), (y - wall - 0.35 * high) / (0.4 * high)) + bent(rng, x, y, 0.25) < 1
        )
        image[glands & breast] = rng.uniform(280, 360)
    image[organs > 0] = rng.uniform(170, 220)
    image[(y <= wall - thick) & (y > wall - thick - 0.1)] = rng.uniform(420, 500)
    return image, organs


def draw_heart(rng: np.random.Generator, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draws a chest in CT, in HU: lungs, heart, bright chambers and vessels, and three arteries on the heart."""
    body = np.hypot(x / 0.92, y / 0.72) < 1
    image = np.where(body, rng.uniform(30, 60), -1000.0)
    for sign in (-1, 1):
        image[np.hypot((x - sign * 0.5) / 0.32, y / 0.52) < 1] = rng.uniform(-880, -780)
    middle = np.array([rng.uniform(0.02, 0.14), rng.uniform(0.0, 0.12)])
    wide, high = rng.uniform(0.38, 0.46), rng.uniform(0.34, 0.42)
    radius = np.hypot((x - middle[0]) / wide, (y - middle[1]) / high)
    image[radius < 1.12] = rng.uniform(-100, -70)
    image[radius < 0.95] = rng.uniform(80, 110)
    image[np.hypot((x - middle[0] - 0.1) / 0.16, (y - middle[1]) / 0.14) < 1] = rng.uniform(330, 400)
    image[np.hypot((x + 0.05) / 0.1, (y + 0.5) / 0.1) < 1] = rng.uniform(330, 400)  # the aorta, which is no artery here
    organs = np.zeros(x.shape, np.uint8)
    angles = rng.uniform(0, 2 * np.pi) + np.array([0.0, 2.1, 4.2]) + rng.uniform(-0.4, 0.4, 3)
    for angle in angles:
        place = middle + 1.03 * np.array([wide * np.cos(angle), high * np.sin(angle)])
        organs[np.hypot(x - place[0], y - place[1]) < rng.uniform(0.055, 0.075)] = 1
    image[organs > 0] = rng.uniform(330, 400)
    return image, organs


def write_modalities(
    folder: str | os.PathLike[str],
    num_subjects: int,
    size: str = "small",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Writes `brain_000_image.nii.gz`, `brain_000_labels.nii.gz`, `breast_001_image.nii.gz` and so on.

    Arguments, results and errors are those of `kinds.Writer`.
    """

    def draw(number: int) -> Drawn:
        return Drawn(dict(zip(kinds, build_slice(seed, number, size), strict=True)), affine)

    folder, kinds = Path(folder), ("image", "labels")
    affine = np.diag([256 / SIDES.get(size, 256)] * 2 + [1.0, 1.0])
    names = [f"{modality_of(number)}_{number:03d}" for number in range(num_subjects)]
    files = {name: {kind: folder / f"{name}_{kind}.nii.gz" for kind in kinds} for name in names}
    return write_cohort(folder, files, draw, overwrite, progress)
