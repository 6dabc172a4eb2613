"""Folders to plan for, made of small images whose content is known, and a machine that is the same everywhere."""

from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from sfgkeras.applications.planning.contents import Content
from sfgkeras.applications.planning.facts import Facts
from sfgkeras.applications.planning.geometry import Geometry, measure_geometry
from sfgkeras.applications.planning.machine import Machine
from sfgkeras.applications.planning.plan import plan_folder
from sfgkeras.applications.planning.roles import PlannedTask, Roles
from sfgkeras.applications.planning.sources import FoundSource
from sfgkeras.data.nifti import Header, Image
from sfgkeras.data.references import ImageRef
from sfgkeras.errors import DataError
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


@dataclass(frozen=True)
class Drawn(ImageRef):
    """An image that lies in memory alone: plans ask for its header and its voxels, and not where they come from."""

    title: str
    array: np.ndarray = field(compare=False)
    affine: np.ndarray = field(default_factory=lambda: np.diag([2.0, 2.0, 2.0, 1.0]), compare=False)
    as_photo: bool = False

    @property
    def name(self):
        return self.title

    @property
    def path(self):
        return Path(self.title)

    @property
    def is_photo(self):
        return self.as_photo

    def fingerprint(self):
        return self.title

    def _read_header(self):
        spacing = tuple(float(side) for side in np.linalg.norm(self.affine[:3, :3], axis=0))
        axcodes = nib.aff2axcodes(self.affine)
        return Header(self.path, self.array.shape, self.affine, spacing, axcodes, self.array.dtype)

    def _read_image(self):
        return Image(self.array.astype(np.float32), self.affine, self.header())

    def _read_labels(self):
        if not np.array_equal(self.array, np.rint(self.array)):
            raise DataError(f"{self.title}: is no label map")
        return Image(self.array.astype(np.int32), self.affine, self.header())


def drawn(name, arrays, words=None, spacing=(2.0, 2.0, 2.0), origin=(0.0, 0.0, 0.0), photo=False, **more):
    """Returns a source `name` of images in memory: arrays by subject, or a list of those of s0, s1, ..."""
    arrays = arrays if isinstance(arrays, dict) else {f"s{number}": array for number, array in enumerate(arrays)}
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    images = {s: Drawn(f"{s}_{name.lower()}.nii.gz", np.asarray(a), affine, photo) for s, a in arrays.items()}
    return FoundSource(name, (name.lower(),) if words is None else words, images, **more)


def facts_of(images, tasks=(), contents=None, on_gpu=False, memory=16 * GIB, shapes=None, spacings=None, **more):
    """Returns what a plan rests on, of sources in memory; shapes and sides of voxels of the first one if not given.

    Args:
        images: Sources that the network sees.
        tasks: Tuples of name, type and source, and of what rows tell where these are values.
        contents: What sources hold; intensities, and labels of segmentations with half of the voxels, if not given.
    """
    tasks = [PlannedTask(name, kind, source, "", *values) for name, kind, source, *values in tasks]
    half = Content("labels", labels=(0, 1), shares={0: 0.5, 1: 0.5})
    found = {source: Content() for source in images}
    found |= {t.source: half if t.type == "segmentation" else Content() for t in tasks if t.values is None}
    geometry = measure_geometry(images[0].images)
    if shapes is not None or spacings is not None:
        number = len(shapes if shapes is not None else spacings)
        shapes = np.array(shapes) if shapes is not None else np.repeat(geometry.shapes[:1], number, axis=0)
        spacings = np.array(spacings, float) if spacings is not None else np.full((number, 3), 2.0)
        geometry = Geometry(spacings, shapes, {"RAS": number})
    roles = Roles(images=list(images), tasks=tasks, mask=more.pop("mask", None))
    machine = Machine(memory, on_gpu)
    return Facts(Path("data"), Path("models/data"), roles, found | (contents or {}), geometry, machine, **more)
