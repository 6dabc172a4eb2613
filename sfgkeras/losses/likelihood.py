"""What a loss is the negative logarithm of: the two forms in which learned weights take it."""

from typing import Any

from sfgkeras.losses.keras_losses import KerasLoss
from sfgkeras.tables.losses import LOSSES

_OF_CLASSES = ("entropy", "dice", "tversky", "divergence", "hinge")


def likelihood_of(loss: Any) -> str:
    """Returns `categorical` for a loss on classes and `gaussian` for one on quantities.

    An attribute `likelihood` of the loss decides; then the table of losses; of other losses, such as Keras' own, their
    name does: cross-entropies and overlaps are categorical.

    Args:
        loss: A Keras loss, or a function.

    Examples:
        >>> import keras
        >>> likelihood_of(keras.losses.BinaryCrossentropy()), likelihood_of(keras.losses.MeanSquaredError())
        ('categorical', 'gaussian')
    """
    own = getattr(loss, "likelihood", None)
    if own is not None:
        return str(own)
    for entries in LOSSES.values():
        for entry in entries.values():
            if type(loss) is entry.load():
                return entry.likelihood
    inner = loss.loss if isinstance(loss, KerasLoss) else getattr(loss, "function", loss)
    name = getattr(inner, "__name__", type(inner).__name__).lower()
    return "categorical" if any(word in name for word in _OF_CLASSES) else "gaussian"
