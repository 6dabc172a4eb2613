"""A synthetic cohort of breast MR slices with lesions: many small questions about each, and one that is made of them.

After the volumes of Maicas et al. (2018). A lesion has a smooth or an irregular outline, enhances at its rim or evenly,
is large or small, long or round, bright or faint, and lies in the left or the right breast. It is malignant if it is
irregular and enhances at its rim, which is so in half of the subjects. Subject `i` of a seed is the same whatever the
number of subjects.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from sfgkeras.phantom.cohort_files import Drawn, subject_generator, write_cohort
from sfgkeras.phantom.kinds import Progress

QUESTIONS = ("malignant", "irregular", "rim", "large", "long", "bright", "left")
"""What a subject may be, 0 or 1 each; the first follows from the second and the third."""

SIDES: dict[str, int] = {"small": 48, "full": 192}


@dataclass(frozen=True)
class Breasts:
    """One subject.

    Attributes:
        image: float32, `(side, side)`; x to the right, y to the front.
        answers: 0 or 1 for each of `QUESTIONS`.
        lesion: Where the lesion is, bool, `(side, side)`.
    """

    image: np.ndarray
    answers: dict[str, int]
    lesion: np.ndarray


def build_breasts(seed: int, subject: int = 0, size: str = "small") -> Breasts:
    """Draws one subject.

    Args:
        seed: Seed of the cohort.
        subject: Number of the subject in the cohort.
        size: A key of `SIDES`.

    Raises:
        ValueError: If the size is unknown.
    """
    rng = subject_generator(seed, subject, size, SIDES)
    answers = draw_answers(rng)
    side = SIDES[size]
    steps = (2 * np.arange(side) + 1) / side - 1
    x, y = np.meshgrid(steps, steps, indexing="ij")
    sign = -1 if answers["left"] else 1
    image = np.full(x.shape, 20.0)
    for which in (-1, 1):
        fat = np.hypot((x - 0.48 * which) / 0.44, (y + 0.5) / 1.25) < 1
        glands = gaussian_filter(rng.standard_normal(x.shape), side / 20)
        image[fat] = 90 + 12 * (glands / glands.std())[fat]
    place = np.array([sign * rng.uniform(0.42, 0.54), rng.uniform(-0.25, 0.25)])
    outline = lesion_outline(rng, answers, x - place[0], y - place[1])
    lesion = outline < 1
    height = 70.0 if answers["bright"] else 38.0
    rim = np.exp(-(((outline - 0.8) / 0.18) ** 2))
    shine = 0.25 + 1.0 * rim if answers["rim"] else np.full(x.shape, 0.85)
    image += np.where(lesion, height * shine, 0)
    noise = 4.0 * rng.standard_normal(x.shape)
    return Breasts((gaussian_filter(image, side / 160) + noise).astype(np.float32), answers, lesion)


def draw_answers(rng: np.random.Generator) -> dict[str, int]:
    """Draws what a subject is; of the benign ones a third each is only irregular, only rim-enhancing, or neither."""
    malignant = int(rng.random() < 0.5)
    irregular, rim = (1, 1) if malignant else [(1, 0), (0, 1), (0, 0)][int(rng.integers(3))]
    others = rng.integers(0, 2, len(QUESTIONS) - 3).tolist()
    return dict(zip(QUESTIONS, [malignant, irregular, rim, *others], strict=True))


def lesion_outline(
    rng: np.random.Generator, answers: dict[str, int], right: np.ndarray, front: np.ndarray
) -> np.ndarray:
    """Returns how far out in the lesion every place is: 0 in its middle, 1 at its outline."""
    radius = rng.uniform(0.24, 0.28) if answers["large"] else rng.uniform(0.15, 0.18)
    stretch = rng.uniform(1.35, 1.5) if answers["long"] else rng.uniform(1.0, 1.1)
    turn = rng.uniform(0, np.pi)
    along, across = right * np.cos(turn) + front * np.sin(turn), front * np.cos(turn) - right * np.sin(turn)
    angle = np.arctan2(across, along)
    spikes = rng.integers(6, 10)
    depth = rng.uniform(0.26, 0.34) if answers["irregular"] else 0.03
    return np.hypot(along / stretch, across * stretch) / (radius * (1 + depth * np.sin(spikes * angle + turn)))


def write_breasts(
    folder: str | os.PathLike[str],
    num_subjects: int,
    size: str = "small",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Writes `images/breasts_0000.nii.gz` and so on, and `subjects.csv` with a column for each of `QUESTIONS`.

    Arguments, results and errors are those of `kinds.Writer`.
    """

    def draw(number: int) -> Drawn:
        breasts = build_breasts(seed, number, size)
        return Drawn({"images": breasts.image}, affine, tuple(breasts.answers.values()))

    folder, affine = Path(folder), np.diag([192 / SIDES.get(size, 192)] * 2 + [1.0, 1.0])
    names = [f"breasts_{number:04d}" for number in range(num_subjects)]
    files = {name: {"images": folder / "images" / f"{name}.nii.gz"} for name in names}
    return write_cohort(folder, files, draw, overwrite, progress, QUESTIONS)
