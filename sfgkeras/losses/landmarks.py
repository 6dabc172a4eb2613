"""Losses of landmarks: of their coordinates, or of a heat map for each; one that is not visible counts nowhere."""

from typing import Any

import keras
from keras import ops

from sfgkeras.landmarks import coordinates, energy, gaussian_maps, heat_maps, true_positions
from sfgkeras.losses.base import TaskLoss
from sfgkeras.targets import split_weight


def landmark_loss(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Returns `1 / (2 N) sum_i v_i |predicted_i - true_i|^2` over the N landmarks (Ranjan et al. 2016, equation 2).

    Args:
        y_true: Positions, `(batch, landmarks, rank)`.
        y_pred: Coordinates, `(batch, landmarks * rank)`, all of the first landmark first.
        sample_weight: None; visibility, `(batch, landmarks)`; or a factor per sample, `(batch,)`.

    Returns:
        The losses, `(batch,)`.

    Example:
        >>> truth = [[[0.0, 0.0], [1.0, 1.0]]]
        >>> float(landmark_loss(truth, [[3.0, 4.0, 9.0, 9.0]], [[1.0, 0.0]])[0])  # 25 / (2 * 2)
        6.25
    """
    truth = true_positions(y_true)
    squares = ops.sum(ops.square(coordinates(y_pred, truth) - truth), axis=-1)
    return _of_visible(squares / 2, sample_weight)


def heat_map_loss(y_true: Any, y_pred: Any, sample_weight: Any = None, sigma: float = 2.0) -> Any:
    """Returns the squared error of heat maps, as a part of what the true ones hold, averaged over the landmarks.

    The true map of a landmark is a Gaussian of height 1. A map that is 0 everywhere costs 1, whatever the sizes of the
    window and of the Gaussian, and one of a landmark beyond the window what it says of it.

    Args:
        y_true: Positions, `(batch, landmarks, rank)`.
        y_pred: Heat maps, `(batch, *spatial, landmarks)`.
        sample_weight: None; visibility, `(batch, landmarks)`; or a factor per sample, `(batch,)`.
        sigma: Standard deviation of the Gaussian in voxels.

    Returns:
        The losses, `(batch,)`.

    Example:
        >>> round(float(heat_map_loss([[[0.5, 0.5]]], ops.zeros((1, 32, 32, 1)))[0]), 3)
        1.0
    """
    truth = true_positions(y_true)
    maps = heat_maps(y_pred, truth)
    wanted = gaussian_maps(truth, ops.shape(maps)[1:-1], sigma)
    rank = len(maps.shape) - 2
    squares = ops.sum(ops.square(maps - wanted), axis=tuple(range(1, rank + 1)))
    return _of_visible(squares / energy(sigma, rank), sample_weight)


def heat_map_cross_entropy(y_true: Any, y_pred: Any, sample_weight: Any = None, sigma: float = 2.0) -> Any:
    """Returns the binary cross-entropy of heat maps, averaged over voxels and landmarks (DeVries et al. 2014, C_l).

    Args:
        y_true: Positions, `(batch, landmarks, rank)`.
        y_pred: Logits, `(batch, *spatial, landmarks)`, whose sigmoids are the heat maps.
        sample_weight: None; visibility, `(batch, landmarks)`; or the paper's `v_n`, `(batch,)`.
        sigma: Standard deviation of the true maps in voxels.

    Returns:
        The losses, `(batch,)`.

    Example:
        >>> away = [[[9.0, 9.0]]]  # a map of zeros, of which logits of 0 know nothing: ln 2
        >>> round(float(heat_map_cross_entropy(away, ops.zeros((1, 4, 4, 1)))[0]), 4)
        0.6931
    """
    truth = true_positions(y_true)
    logits = heat_maps(y_pred, truth)
    wanted = gaussian_maps(truth, ops.shape(logits)[1:-1], sigma)
    entropies = ops.softplus(logits) - logits * wanted
    return _of_visible(ops.mean(entropies, axis=tuple(range(1, len(logits.shape) - 1))), sample_weight)


def _of_visible(values: Any, sample_weight: Any) -> Any:
    """Averages values of landmarks, `(batch, landmarks)`, over all of them; of those that are not visible 0."""
    factor, visible = split_weight(sample_weight, tuple(values.shape))
    if visible is not None:
        # What a landmark that is not known has for a position may be anything.
        values = ops.where(visible == 0.0, 0.0, values * visible)
    means = ops.mean(values, axis=-1)
    return means if factor is None else means * factor


@keras.saving.register_keras_serializable(package="sfgkeras")
class LandmarkLoss(TaskLoss):
    """Half the squared distance of predicted coordinates, averaged over landmarks (Ranjan et al. 2016, equation 2)."""

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `landmark_loss`, `(batch,)`."""
        return landmark_loss(y_true, y_pred, sample_weight)


class _HeatMaps(TaskLoss):
    """A loss of heat maps.

    Args:
        sigma: Standard deviation of the true maps in voxels.
        reduction: As `TaskLoss`.
        name: Name of the loss.
    """

    def __init__(self, sigma: float = 2.0, reduction: str | None = "sum_over_batch_size", name: str | None = None):
        super().__init__(reduction, name)
        if not sigma > 0:
            raise ValueError(f"sigma = {sigma!r} of heat maps must be a positive number of voxels")
        self.sigma = float(sigma)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {**super().get_config(), "sigma": self.sigma}


@keras.saving.register_keras_serializable(package="sfgkeras")
class HeatMapLoss(_HeatMaps):
    """The squared error of a heat map for every landmark, as a part of what the true one holds."""

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `heat_map_loss`, `(batch,)`."""
        return heat_map_loss(y_true, y_pred, sample_weight, self.sigma)


@keras.saving.register_keras_serializable(package="sfgkeras")
class HeatMapCrossEntropy(_HeatMaps):
    """The binary cross-entropy of a heat map for every landmark (DeVries et al. 2014)."""

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `heat_map_cross_entropy`, `(batch,)`."""
        return heat_map_cross_entropy(y_true, y_pred, sample_weight, self.sigma)
