"""Which voxels are the patient: rules that find the foreground without swallowing the background.

The names are NiftyNet's. Unlike NiftyNet's masks these are not dilated: dilation by two voxels takes a rim of
air into the statistics, most of all in small or thick-sliced volumes. Holes are filled, specks are dropped.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from sfgkeras.errors import DataError, lookup
from sfgkeras.preprocessing.volume import Volume
from sfgkeras.settings import setting
from sfgkeras.values import choice

# Beyond this percentile a few bright vessels would drag Otsu's threshold up.
BRIGHTEST_SHARE_IGNORED = 0.001
SMALLEST_SPECK = 0.001


def otsu_threshold(image: np.ndarray, num_bins: int = 256) -> float:
    """Finds the threshold with the largest variance between the two classes (Otsu 1979).

    Args:
        image: Finite intensities, any shape. The brightest 0.1 % are clipped first.
        num_bins: Bins of the histogram.

    Raises:
        DataError: If the image is constant: there is nothing to separate.

    Examples:
        >>> round(otsu_threshold(np.repeat([0.0, 10.0], 50)))  # in the middle of the gap
        5
    """
    image = np.asarray(image, dtype=np.float32)
    flat = image.ravel(order="K")
    low, top = float(flat.min()), float(flat.max())
    # Resampling leaves rounding noise on a constant image, narrower than a histogram can divide.
    if not top - low > 8192 * float(np.spacing(np.float32(max(abs(low), abs(top))))):
        raise DataError(f"no foreground: every voxel is {low:g}")
    # A first, coarse histogram finds the percentile; exactness does not matter here, speed does.
    counts, edges = np.histogram(flat, bins=4096, range=(low, top))
    covered = np.cumsum(counts) >= (1 - BRIGHTEST_SHARE_IGNORED) * flat.size
    high = float(edges[1 + int(np.argmax(covered))])
    counts, edges = np.histogram(np.minimum(flat, high), bins=num_bins, range=(low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    weight_below = np.cumsum(counts)[:-1]
    weight_above = flat.size - weight_below
    sums = np.cumsum(counts * centres)
    mean_below = sums[:-1] / np.maximum(weight_below, 1)
    mean_above = (sums[-1] - sums[:-1]) / np.maximum(weight_above, 1)
    between = weight_below.astype(np.float64) * weight_above * (mean_below - mean_above) ** 2
    # Where no value lies between the classes every threshold in the gap is as good: take the middle.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return float((edges[best[0] + 1] + edges[best[-1] + 1]) / 2)


def _otsu_plus(image: np.ndarray, threshold: float) -> np.ndarray:
    return image > otsu_threshold(image)


def _otsu_minus(image: np.ndarray, threshold: float) -> np.ndarray:
    return image < otsu_threshold(image)


def _threshold_plus(image: np.ndarray, threshold: float) -> np.ndarray:
    return image > threshold


def _threshold_minus(image: np.ndarray, threshold: float) -> np.ndarray:
    return image < threshold


def _mean_plus(image: np.ndarray, threshold: float) -> np.ndarray:
    return image > image.mean(dtype=np.float64)


FOREGROUND_RULES: Mapping[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "otsu_plus": _otsu_plus,
    "otsu_minus": _otsu_minus,
    "threshold_plus": _threshold_plus,
    "threshold_minus": _threshold_minus,
    "mean_plus": _mean_plus,
}
# NiftyNet's documents and its code spell some of them differently.
FOREGROUND_ALIASES: Mapping[str, str] = {
    "otsu": "otsu_plus",
    "otsu_thresholding": "otsu_plus",
    "thresholding_plus": "threshold_plus",
    "thresholding_minus": "threshold_minus",
    "threshold": "threshold_plus",
    "mean": "mean_plus",
}


def foreground_rule(name: str) -> str:
    """Returns the canonical name of a foreground rule; raises ConfigError for an unknown one.

    Examples:
        >>> foreground_rule("otsu")
        'otsu_plus'
    """
    name = name.strip().lower()
    name = FOREGROUND_ALIASES.get(name, name)
    lookup(FOREGROUND_RULES, name, "foreground_type")
    return name


EVERY_VOXEL = "all"
THRESHOLD = "Intensity for the threshold rules."
MEASURING_RULES = (EVERY_VOXEL, *FOREGROUND_RULES)
MEASURING_ALIASES: Mapping[str, str] = {"none": EVERY_VOXEL, **FOREGROUND_ALIASES}


def rule_setting(default: str, description: str, whole_image: bool = True) -> Any:
    """Declares a setting that names a foreground rule.

    Args:
        default: Its default.
        description: What it is for.
        whole_image: Whether `all`, every voxel, may be chosen.
    """
    rules = MEASURING_RULES if whole_image else tuple(FOREGROUND_RULES)
    aliases = MEASURING_ALIASES if whole_image else FOREGROUND_ALIASES
    return setting(default, description, choices=rules, reads=choice(rules, aliases))


def measuring_mask(image: np.ndarray, rule: str, threshold: float = 0.0) -> np.ndarray | None:
    """Returns the foreground mask of a rule, or None for every voxel (rule `all`).

    Examples:
        >>> measuring_mask(np.array([[[1.0, 5.0]]]), "threshold_plus", 3.0).tolist()
        [[[False, True]]]
        >>> measuring_mask(np.array([[[1.0, 5.0]]]), "all") is None
        True
    """
    return None if rule == EVERY_VOXEL else foreground_mask(image, rule, threshold)


def measured_voxels(volume: Volume, rule: str, threshold: float = 0.0) -> np.ndarray | None:
    """Returns the voxels that a step measures: those that the volume has, else those of the step's rule."""
    return measuring_mask(volume.array, rule, threshold) if volume.foreground is None else volume.foreground


def describe_rule(rule: str, threshold: float = 0.0) -> str:
    """Names a rule and, where it counts, its threshold: what landmarks remember of their foreground.

    Examples:
        >>> describe_rule("otsu_plus", 20), describe_rule("threshold_plus", 20)
        ('otsu_plus', 'threshold_plus 20')
    """
    return f"{rule} {threshold:g}" if rule.startswith("threshold") else rule


def foreground_mask(image: np.ndarray, rule: str = "otsu_plus", threshold: float = 0.0) -> np.ndarray:
    """Finds the voxels that belong to the patient.

    Args:
        image: One volume `(x, y, z)` of finite intensities.
        rule: A name of `FOREGROUND_RULES` or `FOREGROUND_ALIASES`.
        threshold: Intensity for `threshold_plus` and `threshold_minus`.

    Returns:
        Boolean array of the image's shape: the threshold's voxels without specks (less than 0.1 % of the
        foreground, unconnected), with enclosed holes filled.

    Raises:
        DataError: If the image is not finite, constant, or has no voxel on the wanted side.
        ConfigError: If the rule is unknown.

    Examples:
        >>> image = np.zeros((9, 9, 9))
        >>> image[2:7, 2:7, 2:7] = 100
        >>> image[4, 4, 4] = 0  # a hole, which is filled
        >>> int(foreground_mask(image).sum())
        125
    """
    image = np.asarray(image)
    rule = foreground_rule(rule)
    if image.dtype.kind == "f" and not np.all(np.isfinite(image)):
        raise DataError("the image has values that are not finite (NaN or inf): no foreground can be found in it")
    low, high = image.min(), image.max()
    if not low < high:
        raise DataError(f"no foreground: every voxel is {float(low):g}")
    mask = FOREGROUND_RULES[rule](image, threshold)
    if not mask.any():
        raise DataError(
            f"no foreground: the rule {rule!r} (threshold {threshold:g}) finds no voxel in an image of "
            f"values {float(low):g} to {float(high):g}"
        )
    return fill_holes(drop_specks(mask))


def drop_specks(mask: np.ndarray, smallest_share: float = SMALLEST_SPECK) -> np.ndarray:
    """Removes unconnected pieces smaller than a share of the whole mask; the largest piece always stays.

    Examples:
        >>> mask = np.ones((2000, 1, 3), bool)
        >>> mask[:, 0, 1] = False
        >>> mask[1:, 0, 2] = False  # what is left there is one voxel on its own
        >>> int(drop_specks(mask).sum())
        2000
    """
    from scipy import ndimage

    pieces, count = ndimage.label(mask)
    if count <= 1:
        return mask
    sizes = np.bincount(pieces.ravel(order="K"), minlength=count + 1)
    sizes[0] = 0
    keep = sizes >= min(smallest_share * sizes.sum(), sizes.max())
    keep[0] = False
    return keep[pieces]


def fill_holes(mask: np.ndarray) -> np.ndarray:
    """Fills background that the mask encloses; an axis of one voxel does not open a hole to the outside.

    Examples:
        >>> ring = np.ones((3, 3, 1), bool)
        >>> ring[1, 1] = False
        >>> bool(fill_holes(ring).all())
        True
    """
    from scipy import ndimage

    pieces, count = ndimage.label(~mask)
    if count == 0:
        return mask
    is_outside = np.zeros(count + 1, dtype=bool)
    for axis, length in enumerate(mask.shape):
        if length > 1:
            for face in (0, -1):
                is_outside[np.unique(np.take(pieces, face, axis=axis))] = True
    is_outside[0] = False
    return ~is_outside[pieces]


def _fuse_or(masks: np.ndarray) -> np.ndarray:
    return np.broadcast_to(masks.any(axis=-1, keepdims=True), masks.shape).copy()


def _fuse_and(masks: np.ndarray) -> np.ndarray:
    return np.broadcast_to(masks.all(axis=-1, keepdims=True), masks.shape).copy()


def _fuse_all(masks: np.ndarray) -> np.ndarray:
    return masks


MULTIMOD_FUSIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "or": _fuse_or,
    "and": _fuse_and,
    "all": _fuse_all,
}


def fuse_foregrounds(masks: Sequence[np.ndarray], fusion: str = "or") -> np.ndarray:
    """Joins the foregrounds of several modalities on one grid (NiftyNet's `multimod_foreground_type`).

    Args:
        masks: Boolean volumes `(x, y, z)`, one per modality.
        fusion: `"or"` (a voxel of any modality counts for all), `"and"` (of every modality), `"all"` (each
            keeps its own).

    Returns:
        Boolean array `(x, y, z, modalities)`.

    Raises:
        DataError: If the volumes differ in shape, or nothing is common to all modalities.
        ConfigError: If the fusion is unknown.

    Examples:
        >>> masks = [np.array([[[True, False, False]]]), np.array([[[True, True, False]]])]
        >>> fuse_foregrounds(masks, "or")[0, 0, :, 0].tolist(), fuse_foregrounds(masks, "and")[0, 0, :, 0].tolist()
        ([True, True, False], [True, False, False])
    """
    shapes = {mask.shape for mask in masks}
    if len(shapes) != 1:
        raise DataError(
            f"modalities of different shapes {sorted(shapes)} have no common foreground; resample them first"
        )
    fused = lookup(MULTIMOD_FUSIONS, fusion, "multimod_foreground_type")(np.stack(masks, axis=-1))
    if not fused.any():
        raise DataError(
            f"no voxel is foreground in all {len(masks)} modalities (multimod_foreground_type = {fusion!r})"
        )
    return fused
