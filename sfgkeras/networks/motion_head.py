"""The head of motion: displacements of all frames of a sequence against the first, one frame after the other."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from sfgkeras.layers.convolution import Convolution
from sfgkeras.layers.draws import BatchDropout
from sfgkeras.layers.matching import match
from sfgkeras.layers.scaled_initializer import ScaledInitializer
from sfgkeras.networks.frames import frames_apart
from sfgkeras.networks.heads import Head

STATE = 32
"""Features of the recurrent state where the head names no number."""
FIRST_STEP = 1e-2
"""Factor on what is drawn for the kernel that gives displacements, so that motion begins near none."""
DESCRIPTORS = 16
"""Features by which places of two frames are matched."""


class MotionHead(keras.layers.Layer):
    """A recurrent unit over the frames that follow the first (Qin et al. 2018, section 2.1).

    From the features f_0 of the first frame and f_t of each other one, which one network gives of all (Siamese),

        h_t = tanh(A f_0 + B f_t + R h_(t-1) + b),        u_t = P h_t + c

    with convolutions A, B, R and P over 3 voxels per axis and h_0 = 0. u_t is a displacement in voxels: what is at x in
    frame t was at x + u_t(x) in the first one.

    Sums of features tell of a motion only after long training. With a `reach`, M m_t is added inside the tanh: matches
    m_t(x, d) of f_t at x and f_0 at x + d, see `match`, less their mean over d, of features of their own that a
    convolution gives of all frames alike. The paper has none.

    Args:
        head: What it is made of; `layers` may hold one number, the features of h.
        channels: Output channels: the spatial rank times the frames after the first.
        spatial_rank: 2 or 3.
        kernel_initializers: Keras initialisers of the kernels of A and B as one, R and P, and with a reach M.
        kernel_regularizer: Keras regulariser of all kernels.
        dropout: Probability of dropping a feature in training, before A and B.
        seed: Seed of the dropout.
        reach: Voxels in both directions of every axis that matches are sought in; 0: there are none.

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
        reach: int = 0,
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
        self.reach = reach
        widths = {"pair": 2 * self.state, "recurrence": self.state, "projection": spatial_rank}
        if reach:
            widths |= {"pair": 2 * self.state + DESCRIPTORS, "matching": self.state}
        self.pair, self.recurrence, self.projection, *matching = (
            Convolution(
                spatial_rank,
                width,
                kernel_size=3,
                use_bias=True,
                # Nothing may be assigned in `build`: what `fit` builds would forget it.
                kernel_initializer=ScaledInitializer(initializer, FIRST_STEP) if name == "projection" else initializer,
                kernel_regularizer=kernel_regularizer,
                dtype="float32",
                name=name,
            )
            for (name, width), initializer in zip(widths.items(), kernel_initializers, strict=True)
        )
        self.matching = matching[0] if matching else None

    @property
    def kind(self) -> str:
        """`motion`."""
        return self.head.kind

    @property
    def products(self) -> list[Any]:
        """A and B as one, M, R and P; the first reads the features, the last gives the displacements.

        Of two frames there is no R, as nothing comes before the one state; without a reach there is no M.
        """
        matching = [] if self.matching is None else [self.matching]
        recurrence = [self.recurrence] if self.num_frames > 2 else []
        return [self.pair, *matching, *recurrence, self.projection]

    def costs(self, voxels: int) -> tuple[int, int]:
        """Returns the multiplies of a built head for one sequence: those per channel that it reads, and all others.

        Args:
            voxels: Of the features of one frame.
        """
        pair, *others = self.products
        followers = self.num_frames - 1
        # The first state has none before it.
        times = {layer: followers - 1 if layer is self.recurrence else followers for layer in others}
        later = sum(count * math.prod(layer.kernel.shape) for layer, count in times.items())
        per_channel = math.prod(pair.kernel.shape[:-2]) * pair.kernel.shape[-1]
        return self.num_frames * voxels * per_channel, voxels * later

    def build(self, input_shape: Any) -> None:
        """Builds all layers for the features of every frame, `(frames * batch, *spatial, channels)`."""
        shape = tuple(input_shape)
        self.pair.build(shape)
        for layer in self.products[1:]:
            is_matching = layer is self.matching
            layer.build((*shape[:-1], (2 * self.reach + 1) ** (len(shape) - 2) if is_matching else self.state))

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
            summed = kept + frame[..., self.state : 2 * self.state]
            if self.matching is not None:
                matches = match(first[..., 2 * self.state :], frame[..., 2 * self.state :], self.reach)
                summed = summed + self.matching(matches - ops.mean(matches, axis=-1, keepdims=True))
            states.append(ops.tanh(summed + self.recurrence(states[-1]) if states else summed))
        moved = self.projection(ops.concatenate(states, axis=0))
        return ops.concatenate(frames_apart(moved, len(states)), axis=-1)
