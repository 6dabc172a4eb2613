"""A synthetic cohort of abdominal ultrasound: ellipses in speckle, several views, the ends of their axes as landmarks.

An image shows what a convex probe sees of a kidney along its long axis, of a kidney across it, of a spleen along its
long axis, or of none of them. A kidney has a dark cortex and a bright sinus, a spleen is even and brighter than what
lies around it. Speckle is what is left of random phases: the magnitude of smoothed complex noise. Pixels have
another size in mm in every image. Subject `i` of a seed is the same whatever the number of subjects.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from sfgkeras.phantom.cohort_files import Drawn, subject_generator, write_cohort
from sfgkeras.phantom.kinds import Progress
from sfgkeras.phantom.solids import Ellipsoid, Shape, Texture, Tube

VIEWS = ("kidney_long", "kidney_trans", "spleen_long", "other")
LANDMARKS: dict[str, tuple[str, ...]] = {
    "kidney_long": ("kidney_long_1", "kidney_long_2"),
    "kidney_trans": ("kidney_trans_long_1", "kidney_trans_long_2", "kidney_trans_short_1", "kidney_trans_short_2"),
    "spleen_long": ("spleen_long_1", "spleen_long_2"),
    "other": (),
}
"""Of every view the ends of its axes: of a long one the left end first, of a short one the lower end."""
# Pixels of a side; "small" trains in minutes.
SIDES: dict[str, int] = {"full": 256, "small": 64}
FIELD = (84.0, 116.0)  # mm of a side, smallest and largest
MARGIN = 4.0  # mm from the organ to the edge of the image
TILT = 35.0  # degrees, largest
HALF_AXES: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "kidney_long": ((25.0, 34.0), (0.42, 0.5)),
    "kidney_trans": ((19.0, 26.0), (0.65, 0.8)),
    "spleen_long": ((25.0, 34.0), (0.3, 0.38)),
}
"""Of every organ half its long axis in mm and half its short one as a part of that, smallest and largest."""
AROUND, CORTEX, SINUS, SPLEEN, CAPSULE, VESSEL = 0.22, 0.09, 0.6, 0.5, 0.9, 0.03  # echo, as an amplitude
DYNAMIC_RANGE = 45.0  # dB from black to white


@dataclass(frozen=True)
class Scan:
    """One subject.

    Attributes:
        image: uint8, `(x, y)`: x to the right, y upwards, towards the probe.
        spacing: Side of a pixel in mm.
        view: A position in `VIEWS`.
        landmarks: Of every landmark of the view x and y in mm from the outer edge of the image, `(landmarks, 2)`.
    """

    image: np.ndarray
    spacing: float
    view: int
    landmarks: np.ndarray

    @property
    def names(self) -> tuple[str, ...]:
        """What the landmarks are called."""
        return LANDMARKS[VIEWS[self.view]]


def build_scan(seed: int, subject: int = 0, size: str = "small") -> Scan:
    """Draws one subject.

    Args:
        seed: Seed of the cohort.
        subject: Number of the subject in the cohort; the views take turns.
        size: A key of `SIDES`.

    Raises:
        ValueError: If the size is unknown.
    """
    rng = subject_generator(seed, subject, size, SIDES)
    side, field, view = SIDES[size], rng.uniform(*FIELD), subject % len(VIEWS)
    spacing = field / side
    steps = ((np.arange(side) + 0.5) * spacing).astype(np.float32)
    x, y = np.meshgrid(steps, steps, indexing="ij")
    texture = Texture.draw(rng, 16)([x, y, np.zeros_like(x)], rng.uniform(12, 25))
    echo = rng.uniform(0.8, 1.2) * AROUND * np.exp(0.2 * texture)
    landmarks = np.zeros((0, 2))
    if VIEWS[view] == "other":
        echo = _with_clutter(rng, echo, field, x, y)
    else:
        echo, landmarks = _with_organ(rng, VIEWS[view], echo, field, x, y)
    depth = (field - y) / field
    image = compress(echo * speckle(rng, (side, side)) * np.exp(-rng.uniform(0.2, 0.6) * depth))
    image = np.where(_is_seen(x, y, field), image, 0.0)
    return Scan(np.rint(255 * image).astype(np.uint8), spacing, view, landmarks)


def _with_organ(
    rng: np.random.Generator, view: str, echo: np.ndarray, field: float, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draws an organ; returns the echo with it, and the ends of the axes that are measured."""
    longest, ratio = HALF_AXES[view]
    half = rng.uniform(*longest)
    radii = np.array([half, half * rng.uniform(*ratio)])
    tilt = rng.uniform(-TILT, TILT)
    along = np.array([np.cos(np.radians(tilt)), np.sin(np.radians(tilt))])
    across = np.array([-along[1], along[0]])
    # The box around the ellipse lies within the image.
    reach = np.sqrt((radii[0] * along) ** 2 + (radii[1] * across) ** 2) + MARGIN
    centre = rng.uniform(reach, field - reach)
    organ = Ellipsoid((*centre, 0.0), (*radii, 1.0), (0, 0, tilt))
    inside = SPLEEN if view == "spleen_long" else CORTEX
    pixel = x[1, 0] - x[0, 0]
    distance = organ.distance(x, y, np.zeros_like(x))
    echo = echo + _covered(distance, pixel) * (inside * rng.uniform(0.85, 1.15) - echo)
    if view != "spleen_long":
        shares = (0.6, 0.35) if view == "kidney_long" else (0.42, 0.42)
        sinus = Ellipsoid((*centre, 0.0), (*(radii * shares), 1.0), (0, 0, tilt))
        echo = echo + _covered(sinus.distance(x, y, np.zeros_like(x)), pixel) * (SINUS - echo)
    capsule = np.exp(-((distance / 1.6) ** 2))
    echo = echo + 0.7 * capsule * (CAPSULE - echo)
    ends = [centre - radii[0] * along, centre + radii[0] * along]
    if view == "kidney_trans":
        ends += [centre - radii[1] * across, centre + radii[1] * across]
    return echo, np.array(ends)


def _with_clutter(rng: np.random.Generator, echo: np.ndarray, field: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Draws what other views show: vessels, which are dark, and a bright fascia."""
    pixel = x[1, 0] - x[0, 0]
    shapes: list[tuple[Shape, float]] = []
    for _ in range(rng.integers(2, 5)):
        middle = np.append(rng.uniform(0.2 * field, 0.8 * field, 2), 0.0)
        shapes.append((Ellipsoid(middle, (*rng.uniform(2.5, 6.0, 2), 1.0), (0, 0, rng.uniform(0, 180))), VESSEL))
    heights = rng.uniform(0.2, 0.8, 2) * field
    fascia = Tube([np.array([0.0, heights[0], 0.0]), np.array([field, heights[1], 0.0])], [1.0, 1.0])
    shapes.append((fascia, CAPSULE))
    for shape, level in shapes:
        echo = echo + _covered(shape.distance(x, y, np.zeros_like(x)), pixel) * (level - echo)
    return echo


def _covered(distance: np.ndarray, pixel: float) -> np.ndarray:
    """Returns how much of every pixel a shape covers, from 0 to 1."""
    return np.clip(0.5 - distance / pixel, 0, 1)


def _is_seen(x: np.ndarray, y: np.ndarray, field: float) -> np.ndarray:
    """Says which pixels lie in the sector of a convex probe above the image; its apex is half a side higher."""
    down = 1.5 * field - y
    return np.abs(x - field / 2) <= np.tan(np.radians(42)) * down


def speckle(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draws fully developed speckle: the magnitude of smoothed complex Gaussian noise, of mean square 1.

    It is Rayleigh distributed (Goodman 1976): its mean is sqrt(pi) / 2. The smoothing is wider across the beam.
    """
    real, imaginary = (gaussian_filter(rng.standard_normal(shape), (0.8, 0.5)) for _ in range(2))
    magnitude = np.hypot(real, imaginary)
    return magnitude / np.sqrt(np.mean(magnitude**2))


def compress(amplitude: np.ndarray) -> np.ndarray:
    """Returns the brightness of an amplitude, from 0 to 1: its logarithm over the dynamic range; 1 is white."""
    decibels = 20 * np.log10(np.maximum(amplitude, 1e-6))
    return np.clip(1 + decibels / DYNAMIC_RANGE, 0, 1)


def write_ultrasound(
    folder: str | os.PathLike[str],
    num_subjects: int,
    size: str = "small",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Writes `images/scan_0000.nii.gz` and so on, a table and a split.

    The table, `subjects.csv`, says of every subject the view, a position in `VIEWS`, and of every landmark `_x` and
    `_y` in mm from the outer edge of the image; they are empty where the view has no such landmark. `split.csv` says
    which subjects are for which phase; it can be the `dataset_split_file` of a run.

    Arguments, results and errors are those of `kinds.Writer`.
    """
    known = [name for view in VIEWS for name in LANDMARKS[view]]

    def draw(number: int) -> Drawn:
        scan = build_scan(seed, number, size)
        places = dict(zip(scan.names, scan.landmarks, strict=True))
        shown = [f"{value:.3f}" if each in places else "" for each in known for value in places.get(each, (0.0, 0.0))]
        return Drawn({"images": scan.image}, np.diag([scan.spacing, scan.spacing, 1.0, 1.0]), (scan.view, *shown))

    folder = Path(folder)
    names = [f"scan_{number:04d}" for number in range(num_subjects)]
    files = {name: {"images": folder / "images" / f"{name}.nii.gz"} for name in names}
    columns = ["view", *(f"{name}_{axis}" for name in known for axis in "xy")]
    return write_cohort(folder, files, draw, overwrite, progress, columns, splits=True)
