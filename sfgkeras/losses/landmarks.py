"""Losses of landmarks: of their coordinates, or of a heat map for each; one that is not visible counts nowhere."""

from typing import Any

import keras
from keras import ops

from sfgkeras.landmarks import coordinates, energy, expected_positions, gaussian_maps, heat_maps, true_positions
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

    Examples:
        >>> truth = [[[0.0, 0.0], [1.0, 1.0]]]
        >>> float(landmark_loss(truth, [[3.0, 4.0, 9.0, 9.0]], [[1.0, 0.0]])[0])  # 25 / (2 * 2)
        6.25
    """
    truth = _known_positions(y_true, sample_weight)
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

    Examples:
        >>> round(float(heat_map_loss([[[0.5, 0.5]]], ops.zeros((1, 32, 32, 1)))[0]), 3)
        1.0
    """
    truth = _known_positions(y_true, sample_weight)
    maps = heat_maps(y_pred, truth)
    wanted = gaussian_maps(truth, ops.shape(maps)[1:-1], sigma)
    rank = len(maps.shape) - 2
    squares = ops.sum(ops.square(maps - wanted), axis=tuple(range(1, rank + 1)))
    return _of_visible(squares / energy(sigma, rank), sample_weight)


def coordinate_constraint(y_true: Any, y_pred: Any, sample_weight: Any = None, sharpness: float = 20.0) -> Any:
    """Returns the squared distance of what heat maps expect to be the place of a landmark from its true place.

    It is averaged over the landmarks; one beyond the window has no place in it, and counts as 0.

    Args:
        y_true: Positions, `(batch, landmarks, rank)`.
        y_pred: Heat maps, `(batch, *spatial, landmarks)`.
        sample_weight: None; visibility, `(batch, landmarks)`; or a factor per sample, `(batch,)`.
        sharpness: See `landmarks.expected_positions`.

    Returns:
        The losses, `(batch,)`, in squared fractions of the window.

    Examples:
        >>> peak = ops.reshape([0.0, 0.0, 0.0, 9.0], (1, 1, 4, 1))  # the last of four pixels: 7/8 of the window
        >>> round(float(coordinate_constraint([[[0.5, 0.375]]], peak)[0]), 6)
        0.25
    """
    truth = _known_positions(y_true, sample_weight)
    expected = expected_positions(heat_maps(y_pred, truth), sharpness)
    is_shown = ops.all(ops.logical_and(truth >= 0.0, truth <= 1.0), axis=-1)
    # A place that does not count may be anything, also none.
    distance = ops.where(is_shown[..., None], expected - truth, 0.0)
    return _of_visible(ops.sum(ops.square(distance), axis=-1), sample_weight)


def constrained_heat_map_loss(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    sigma: float = 2.0,
    weight: float = 10.0,
    sharpness: float = 20.0,
) -> Any:
    """Returns `heat_map_loss + weight * coordinate_constraint` (after Xu et al. 2018); arguments as theirs.

    Examples:
        >>> empty = ops.zeros((1, 32, 32, 1))  # which expects the middle of the window
        >>> round(float(constrained_heat_map_loss([[[0.5, 0.75]]], empty)[0]), 3)  # 1 + 10 * 0.25^2
        1.625
    """
    maps = heat_map_loss(y_true, y_pred, sample_weight, sigma)
    return maps + weight * coordinate_constraint(y_true, y_pred, sample_weight, sharpness)


def heat_map_cross_entropy(y_true: Any, y_pred: Any, sample_weight: Any = None, sigma: float = 2.0) -> Any:
    """Returns the binary cross-entropy of heat maps, averaged over voxels and landmarks (DeVries et al. 2014, C_l).

    Args:
        y_true: Positions, `(batch, landmarks, rank)`.
        y_pred: Logits, `(batch, *spatial, landmarks)`, whose sigmoids are the heat maps.
        sample_weight: None; visibility, `(batch, landmarks)`; or the paper's `v_n`, `(batch,)`.
        sigma: Standard deviation of the true maps in voxels.

    Returns:
        The losses, `(batch,)`.

    Examples:
        >>> away = [[[9.0, 9.0]]]  # a map of zeros, of which logits of 0 know nothing: ln 2
        >>> round(float(heat_map_cross_entropy(away, ops.zeros((1, 4, 4, 1)))[0]), 4)
        0.6931
    """
    truth = _known_positions(y_true, sample_weight)
    logits = heat_maps(y_pred, truth)
    wanted = gaussian_maps(truth, ops.shape(logits)[1:-1], sigma)
    entropies = ops.softplus(logits) - logits * wanted
    return _of_visible(ops.mean(entropies, axis=tuple(range(1, len(logits.shape) - 1))), sample_weight)


def _known_positions(y_true: Any, sample_weight: Any) -> Any:
    """Returns true positions, 0 of landmarks that are not visible: what these have may be anything, or no number."""
    truth = true_positions(y_true)
    _, visible = split_weight(sample_weight, tuple(truth.shape[:2]))
    return truth if visible is None else ops.where(visible[..., None] > 0.0, truth, 0.0)


def _of_visible(values: Any, sample_weight: Any) -> Any:
    """Averages values of landmarks, `(batch, landmarks)`, over all of them; of those that are not visible 0."""
    factor, visible = split_weight(sample_weight, tuple(values.shape))
    means = ops.mean(values if visible is None else values * visible, axis=-1)
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

    def judged_maps(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> tuple[Any, Any, Any]:
        """Returns the true heat maps, the predicted ones, and what each sample counts; see `losses.judged`.

        The map of a landmark that is not visible is 0 in both.
        """
        truth = true_positions(y_true)
        maps = self.shown(heat_maps(y_pred, truth))
        factor, visible = split_weight(sample_weight, tuple(truth.shape[:2]))
        is_known = ops.ones_like(truth[..., 0]) if visible is None else visible
        known = ops.reshape(is_known > 0, (-1, *(1,) * truth.shape[-1], truth.shape[1]))
        # What a landmark that is not known has for a position may be anything.
        places = ops.where((is_known > 0)[..., None], truth, 0.0)
        wanted = ops.where(known, gaussian_maps(places, ops.shape(maps)[1:-1], self.sigma), 0.0)
        counts = ops.cast(ops.any(is_known > 0, axis=-1), "float32")
        return (
            wanted,
            ops.where(known, maps, 0.0),
            counts if factor is None else counts * ops.cast(factor > 0, "float32"),
        )

    def shown(self, outputs: Any) -> Any:
        """Returns outputs as heat maps."""
        return outputs

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
class ConstrainedHeatMapLoss(_HeatMaps):
    """The squared error of heat maps, and that of the coordinates which they expect (after Xu et al. 2018).

    Args:
        sigma: Standard deviation of the true maps in voxels.
        weight: What the squared error of the coordinates, in fractions of the window, counts.
        sharpness: See `landmarks.expected_positions`.
        reduction: As `TaskLoss`.
        name: Name of the loss.
    """

    def __init__(
        self,
        sigma: float = 2.0,
        weight: float = 10.0,
        sharpness: float = 20.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
    ) -> None:
        super().__init__(sigma, reduction, name)
        self.weight = float(weight)
        self.sharpness = float(sharpness)

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `constrained_heat_map_loss`, `(batch,)`."""
        return constrained_heat_map_loss(y_true, y_pred, sample_weight, self.sigma, self.weight, self.sharpness)

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs."""
        return {**super().get_config(), "weight": self.weight, "sharpness": self.sharpness}


@keras.saving.register_keras_serializable(package="sfgkeras")
class HeatMapCrossEntropy(_HeatMaps):
    """The binary cross-entropy of a heat map for every landmark (DeVries et al. 2014)."""

    def shown(self, outputs: Any) -> Any:
        """Returns the sigmoids of logits."""
        return ops.sigmoid(outputs)

    def per_sample(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns `heat_map_cross_entropy`, `(batch,)`."""
        return heat_map_cross_entropy(y_true, y_pred, sample_weight, self.sigma)
