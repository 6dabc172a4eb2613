"""Output layers: from the features of a task to its logits, always float32."""

from typing import Any

import keras
from keras import ops

from sfgkeras.layers import multiplies
from sfgkeras.layers.convolution import Convolution
from sfgkeras.layers.draws import BatchDropout

HEAD_KINDS = ("map", "vector")


class TaskHead(keras.layers.Layer):
    """Turns the features of one task into logits, in float32 whatever the precision of the features.

    Args:
        kind: `map` (a 1 x 1 convolution, one logit per voxel and channel) or `vector` (global average, then a
            dense layer).
        channels: Output channels.
        spatial_rank: 2 or 3.
        kernel_initializer: Keras initialiser of the kernel.
        bias_initializer: Keras initialiser of the bias.
        kernel_regularizer: Keras regulariser of the kernel.
        dropout: Probability of dropping a feature in training.
        seed: Seed of the dropout.
    """

    def __init__(
        self,
        kind: str,
        channels: int,
        spatial_rank: int,
        kernel_initializer: Any,
        bias_initializer: Any,
        kernel_regularizer: Any,
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, dtype="float32", **kwargs)
        if kind not in HEAD_KINDS:
            raise ValueError(f"unknown kind of head {kind!r}; use one of {', '.join(HEAD_KINDS)}")
        self.kind = kind
        self.channels = channels
        self.dropout = BatchDropout(dropout, seed=seed, dtype="float32") if dropout else None
        if kind == "map":
            self.projection: keras.layers.Layer = Convolution(
                spatial_rank,
                channels,
                kernel_size=1,
                use_bias=True,
                kernel_initializer=kernel_initializer,
                bias_initializer=bias_initializer,
                kernel_regularizer=kernel_regularizer,
                dtype="float32",
                name="projection",
            )
        else:
            self.projection = keras.layers.Dense(
                channels,
                kernel_initializer=kernel_initializer,
                bias_initializer=bias_initializer,
                kernel_regularizer=kernel_regularizer,
                dtype="float32",
                name="projection",
            )

    def build(self, input_shape: Any) -> None:
        """Builds the projection for features `(batch, *spatial, channels)`."""
        is_map = self.kind == "map"
        self.projection.build(tuple(input_shape) if is_map else (input_shape[0], input_shape[-1]))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns logits `(batch, *spatial, outputs)`, or `(batch, outputs)` of a vector head."""
        features = ops.cast(inputs, "float32")
        if self.kind == "vector":
            features = ops.mean(features, axis=tuple(range(1, len(features.shape) - 1)))
            multiplies.record_convolution(features.shape, self.projection.kernel.shape)
        if self.dropout is not None:
            features = self.dropout(features, training=training)
        return self.projection(features)
