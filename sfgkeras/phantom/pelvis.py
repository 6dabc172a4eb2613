"""A synthetic cohort of male pelves: T2-weighted MR, CT and organ labels, drawn procedurally.

No patient's data is in it. Each subject has its own anatomy, pose, texture, coil and scanner gain; cortical
bone and air are dark in MR alike, so that a CT can be told from the MR by context only. Subject `i` of a
seed is the same whatever the number of subjects.
"""

import os
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import zoom
from scipy.spatial.transform import Rotation

from sfgkeras.data.nifti import write_image
from sfgkeras.phantom.cohort_files import prepare_files, subject_generator
from sfgkeras.phantom.kinds import Progress
from sfgkeras.phantom.pelvis_anatomy import LABELS, Part, Tissue, draw_parts, draw_tissues
from sfgkeras.phantom.solids import Texture

__all__ = ["LABELS", "SIZES", "Phantom", "Volume", "build_phantom", "write_phantom_cohort"]


class Grid(NamedTuple):
    """The shape of an image and its voxel size in mm."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]


# MR and CT grids; "full" has the resolution of Bragman et al. 2019, "small" trains in minutes on a laptop.
SIZES: dict[str, dict[str, Grid]] = {
    "full": {"mr": Grid((288, 288, 18), (1.46, 1.46, 5.0)), "ct": Grid((430, 430, 62), (0.98, 0.98, 1.5))},
    "small": {"mr": Grid((96, 96, 16), (4.2, 4.2, 5.8)), "ct": Grid((104, 104, 21), (3.9, 3.9, 4.5))},
}
SLAB_CENTER = -3.0  # z of the middle of the images in body coordinates, mm


class Volume(NamedTuple):
    """An image `(x, y, z)` and its affine, voxel index to RAS mm."""

    array: np.ndarray
    affine: np.ndarray


@dataclass(frozen=True)
class Phantom:
    """The images of one subject; `organs` lies on the grid of `ct`.

    Attributes:
        mr: T2-weighted magnitude image, int16, arbitrary units.
        ct: Hounsfield units, int16.
        organs: Label map, uint8; see `LABELS`.
    """

    mr: Volume
    ct: Volume
    organs: Volume


@dataclass(frozen=True)
class Patient:
    """What all images of a subject share.

    Attributes:
        parts: What is painted, in order.
        tissues: How each tissue looks.
        texture: Fills the tissues.
        pose: Affine from world to body coordinates, `(4, 4)`.
        waves: Smooth deformation: wave vectors `(n, 3)` in 1/mm, phases `(n,)`, displacements `(n, 3)` in mm.
    """

    parts: list[Part]
    tissues: dict[str, Tissue]
    texture: Texture
    pose: np.ndarray
    waves: tuple[np.ndarray, np.ndarray, np.ndarray]


def draw_patient(rng: np.random.Generator) -> Patient:
    """Draws anatomy, tissues, texture, pose and deformation of one subject."""
    parts, tissues, texture = draw_parts(rng), draw_tissues(rng), Texture.draw(rng)
    pose = np.eye(4)
    turned = Rotation.from_euler("xyz", rng.uniform(-4, 4, 3), degrees=True).as_matrix()
    pose[:3, :3] = turned @ np.diag(1 / rng.uniform((0.95, 0.94, 0.94), (1.04, 1.06, 1.06)))
    pose[:3, 3] = rng.uniform(-6, 6, 3)
    directions = rng.standard_normal((6, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    vectors = 2 * np.pi * directions / rng.uniform(110, 240, (6, 1))
    return Patient(parts, tissues, texture, pose, (vectors, rng.uniform(0, 2 * np.pi, 6), rng.normal(0, 1.6, (6, 3))))


def body_coordinates(patient: Patient, shape: tuple[int, ...], affine: np.ndarray) -> list[np.ndarray]:
    """Returns where in the body every voxel lies: x, y and z in mm, float32 arrays of the given shape.

    The waves of the deformation are products of one factor per axis of the grid, so that no sine is taken
    per voxel.
    """
    vectors, phases, displacements = patient.waves
    to_body = patient.pose @ affine
    steps = [np.arange(n) for n in shape]
    coordinates = []
    for row in range(3):
        x, y, z = (to_body[row, axis] * steps[axis] for axis in range(3))
        total = x[:, None, None] + y[None, :, None] + (z + to_body[row, 3])[None, None, :]
        coordinates.append(total.astype(np.float32))
    for vector, phase, displacement in zip(vectors, phases, displacements, strict=True):
        x, y, z = (np.exp(1j * (vector @ to_body[:3, axis]) * steps[axis]) for axis in range(3))
        z = (z * np.exp(1j * (phase + vector @ to_body[:3, 3]))).astype(np.complex64)
        wave = ((x[:, None] * y[None, :]).astype(np.complex64)[:, :, None] * z).imag
        for coordinate, length in zip(coordinates, displacement, strict=True):
            coordinate += np.float32(length) * wave
    return coordinates


class Canvas:
    """Paints tissues, and labels, over a grid.

    Args:
        patient: What is painted.
        shape: Shape of the grid.
        affine: Its affine.
        modality: `"ct"` or `"mr"`: which values the tissues have.
    """

    def __init__(self, patient: Patient, shape: tuple[int, ...], affine: np.ndarray, modality: str):
        self.patient, self.modality = patient, modality
        self.coordinates = body_coordinates(patient, shape, affine)
        self.softness = np.float32(np.abs(np.linalg.det(affine[:3, :3])) ** (1 / 3))
        air = getattr(patient.tissues["air"], modality)
        self.values = np.full(shape, air, np.float32)
        self.labels = np.zeros(shape, np.uint8)
        self._ranges = [
            [(c.min(axis=others), c.max(axis=others)) for c in self.coordinates] for others in ((1, 2), (0, 2), (0, 1))
        ]

    def paint_all(self) -> "Canvas":
        """Paints every part of the patient in turn."""
        for part in self.patient.parts:
            self.paint(part)
        return self

    def paint(self, part: Part) -> None:
        """Paints one part: blends its tissues over a voxel's width, and labels what lies inside."""
        block = self._block(part)
        if block is None:
            return
        points = [c[block] for c in self.coordinates]
        distance = part.shape.distance(*points)
        for depth, name in part.layers:
            share = np.clip(np.float32(0.5) - (distance + np.float32(depth)) / self.softness, 0, 1)
            self.values[block] += share * (self._tissue(name, points, share) - self.values[block])
        if part.label is not None:
            self.labels[block][distance < 0] = part.label

    def _block(self, part: Part) -> tuple[slice, ...] | None:
        """Returns the part of the grid that the box around a part meets, or None."""
        low, high = part.shape.bounds()
        block = []
        for ranges in self._ranges:
            inside = np.ones(len(ranges[0][0]), bool)
            for (lowest, highest), start, stop in zip(ranges, low, high, strict=True):
                inside &= (lowest <= stop + self.softness) & (highest >= start - self.softness)
            hits = np.flatnonzero(inside)
            if not len(hits):
                return None
            block.append(slice(hits[0], hits[-1] + 1))
        return tuple(block)

    def _tissue(self, name: str, points: list[np.ndarray], share: np.ndarray) -> np.ndarray:
        """Returns the values of a tissue where its share is positive; elsewhere they are zero."""
        tissue = self.patient.tissues[name]
        spread = tissue.ct_texture if self.modality == "ct" else tissue.mr * tissue.mr_texture
        values = np.full(share.shape, getattr(tissue, self.modality), np.float32)
        inside = share > 0
        if spread > 0 and inside.any():
            texture = self.patient.texture([p[inside] for p in points], tissue.grain)
            values[inside] += np.float32(spread) * texture
        return values


def grid_affine(rng: np.random.Generator, grid: Grid, tilt: tuple[float, float, float]) -> np.ndarray:
    """Returns the affine of an image whose middle lies within 3 mm of that of the slab.

    Args:
        rng: Where randomness comes from.
        grid: Shape and voxel size.
        tilt: Rotation about x, y and z in degrees.
    """
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", tilt, degrees=True).as_matrix() @ np.diag(grid.spacing)
    middle = np.array([0, 0, SLAB_CENTER]) + rng.uniform(-3, 3, 3) * (1, 1, 0.5)
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(grid.shape) - 1) / 2)
    return affine


def coil_field(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draws the sensitivity of a receiver coil: smooth, positive, mean near 1, `shape`."""
    knots = rng.normal(0, 0.3, (4, 4, 3))
    field = zoom(knots, [n / k for n, k in zip(shape, knots.shape, strict=True)], order=3, mode="nearest")
    field = np.exp(field).astype(np.float32)
    return field / field.mean()


def acquire_mr(rng: np.random.Generator, patient: Patient, grid: Grid, tilt: tuple[float, float, float]) -> Volume:
    """Draws an MR image: slices three times as fine are averaged, then coil, gain and Rician noise."""
    affine = grid_affine(rng, grid, tilt)
    fine = affine.copy()
    fine[:3, 2] /= 3
    fine[:3, 3] -= fine[:3, 2]
    values = Canvas(patient, (*grid.shape[:2], 3 * grid.shape[2]), fine, "mr").paint_all().values
    signal = values.reshape(*grid.shape, 3).mean(axis=-1).clip(0) * coil_field(rng, grid.shape)
    noise = rng.uniform(0.015, 0.03)
    real = signal + noise * rng.standard_normal(grid.shape, np.float32)
    magnitude = np.hypot(real, noise * rng.standard_normal(grid.shape, np.float32))
    gain = np.exp(rng.uniform(np.log(350), np.log(1400)))
    return Volume(np.rint(gain * magnitude).astype(np.int16), affine)


def acquire_ct(rng: np.random.Generator, patient: Patient, grid: Grid) -> tuple[Volume, Volume]:
    """Draws a CT image with its noise, and the label map on the same grid."""
    affine = grid_affine(rng, grid, (0.0, 0.0, 0.0))
    canvas = Canvas(patient, grid.shape, affine, "ct").paint_all()
    noise = rng.uniform(12, 18) * rng.standard_normal(grid.shape, np.float32)
    hounsfield = np.rint(canvas.values + noise).clip(-1024, 3071).astype(np.int16)
    return Volume(hounsfield, affine), Volume(canvas.labels, affine)


def build_phantom(seed: int, subject: int = 0, size: str = "full", oblique: bool = False) -> Phantom:
    """Draws one subject.

    Args:
        seed: Seed of the cohort.
        subject: Number of the subject in the cohort.
        size: A key of `SIZES`.
        oblique: Whether the MR slices are tilted by several degrees, as along the prostate.

    Raises:
        ValueError: If the size is unknown.
    """
    rng = subject_generator(seed, subject, size, SIZES)
    patient = draw_patient(rng)
    tilt = (rng.uniform(5, 12), rng.uniform(-3, 3), rng.uniform(-4, 4)) if oblique else (0.0, 0.0, 0.0)
    ct, organs = acquire_ct(rng, patient, SIZES[size]["ct"])
    return Phantom(acquire_mr(rng, patient, SIZES[size]["mr"], tilt), ct, organs)


def write_phantom_cohort(
    folder: str | os.PathLike[str],
    num_subjects: int,
    size: str = "small",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
    oblique: bool = False,
) -> list[Path]:
    """Writes `phantom_000_mr.nii.gz`, `_ct` and `_organs`, and so on for every subject.

    Arguments, results and errors are those of `kinds.Writer`, and `oblique` as for `build_phantom`.
    """
    folder = Path(folder)
    kinds = ("mr", "ct", "organs")
    files = [folder / f"phantom_{i:03d}_{kind}.nii.gz" for i, kind in product(range(num_subjects), kinds)]
    prepare_files(files, num_subjects, overwrite)
    for subject in range(num_subjects):
        phantom = build_phantom(seed, subject, size, oblique)
        for kind, file in zip(kinds, files[len(kinds) * subject :], strict=False):
            volume = getattr(phantom, kind)
            write_image(file, volume.array, volume.affine)
        if progress is not None:
            progress(subject + 1, num_subjects)
    return files
