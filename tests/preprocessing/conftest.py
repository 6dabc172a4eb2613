"""A small cohort of MR-like files with label maps, quick enough for every step."""

from pathlib import Path

import numpy as np
import pytest

from sfgkeras.data.nifti import write_image

SHAPE = (26, 28, 22)
AFFINE = np.array([[-2.0, 0, 0, 30], [0, -2.0, 0, 20], [0, 0, 2.5, -10], [0, 0, 0, 1]])


def body_image(seed: int, gain: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Returns an image of three nested tissues in air, and their label map."""
    rng = np.random.default_rng(seed)
    grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    radius = np.sqrt(sum((axis - shift) ** 2 for axis, shift in zip(grid, rng.uniform(-0.1, 0.1, 3), strict=True)))
    labels = np.digitize(-radius, [-0.85, -0.6, -0.35]).astype(np.uint8)
    levels = np.array([0.0, 250, 500, 800])[labels] * gain
    noise = np.where(labels > 0, rng.normal(0, 25 * gain, SHAPE), np.abs(rng.normal(0, 4 * gain, SHAPE)))
    return np.maximum(np.rint(levels + noise), 0).astype(np.int16), labels


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """A folder `images` of four subjects with gains of their own, and `labels` beside it."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    for number, gain in enumerate((1.0, 0.5, 2.0, 1.3)):
        image, labels = body_image(number, gain)
        write_image(tmp_path / "images" / f"s{number}.nii.gz", image, AFFINE)
        write_image(tmp_path / "labels" / f"s{number}.nii.gz", labels, AFFINE)
    return tmp_path
