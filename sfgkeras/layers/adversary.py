"""A conditional adversary: it learns to tell true maps from predicted ones, and the network learns to mislead it."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from sfgkeras.layers.convolution import Convolution

WIDTHS = (16, 32, 64)
"""Filters of the adversary's convolutions; each halves the size of the image."""
SLOPE = 0.2
"""Slope of its leaky rectifiers below 0."""


def reverse_gradient(inputs: Any, factor: float) -> Any:
    """Returns the inputs as they are, whose gradient is `-factor` times that of what is made of them.

    So one descent trains both sides of a game (Ganin & Lempitsky 2015). It is written with a stopped gradient, which
    all backends have.

    Args:
        inputs: Any tensor.
        factor: What the gradient counts behind it.
    """
    return ops.stop_gradient((1.0 + factor) * inputs) - factor * inputs


@keras.saving.register_keras_serializable(package="sfgkeras")
class Adversary(keras.layers.Layer):
    """Judges maps of a task beside the image that they are of, as the conditional adversary of Xu et al. 2018.

    Three convolutions with stride 2 read the image and the map together, a mean over all voxels, then one logit: true
    or predicted (as in conditional adversarial networks, Isola et al. 2017). Nothing is normalised over the batch, so
    that samples are judged one by one, on any number of devices.

    Args:
        spatial_rank: 2 or 3.
        weight: What its judgement counts for the network beside the loss of the task. The adversary itself learns at
            the full rate.
        kernel_initializers: Keras initialiser of each convolution and of the logit; None: `he_normal` for all.
    """

    def __init__(
        self, spatial_rank: int, weight: float, kernel_initializers: Sequence[Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(autocast=False, **{"dtype": "float32", **kwargs})
        if not weight > 0:
            raise ValueError(f"weight = {weight!r} of an adversary must be positive, e.g. 0.01")
        self.spatial_rank = spatial_rank
        self.weight = float(weight)
        initializers = list(kernel_initializers or ["he_normal"] * (len(WIDTHS) + 1))
        self.convolutions = [
            Convolution(
                spatial_rank,
                width,
                3,
                strides=2,
                use_bias=True,
                kernel_initializer=initializer,
                dtype="float32",
                name=f"convolution_{number}",
            )
            for number, (width, initializer) in enumerate(zip(WIDTHS, initializers, strict=False), start=1)
        ]
        self.logit = keras.layers.Dense(1, kernel_initializer=initializers[-1], dtype="float32", name="logit")

    def build(self, input_shape: Any) -> None:
        """Builds it for maps and images side by side, `(batch, *spatial, channels)`."""
        shape = tuple(input_shape)
        for layer in self.convolutions:
            layer.build(shape)
            shape = layer.output_shape_of(shape)
        self.logit.build((shape[0], shape[-1]))
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Returns how true maps beside images look, logits `(batch,)`; inputs `(batch, *spatial, channels)`."""
        features = ops.cast(inputs, "float32")
        for layer in self.convolutions:
            features = ops.leaky_relu(layer(features), SLOPE)
        return ops.squeeze(self.logit(ops.mean(features, axis=tuple(range(1, self.spatial_rank + 1)))), axis=-1)

    def judge(self, images: Any, truth: Any, prediction: Any) -> Any:
        """Returns the cross-entropy of taking true maps for true and predicted ones for predicted, `(batch,)`.

        Descending it, the adversary learns to tell them apart. What has made the prediction gets `-weight` times the
        gradient, and learns to be taken for true.

        Args:
            images: `(batch, *spatial, channels)`.
            truth: `(batch, *spatial, outputs)`.
            prediction: The same.
        """
        images = ops.cast(images, "float32")
        predicted = reverse_gradient(ops.cast(prediction, "float32"), self.weight)
        of_truth = self(ops.concatenate([images, ops.cast(truth, "float32")], axis=-1))
        of_prediction = self(ops.concatenate([images, predicted], axis=-1))
        return ops.softplus(-of_truth) + ops.softplus(of_prediction)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        layers = [*self.convolutions, self.logit]
        return super().get_config() | {
            "spatial_rank": self.spatial_rank,
            "weight": self.weight,
            "kernel_initializers": [keras.initializers.serialize(layer.kernel_initializer) for layer in layers],
        }
