"""A dense conditional random field: labels of voxels that are near and look alike agree.

Mean-field inference after Kraehenbuehl and Koltun (2011), with pairs up to a radius apart, as Teichmann and Cipolla
(2018) bound them: all sums over pairs are exact within it.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

TINY = 1e-12


def refine(
    probabilities: np.ndarray,
    image: np.ndarray,
    axes: Sequence[int] = (0, 1, 2),
    appearance_weight: float = 2.0,
    appearance_distance: float = 3.0,
    appearance_contrast: float = 0.5,
    smoothness_weight: float = 1.0,
    smoothness_distance: float = 1.0,
    radius: int = 4,
    iterations: int = 5,
) -> np.ndarray:
    """Returns the marginals of labels under a dense conditional random field, by mean-field inference.

    The energy of labels x is `sum_i -log P_i(x_i) + sum_(i<j) [x_i != x_j] (a A_ij + s S_ij)` with

        A_ij = exp(-|p_i - p_j|^2 / (2 d^2) - |I_i - I_j|^2 / (2 c^2)),      S_ij = exp(-|p_i - p_j|^2 / (2 e^2))

    for pairs up to `radius` voxels apart along every axis, each divided by `sqrt(n_i n_j)`, n_i being its sum over j
    (as Kraehenbuehl's code normalises): a voxel at the border, with fewer neighbours, is bound as firmly as others.

    Args:
        probabilities: P, `(x, y, z, classes)`.
        image: I, `(x, y, z, channels)`.
        axes: Axes along which pairs lie: of slices two.
        appearance_weight: a.
        appearance_distance: d, in voxels.
        appearance_contrast: c, in units of the image.
        smoothness_weight: s.
        smoothness_distance: e, in voxels.
        radius: In voxels.
        iterations: Updates of all voxels at once.

    Returns:
        Probabilities, float32 `(x, y, z, classes)`.

    Examples:
        >>> noisy = np.full((5, 5, 1, 2), (0.9, 0.1))
        >>> noisy[2, 2] = 0.4, 0.6  # one voxel that looks like all others
        >>> refine(noisy, np.zeros((5, 5, 1, 1))).argmax(axis=-1).max()
        0
    """
    unary = np.log(np.maximum(np.asarray(probabilities, np.float64), TINY))
    kernels = [
        (appearance_weight, _Kernel(image, axes, radius, appearance_distance, appearance_contrast)),
        (smoothness_weight, _Kernel(image, axes, radius, smoothness_distance, None)),
    ]
    marginals = _softmax(unary)
    for _ in range(iterations):
        agreement = sum(weight * kernel.messages(marginals) for weight, kernel in kernels if weight)
        # What disagrees costs; among labels only differences matter, so what agrees gains as much.
        marginals = _softmax(unary + agreement)
    return marginals.astype(np.float32)


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


class _Kernel:
    """How strongly the voxels of every pair are bound, normalised symmetrically.

    Args:
        image: `(x, y, z, channels)`.
        axes: Axes along which pairs lie.
        radius: Largest distance along an axis, in voxels.
        distance: Standard deviation of places, in voxels.
        contrast: Standard deviation of intensities; None: they do not matter.
    """

    def __init__(
        self, image: np.ndarray, axes: Sequence[int], radius: int, distance: float, contrast: float | None
    ) -> None:
        self._image = np.asarray(image, np.float64)
        self._axes, self._radius, self._distance, self._contrast = axes, radius, distance, contrast
        self._root: np.ndarray = np.ones(self._image.shape[:3])
        total = self.messages(np.ones((*self._image.shape[:3], 1)))[..., 0]
        self._root = np.sqrt(np.maximum(total, TINY))

    def messages(self, marginals: np.ndarray) -> np.ndarray:
        """Returns the sum over all other voxels j of `k_ij Q_j` for every voxel i, `(x, y, z, classes)`."""
        scaled = marginals / self._root[..., None]
        summed = np.zeros_like(scaled)
        for one, other, bond in self._pairs():
            summed[one] += bond * scaled[other]
            summed[other] += bond * scaled[one]
        return summed / self._root[..., None]

    def _pairs(self) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...], np.ndarray]]:
        """Yields the voxels of all pairs, those of one step at a time, and how strongly they are bound."""
        reach = [range(-self._radius, self._radius + 1) if axis in self._axes else (0,) for axis in range(3)]
        for step in itertools.product(*reach):
            if step <= (0, 0, 0) or any(abs(n) >= size for n, size in zip(step, self._image.shape, strict=False)):
                continue  # each pair once
            one = tuple(slice(max(n, 0), n if n < 0 else None) for n in step)
            other = tuple(slice(max(-n, 0), -n if n > 0 else None) for n in step)
            exponent = sum(n * n for n in step) / (2 * self._distance**2)
            if self._contrast is None:
                yield one, other, np.full((1, 1, 1, 1), np.exp(-exponent))
                continue
            squares = np.square(self._image[one] - self._image[other]).sum(axis=-1, keepdims=True)
            yield one, other, np.exp(-exponent - squares / (2 * self._contrast**2))
