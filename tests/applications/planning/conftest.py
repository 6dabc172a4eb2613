"""Folders to plan for, made of small images whose content is known, and a machine that is the same everywhere."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from sfgkeras.applications.planning.machine import Machine
from sfgkeras.applications.planning.plan import plan_folder
from sfgkeras.reporter import SilentReporter

GIB = 1 << 30


def ball(shape, radius=0.3):
    """Returns the squared distance from the middle, 1 at the middle of a face, below `radius` squared."""
    grids = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    return sum(grid**2 for grid in grids) < radius**2


def intensities(shape, seed=0):
    """Returns smooth intensities with noise, as an MR has: bright inside, dark outside."""
    noise = np.random.default_rng(seed).normal(0, 20, shape)
    return np.clip(100 + 700 * ball(shape, 0.9) + noise, 0, None).round().astype(np.int16)


def ct(shape, seed=0):
    """Returns air of -1000 HU around tissue of about 40 HU."""
    noise = np.random.default_rng(seed).normal(0, 10, shape)
    return np.where(ball(shape, 0.9), 40 + noise, -1000).astype(np.int16)


def labels(shape, values=(0, 1)):
    """Returns nested balls of some labels."""
    found = np.full(shape, values[0], np.uint8)
    for number, value in enumerate(values[1:]):
        found[ball(shape, 0.7 - 0.5 * number / len(values))] = value
    return found


@pytest.fixture
def write():
    """Writes an array as a NIfTI file with voxels of some mm."""

    def write_image(path: Path, array, spacing=(2.0, 2.0, 2.0), origin=(0.0, 0.0, 0.0)):
        affine = np.diag([*spacing, 1.0])
        affine[:3, 3] = origin
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, affine), path)

    return write_image


@pytest.fixture
def plan(tmp_path):
    """Plans for a folder on a machine without a GPU, with 16 GiB."""

    def plan_for(folder: Path, machine: Machine | None = None, **choices):
        return plan_folder(
            folder, tmp_path / "run.ini", SilentReporter(), machine=machine or Machine(16 * GIB, False), **choices
        )

    return plan_for
