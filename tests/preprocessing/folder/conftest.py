"""Small images, and jobs on them, for the parts of a run over a folder."""

from pathlib import Path

import numpy as np
import pytest

from sfgkeras.data.nifti import write_image
from sfgkeras.preprocessing.folder.job import Job
from sfgkeras.preprocessing.pipeline import build_pipeline

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def write_small(path: Path, seed: int = 0, shape: tuple[int, ...] = (6, 5, 4)) -> Path:
    """Writes an image of whole numbers, and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.random.default_rng(seed).integers(0, 500, shape).astype(np.int16), AFFINE)
    return path


@pytest.fixture
def job_of(tmp_path: Path):
    """Returns a function: subject, steps, settings, whatever else the job has -> a job whose image is written."""

    def make(subject: str = "s1", steps: str = "whiten", settings: dict[str, str] | None = None, **options) -> Job:
        image = tmp_path / "images" / f"{subject}.nii.gz"
        if not image.exists():
            write_small(image, seed=sum(map(ord, subject)))
        pipeline = build_pipeline(steps, settings)
        options = {"picture": False, "labels": {}, "label_outputs": {}, **options}
        return Job(subject, image, folder=tmp_path / "out", output=f"{subject}.nii.gz", pipeline=pipeline, **options)

    return make
