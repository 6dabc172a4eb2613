"""N4 bias field correction: the smooth gain of MR coils, estimated small and removed at full resolution.

Source: N. Tustison et al., "N4ITK: improved N3 bias correction", IEEE Transactions on Medical Imaging 29(6),
2010. SimpleITK's and ANTs' implementations are both at hand. Both see the same shrunk image and give the log
field at its voxels; it is brought to full resolution here by a cubic spline, so the engines differ only in
the estimation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sfgkeras.errors import DataError, Problem, lookup
from sfgkeras.extras import require_extra
from sfgkeras.preprocessing.foreground import THRESHOLD, measuring_mask, rule_setting
from sfgkeras.preprocessing.foreground import foreground_mask as find_foreground
from sfgkeras.preprocessing.resampling import multiply_axis
from sfgkeras.preprocessing.settings import require
from sfgkeras.preprocessing.spline_weights import axis_weights
from sfgkeras.preprocessing.volume import SideResult, StepContext, Volume
from sfgkeras.settings import Settings, setting

# Thinner axes cannot carry the spline that N4 fits: a shrunk image keeps at least this many voxels per axis.
SHORTEST_AXIS = 12
# With fewer foreground voxels the finest spline follows the noise.
FEWEST_VOXELS = 2500


@dataclass(frozen=True)
class N4Options:
    """What N4 can be told.

    Attributes:
        iterations: Largest number of iterations on each level; the number of levels is its length.
        convergence: A level ends when the field changes less than this (coefficient of variation of the
            change).
        spline_distance: Distance of the control points on the first level in mm, halved on every further
            level; None for one spline element across the image, as ANTs.
        histogram_bins: Bins of the intensity histogram that is sharpened.
        deconvolution_width: Full width at half maximum of the Gaussian that blurred the log intensities.
        wiener_noise: Noise constant of the Wiener deconvolution.
    """

    iterations: tuple[int, ...] = (50, 50, 50, 50)
    convergence: float = 1e-3
    spline_distance: float | None = None
    histogram_bins: int = 200
    deconvolution_width: float = 0.15
    wiener_noise: float = 0.01


def correct_bias_field(
    image: np.ndarray,
    spacing: Sequence[float],
    foreground_mask: np.ndarray | None = None,
    engine: str = "simpleitk",
    shrink_factor: int = 4,
    iterations: Sequence[int] = N4Options.iterations,
    convergence: float = N4Options.convergence,
    spline_distance: float | None = None,
    weights: np.ndarray | None = None,
    histogram_bins: int = N4Options.histogram_bins,
    deconvolution_width: float = N4Options.deconvolution_width,
    wiener_noise: float = N4Options.wiener_noise,
) -> tuple[np.ndarray, np.ndarray]:
    """Divides an MR volume by its estimated bias field.

    Args:
        image: `(x, y, z)`, positive in the foreground.
        spacing: Voxel size in mm.
        foreground_mask: Voxels the field is estimated from; Otsu's if None. Voxels that are not positive are
            left out.
        engine: `"simpleitk"` or `"antspyx"`.
        shrink_factor: Every `shrink_factor`-th voxel is used for the estimation; less where an axis would get
            shorter than 12 voxels or the foreground smaller than 2500, with which N4 would fit noise.
        iterations: Largest number of iterations per level, coarse to fine.
        convergence: Threshold that ends a level.
        spline_distance: Distance of control points in mm on the coarsest level; None for one element per
            axis.
        weights: Confidence of each voxel, `(x, y, z)`, not negative; only with `engine="antspyx"`.
        histogram_bins: Bins of the sharpened histogram.
        deconvolution_width: Width of the deconvolved Gaussian in log intensity; SimpleITK only, ANTs fixes it
            at 0.15.
        wiener_noise: Noise of the deconvolution; SimpleITK only, ANTs fixes it at 0.01.

    Returns:
        The corrected image and the field, both float32 `(x, y, z)`; image = corrected * field. The field's
        geometric mean over the foreground is 1, so that correction keeps the level of intensities.

    Raises:
        DataError: If the image is not a finite volume, or has too few positive voxels in the foreground.
        ConfigError: If an option is out of range or not offered by the engine.

    Examples:
        >>> image = np.full((12, 12, 12), 100.0) * np.linspace(0.8, 1.2, 12)  # brighter from front to back
        >>> corrected, field = correct_bias_field(image, (1, 1, 1), np.ones(image.shape, bool))
        >>> bool(corrected.std() < 0.2 * image.std()), bool(np.allclose(corrected * field, image))
        (True, True)
    """
    image = np.asarray(image, dtype=np.float32)
    options = N4Options(
        tuple(int(n) for n in iterations), float(convergence), spline_distance,
        int(histogram_bins), float(deconvolution_width), float(wiener_noise),
    )  # fmt: skip
    estimate = lookup(ENGINES, engine, "N4 engine")
    _check_options(options, engine, shrink_factor, weights)
    mask = _usable_voxels(image, foreground_mask)
    factors = shrink_factors(image.shape, shrink_factor, int(np.count_nonzero(mask)))
    picked = tuple(slice((factor - 1) // 2, None, factor) for factor in factors)
    coarse_spacing = np.asarray(spacing, dtype=np.float64) * factors
    coarse_mask = mask[picked]
    coarse_weights = None if weights is None else np.asarray(weights, dtype=np.float32)[picked]
    # A single slice is a two-dimensional image: the spline has nothing to hold on to along its third axis.
    flat = tuple(axis for axis, length in enumerate(coarse_mask.shape) if length == 1)
    coarse_log_field = estimate(
        np.squeeze(image[picked], flat),
        np.delete(coarse_spacing, flat),
        np.squeeze(coarse_mask, flat),
        None if coarse_weights is None else np.squeeze(coarse_weights, flat),
        options,
    )
    log_field = _enlarge(np.expand_dims(coarse_log_field, flat), image.shape, factors)
    log_field -= np.float32(log_field[mask].mean(dtype=np.float64))
    field = np.exp(log_field)
    return image / field, field


def shrink_factors(shape: Sequence[int], shrink_factor: int, num_voxels: int) -> tuple[int, ...]:
    """Returns how much every axis is shrunk so that axes and foreground stay long and large enough for N4.

    Args:
        shape: Shape of the volume.
        shrink_factor: The largest factor.
        num_voxels: Voxels of the foreground before shrinking.

    Examples:
        >>> shrink_factors((256, 256, 20), 4, 500_000)  # the third axis is too short to be shrunk
        (4, 4, 1)
    """
    for largest in range(shrink_factor, 0, -1):
        factors = tuple(max(1, min(largest, length // SHORTEST_AXIS)) for length in shape)
        if num_voxels / np.prod(factors) >= FEWEST_VOXELS:
            break
    return factors


def _usable_voxels(image: np.ndarray, foreground_mask: np.ndarray | None) -> np.ndarray:
    if image.ndim != 3:
        raise DataError(f"N4 needs one volume (x, y, z), got shape {image.shape}")
    if not np.all(np.isfinite(image)):
        raise DataError("the image has values that are not finite (NaN or inf); clean it before N4")
    if foreground_mask is None:
        foreground_mask = find_foreground(image, "otsu_plus")
    foreground_mask = np.asarray(foreground_mask, dtype=bool)
    if foreground_mask.shape != image.shape:
        raise DataError(f"foreground mask of shape {foreground_mask.shape} for an image of shape {image.shape}")
    usable = foreground_mask & (image > 0)
    num_found, num_usable = np.count_nonzero(foreground_mask), np.count_nonzero(usable)
    if num_usable < max(0.5 * num_found, 1):
        raise DataError(
            f"N4 takes logarithms, but {num_found - num_usable} of {num_found} foreground voxels are not "
            "positive; run it before whitening, and not on CT"
        )
    if num_usable < 100:
        raise DataError(f"only {num_usable} foreground voxels are too few for N4; use another rule")
    return usable


def _check_options(options: N4Options, engine: str, shrink_factor: int, weights: np.ndarray | None) -> None:
    require(
        bool(options.iterations) and min(options.iterations) > 0,
        "iterations",
        options.iterations,
        "must name at least one positive number",
    )
    require(shrink_factor > 0, "shrink_factor", shrink_factor, "must be 1 or more")
    require(options.convergence >= 0, "convergence", options.convergence, "must not be negative")
    distance = options.spline_distance
    require(distance is None or distance > 0, "spline_distance", distance, "must be positive, in mm")
    if engine.lower() == "simpleitk" and weights is not None:
        remedy = "use engine = antspyx, or a foreground mask"
        raise Problem("cannot be used: SimpleITK's N4 takes no weights", remedy, key="weights")
    if engine.lower() == "antspyx":
        for name in ("histogram_bins", "deconvolution_width", "wiener_noise"):
            value = getattr(options, name)
            is_default = value == getattr(N4Options, name)
            require(is_default, name, value, "cannot be passed to antspyx's N4", "use engine = simpleitk")
        require_extra("registration", "engine = antspyx")


def _mesh_elements(shape: Sequence[int], spacing: np.ndarray, distance: float | None) -> list[int]:
    if distance is None:
        return [1] * len(shape)
    extents = spacing * (np.asarray(shape) - 1)
    return [max(1, int(np.ceil(extent / distance - 1e-6))) for extent in extents]


def _estimate_with_simpleitk(
    image: np.ndarray, spacing: np.ndarray, mask: np.ndarray, weights: np.ndarray | None, options: N4Options
) -> np.ndarray:
    import SimpleITK as sitk

    # ITK counts axes from the fastest in memory: an array (x, y, z) is an image (z, y, x).
    itk_image = sitk.GetImageFromArray(np.ascontiguousarray(image))
    itk_mask = sitk.GetImageFromArray(np.ascontiguousarray(mask, dtype=np.uint8))
    for each in (itk_image, itk_mask):
        each.SetSpacing(spacing[::-1].tolist())
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(list(options.iterations))
    n4.SetConvergenceThreshold(options.convergence)
    elements = _mesh_elements(image.shape, spacing, options.spline_distance)
    n4.SetNumberOfControlPoints([count + n4.GetSplineOrder() for count in elements[::-1]])
    n4.SetNumberOfHistogramBins(options.histogram_bins)
    n4.SetBiasFieldFullWidthAtHalfMaximum(options.deconvolution_width)
    n4.SetWienerFilterNoise(options.wiener_noise)
    n4.Execute(itk_image, itk_mask)
    return sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(itk_image)).astype(np.float32)


def _estimate_with_ants(
    image: np.ndarray, spacing: np.ndarray, mask: np.ndarray, weights: np.ndarray | None, options: N4Options
) -> np.ndarray:
    import ants

    def to_ants(array: np.ndarray) -> "ants.ANTsImage":
        return ants.from_numpy(np.ascontiguousarray(array, dtype=np.float32), spacing=spacing.tolist())

    field = ants.n4_bias_field_correction(
        to_ants(image),
        mask=to_ants(mask),
        shrink_factor=1,
        convergence={"iters": list(options.iterations), "tol": options.convergence},
        spline_param=_mesh_elements(image.shape, spacing, options.spline_distance),
        return_bias_field=True,
        weight_mask=None if weights is None else to_ants(weights),
    )
    return np.log(field.numpy()).astype(np.float32)


Engine = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None, N4Options], np.ndarray]
ENGINES: Mapping[str, Engine] = {"simpleitk": _estimate_with_simpleitk, "antspyx": _estimate_with_ants}


def _enlarge(coarse: np.ndarray, shape: Sequence[int], factors: Sequence[int]) -> np.ndarray:
    """Brings a field known at every `factor`-th voxel to all voxels by cubic splines, `(x, y, z)` float32."""
    result = coarse
    for axis, (length, factor) in enumerate(zip(shape, factors, strict=True)):
        if factor == 1:
            continue
        # One more sample on either side, on the line through the border: the spline keeps its slope up to the
        # edge.
        padding = [(1, 1) if a == axis else (0, 0) for a in range(3)]
        padded = np.pad(result, padding, mode="reflect", reflect_type="odd")
        positions = 1 + (np.arange(length) - (factor - 1) // 2) / factor
        result = multiply_axis(axis_weights(padded.shape[axis], positions, 3), padded, axis)
    return np.ascontiguousarray(result, dtype=np.float32)


@dataclass(frozen=True)
class BiasFieldSettings(Settings):
    """Settings of the step `bias_field`."""

    engine: str = setting("simpleitk", "`simpleitk` or `antspyx`.", choices=ENGINES)
    shrink_factor: int = setting(4, "Every so many voxels are used along each axis; less in small volumes.", ge=1)
    iterations: tuple[int, ...] = setting(
        N4Options.iterations, "Largest number of iterations per level, coarse to fine.", ge=1
    )
    convergence: float = setting(N4Options.convergence, "Threshold that ends a level.", ge=0)
    spline_distance: float | None = setting(
        None, "Distance of control points in mm on the coarsest level; empty for one element per axis.", gt=0
    )
    foreground: str = rule_setting(
        "otsu_plus", "Rule of the voxels the field is estimated from; `all` for every voxel."
    )
    threshold: float = setting(0.0, THRESHOLD)
    weights: Path | None = setting(
        None, "Folder with a map of confidences per subject, of the image's name; only for `antspyx`."
    )
    histogram_bins: int = setting(N4Options.histogram_bins, "Bins of the sharpened histogram.", ge=2)
    save_field: bool = setting(False, "Write the field to the folder `bias_field` of the output.")

    def __post_init__(self) -> None:
        super().__post_init__()
        options = N4Options(self.iterations, self.convergence, self.spline_distance, histogram_bins=self.histogram_bins)
        has_weights = None if self.weights is None else np.empty(0)
        _check_options(options, self.engine, self.shrink_factor, has_weights)


def bias_field_step(volume: Volume, settings: BiasFieldSettings, context: StepContext) -> Volume:
    """Corrects one subject's image; see `correct_bias_field`.

    Raises:
        DataError: As `correct_bias_field`, and if the weights are on another grid.
    """
    weights = None
    if settings.weights is not None:
        companion = context.read_companion(settings.weights)
        if companion.array.shape != volume.array.shape:
            raise DataError(
                f"{companion.header.path}: weights of shape {companion.array.shape} for an image of shape "
                f"{volume.array.shape}; give them the image's grid"
            )
        weights = companion.array
    # For N4 every voxel means every voxel with a logarithm.
    mask = measuring_mask(volume.array, settings.foreground, settings.threshold)
    corrected, field = correct_bias_field(
        volume.array,
        volume.spacing,
        volume.array > 0 if mask is None else mask,
        engine=settings.engine,
        shrink_factor=settings.shrink_factor,
        iterations=settings.iterations,
        convergence=settings.convergence,
        spline_distance=settings.spline_distance,
        weights=weights,
        histogram_bins=settings.histogram_bins,
    )
    low, high = float(field.min()), float(field.max())
    result = volume.with_array(corrected, f"bias field from {low:.3g} to {high:.3g}")
    if settings.save_field:
        saved = SideResult("bias_field", ".nii.gz", field, volume.affine)
        result = replace(result, side_results=(*result.side_results, saved))
    return result
