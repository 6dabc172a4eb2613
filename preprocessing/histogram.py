"""Nyul's histogram standardisation: landmarks learnt on training subjects, then mapped piecewise linearly.

Source: L. G. Nyul, J. K. Udupa, X. Zhang, "New variants of a method of MRI scale standardization", IEEE
Transactions on Medical Imaging 19(2), 2000. Percentiles, standard scale and the three variants (`norm_type`)
are NiftyNet's. The file of landmarks is `landmark_file.py`'s.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from sfgkeras import __version__
from sfgkeras.errors import ConfigError, DataError, Problem, lookup
from sfgkeras.preprocessing.fitted import FittedSettings
from sfgkeras.preprocessing.foreground import THRESHOLD, describe_rule, measured_voxels, rule_setting
from sfgkeras.preprocessing.percentiles import compact_integers, exact_percentiles
from sfgkeras.preprocessing.volume import StepContext, Volume
from sfgkeras.settings import setting

STANDARD_SCALE = (0.0, 100.0)
INNER_PERCENTILES = (10.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 70.0, 75.0, 80.0, 90.0)

# Which of the inner percentiles bend the curve; the two cut-offs always do.
NORM_TYPES: Mapping[str, tuple[float, ...]] = {
    "percentile": (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0),
    "quartile": (25.0, 50.0, 75.0),
    "median": (50.0,),
}


@dataclass(frozen=True, eq=False)
class NyulLandmarks:
    """The mean histogram of the training subjects on the standard scale, and how it was measured.

    Attributes:
        percentiles: Percentiles in percent, increasing; the first and the last are the cut-off.
        values: Their mean positions on the standard scale `[0, 100]`, of the same length.
        modality: Name of the modality, e.g. `"T2"`.
        foreground: Rule of the foreground that the percentiles were taken in; empty if unknown, `"all"` for
            every voxel.
        software: Program and version that fitted them.
        fitted_on: Identifiers of the training subjects.
        preparation: Steps and settings that ran before the fit, as text; images mapped must have had the
            same.
    """

    percentiles: np.ndarray
    values: np.ndarray
    modality: str = ""
    foreground: str = ""
    software: str = f"sfgkeras {__version__}"
    fitted_on: tuple[str, ...] = ()
    preparation: str = ""

    def __post_init__(self) -> None:
        percentiles = np.array(self.percentiles, dtype=np.float64)
        values = np.array(self.values, dtype=np.float64)
        if percentiles.ndim != 1 or percentiles.shape != values.shape or percentiles.size < 2:
            raise DataError(
                f"landmarks need as many values as percentiles, at least 2: got {values.size} values "
                f"for {percentiles.size} percentiles"
            )
        if not (np.all(np.diff(percentiles) > 0) and percentiles[0] >= 0 and percentiles[-1] <= 100):
            raise DataError(f"percentiles of landmarks must increase within 0..100, got {percentiles.tolist()}")
        if not (np.all(np.isfinite(values)) and np.all(np.diff(values) >= 0) and values[0] < values[-1]):
            raise DataError(f"values of landmarks must be finite and increase, got {values.tolist()}")
        for name, array in (("percentiles", percentiles), ("values", values)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @property
    def cutoff(self) -> tuple[float, float]:
        """The outermost percentiles as fractions, e.g. `(0.01, 0.99)`."""
        return float(self.percentiles[0]) / 100, float(self.percentiles[-1]) / 100

    def described(self) -> dict[str, list[float]]:
        """Returns percentiles and values as lists."""
        return {"percentiles": self.percentiles.tolist(), "values": self.values.tolist()}

    def originating(
        self, settings: "HistogramSettings", modality: str, fitted_on: tuple[str, ...], preparation: str
    ) -> Self:
        """Returns the same landmarks with what they were fitted on, and the foreground rule."""
        return replace(self, modality=modality, foreground=settings.rule, fitted_on=fitted_on, preparation=preparation)

    def differences(self, settings: "HistogramSettings") -> list[str]:
        """Names cut-off and foreground rule of then and now where they differ; what a file does not tell passes."""
        found = []
        if not np.allclose(self.cutoff, settings.cutoff, rtol=0, atol=1e-9):
            found.append(f"cutoff {self.cutoff}, now {tuple(settings.cutoff)}")
        if self.foreground and self.foreground != settings.rule:
            found.append(f"foreground rule {self.foreground!r}, now {settings.rule!r}")
        return found

    def _state(self) -> tuple[object, ...]:
        arrays = tuple(self.percentiles.tolist()), tuple(self.values.tolist())
        return (*arrays, self.modality, self.foreground, self.software, self.fitted_on, self.preparation)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NyulLandmarks) and self._state() == other._state()

    def __hash__(self) -> int:
        return hash(self._state())


def landmark_percentiles(cutoff: tuple[float, float] = (0.01, 0.99)) -> np.ndarray:
    """Returns the 13 percentiles, in percent, that landmarks are taken at for a cut-off given in fractions.

    Raises:
        ConfigError: If the cut-off does not enclose the inner percentiles 10 to 90.

    Examples:
        >>> tuple(landmark_percentiles((0.05, 0.95)).round(6).tolist()[:3])
        (5.0, 10.0, 20.0)
    """
    low, high = (float(limit) for limit in cutoff)
    if not (0 <= low < 0.1 and 0.9 < high <= 1):
        raise Problem(
            "is out of range: the lower limit must lie in [0, 0.1), the upper in (0.9, 1]",
            "write e.g. 0.01, 0.99",
            key="cutoff",
            value=(low, high),
        )
    return np.array((100 * low, *INNER_PERCENTILES, 100 * high))


def foreground_percentiles(foreground: np.ndarray, cutoff: tuple[float, float] = (0.01, 0.99)) -> np.ndarray:
    """Measures one subject: intensities at the 13 landmark percentiles, float64.

    Raises:
        DataError: If there are no voxels, values that are not finite, or no contrast between the cut-offs.

    Examples:
        >>> tuple(foreground_percentiles(np.arange(101)).round(6).tolist()[:4])
        (1.0, 10.0, 20.0, 25.0)
    """
    measured = exact_percentiles(foreground, landmark_percentiles(cutoff))
    if not measured[0] < measured[-1]:
        raise DataError(
            f"the foreground has no contrast: percentiles {100 * cutoff[0]:g} and {100 * cutoff[1]:g} "
            f"are both {measured[0]:g}; landmarks need an image, not a constant"
        )
    return measured


def mean_landmarks(measured: Iterable[np.ndarray], cutoff: tuple[float, float] = (0.01, 0.99)) -> NyulLandmarks:
    """Averages the subjects' percentiles after each subject's cut-offs went linearly to 0 and 100.

    Args:
        measured: What `foreground_percentiles` returned, one array per training subject.
        cutoff: The cut-off it was called with.

    Raises:
        DataError: If there is no subject.

    Examples:
        >>> landmarks = mean_landmarks([foreground_percentiles(np.arange(101))])
        >>> landmarks.values[[0, 6, -1]].round(6).tolist()  # of an even histogram: the median lies in the middle
        [0.0, 50.0, 100.0]
    """
    rows = np.array([np.asarray(row, dtype=np.float64) for row in measured])
    if rows.size == 0:
        raise DataError("no training subject to fit landmarks on; name at least one in the dataset split")
    low, high = STANDARD_SCALE
    positions = (rows - rows[:, :1]) / (rows[:, -1:] - rows[:, :1])
    return NyulLandmarks(landmark_percentiles(cutoff), low + (high - low) * positions.mean(axis=0))


def fit_landmarks(foregrounds: Iterable[np.ndarray], cutoff: tuple[float, float] = (0.01, 0.99)) -> NyulLandmarks:
    """Fits landmarks on the foregrounds of the training subjects (Nyul et al. 2000).

    Args:
        foregrounds: One array per subject with its foreground intensities, any shape, e.g. `image[mask]`;
            consumed one by one, so that a generator keeps one volume in memory. Integer arrays are counted,
            not sorted.
        cutoff: Fractions between which the histogram is trusted.

    Returns:
        Landmarks at percentiles 1, 10, 20, 25, 30, ..., 90, 99 (with the default cut-off).

    Raises:
        DataError: If there is no subject, or one without voxels or contrast.
        ConfigError: If the cut-off does not enclose percentiles 10 to 90.

    Examples:
        >>> landmarks = fit_landmarks([np.arange(101), 5 * np.arange(101) + 300])  # gain and offset do not matter
        >>> landmarks.values[[0, 6, -1]].round(6).tolist()
        [0.0, 50.0, 100.0]
    """
    return mean_landmarks((foreground_percentiles(values, cutoff) for values in foregrounds), cutoff)


def apply_landmarks(
    image: np.ndarray,
    landmarks: NyulLandmarks,
    norm_type: str = "percentile",
    foreground_mask: np.ndarray | None = None,
) -> np.ndarray:
    """Maps an image piecewise linearly so that its percentiles land on the landmarks.

    Beyond the cut-offs the outermost pieces go on, up to a scale's width beyond the scale (-100 and 200): a few hot
    pixels must not decide what comes after, e.g. a whitening. Voxels outside the mask follow the same curve but never
    leave the scale downwards: what is darker there than the foreground's lowest landmark becomes 0, so
    background stays one level. An intensity at which several percentiles coincide gets the mean of their levels; the
    lowest and the highest one get the ends of the scale.

    Args:
        image: Intensities of one modality, any shape. 8- and 16-bit integers (and floats that hold such
            integers) go through a look-up table.
        landmarks: What `fit_landmarks` returned.
        norm_type: `"percentile"` (11 knots), `"quartile"` (5) or `"median"` (3).
        foreground_mask: Voxels whose percentiles are measured, of the shape of the image, by the rule that
            the landmarks were fitted with; every voxel if None.

    Returns:
        float32 array of the image's shape on the standard scale.

    Raises:
        DataError: If the foreground is empty, constant or not finite, or the mask has another shape.
        ConfigError: If `norm_type` is unknown or its percentiles are not among the landmarks.

    Examples:
        >>> landmarks = fit_landmarks([np.arange(101)])
        >>> apply_landmarks(7 * np.arange(101), landmarks)[[1, 50, 99]].round(4).tolist()
        [0.0, 50.0, 100.0]
    """
    image = np.asarray(image)
    foreground = image
    if foreground_mask is not None:
        foreground_mask = np.asarray(foreground_mask, dtype=bool)
        if foreground_mask.shape != image.shape:
            raise DataError(f"foreground mask of shape {foreground_mask.shape} for an image of shape {image.shape}")
        foreground = image[foreground_mask]
    knots, levels = _curve(foreground, landmarks, norm_type)
    mapped = _map_through(image, knots, levels)
    if foreground_mask is not None:
        np.maximum(mapped, np.float32(levels[0]), out=mapped, where=~foreground_mask)
    return mapped


def _curve(foreground: np.ndarray, landmarks: NyulLandmarks, norm_type: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns intensities (strictly increasing) and their levels on the standard scale."""
    inner = lookup(NORM_TYPES, norm_type, "norm_type")
    wanted = (landmarks.percentiles[0], *inner, landmarks.percentiles[-1])
    positions = [np.flatnonzero(np.isclose(landmarks.percentiles, percentile)) for percentile in wanted]
    missing = [float(percentile) for percentile, found in zip(wanted, positions, strict=True) if found.size == 0]
    if missing:
        raise ConfigError(f"norm_type = {norm_type!r} needs percentiles {missing} that these landmarks do not have")
    chosen = np.unique(np.concatenate(positions))
    measured = exact_percentiles(foreground, landmarks.percentiles[chosen])
    # Percentiles that coincide in this image share one knot at the mean of their levels: the curve stays a
    # function.
    knots, group = np.unique(measured, return_inverse=True)
    if knots.size < 2:
        raise DataError(
            f"the foreground has no contrast: all its percentiles are {knots[0]:g}; it cannot be standardised"
        )
    of_chosen = landmarks.values[chosen]
    levels = np.bincount(group, weights=of_chosen) / np.bincount(group)
    # At the ends no mean: background that fills the lowest percentiles is the bottom of the scale.
    levels[0], levels[-1] = of_chosen[0], of_chosen[-1]
    return knots, levels


def _map_through(image: np.ndarray, knots: np.ndarray, levels: np.ndarray) -> np.ndarray:
    compact = compact_integers(image)
    if compact is None:
        return _piecewise_linear(image, knots, levels)
    codes, lowest, count = compact
    table = _piecewise_linear(lowest + np.arange(count, dtype=np.float64), knots, levels)
    return np.take(table, codes)


def _piecewise_linear(values: np.ndarray, knots: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Interpolates between the knots and goes on with the outermost slopes, a scale's width at most; float32."""
    width = levels[-1] - levels[0]
    with np.errstate(divide="ignore"):
        reach = width * np.diff(knots)[[0, -1]] / np.diff(levels)[[0, -1]]
    # Where the outermost piece is flat it stays flat.
    steps = np.where(np.isfinite(reach), width, 0.0)
    reach = np.where(np.isfinite(reach), reach, 1.0)
    extended_knots = np.concatenate(([knots[0] - reach[0]], knots, [knots[-1] + reach[1]]))
    extended_levels = np.concatenate(([levels[0] - steps[0]], levels, [levels[-1] + steps[1]]))
    return np.interp(values, extended_knots, extended_levels).astype(np.float32)


def describe_bounded(mapped: np.ndarray, landmarks: NyulLandmarks) -> str:
    """Says how many voxels `apply_landmarks` has bounded beyond the scale; empty where there are none.

    Args:
        mapped: What it returned.
        landmarks: The landmarks that it was given.

    Examples:
        >>> describe_bounded(np.array([50.0, 200.0]), fit_landmarks([np.arange(101)]))[:64]
        'histogram: 1 voxel is further from the scale 0 to 100 than its w'
    """
    bottom, top = landmarks.values[0], landmarks.values[-1]
    low, high = 2 * bottom - top, 2 * top - bottom
    tolerance = 1e-6 * (top - bottom)
    count = int(np.count_nonzero(mapped <= low + tolerance) + np.count_nonzero(mapped >= high - tolerance))
    if not count:
        return ""
    voxels = "1 voxel is" if count == 1 else f"{count} voxels are"
    return (
        f"histogram: {voxels} further from the scale {bottom:g} to {top:g} than its width and now at {low:g} or "
        f"{high:g}; look at the image for hot pixels, or clip it before"
    )


@dataclass(frozen=True)
class HistogramSettings(FittedSettings):
    """Settings of the step `histogram`."""

    cutoff: tuple[float, float] = setting((0.01, 0.99), "Fractions between which the histogram is trusted.")
    norm_type: str = setting("percentile", "`percentile`, `quartile` or `median`.", choices=NORM_TYPES)
    foreground: str = rule_setting(
        "otsu_plus", "Rule of the voxels that percentiles are measured in; `all` for every voxel."
    )
    threshold: float = setting(0.0, THRESHOLD)

    def __post_init__(self) -> None:
        super().__post_init__()
        landmark_percentiles(self.cutoff)

    @property
    def rule(self) -> str:
        """The foreground rule with its threshold, as landmarks remember it."""
        return describe_rule(self.foreground, self.threshold)


def histogram_percentiles(volume: Volume, settings: HistogramSettings) -> np.ndarray:
    """Measures one training subject for the fit, in the voxels that `histogram_step` will measure."""
    mask = measured_voxels(volume, settings.foreground, settings.threshold)
    return foreground_percentiles(volume.array if mask is None else volume.array[mask], settings.cutoff)


def fit_histogram(measured: Sequence[np.ndarray], settings: HistogramSettings) -> NyulLandmarks:
    """Fits the landmarks of a cohort; see `mean_landmarks`.

    Examples:
        >>> fitted = fit_histogram([foreground_percentiles(np.arange(101))], HistogramSettings())
        >>> fitted.values[[0, 6, -1]].round(6).tolist()
        [0.0, 50.0, 100.0]
    """
    return mean_landmarks(measured, settings.cutoff)


def histogram_step(volume: Volume, settings: HistogramSettings, context: StepContext) -> Volume:
    """Standardises one subject's image with the landmarks of its cohort; see `apply_landmarks`.

    Raises:
        DataError: If there are no landmarks; they are never fitted on the subject itself.
    """
    if context.fitted is None:
        raise DataError("there are no landmarks; fit them on the training subjects first, or name histogram_ref_file")
    mask = measured_voxels(volume, settings.foreground, settings.threshold)
    mapped = apply_landmarks(volume.array, context.fitted, settings.norm_type, mask)
    return volume.with_array(mapped).with_concern(describe_bounded(mapped, context.fitted))
