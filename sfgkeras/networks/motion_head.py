"""The head of motion: displacements of all frames of a sequence against the first, one frame after the other."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from sfgkeras.layers.convolution import Convolution
from sfgkeras.layers.draws import BatchDropout
from sfgkeras.networks.frames import frames_apart
from sfgkeras.networks.heads import Head

STATE = 32
"""Features of the recurrent state where the head names no number."""
FIRST_STEP = 1e-2
"""Factor on the kernel that gives displacements, so that motion begins near none."""


class MotionHead(keras.layers.Layer):
    """A recurrent unit over the frames that follow the first (Qin et al. 2018, section 2.1).

    From the features f_0 of the first frame and f_t of each other one, which one network gives of all (Siamese),

        h_t = tanh(A f_0 + B f_t + R h_(t-1) + b),        u_t = P h_t + c

    with convolutions A, B, R and P over 3 voxels per axis and h_0 = 0. u_t is a displacement in voxels: what is at x in
    frame t was at x + u_t(x) in the first one.

    Args:
        head: What it is made of; `layers` may hold one number, the features of h.
        channels: Output channels: the spatial rank times the frames after the first.
        spatial_rank: 2 or 3.
        kernel_initializers: Keras initialisers of the kernels of A and B as one, R and P.
        kernel_regularizer: Keras regulariser of all kernels.
        dropout: Probability of dropping a feature in training, before A and B.
        seed: Seed of the dropout.

    Raises:
        ValueError: If the outputs are no displacements of whole frames, or `layers` holds more than one number.
    """

    num_layers = 3

    def __init__(
        self,
        head: Head,
        channels: int,
        spatial_rank: int,
        kernel_initializers: Sequence[Any],
        kernel_regularizer: Any,
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, dtype="float32", **kwargs)
        if channels % spatial_rank:
            raise ValueError(
                f"{self.name!r} has {channels} outputs; motion has {spatial_rank} for each frame after the first"
            )
        if len(head.layers) > 1:
            raise ValueError(
                f"layers = {head.layers} of the head of a motion must be one number, the features that it keeps from "
                "frame to frame, e.g. (32,)"
            )
        self.head = head
        self.channels = channels
        self.num_frames = channels // spatial_rank + 1
        self.dropout = BatchDropout(dropout, seed=seed, dtype="float32") if dropout else None
        self.limits: Any = None
        self.state = head.layers[0] if head.layers else STATE
        widths = {"pair": 2 * self.state, "recurrence": self.state, "projection": spatial_rank}
        self.pair, self.recurrence, self.projection = (
            Convolution(
                spatial_rank,
                width,
                kernel_size=3,
                use_bias=True,
                kernel_initializer=initializer,
                kernel_regularizer=kernel_regularizer,
                dtype="float32",
                name=name,
            )
            for (name, width), initializer in zip(widths.items(), kernel_initializers, strict=True)
        )

    @property
    def kind(self) -> str:
        """`motion`."""
        return self.head.kind

    @property
    def products(self) -> list[Any]:
        """A and B as one, R and P; the first reads the features, the last gives the displacements.

        Of two frames there is no R, as nothing comes before the one state.
        """
        recurrence = [self.recurrence] if self.num_frames > 2 else []
        return [self.pair, *recurrence, self.projection]

    def build(self, input_shape: Any) -> None:
        """Builds all layers for the features of every frame, `(frames * batch, *spatial, channels)`."""
        shape = tuple(input_shape)
        self.pair.build(shape)
        for layer in self.products[1:]:
            layer.build((*shape[:-1], self.state))
        self.projection.kernel.assign(FIRST_STEP * self.projection.kernel)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns displacements `(batch, *spatial, rank * (frames - 1))`, those of the second frame first.

        Args:
            inputs: Features of every frame, `(frames * batch, *spatial, channels)`; see `frames_in_batch`.
            training: Whether features are dropped.
        """
        features = ops.cast(inputs, "float32")
        if self.dropout is not None:
            features = self.dropout(features, training=training)
        first, *others = frames_apart(self.pair(features), self.num_frames)
        kept, states = first[..., : self.state], list[Any]()
        for frame in others:
            summed = kept + frame[..., self.state :]
            states.append(ops.tanh(summed + self.recurrence(states[-1]) if states else summed))
        moved = self.projection(ops.concatenate(states, axis=0))
        return ops.concatenate(frames_apart(moved, len(states)), axis=-1)
