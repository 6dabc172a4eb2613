"""How good predicted depths and surface normals are, as Eigen and Fergus (2015, tables 1 and 2) measure them.

Undefined values are never errors: without a pixel to measure they are NaN.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sfgkeras.tables.measures import MEASURES

NAN = float("nan")
NEAR_FACTOR = 1.25


class Depths(NamedTuple):
    """Depths in a region, all above 0.

    Attributes:
        truth: `(n,)`, float64.
        prediction: The same.
    """

    truth: np.ndarray
    prediction: np.ndarray

    @property
    def residual_of_logs(self) -> np.ndarray:
        """The logarithm of how many times too far the predicted depths are."""
        return np.log(self.prediction) - np.log(self.truth)

    def mean(self, values: np.ndarray) -> float:
        """Averages; NaN for an empty region."""
        return float(values.mean()) if values.size else NAN


def relative_error(depths: Depths) -> float:
    """Averages `|d - d*| / d*`."""
    return depths.mean(np.abs(depths.prediction - depths.truth) / depths.truth)


def relative_squared_error(depths: Depths) -> float:
    """Averages `(d - d*)^2 / d*`."""
    return depths.mean((depths.prediction - depths.truth) ** 2 / depths.truth)


def linear_error(depths: Depths) -> float:
    """Returns the root of the mean of `(d - d*)^2`."""
    return float(np.sqrt(depths.mean((depths.prediction - depths.truth) ** 2)))


def log_error(depths: Depths) -> float:
    """Returns the root of the mean of `(ln d - ln d*)^2`."""
    return float(np.sqrt(depths.mean(depths.residual_of_logs**2)))


def scale_invariant_log_error(depths: Depths) -> float:
    """Returns the standard deviation of `ln d - ln d*`: the error but for a common factor."""
    return float(depths.residual_of_logs.std()) if depths.truth.size else NAN


def within_factor(depths: Depths, power: int = 1) -> float:
    """Returns the fraction of depths within a factor of `1.25 ** power`."""
    return depths.mean((np.abs(depths.residual_of_logs) < power * np.log(NEAR_FACTOR)).astype(float))


def within_second_factor(depths: Depths) -> float:
    """Returns the fraction of depths within a factor of 1.25 squared."""
    return within_factor(depths, 2)


def within_third_factor(depths: Depths) -> float:
    """Returns the fraction of depths within a factor of 1.25 cubed."""
    return within_factor(depths, 3)


def mean_angle(angles: np.ndarray) -> float:
    """Averages angles `(n,)`."""
    return float(angles.mean()) if angles.size else NAN


def median_angle(angles: np.ndarray) -> float:
    """Returns the median of angles `(n,)`."""
    return float(np.median(angles)) if angles.size else NAN


def within_eleven(angles: np.ndarray) -> float:
    """Returns the fraction of angles below 11.25 degrees."""
    return _within(angles, 11.25)


def within_twenty_two(angles: np.ndarray) -> float:
    """Returns the fraction of angles below 22.5 degrees."""
    return _within(angles, 22.5)


def within_thirty(angles: np.ndarray) -> float:
    """Returns the fraction of angles below 30 degrees."""
    return _within(angles, 30.0)


def _within(angles: np.ndarray, limit: float) -> float:
    return float((angles < limit).mean()) if angles.size else NAN


def angles_between(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Returns the angles between vectors `(..., 3)` in degrees, `(...)`; 90 where one has no direction.

    Examples:
        >>> angles_between(np.array([1.0, 0, 0]), np.array([1.0, 1.0, 0])).round(6).item()
        45.0
    """
    truth, prediction = np.asarray(truth, np.float64), np.asarray(prediction, np.float64)
    product = (truth * prediction).sum(axis=-1)
    sine = np.linalg.norm(np.cross(truth, prediction), axis=-1)
    lengths = np.linalg.norm(truth, axis=-1) * np.linalg.norm(prediction, axis=-1)
    return np.where(lengths > 0, np.degrees(np.arctan2(sine, product)), 90.0)


def evaluate_depth(
    truth: np.ndarray,
    prediction: np.ndarray,
    valid: np.ndarray,
    names: Sequence[str] | None = None,
    bounds: Mapping[str, tuple[float, float]] | None = None,
    masks: Mapping[str, np.ndarray] | None = None,
) -> list[dict[str, Any]]:
    """Measures predicted depths over the whole image and in regions.

    Args:
        truth: `(x, y, z)`.
        prediction: The same; what is not above 0 is measured as the smallest positive depth there is.
        valid: Where the truth is known, bool `(x, y, z)`.
        names: Which measures; None for the usual ones.
        bounds: Regions by name: where the true depth lies between two values, both included.
        masks: Regions by name: bool, `(x, y, z)`.

    Returns:
        One row per region: `region` (`"all"` first), `num_voxels`, and every measure.

    Raises:
        ValueError: If a measure is unknown.
    """
    truth = np.asarray(truth, np.float64)
    prediction = np.maximum(np.asarray(prediction, np.float64), np.finfo(np.float32).tiny)
    regions = {"all": valid, **{name: mask & valid for name, mask in (masks or {}).items()}}
    for name, (low, high) in (bounds or {}).items():
        regions[name] = valid & (truth >= low) & (truth <= high)
    rows = []
    for name, region in regions.items():
        depths = Depths(truth[region], prediction[region])
        values = {measure: MEASURES[measure].function(depths) for measure in chosen_of("depth", names)}
        rows.append({"region": name, "num_voxels": int(region.sum()), **values})
    return rows


def evaluate_normals(
    truth: np.ndarray,
    prediction: np.ndarray,
    valid: np.ndarray,
    names: Sequence[str] | None = None,
    masks: Mapping[str, np.ndarray] | None = None,
) -> list[dict[str, Any]]:
    """Measures predicted normals over the whole image and in regions.

    Args:
        truth: `(x, y, z, 3)`; only directions count.
        prediction: The same.
        valid: Where the truth is known, bool `(x, y, z)`.
        names: Which measures; None for the usual ones.
        masks: Regions by name: bool, `(x, y, z)`.

    Returns:
        As `evaluate_depth`.

    Raises:
        ValueError: If a measure is unknown.
    """
    angles = angles_between(truth, prediction)
    regions = {"all": valid, **{name: mask & valid for name, mask in (masks or {}).items()}}
    return [
        {
            "region": name,
            "num_voxels": int(region.sum()),
            **{measure: MEASURES[measure].function(angles[region]) for measure in chosen_of("normals", names)},
        }
        for name, region in regions.items()
    ]


def chosen_of(kind: str, names: Sequence[str] | None) -> list[str]:
    """Returns the measures asked for of a type of task, or the usual ones.

    Raises:
        ValueError: If one measures another type of task.
    """
    known = [name for name, entry in MEASURES.items() if entry.kind == kind]
    for name in names or ():
        if name not in known:
            raise ValueError(f"{name!r} is no measure of a {kind} task; known are {', '.join(known)}")
    return [name for name in known if MEASURES[name].usual] if names is None else list(names)
