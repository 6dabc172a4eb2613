"""Keras' own layers with the weights of ours, for models that need nothing of this package."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from sfgkeras.layers.activation import MaskedActivation, PReLU
from sfgkeras.layers.block import Block
from sfgkeras.layers.convolution import Convolution
from sfgkeras.layers.cross_stitch import CrossStitch
from sfgkeras.layers.layer_mixture import LayerMixture
from sfgkeras.layers.matching import match
from sfgkeras.layers.normalization import StreamNormalization
from sfgkeras.layers.residual import ResidualSection
from sfgkeras.layers.subspace_stitch import SubspaceStitch, mixing_places
from sfgkeras.networks.folding import fold_behind, split_preactivation
from sfgkeras.networks.frames import frames_apart
from sfgkeras.networks.heads import TaskHead
from sfgkeras.networks.motion_head import MotionHead
from sfgkeras.sharing.fed_outputs import LabelEmbedding


def _activation_of(head: TaskHead) -> str | None:
    """Returns what the last layer of a head applies itself; bounds of a range come behind it."""
    return None if head.head.activation in ("linear", "range") else head.head.activation


class PlainLayers:
    """Applies the weights of this package's layers through Keras' own, in a functional graph.

    Args:
        spatial_rank: 2 or 3.
        folds: Whether normalisations are multiplied into the convolutions beside them, see `folding`.
        dtype: Dtype policy of all layers but the heads.
        keeps_prelu: Whether PReLU is Keras' layer also where `folds`; otherwise it is the maximum of x and a x,
            which takes 0.66 of the time.
    """

    def __init__(self, spatial_rank: int, folds: bool, dtype: Any, keeps_prelu: bool = False) -> None:
        self.spatial_rank = spatial_rank
        self.folds = folds
        self.dtype = dtype
        self.keeps_prelu = keeps_prelu or not folds
        self._numbers = itertools.count(1)
        # By the identity of a tensor: the tensor, which keeps its identity so, and which channels it has of those that
        # kernels expect; the others are 0.
        self._held: dict[int, tuple[Any, np.ndarray]] = {}
        # What heads give, by the identity of the head.
        self._headed: dict[int, Any] = {}
        self.prefix = ""

    def _name(self, kind: str) -> str:
        return f"{self.prefix}{kind}_{next(self._numbers)}"

    def convolve(
        self,
        inputs: Any,
        kernel: np.ndarray,
        bias: np.ndarray | None,
        dilation: Any = 1,
        strides: Any = 1,
        padding: str = "same",
    ) -> Any:
        """Convolves with a given kernel and bias; channels that are known to be 0 are multiplied with nothing."""
        if id(inputs) in self._held:
            held = self._held[id(inputs)][1]
            if not held.size:
                zeros = self._empty(inputs, kernel.shape[-1])
                return zeros if bias is None else self.shift(zeros, bias)
            kernel = kernel[..., held, :]
        layer = keras.layers.Conv2D if self.spatial_rank == 2 else keras.layers.Conv3D
        convolution = layer(
            kernel.shape[-1],
            kernel.shape[:-2],
            strides=strides,
            padding=padding,
            dilation_rate=dilation,
            use_bias=bias is not None,
            data_format="channels_last",
            dtype=self.dtype,
            name=self._name("convolution"),
        )
        outputs = convolution(inputs)
        convolution.set_weights([kernel] if bias is None else [kernel, bias])
        return outputs

    def convolve_and_activate(
        self, inputs: Any, convolution: Convolution, activation: MaskedActivation, factor: np.ndarray | None = None
    ) -> Any:
        """Convolves, normalises and activates; the normalisation is folded into the kernel where possible.

        Args:
            inputs: `(batch, *spatial, channels)`.
            convolution: Whose weights are taken.
            activation: Normalisation and activation.
            factor: Factor of each channel of the inputs, `(channels,)`, that the kernel takes in.
        """
        kernel = ops.convert_to_numpy(convolution.kernel)
        kernel = kernel if factor is None else kernel * factor[:, None]
        bias = None if convolution.bias is None else ops.convert_to_numpy(convolution.bias)
        geometry: tuple[Any, Any, str] = convolution.dilation, convolution.strides, convolution.padding
        if not self.folds or activation.normalization is None:
            return self.normalize_and_activate(self.convolve(inputs, kernel, bias, *geometry), activation)
        kernel, bias = fold_behind(kernel, bias, activation.normalization)
        outputs = self.convolve(inputs, kernel, bias, *geometry)
        return self.activate(outputs, activation)

    def normalize_and_activate(self, inputs: Any, activation: MaskedActivation) -> Any:
        """Normalises by the given layer's statistics, if it has any, and activates."""
        source = activation.normalization
        if source is None:
            return self.activate(inputs, activation)
        if source.statistics == "batch":
            layer: keras.layers.Layer = StreamNormalization.from_config(
                source.get_config() | {"name": self._name("normalization")}
            )
        else:
            layer = keras.layers.BatchNormalization(
                momentum=source.momentum,
                epsilon=source.epsilon,
                dtype=self.dtype,
                name=self._name("normalization"),
            )
        outputs = layer(inputs)
        layer.set_weights([ops.convert_to_numpy(weight) for weight in source.weights])
        return self.activate(outputs, activation)

    def activate(self, inputs: Any, activation: MaskedActivation) -> Any:
        """Applies the activation of the given layer."""
        source = activation.activation
        if not isinstance(source, PReLU):
            return keras.layers.Activation(activation.activation_name, dtype=self.dtype, name=self._name("activation"))(
                inputs
            )
        alpha = ops.convert_to_numpy(source.alpha)
        if not self.keeps_prelu and (alpha <= 1).all():
            falling = self.rescale(inputs, alpha)
            return keras.layers.Maximum(dtype=self.dtype, name=self._name("activation"))([inputs, falling])
        axes = list(range(1, self.spatial_rank + 1))
        layer = keras.layers.PReLU(shared_axes=axes, dtype=self.dtype, name=self._name("activation"))
        outputs = layer(inputs)
        layer.set_weights([alpha.reshape((1,) * self.spatial_rank + (-1,))])
        return outputs

    def residual_section(self, section: ResidualSection, inputs: Any) -> Any:
        """Applies all blocks of a section."""
        for block in section.blocks:
            inputs = self.block(block, inputs)
        return inputs

    def block(self, block: Block, inputs: Any) -> Any:
        """Applies the branches of a block."""
        terms = [inputs] if block.plan.adds_input else []
        return self.add([*terms, *(self._branch(block, places, inputs) for places in block.plan.places())])

    def _branch(self, block: Block, places: Sequence[int], features: Any) -> Any:
        """Applies the convolutions of a branch; an activation behind a convolution is folded into it where possible."""
        factor = None
        first = block.activation_before(places[0])
        if first is not None:
            split = self._split(first)
            if split is None:
                features = self.normalize_and_activate(features, first)
            else:
                factor, shift = split
                features = self.activate(self.shift(features, shift), first)
        for place, later in zip(places, [*places[1:], None], strict=True):
            convolution = block.convolutions[place]
            activation = None if later is None else block.activation_before(later)
            if activation is not None:
                features = self.convolve_and_activate(features, convolution, activation, factor)
            else:
                kernel = ops.convert_to_numpy(convolution.kernel)
                bias = None if convolution.bias is None else ops.convert_to_numpy(convolution.bias)
                kernel = kernel if factor is None else kernel * factor[:, None]
                features = self.convolve(features, kernel, bias, convolution.dilation)
            factor = None
        return features

    def _split(self, activation: MaskedActivation) -> tuple[np.ndarray, np.ndarray] | None:
        """Splits a normalisation before an activation; never in half precision, which a shift would use up."""
        is_float32 = keras.dtype_policies.get(self.dtype).compute_dtype == "float32"
        return split_preactivation(activation) if self.folds and is_float32 else None

    def cross_stitch(self, streams: Mapping[int, Any], unit: CrossStitch) -> dict[int, Any]:
        """Mixes the streams of all tasks by the weights of a cross-stitch unit."""
        if unit.num_tasks == 1:
            return {task: self.rescale(stream, unit.alpha[0, 0]) for task, stream in streams.items()}
        return {
            task: keras.layers.Add(dtype=self.dtype, name=self._name("add"))(
                [self.rescale(streams[other], unit.alpha[row, column]) for column, other in enumerate(sorted(streams))]
            )
            for row, task in enumerate(sorted(streams))
        }

    def subspace_stitch(self, streams: Mapping[int, Any], unit: SubspaceStitch) -> dict[int, Any]:
        """Mixes the subspaces of all tasks by the weights of a unit, as the unit does."""
        tasks, subspaces = sorted(streams), unit.subspaces
        width = streams[tasks[0]].shape[-1] // subspaces
        places = mixing_places(len(tasks), subspaces)
        factors = np.repeat(ops.convert_to_numpy(unit.alpha).ravel()[places], width, axis=-1)
        moved = {
            task: [streams[task], *(self._turned(streams[task], shift * width) for shift in range(1, subspaces))]
            for task in tasks
        }
        return {
            task: self.add(
                [
                    self.rescale(copy, factors[row, column, shift])
                    for column, other in enumerate(tasks)
                    for shift, copy in enumerate(moved[other])
                ]
            )
            for row, task in enumerate(tasks)
        }

    def _turned(self, inputs: Any, start: int) -> Any:
        """Returns the channels from one on, and then those before it."""
        others = (slice(None),) * (self.spatial_rank + 1)
        return self.concatenate([inputs[(*others, slice(start, None))], inputs[(*others, slice(0, start))]])

    def weigh_layer(self, inputs: Any, mixture: LayerMixture, place: int) -> Any:
        """Returns what a layer adds to the mixture that a head reads."""
        weight = float(ops.convert_to_numpy(mixture.beta)[place])
        projection = mixture.projections[place] if place < len(mixture.projections) else None
        if projection is None:
            return self.rescale(inputs, weight)
        return self.convolve(inputs, ops.convert_to_numpy(projection.kernel) * weight, None)

    def add(self, parts: Sequence[Any]) -> Any:
        """Adds tensors of one shape."""
        if len(parts) == 1:
            return parts[0]
        return keras.layers.Add(dtype=self.dtype, name=self._name("add"))(list(parts))

    def rescale(self, inputs: Any, factor: Any) -> Any:
        """Multiplies by one factor, or by one per channel."""
        scale = ops.convert_to_numpy(factor).tolist()
        return keras.layers.Rescaling(scale, dtype=self.dtype, name=self._name("rescaling"))(inputs)

    def shift(self, inputs: Any, offset: np.ndarray) -> Any:
        """Adds one number per channel."""
        layer = keras.layers.Rescaling(1.0, offset.tolist(), dtype=self.dtype, name=self._name("shift"))
        return layer(inputs)

    def zeros(self, reference: Any, channels: int) -> Any:
        """Returns channels of zeros of the spatial size of a reference; what convolves them knows that."""
        zeros = self._empty(reference, channels)
        self._held[id(zeros)] = zeros, np.zeros(0, int)
        return zeros

    def _empty(self, reference: Any, channels: int) -> Any:
        return self.rescale(ops.take(reference, [0] * channels, axis=-1), 0.0)

    def concatenate(self, parts: Sequence[Any], keeps_zeros: bool = False) -> Any:
        """Concatenates channels.

        Args:
            parts: The tensors.
            keeps_zeros: Whether channels that are known to be 0 have to be there; else they are left out, and what
                convolves the result knows it.
        """
        if len(parts) == 1:
            return parts[0]
        starts = np.cumsum([0, *(part.shape[-1] for part in parts)])
        held = [self._held.get(id(part), (None, np.arange(part.shape[-1])))[1] for part in parts]
        some = [part for part, channels in zip(parts, held, strict=True) if channels.size]
        if keeps_zeros or len(some) == len(parts):
            return self._joined(parts)
        if len(some) == 1:
            # A tensor of its own: this one may be read as it is elsewhere. (Keras cannot save an Identity.)
            joined = keras.layers.Activation("linear", dtype=self.dtype, name=self._name("identity"))(some[0])
        else:
            joined = self._joined(some or parts)
        channels = np.concatenate([start + found for start, found in zip(starts, held, strict=False)])
        self._held[id(joined)] = joined, channels
        return joined

    def _joined(self, parts: Sequence[Any]) -> Any:
        return keras.layers.Concatenate(dtype=self.dtype, name=self._name("concatenate"))(list(parts))

    def copies(self, features: Any, count: int) -> list[Any]:
        """Returns features as often as they are used."""
        return [features] * count

    def upsample(self, inputs: Any, like: Any) -> Any:
        """Repeats every voxel over 2 per axis and cuts the result to the spatial size of `like`.

        No layer of Keras' own cuts to another's size, but its operations do: voxel i of an axis is voxel i // 2 of the
        input, and i counts the voxels of `like` in the same call.
        """
        for axis in range(1, self.spatial_rank + 1):
            along_axis = tuple(slice(None) if other == axis else 0 for other in range(self.spatial_rank + 2))
            counted = ops.cumsum(ops.ones_like(like[along_axis], dtype="int32"))
            taken = ops.take(inputs, (counted - 1) // 2, axis=axis)
            inputs = self._known_as(inputs, taken)
        return inputs

    def pool(self, inputs: Any, maximum_share: float = 1.0) -> Any:
        """Takes maximum and mean over 2 voxels per axis, the maximum by its share; an odd last voxel is kept."""
        flat = self.spatial_rank == 2
        largest = keras.layers.MaxPooling2D if flat else keras.layers.MaxPooling3D
        mean = keras.layers.AveragePooling2D if flat else keras.layers.AveragePooling3D
        parts = []
        for layer, share in ((largest, maximum_share), (mean, 1.0 - maximum_share)):
            if share:
                pool = layer(2, padding="same", data_format="channels_last", dtype=self.dtype, name=self._name("pool"))
                parts.append(pool(inputs) if share == 1.0 else self.rescale(pool(inputs), share))
        return self._known_as(inputs, self.add(parts))

    def _known_as(self, before: Any, after: Any) -> Any:
        """Returns a tensor of another size, whose channels are known to be 0 where they were before."""
        if id(before) in self._held:
            self._held[id(after)] = after, self._held[id(before)][1]
        return after

    def motion(self, head: MotionHead, inputs: Any) -> Any:
        """Applies the head of a motion to the features of all frames, in float32; see `MotionHead`."""
        self.dtype, policy = "float32", self.dtype
        of_layer = {
            layer.name: [ops.convert_to_numpy(weight) for weight in (layer.kernel, layer.bias)]
            for layer in head.products
        }
        pair, projection = of_layer["pair"], of_layer["projection"]
        first, *others = frames_apart(self.convolve(inputs, *pair), head.num_frames)
        kept, states = first[..., : head.state], list[Any]()
        for frame in others:
            parts = [kept, frame[..., head.state : 2 * head.state]]
            if head.matching is not None:
                matches = match(first[..., 2 * head.state :], frame[..., 2 * head.state :], head.reach)
                kernel, bias = of_layer["matching"]
                # A kernel less its mean gives of matches what it gives of matches less theirs.
                parts.append(self.convolve(matches, kernel - kernel.mean(axis=-2, keepdims=True), bias))
            parts += [self.convolve(states[-1], *of_layer["recurrence"])] if states else []
            name = self._name("activation")
            states.append(keras.layers.Activation("tanh", dtype=self.dtype, name=name)(self.add(parts)))
        moved = self.convolve(ops.concatenate(states, axis=0) if len(states) > 1 else states[0], *projection)
        parts = frames_apart(moved, len(states)) if len(states) > 1 else [moved]
        outputs = keras.layers.Concatenate(dtype=self.dtype, name=head.name)(parts) if len(parts) > 1 else parts[0]
        self.dtype = policy
        return outputs

    def embed(self, head: TaskHead, embedding: LabelEmbedding, features: Any) -> Any:
        """Returns what a head makes of features, embedded."""
        outputs = self.head(head, features)
        if embedding.activation != "linear":
            layer = keras.layers.Activation(embedding.activation, dtype="float32", name=self._name("activation"))
            outputs = layer(outputs)
        vectors = ops.convert_to_numpy(embedding.vectors)
        if head.kind == "map":
            kernel = vectors.reshape((1,) * self.spatial_rank + vectors.shape)
            return self.convolve(outputs, kernel, None)
        dense = keras.layers.Dense(vectors.shape[-1], dtype=self.dtype, name=self._name("embedding"))
        embedded = dense(outputs)
        dense.set_weights([vectors, np.zeros(vectors.shape[-1])])
        return embedded

    def spread(self, vectors: Any, like: Any) -> Any:
        """Returns vectors `(batch, channels)` at every voxel of features."""
        shape = (1,) * self.spatial_rank + (vectors.shape[-1],)
        shaped = keras.layers.Reshape(shape, dtype=self.dtype, name=self._name("reshape"))(vectors)
        return self.add([self._empty(like, vectors.shape[-1]), shaped])

    def head(self, head: TaskHead | MotionHead, inputs: Any) -> Any:
        """Applies the head of a task, in float32: once, as it reads the same features whoever reads what it gives."""
        if id(head) not in self._headed:
            self._headed[id(head)] = self._apply_head(head, inputs)
        return self._headed[id(head)]

    def _apply_head(self, head: TaskHead | MotionHead, inputs: Any) -> Any:
        if isinstance(head, MotionHead):
            return self.motion(head, inputs)
        is_map = head.kind == "map"
        if head.head.needs_fixed_size:
            inputs = keras.layers.Flatten(data_format="channels_last", dtype="float32", name=self._name("flatten"))(
                inputs
            )
        elif not is_map:
            pool = (
                keras.layers.GlobalAveragePooling2D if self.spatial_rank == 2 else keras.layers.GlobalAveragePooling3D
            )
            inputs = pool(data_format="channels_last", dtype="float32", name=self._name("average"))(inputs)
        convolution = keras.layers.Conv2D if self.spatial_rank == 2 else keras.layers.Conv3D
        for source in head.products:
            kernel, bias = (ops.convert_to_numpy(weight) for weight in source.weights)
            is_last = source is head.projection
            settings: dict[str, Any] = {
                "activation": _activation_of(head) if is_last else "relu",
                "dtype": "float32",
                "name": head.name if is_last else self._name(f"{head.name}_hidden"),
            }
            layer = (
                convolution(kernel.shape[-1], 1, data_format="channels_last", **settings)
                if is_map
                else keras.layers.Dense(kernel.shape[-1], **settings)
            )
            inputs = layer(inputs)
            layer.set_weights([kernel, bias])
        if head.limits is not None:
            return ops.clip(inputs, *ops.convert_to_numpy(head.limits).tolist())
        return inputs
