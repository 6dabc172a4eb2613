"""Registration of a moving image to a fixed one (MR to CT or any pair) through antspyx: rigid, affine, SyN.

Source: B. Avants et al., "Symmetric diffeomorphic image registration with cross-correlation", Medical Image
Analysis 12(1), 2008 (SyN); mutual information after Mattes et al. 2003, so that modalities may differ.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.data.scratch import temporary_folder
from sfgkeras.errors import DataError, Problem, lookup
from sfgkeras.extras import require_extra
from sfgkeras.preprocessing.ct import FILL
from sfgkeras.preprocessing.settings import require
from sfgkeras.preprocessing.volume import SideResult, StepContext, Volume
from sfgkeras.settings import Settings, setting

TRANSFORMS: Mapping[str, str] = {"rigid": "Rigid", "affine": "Affine", "syn": "SyN"}
SUFFIXES = ("_0GenericAffine.mat", "_1Warp.nii.gz", "_1InverseWarp.nii.gz")
"""Ends of the names of ANTs' transform files; the last two are of SyN alone."""

INTERPOLATORS: Mapping[int, str] = {0: "nearestNeighbor", 1: "linear", 3: "bSpline"}
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# ITK's images have orthonormal axes; a tilted gantry leaves a shear that cannot be told to it.
LARGEST_SHEAR = 1e-3


@dataclass(frozen=True, eq=False)
class Registration:
    """How a moving image lies on a fixed one.

    Attributes:
        files: ANTs' transform files by suffix (`SUFFIXES`), whole; `antsApplyTransforms` and
            `ants.apply_transforms` read them.
        matrix: 4 x 4, millimetres (RAS) of the fixed image to millimetres of the moving one: the linear part.
    """

    files: Mapping[str, bytes]
    matrix: np.ndarray


@dataclass(frozen=True)
class RegisterSettings(Settings):
    """Settings of the step `register`."""

    reference: Path | None = setting(None, "The fixed image, or a folder with one of each subject's name.")
    transform: str = setting("rigid", "`rigid`, `affine` or `syn`.", choices=tuple(TRANSFORMS))
    order: int = setting(
        1, "Interpolation of the image: 0 nearest, 1 linear, 3 cubic B-spline; labels are always nearest."
    )
    fill: float | None = setting(None, FILL.format("the moving image"))
    seed: int = setting(0, "Seed of the voxels that the metric is sampled at.", ge=0)
    save_transform: bool = setting(True, "Write the transform to the folder `transforms` of the output.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reference is None:
            raise Problem("register needs register_reference", "name the fixed image or a folder of fixed images")
        require(self.order in INTERPOLATORS, "order", self.order, "does not exist", "known are 0, 1, 3")
        require_extra("registration", "the step register")


def register(
    moving: np.ndarray,
    moving_affine: np.ndarray,
    fixed: np.ndarray,
    fixed_affine: np.ndarray,
    transform: str = "rigid",
    seed: int = 0,
) -> Registration:
    """Finds the transform that lays the moving image on the fixed one.

    Args:
        moving: `(x, y, z)`, any modality.
        moving_affine: 4 x 4, voxel to RAS mm.
        fixed: `(x, y, z)`, of the same body part.
        fixed_affine: 4 x 4, voxel to RAS mm.
        transform: `"rigid"`, `"affine"` or `"syn"` (affine, then a diffeomorphic warp).
        seed: Seed of the random samples of the metric; ANTs sums in an order that depends on its threads, so
            runs repeat exactly only with one thread.

    Raises:
        DataError: If an image is constant, not finite, single-sliced or sheared, or ANTs finds nothing.
        ConfigError: If the transform is unknown, or antspyx is not installed.
    """
    kind = lookup(TRANSFORMS, transform, "transform")
    require_extra("registration", "registration")
    images = [
        _to_ants(array, affine, name)
        for array, affine, name in ((fixed, fixed_affine, "fixed"), (moving, moving_affine, "moving"))
    ]
    import ants

    with temporary_folder() as folder, _ants_seed(seed):
        prefix = str(folder / "t")
        try:
            found = ants.registration(images[0], images[1], type_of_transform=kind, outprefix=prefix)
        except Exception as error:  # antspyx raises whatever its library prints
            raise DataError(f"registration failed ({error}); do the two images show the same body part?") from error
        names = sorted({*found["fwdtransforms"], *found["invtransforms"]})
        if not names:
            raise DataError("registration found no transform; do the two images show the same body part?")
        linear = next(name for name in names if name.endswith(".mat"))
        matrix = _linear_matrix(ants.read_transform(linear))
        files = {Path(name).name.removeprefix("t").join(["_", ""]): Path(name).read_bytes() for name in names}
    return Registration(files, matrix)


def apply_registration(
    registration: Registration,
    moving: np.ndarray,
    moving_affine: np.ndarray,
    fixed_shape: tuple[int, ...],
    fixed_affine: np.ndarray,
    order: int = 1,
    fill: float = 0.0,
) -> np.ndarray:
    """Resamples an image or label map through a registration onto the fixed image's grid.

    Args:
        registration: What `register` found.
        moving: `(x, y, z)` on the moving image's grid.
        moving_affine: 4 x 4, voxel to RAS mm.
        fixed_shape: Shape of the fixed image.
        fixed_affine: 4 x 4, voxel to RAS mm, of the fixed image.
        order: 0 nearest (labels), 1 linear, 3 cubic B-spline.
        fill: Value outside the moving image.

    Returns:
        float32 array of `fixed_shape`; integers keep their type with order 0.
    """
    import ants

    moving = np.asarray(moving)
    keeps_type = order == 0 and moving.dtype.kind in "iub"
    if keeps_type and np.abs(moving).max(initial=0) > 2**24:
        raise DataError(f"labels up to {np.abs(moving).max()} are too large for ANTs; renumber them below 16777216")
    with temporary_folder() as folder:
        names = []
        for suffix, content in registration.files.items():
            if suffix.endswith("InverseWarp.nii.gz"):
                continue
            name = folder / f"t{suffix}"
            name.write_bytes(content)
            names.append(str(name))
        # ANTs applies the last of the list first: from the fixed image through the warp, then the linear
        # part.
        names.sort(key=lambda name: name.endswith(".mat"))
        placed = ants.apply_transforms(
            _to_ants(np.zeros(fixed_shape, np.float32), fixed_affine, "fixed", check_contrast=False),
            _to_ants(moving, moving_affine, "moving", check_contrast=False),
            transformlist=names,
            interpolator=lookup({str(k): v for k, v in INTERPOLATORS.items()}, str(order), "order"),
            defaultvalue=fill,
        ).numpy()
    return np.rint(placed).astype(moving.dtype) if keeps_type else placed.astype(np.float32)


def mutual_information(one: np.ndarray, other: np.ndarray, bins: int = 32) -> float:
    """Measures how much one image tells of another on the same grid, in nats; 0 for independent images.

    Examples:
        >>> image = np.array([0.0, 1.0, 0.0, 1.0])
        >>> round(mutual_information(image, 1 - image), 4)  # one tells all of the other: ln 2
        0.6931
    """
    counts, _, _ = np.histogram2d(np.ravel(one), np.ravel(other), bins=bins)
    joint = counts / counts.sum()
    product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    positive = joint > 0
    return float(np.sum(joint[positive] * np.log(joint[positive] / product[positive])))


def register_step(volume: Volume, settings: RegisterSettings, context: StepContext) -> Volume:
    """Registers one subject's image to its reference and takes the label maps along."""
    from sfgkeras.preprocessing.ct import value_outside
    from sfgkeras.preprocessing.resampling import resample_like

    assert settings.reference is not None
    fixed = context.read_companion(settings.reference)
    found = register(volume.array, volume.affine, fixed.array, fixed.affine, settings.transform, settings.seed)
    shape = fixed.array.shape
    fill = value_outside(volume.array) if settings.fill is None else settings.fill
    before = resample_like(volume.array, volume.affine, shape, fixed.affine, 1, fill=fill)
    array = apply_registration(found, volume.array, volume.affine, shape, fixed.affine, settings.order, fill)
    labels = {
        name: apply_registration(found, label_map, volume.affine, shape, fixed.affine, order=0)
        for name, label_map in volume.labels.items()
    }
    information = [mutual_information(image, fixed.array) for image in (before, array)]
    shift = np.linalg.norm((found.matrix @ _centre(shape, fixed.affine) - _centre(shape, fixed.affine))[:3])
    note = (
        f"registered ({settings.transform}) to {fixed.header.path.name}: the centre moves {shift:.1f} mm, "
        f"mutual information {information[0]:.3f} -> {information[1]:.3f}"
    )
    if information[1] < information[0]:
        note += ": WORSE than before, look at the picture"
    result = volume.with_grid(array, fixed.affine, labels, note)
    if settings.save_transform:
        saved = [SideResult("transforms", suffix, content=content) for suffix, content in found.files.items()]
        result = replace(result, side_results=(*result.side_results, *saved))
    return result


def _centre(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    return affine @ np.array([*((np.asarray(shape) - 1) / 2), 1.0])


def _to_ants(array: np.ndarray, affine: np.ndarray, name: str, check_contrast: bool = True) -> Any:
    import ants

    array = np.asarray(array, dtype=np.float32)
    if array.ndim != 3 or min(array.shape) < 2:
        raise DataError(f"registration needs volumes of several slices; the {name} image has shape {array.shape}")
    if not np.all(np.isfinite(array)):
        raise DataError(f"the {name} image has values that are not finite (NaN or inf); clean it first")
    if check_contrast and array.min() == array.max():
        raise DataError(f"the {name} image is constant ({float(array.min()):g}): there is nothing to register")
    lps = LPS_FROM_RAS @ np.asarray(affine, dtype=np.float64)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    if np.abs(direction.T @ direction - np.eye(3)).max() > LARGEST_SHEAR:
        raise DataError(
            f"the axes of the {name} image are not perpendicular (tilted gantry?); "
            "resample it onto a straight grid first (resample_like)"
        )
    return ants.from_numpy(
        np.ascontiguousarray(array), origin=lps[:3, 3].tolist(), spacing=spacing.tolist(), direction=direction
    )


def _linear_matrix(transform: Any) -> np.ndarray:
    """Returns ITK's centred linear transform (LPS) as a 4 x 4 matrix in RAS mm."""
    parameters = np.asarray(transform.parameters, dtype=np.float64)
    centre = np.asarray(transform.fixed_parameters, dtype=np.float64)[:3]
    lps = np.eye(4)
    lps[:3, :3] = parameters[:9].reshape(3, 3)
    lps[:3, 3] = parameters[9:12] + centre - lps[:3, :3] @ centre
    return LPS_FROM_RAS @ lps @ LPS_FROM_RAS


@contextmanager
def _ants_seed(seed: int) -> Iterator[None]:
    """Sets the seed in the variable that ANTs reads; 0 would mean the clock, so seeds are shifted by one."""
    before = os.environ.get("ANTS_RANDOM_SEED")
    os.environ["ANTS_RANDOM_SEED"] = str(seed + 1)
    try:
        yield
    finally:
        if before is None:
            del os.environ["ANTS_RANDOM_SEED"]
        else:
            os.environ["ANTS_RANDOM_SEED"] = before
