"""Activations, and the function h of the paper: normalise, activate, and mask last."""

from typing import Any

import keras

from sfgkeras.layers.backend import prelu
from sfgkeras.layers.convolution import apply_mask
from sfgkeras.layers.normalization import StreamNormalization, check_normalisation
from sfgkeras.layers.recomputation import recomputed, rematerialises

POSITIVELY_HOMOGENEOUS = ("prelu", "relu", "leaky_relu", "linear")


@keras.saving.register_keras_serializable(package="sfgkeras")
class PReLU(keras.layers.Layer):
    """Parametric ReLU with one slope per channel (He et al. 2015).

    Args:
        initial_slope: Slope of every channel at the start.
    """

    def __init__(self, initial_slope: float = 0.25, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.initial_slope = initial_slope

    def build(self, input_shape: Any) -> None:
        """Creates the slopes, float32 `(channels,)`."""
        self.alpha = self.add_weight(
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(self.initial_slope),
            name="alpha",
            dtype="float32",
            autocast=False,
        )

    def call(self, inputs: Any) -> Any:
        """Returns `x` where x > 0 and `alpha * x` elsewhere."""
        return prelu(inputs, self.alpha)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns `input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {"initial_slope": self.initial_slope}


def build_activation(activation: str, **kwargs: Any) -> keras.layers.Layer:
    """Builds an activation layer: `"prelu"` or any name that Keras knows."""
    activation = activation.lower()
    return PReLU(**kwargs) if activation == "prelu" else keras.layers.Activation(activation, **kwargs)


@keras.saving.register_keras_serializable(package="sfgkeras")
class MaskedActivation(keras.layers.Layer):
    """Normalises and activates one stream, then multiplies it by its mask (h and m of the paper).

    For an activation with f(m z) = m f(z) for every m >= 0 (PReLU, ReLU) a mask per filter is multiplied into
    the normalisation's scale and offset, which gives the same numbers without another pass over the feature
    map. The one gradient that this changes is that of a mask entry that is exactly 0; the softmax behind a
    relaxed mask multiplies it by that 0 anyway. Straight-through masks are exactly 0 and do need it: for
    them, for masks per sample, and for other activations the product is done after the activation.

    Args:
        activation: `"prelu"` or any name that Keras knows.
        epsilon: See `StreamNormalization`.
        momentum: See `StreamNormalization`.
        statistics: See `StreamNormalization`.
        normalisation: `batch`, or `none`: then features are activated as they are.
        folds_masks: Whether a mask per filter may be multiplied into scale and offset.
        rematerialise: `none`, or with any other name of `REMATERIALISATIONS` training keeps no normalised features.
    """

    def __init__(
        self,
        activation: str = "prelu",
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        statistics: str = "recalibrated",
        folds_masks: bool = True,
        rematerialise: str = "none",
        normalisation: str = "batch",
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.rematerialise = rematerialise
        self.normalisation = check_normalisation(normalisation)
        self._averaging: dict[str, Any] = {"momentum": momentum, "epsilon": epsilon, "statistics": statistics}
        self._recomputes = rematerialises(rematerialise, "activations")
        self.activation_name = activation.lower()
        self.folds_masks = folds_masks
        self.normalization = (
            StreamNormalization(**self._averaging, dtype=self.dtype_policy, name="normalization")
            if normalisation == "batch"
            else None
        )
        self.activation = build_activation(self.activation_name, dtype=self.dtype_policy, name="activation")

    @property
    def statistics(self) -> str | None:
        """Statistics that inference normalises with, see `StreamNormalization`; None where nothing is normalised."""
        return None if self.normalization is None else self.normalization.statistics

    def build(self, input_shape: Any) -> None:
        """Builds normalisation and activation."""
        if self.normalization is not None:
            self.normalization.build(input_shape)
        self.activation.build(input_shape)

    def call(self, inputs: Any, filter_mask: Any = None, training: bool | None = None) -> Any:
        """Returns `m * activation(normalisation(x))`.

        Args:
            inputs: `(batch, *spatial, channels)`.
            filter_mask: None, `(channels,)`, or `(batch, channels)`; float32, not negative.
            training: See `StreamNormalization`.

        Returns:
            Tensor of the shape of `inputs`.
        """

        def call(inputs: Any, filter_mask: Any = None) -> Any:
            return self._run(inputs, filter_mask, training)

        if not (training and self._recomputes):
            return call(inputs, filter_mask)
        layers = [layer for layer in (self.normalization, self.activation) if layer is not None]
        return recomputed(layers, call, inputs, *([] if filter_mask is None else [filter_mask]))

    def _run(self, inputs: Any, filter_mask: Any, training: bool | None) -> Any:
        folds = (
            filter_mask is not None
            and self.normalization is not None
            and self.folds_masks
            and len(filter_mask.shape) == 1
            and self.activation_name in POSITIVELY_HOMOGENEOUS
        )
        if self.normalization is not None:
            inputs = self.normalization(inputs, filter_mask=filter_mask if folds else None, training=training)
        outputs = self.activation(inputs)
        return outputs if filter_mask is None or folds else apply_mask(outputs, filter_mask)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Returns `input_shape`."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return (
            super().get_config()
            | self._averaging
            | {
                "activation": self.activation_name,
                "statistics": self.statistics or self._averaging["statistics"],
                "folds_masks": self.folds_masks,
                "rematerialise": self.rematerialise,
                "normalisation": self.normalisation,
            }
        )
