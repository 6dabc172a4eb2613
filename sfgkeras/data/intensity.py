"""Random changes of a window's intensities: what the scanner might have done differently, in the order of its doing.

Gamma and contrast are the object's and the sequence's, ghosts come with the way through k-space, blur and coarse voxels
with what of it is measured, noise is the receiver's. Targets are not changed, but for the image as its own target.
"""

import math
from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.ndimage

from sfgkeras.data.interpolation import resize_linear
from sfgkeras.errors import ConfigError
from sfgkeras.tables.intensities import INTENSITIES

Range = tuple[float, float]


@dataclass(frozen=True)
class Intensities:
    """What may be drawn at random for the intensities of a window; everything is off by default.

    Each of them is drawn or not by itself, uniformly from its range; all channels get the same draw.

    Attributes:
        gamma_range: Exponent of the intensities, scaled to 0 to 1; see `change_gamma`.
        contrast_range: Factor on the distance of intensities from their mean; see `change_contrast`.
        ghosting_range: Strength of the ghosts, 0 to 1; see `add_ghosts`.
        blur_range: Standard deviation of a Gaussian in voxels; see `blur`.
        low_resolution_range: Factor by which voxels are larger; see `lower_resolution`.
        noise_range: Standard deviation of Gaussian noise, in units of the prepared image; see `add_noise`.
        num_ghosts: How many times a ghosting image repeats.
        proportion: Probability of each of them.
    """

    gamma_range: Range | None = None
    contrast_range: Range | None = None
    ghosting_range: Range | None = None
    blur_range: Range | None = None
    low_resolution_range: Range | None = None
    noise_range: Range | None = None
    num_ghosts: int = 4
    proportion: float = 0.2

    def __post_init__(self) -> None:
        for name, bounds in INTENSITIES.items():
            values = getattr(self, name)
            if values is None:
                continue
            if len(values) != 2 or not all(math.isfinite(value) for value in values) or values[0] > values[1]:
                raise ConfigError(f"{name} = {tuple(values)} is not a lowest and a highest number, e.g. 1, 2")
            if problem := bounds.problem(values):
                raise ConfigError(f"{name} = {tuple(values)}: both {problem}")
        if int(self.num_ghosts) != self.num_ghosts or self.num_ghosts < 2:
            raise ConfigError(f"num_ghosts = {self.num_ghosts!r} is not a whole number of at least 2")
        if not 0 <= self.proportion <= 1:
            raise ConfigError(f"proportion_to_change = {self.proportion!r} is not between 0 and 1")

    @property
    def is_off(self) -> bool:
        """Whether nothing is ever changed."""
        return all(getattr(self, name) is None for name in INTENSITIES) or self.proportion == 0

    def draw(self, rng: np.random.Generator) -> dict[str, float]:
        """Draws which of them a window gets, and how much of each, by their names."""
        drawn = {}
        for name in INTENSITIES:
            values = getattr(self, name)
            if values is not None and rng.random() < self.proportion:
                drawn[name] = float(rng.uniform(*values))
        return drawn

    def apply(self, window: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns a window with intensities changed at random.

        Args:
            window: `(*spatial, channels)` float32.
            rng: Source of randomness: of the draws, of the axis of ghosts, and of noise.
        """
        drawn = self.draw(rng)
        if "gamma_range" in drawn:
            window = change_gamma(window, drawn["gamma_range"])
        if "contrast_range" in drawn:
            window = change_contrast(window, drawn["contrast_range"])
        if "ghosting_range" in drawn:
            axis = int(rng.integers(window.ndim - 1))
            window = add_ghosts(window, drawn["ghosting_range"], axis, int(self.num_ghosts))
        if "blur_range" in drawn:
            window = blur(window, drawn["blur_range"])
        if "low_resolution_range" in drawn:
            window = lower_resolution(window, drawn["low_resolution_range"])
        if "noise_range" in drawn:
            window = add_noise(window, drawn["noise_range"], rng)
        return window


def change_gamma(window: np.ndarray, gamma: float) -> np.ndarray:
    """Raises intensities to a power, channel by channel, so that lowest and highest stay: `((x - a) / (b - a))^gamma`.

    Examples:
        >>> change_gamma(np.array([[0.0], [1.0], [2.0]]), 2.0)[:, 0].tolist()
        [0.0, 0.5, 2.0]
    """
    axes = tuple(range(window.ndim - 1))
    low, high = window.min(axis=axes, keepdims=True), window.max(axis=axes, keepdims=True)
    extent = np.where(high > low, high - low, 1)
    changed: np.ndarray = ((window - low) / extent) ** window.dtype.type(gamma) * extent + low
    return changed.astype(window.dtype, copy=False)


def change_contrast(window: np.ndarray, factor: float) -> np.ndarray:
    """Multiplies the distance of intensities from their mean, channel by channel.

    Examples:
        >>> change_contrast(np.array([[0.0], [1.0], [2.0]]), 0.5)[:, 0].tolist()
        [0.5, 1.0, 1.5]
    """
    mean = window.mean(axis=tuple(range(window.ndim - 1)), keepdims=True)
    return mean + (window - mean) * window.dtype.type(factor)


def add_ghosts(window: np.ndarray, strength: float, axis: int, num_ghosts: int) -> np.ndarray:
    """Weakens every n-th line of k-space along an axis, all but the zeroth, so that the image repeats n times.

    Args:
        window: `(*spatial, channels)`.
        strength: 0 leaves the lines, 1 takes them away.
        axis: The axis along which ghosts are shifted, by its extent divided by `num_ghosts`.
        num_ghosts: n.
    """
    extent = window.shape[axis]
    frequencies = np.arange(extent // 2 + 1)
    weights = np.where((frequencies % num_ghosts == 0) & (frequencies > 0), 1 - strength, 1).astype(np.float32)
    shape = [-1 if each == axis else 1 for each in range(window.ndim)]
    spectrum = scipy.fft.rfft(window, axis=axis) * weights.reshape(shape)
    found: np.ndarray = scipy.fft.irfft(spectrum, extent, axis=axis)
    return found.astype(window.dtype, copy=False)


def blur(window: np.ndarray, sigma: float) -> np.ndarray:
    """Convolves every channel with a Gaussian.

    Args:
        window: `(*spatial, channels)`.
        sigma: Standard deviation in voxels.
    """
    found: np.ndarray = scipy.ndimage.gaussian_filter(window, (*(sigma,) * (window.ndim - 1), 0), mode="nearest")
    return found


def lower_resolution(window: np.ndarray, factor: float) -> np.ndarray:
    """Samples a window with voxels larger by a factor, along all axes, and back onto its own, linearly."""
    size = window.shape[:-1]
    coarse = resize_linear(window, [max(1, round(length / factor)) for length in size])
    return resize_linear(coarse, size).astype(window.dtype, copy=False)


def add_noise(window: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Adds normally distributed noise of a standard deviation, to every voxel and channel on its own."""
    return window + rng.standard_normal(window.shape, dtype=np.float32) * window.dtype.type(sigma)
