"""Output layers: from the features of a task to its logits or quantities, always float32."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from sfgkeras.errors import suggestion
from sfgkeras.layers import multiplies
from sfgkeras.layers.convolution import Convolution
from sfgkeras.layers.draws import BatchDropout
from sfgkeras.tables.heads import HEAD_KINDS, HEAD_POOLINGS, OUTPUT_ACTIVATIONS


@dataclass(frozen=True)
class Head:
    """What stands between the features of a task and its logits.

    Attributes:
        kind: `map` (one output per voxel), `vector` (one per image) or `motion` (displacements of all frames after the
            first; of networks that see frames one by one).
        tap: Name of the stage that it reads; None is where the network usually has heads of this kind.
        layers: Outputs of each layer with ReLU before the logits, e.g. `(128, 64)`: dense layers of a vector, 1 x 1
            convolutions of a map; of a motion the features that it keeps from frame to frame, e.g. `(32,)`.
        pooling: How a vector is made of features: `average` (their mean over all voxels) or `flatten` (all of them, so
            that images must have one size).
        activation: What becomes of the outputs: `linear`, `relu`, `sigmoid`, `tanh`, or `range`, by which they are cut
            at two bounds; what training gives in between and outside has the same gradient.
        bounds: With `range` the smallest and the largest output; None: there are none until `TaskHead.set_bounds`.
        start: Factor on what is drawn at the start for the kernel that gives the logits. Outputs of 1 at the start are
            far off where the truth is 0 nearly everywhere, as in heat maps: 0.01 begins near it.
        offset: What is added at the start to the bias of the logits, so that outputs begin about there.

    Raises:
        ValueError: If a name is unknown, a layer has no output, bounds are none, `start` is not positive, or a motion
            has a start or an offset of its own.
    """

    kind: str = "map"
    tap: str | None = None
    layers: tuple[int, ...] = ()
    pooling: str = "average"
    activation: str = "linear"
    bounds: tuple[float, float] | None = None
    start: float = 1.0
    offset: float = 0.0

    def __post_init__(self) -> None:
        _check_name("activation of outputs", self.activation, OUTPUT_ACTIVATIONS)
        if self.bounds is not None:
            if self.activation != "range":
                raise ValueError(f"bounds = {self.bounds!r} are for activation = 'range', not {self.activation!r}")
            object.__setattr__(self, "bounds", check_bounds(self.bounds))
        _check_name("kind of head", self.kind, HEAD_KINDS)
        _check_name("pooling of a head", self.pooling, HEAD_POOLINGS)
        if isinstance(self.layers, str) or not isinstance(self.layers, Sequence):
            raise ValueError(f"layers = {self.layers!r} of a head must be numbers of outputs, e.g. (128, 64)")
        if any(isinstance(width, bool) or not hasattr(width, "__index__") or width < 1 for width in self.layers):
            raise ValueError(f"layers = {self.layers!r} of a head must be positive whole numbers, e.g. (128, 64)")
        object.__setattr__(self, "layers", tuple(int(width) for width in self.layers))
        if self.kind != "vector" and self.pooling != "average":
            raise ValueError(f"pooling = {self.pooling!r} is for heads of kind 'vector'; a {self.kind!r} pools nothing")
        if not self.start > 0:
            raise ValueError(f"start = {self.start!r} of a head must be a positive factor, e.g. 0.01")
        if not math.isfinite(self.offset):
            raise ValueError(f"offset = {self.offset!r} of a head must be a number, e.g. 0.5")
        for name, given, usual in self._beginnings:
            if self.kind == "motion" and given != usual:
                raise ValueError(f"{name} = {given!r} is not for heads of kind 'motion', which begin as drawn")
        if self.kind == "motion" and self.activation != "linear":
            raise ValueError(
                f"activation = {self.activation!r} is not for heads of kind 'motion', whose outputs are any number"
            )

    @property
    def needs_fixed_size(self) -> bool:
        """Whether all images must have the size that the network was built for."""
        return self.pooling == "flatten"

    @property
    def _beginnings(self) -> list[tuple[str, float, float]]:
        """What says how outputs begin: name, value and default."""
        return [("start", self.start, 1.0), ("offset", self.offset, 0.0)]

    def values(self) -> dict[str, Any]:
        """Returns the attributes as plain values; `find_head` takes them back."""
        found: dict[str, Any] = {
            "kind": self.kind,
            "tap": self.tap,
            "layers": list(self.layers),
            "pooling": self.pooling,
        }
        found |= {name: value for name, value, usual in self._beginnings if value != usual}
        if self.activation == "linear":
            return found
        return {**found, "activation": self.activation, "bounds": None if self.bounds is None else list(self.bounds)}


def check_bounds(bounds: Sequence[float]) -> tuple[float, float]:
    """Returns the smallest and the largest output, or refuses them.

    Raises:
        ValueError: If they are not two numbers, the smaller one first.
    """
    values = tuple(float(bound) for bound in bounds)
    if len(values) != 2 or not values[0] < values[1]:
        raise ValueError(f"bounds = {bounds!r} must be two numbers, the smaller one first, e.g. (0, 1)")
    return values[0], values[1]


def _check_name(what: str, name: str, known: Mapping[str, str]) -> None:
    if name not in known:
        hint = suggestion(str(name), list(known)) or f"; use one of {', '.join(known)}"
        raise ValueError(f"unknown {what} {name!r}{hint}")


def find_head(head: "str | Head | Mapping[str, Any]") -> Head:
    """Returns a head, given as it is, by its plain values, or in short: `vector`, or `vector@bottom` on a stage.

    Raises:
        ValueError: If it is none of that.
    """
    if isinstance(head, Head):
        return head
    if isinstance(head, str):
        kind, _, tap = head.partition("@")
        return Head(kind, tap or None)
    if isinstance(head, Mapping) and set(head) <= {field.name for field in dataclasses.fields(Head)}:
        return Head(**head)
    raise ValueError(f"head {head!r} is neither a Head nor the name of a kind; write e.g. 'vector', or Head('vector')")


class TaskHead(keras.layers.Layer):
    """Turns the features of one task into logits, in float32 whatever the precision of the features.

    Args:
        head: What it is made of.
        channels: Output channels.
        spatial_rank: 2 or 3.
        kernel_initializers: Keras initialiser of the kernel of every layer, the one that gives the logits first.
        bias_initializers: Keras initialiser of the bias of every layer, as `kernel_initializers`.
        kernel_regularizer: Keras regulariser of all kernels.
        dropout: Probability of dropping a feature in training, before the first layer.
        seed: Seed of the dropout.
    """

    def __init__(
        self,
        head: Head,
        channels: int,
        spatial_rank: int,
        kernel_initializers: Sequence[Any],
        bias_initializers: Sequence[Any],
        kernel_regularizer: Any,
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, dtype="float32", **kwargs)
        self.head = head
        self.channels = channels
        self.dropout = BatchDropout(dropout, seed=seed, dtype="float32") if dropout else None
        widths = [channels, *head.layers]
        names = ["projection", *(f"hidden_{number}" for number in range(1, len(widths)))]
        layers = [
            _build_layer(head.kind, spatial_rank, width, name, kernel, bias, kernel_regularizer)
            for width, name, kernel, bias in zip(widths, names, kernel_initializers, bias_initializers, strict=True)
        ]
        self.projection, self.hidden = layers[0], layers[1:]
        self._spatial_shape: tuple[int, ...] = ()
        self.limits: Any = None
        if head.activation == "range":
            self.limits = self.add_weight(
                shape=(2,),
                initializer="zeros",
                trainable=False,
                aggregation="only_first_replica",
                name="limits",
            )
            self.limits.assign((-math.inf, math.inf) if head.bounds is None else head.bounds)

    def set_bounds(self, lower: float, upper: float) -> None:
        """Sets the smallest and the largest output of a head with the activation `range`; they are saved with it.

        Raises:
            ValueError: If the head has another activation, or the bounds are none.
        """
        if self.limits is None:
            raise ValueError(f"{self.name!r} has the activation {self.head.activation!r}; only 'range' has bounds")
        self.limits.assign(check_bounds((lower, upper)))

    @property
    def kind(self) -> str:
        """`map` or `vector`."""
        return self.head.kind

    @property
    def products(self) -> list[Any]:
        """All layers in the order in which they are applied; the last one gives the logits."""
        return [*self.hidden, self.projection]

    def costs(self, voxels: int) -> tuple[int, int]:
        """Returns the multiplies of a built head for one image: those per channel that it reads, and all others.

        Args:
            voxels: Of the features that it reads.
        """
        widths = [layer.kernel.shape[-1] for layer in self.products]
        later = sum(before * after for before, after in itertools.pairwise(widths))
        if self.kind == "map":
            return voxels * widths[0], voxels * later
        return (voxels if self.head.needs_fixed_size else 1) * widths[0], later

    def build(self, input_shape: Any) -> None:
        """Builds all layers for features `(batch, *spatial, channels)`.

        Raises:
            ValueError: If features are flattened whose size is not fixed.
        """
        shape = tuple(input_shape)
        if self.head.needs_fixed_size:
            spatial = shape[1:-1]
            if None in spatial:
                raise ValueError(
                    f"{self.name!r} flattens its features, and so needs images of one size; it received features of "
                    f"shape {shape}: build the network for images of that size, or use pooling = 'average'"
                )
            self._spatial_shape = spatial
            shape = (shape[0], math.prod(shape[1:]))
        elif self.kind == "vector":
            shape = (shape[0], shape[-1])
        for layer in self.products:
            layer.build(shape)
            shape = (*shape[:-1], layer.kernel.shape[-1])

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns logits `(batch, *spatial, outputs)`, or `(batch, outputs)` of a vector head."""
        features = ops.cast(inputs, "float32")
        if self.kind == "vector":
            features = self._pooled(features)
        if self.dropout is not None:
            features = self.dropout(features, training=training)
        for layer in self.products:
            if self.kind == "vector":
                multiplies.record_convolution(features.shape, layer.kernel.shape)
            features = layer(features)
            if layer is not self.projection:
                features = ops.relu(features)
        return self._activated(features, training)

    def _activated(self, outputs: Any, training: bool | None) -> Any:
        """Applies the activation of the outputs.

        What `range` cuts off keeps its gradient in training: it leads back to the range wherever a loss falls towards
        the target, which lies in it. A plain cut would never let an output return.
        """
        if self.limits is None:
            return outputs if self.head.activation == "linear" else keras.activations.get(self.head.activation)(outputs)
        limits = ops.convert_to_tensor(self.limits)
        cut = ops.clip(outputs, limits[0], limits[1])
        return ops.stop_gradient(cut) + (outputs - ops.stop_gradient(outputs)) if training else cut

    def _pooled(self, features: Any) -> Any:
        """Returns the features of all voxels as one vector per image."""
        if not self.head.needs_fixed_size:
            return ops.mean(features, axis=tuple(range(1, len(features.shape) - 1)))
        found = tuple(features.shape[1:-1])
        if any(size not in (None, built) for size, built in zip(found, self._spatial_shape, strict=True)):
            raise ValueError(
                f"{self.name!r} flattens features of spatial shape {self._spatial_shape}, for which the network was "
                f"built; it received {found}: use images of one size, or pooling = 'average'"
            )
        return ops.reshape(features, (-1, math.prod(self._spatial_shape) * features.shape[-1]))


def _build_layer(
    kind: str, spatial_rank: int, width: int, name: str, kernel: Any, bias: Any, regularizer: Any
) -> keras.layers.Layer:
    """Builds one layer of a head: a 1 x 1 convolution of a map, or a dense layer of a vector."""
    settings: dict[str, Any] = {
        "kernel_initializer": kernel,
        "bias_initializer": bias,
        "kernel_regularizer": regularizer,
        "dtype": "float32",
        "name": name,
    }
    if kind == "map":
        return Convolution(spatial_rank, width, kernel_size=1, use_bias=True, **settings)
    return keras.layers.Dense(width, **settings)
