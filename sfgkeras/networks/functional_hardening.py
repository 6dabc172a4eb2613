"""Hardening of functional models: every SFG layer becomes dense convolutions of the filters that its groups own."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from sfgkeras.errors import suggestion
from sfgkeras.group_multiples import assign_groups
from sfgkeras.grouping import initial_grouping_logits, is_decided, mode_assignment, undecided_share
from sfgkeras.layers.activation import MaskedActivation
from sfgkeras.layers.convolution import Convolution
from sfgkeras.layers.routing import groups_read
from sfgkeras.layers.sfg_convolution import SFGConvolution
from sfgkeras.networks.hardening_cost import (
    noise_images,
    output_changes,
    refuse_stale_statistics,
    report_cost,
    warn_of_moved,
    warn_of_undecided,
)
from sfgkeras.networks.plain_layers import PlainLayers
from sfgkeras.networks.recalibration import BATCHES, recalibrate

KEEPS_ZEROS = (
    keras.layers.MaxPooling2D,
    keras.layers.MaxPooling3D,
    keras.layers.AveragePooling2D,
    keras.layers.AveragePooling3D,
    keras.layers.UpSampling2D,
    keras.layers.UpSampling3D,
    keras.layers.ZeroPadding2D,
    keras.layers.ZeroPadding3D,
    keras.layers.Cropping2D,
    keras.layers.Cropping3D,
    keras.layers.Dropout,
    keras.layers.Identity,
)
"""Layers that work on each channel by itself and leave a channel of zeros as it is."""


class Stream(NamedTuple):
    """The channels of a stream that may differ from 0.

    Attributes:
        tensor: `(batch, *spatial, len(channels))`; None where there is no channel.
        channels: Which channels of the whole stream these are.
    """

    tensor: Any
    channels: np.ndarray


def harden_functional(
    model: keras.Model,
    task: str | None = None,
    fold: bool = True,
    keep_prelu: bool = False,
    data: Iterable[Any] | None = None,
    multiple_of: int = 1,
) -> keras.Model:
    """Makes a model of Keras' own layers of a functional model with SFG layers; arguments as `hardening.harden`.

    What lies between the layers is kept. Streams are whole where other layers read them, and only their own channels
    where SFG layers do, also through pooling and other layers that keep channels of zeros.

    Raises:
        ValueError: If the model is not functional, has no SFG layer, or its statistics do not fit and no data is given.
    """
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, SFGConvolution)]
    if getattr(model, "inputs", None) is None or not layers:
        raise ValueError(
            f"{model.name!r} is neither a network of sfgkeras.networks nor a functional model with SFGConv2D or "
            "SFGConv3D layers: there is nothing to harden"
        )
    share = float(ops.convert_to_numpy(undecided_share([layer.grouping.probabilities() for layer in layers])))
    if not is_decided(share):
        warn_of_undecided(model.name, share, data is not None)
    if data is None:
        for layer in layers:
            if layer.temperature is not None:
                refuse_stale_statistics(layer, layer.activations[0].statistics)
    batches = None if data is None else list(itertools.islice(iter(data), BATCHES))
    groups = [_groups_of(layer, multiple_of) for layer in layers]
    moved = sum(int((_groups_of(layer) != chosen).sum()) for layer, chosen in zip(layers, groups, strict=True))
    with _in_mode(model, dict(zip(layers, groups, strict=True)) if moved else {}, layers, batches):
        hardened = _Hardening(model, fold, keep_prelu).run(task)
    if batches is not None:
        report_cost(model, hardened, batches)
    if moved:
        shown = _noise_for(model) if batches is None else batches
        warn_of_moved(model.name, moved, multiple_of, output_changes(model, hardened, shown), batches is not None)
    return hardened


def _noise_for(model: keras.Model) -> list[np.ndarray]:
    """Returns a batch of noise for a model of one image; none for a model of several inputs."""
    shapes = [tensor.shape for tensor in model.inputs]
    return [noise_images(shapes[0][1:-1], shapes[0][-1])] if len(shapes) == 1 and len(shapes[0]) in (4, 5) else []


def _groups_of(layer: SFGConvolution, multiple_of: int = 1) -> np.ndarray:
    """Returns the group of every filter of a layer; see `group_multiples.assign_groups`."""
    if multiple_of == 1:
        return ops.convert_to_numpy(mode_assignment(layer.grouping.probabilities())).argmax(axis=-1)
    return assign_groups(ops.convert_to_numpy(layer.grouping.log_probabilities()), multiple_of)


@contextlib.contextmanager
def _in_mode(
    model: keras.Model,
    groups: Mapping[SFGConvolution, np.ndarray],
    layers: Sequence[SFGConvolution],
    batches: Sequence[Any] | None,
) -> Iterator[None]:
    """Gives the model statistics for masks of `mode` inside the block, and its own state back after it.

    Args:
        model: The model.
        groups: The group that `mode` is to find for every filter, where it is not the most probable one anyway.
        layers: All SFG layers of the model.
        batches: What statistics are measured on; None leaves them.
    """
    state = [ops.convert_to_numpy(variable) for variable in model.variables]
    before = [(layer.masks, layer.statistics_measured_at) for layer in layers]
    try:
        for layer in layers:
            layer.masks = "mode"
        for layer, chosen in groups.items():
            corners = np.eye(layer.num_groups)[chosen]
            layer.grouping.grouping_logits.assign(initial_grouping_logits(corners))
        if batches is not None:
            recalibrate(model, batches)
        yield
    finally:
        for layer, (masks, measured_at) in zip(layers, before, strict=True):
            layer.masks, layer.statistics_measured_at = masks, measured_at
        for variable, value in zip(model.variables, state, strict=True):
            variable.assign(value)


class _Hardening:
    """One walk through a functional model.

    Args:
        model: The model.
        fold: See `harden`.
        keep_prelu: See `harden`.
    """

    def __init__(self, model: keras.Model, fold: bool, keep_prelu: bool) -> None:
        self._model = model
        self._fold = fold
        self._keep_prelu = keep_prelu
        self._streams: dict[int, tuple[Any, Stream]] = {}
        self._copies: dict[int, tuple[Any, Any]] = {}
        self._plain: dict[int, PlainLayers] = {}

    def run(self, task: str | None) -> keras.Model:
        copy = keras.models.clone_model(self._model, clone_function=self._copy, call_function=self._call)
        for old, new in self._copies.values():
            if isinstance(old, keras.layers.Layer):
                new.set_weights(old.get_weights())
        outputs, name = copy.output, f"{self._model.name}_hardened"
        if task is not None:
            if not isinstance(outputs, Mapping) or task not in outputs:
                names = list(outputs) if isinstance(outputs, Mapping) else []
                hint = suggestion(task, names) or f"; its outputs by name are {', '.join(names) or 'none'}"
                raise ValueError(f"{self._model.name!r} has no task {task!r}{hint}")
            outputs, name = {task: outputs[task]}, f"{name}_{task}"
        return keras.Model(copy.input, outputs, name=name)

    def _copy(self, layer: Any) -> Any:
        """Returns a layer or operation of its own for the new model, one for all calls of the old one."""
        if isinstance(layer, SFGConvolution):
            return layer
        if id(layer) not in self._copies:
            self._copies[id(layer)] = layer, layer.__class__.from_config(layer.get_config())
        return self._copies[id(layer)][1]

    def _call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, SFGConvolution):
            if len(args) > 1 or kwargs.get("filter_masks") is not None:
                raise ValueError(
                    f"layer {layer.name!r} is called with filter_masks of its own; hardening gives it others"
                )
            return self._harden_layer(layer, args[0])
        outputs = layer(*args, **kwargs)
        if isinstance(layer, KEEPS_ZEROS) and id(args[0]) in self._streams:
            stream = self._streams[id(args[0])][1]
            tensor = None if stream.tensor is None else layer(stream.tensor, **kwargs)
            self._remember(outputs, Stream(tensor, stream.channels))
        return outputs

    def _remember(self, whole: Any, stream: Stream) -> None:
        # The tensor is kept, so that no other one gets its id.
        self._streams[id(whole)] = (whole, stream)

    def _harden_layer(self, layer: SFGConvolution, inputs: Any) -> list[Any]:
        """Returns the whole streams of a layer; what nobody reads of them does not become part of the model."""
        plain = self._plain_layers(layer)
        groups = ops.convert_to_numpy(mode_assignment(layer.grouping.probabilities())).argmax(axis=-1)
        outputs = []
        for group in range(layer.num_groups):
            owned = np.flatnonzero(groups == group)
            read = self._read(layer, inputs, group)
            if owned.size == 0:
                outputs.append(self._zeros(layer, plain, read))
                continue
            convolution, activation = _part(layer, group, read.channels, owned)
            stream = Stream(plain.convolve_and_activate(read.tensor, convolution, activation), owned)
            whole = _widened(stream, layer.filters)
            self._remember(whole, stream)
            outputs.append(whole)
        return outputs

    def _zeros(self, layer: SFGConvolution, plain: PlainLayers, read: Stream) -> Any:
        """Returns the whole stream of a group without filters; one filter of zeros gives it its size."""
        kernel = np.zeros((*layer.kernel.shape[: layer.spatial_rank], len(read.channels), 1), "float32")
        geometry = layer.convolution
        zeros = plain.convolve(read.tensor, kernel, None, geometry.dilation, geometry.strides, geometry.padding)
        whole = _widened(Stream(zeros, np.zeros(1, int)), layer.filters)
        self._remember(whole, Stream(None, np.zeros(0, int)))
        return whole

    def _plain_layers(self, layer: SFGConvolution) -> PlainLayers:
        folds = self._fold and layer.activations[0].statistics != "batch"
        key = hash((layer.spatial_rank, folds, layer.dtype_policy.name))
        if key not in self._plain:
            self._plain[key] = PlainLayers(layer.spatial_rank, folds, layer.dtype_policy, self._keep_prelu)
            self._plain[key].prefix = f"hardened_{len(self._plain)}_"
        return self._plain[key]

    def _read(self, layer: SFGConvolution, inputs: Any, group: int) -> Stream:
        """Returns what a group reads, without the channels that are known to be 0 where there are others."""
        if not isinstance(inputs, list | tuple):
            return Stream(inputs, np.arange(inputs.shape[-1]))
        whole = [inputs[source] for source in groups_read(layer.routing, layer.num_groups, group)]
        known = [self._streams[id(tensor)][1] for tensor in whole if id(tensor) in self._streams]
        channels = np.concatenate([np.empty(0, int), *(stream.channels for stream in known)])
        if len(known) < len(whole) or len(set(channels)) < len(channels) or not len(channels):
            tensor = whole[0] if len(whole) == 1 else keras.layers.Add(dtype=layer.dtype_policy)(whole)
            return Stream(tensor, np.arange(tensor.shape[-1]))
        tensors = [stream.tensor for stream in known if stream.tensor is not None]
        joined = keras.layers.Concatenate(dtype=layer.dtype_policy)(tensors) if len(tensors) > 1 else tensors[0]
        return Stream(joined, channels)


def _part(
    layer: SFGConvolution, group: int, read: np.ndarray, owned: np.ndarray
) -> tuple[Convolution, MaskedActivation]:
    """Returns a convolution of the filters that a group owns, on the channels that it reads, and its activation."""
    config = layer.convolution.get_config() | {"filters": len(owned), "name": None, "kernel_regularizer": None}
    convolution = Convolution.from_config(config)
    shape = (None,) * (layer.spatial_rank + 1)
    convolution.build((*shape, len(read)))
    convolution.kernel.assign(ops.convert_to_numpy(layer.kernel)[..., read, :][..., owned])
    if convolution.bias is not None:
        convolution.bias.assign(ops.convert_to_numpy(layer.convolution.bias)[owned])
    source = layer.activations[group]
    activation = MaskedActivation.from_config(source.get_config() | {"name": None})
    activation.build((*shape, len(owned)))
    for old, new in zip(source.weights, activation.weights, strict=True):
        new.assign(ops.convert_to_numpy(old)[owned])
    return convolution, activation


def _widened(stream: Stream, width: int) -> Any:
    """Returns the whole stream, `(batch, *spatial, width)`, with zeros where it has no channels."""
    if len(stream.channels) == width:
        return stream.tensor
    places = np.full(width, len(stream.channels))
    places[stream.channels] = np.arange(len(stream.channels))
    padding = [[0, 0]] * (len(stream.tensor.shape) - 1) + [[0, 1]]
    return ops.take(ops.pad(stream.tensor, padding), places.tolist(), axis=-1)
