"""Stochastic Filter Group convolutions for two and three spatial axes, over one rank-free base."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from sfgkeras.grouping import TemperatureSchedule, temperature_schedule
from sfgkeras.layers.activation import MaskedActivation
from sfgkeras.layers.backend import fan_out
from sfgkeras.layers.convolution import Convolution
from sfgkeras.layers.filter_grouping import MASK_SOURCES, FilterGrouping, mask_source_index, settled_source
from sfgkeras.layers.routing import check_routing, merge_streams
from sfgkeras.layers.statistics_record import StatisticsRecord


class SFGConvolution(StatisticsRecord, keras.layers.Layer):
    """Convolution whose filters belong, by learned probabilities, to one task or to all of them.

    Reads an image, or the list of streams `[F_1, .., F_T, F_s]` of the layer before, and returns such a list:

        F_t' = m_t * h_t(conv(F_t + F_s, W) + b)        F_s' = m_s * h_s(conv(F_s, W) + b)

    with one kernel W for all groups, normalisation and activation h of each stream's own, and the masks m
    drawn from the grouping probabilities (section 3 of the paper). An image is convolved once for all groups.

    Args:
        filters: Number of filters.
        kernel_size: See `Convolution`, as for `dilation`, `strides` and `padding`.
        num_tasks: Number of tasks.
        dilation: See `Convolution`.
        routing: How the streams that come in are merged first: `mixed`, `separate` (they already are what
            each group reads) or `dense`; see `routing.groups_read`.
        activation: `"prelu"` or any name that Keras knows.
        use_bias: Whether b is there. A normalisation cancels it, so by default it is there without one.
        initial_probabilities: See `grouping.initial_probabilities`.
        assignment: See `FilterGrouping`, as for `per_sample`, `learn_grouping` and `entropy_decay`.
        per_sample: See `FilterGrouping`.
        learn_grouping: See `FilterGrouping`.
        entropy_decay: See `FilterGrouping`.
        masks: What inference uses: `auto`, `sample`, `mean` or `mode`; see `FilterGrouping`. With `auto` the filters of
            this layer decide.
        temperature: Numbers of the temperature schedule; the layer then counts its own training calls. None:
            the masks are given at every call, as a network does.
        statistics: See `StreamNormalization`.
        kernel_initializer: Keras initialiser of the kernel.
        bias_initializer: Keras initialiser of the bias.
        kernel_regularizer: Keras regulariser of the kernel.
        rematerialise: See `MaskedActivation`.
        seed: Seed of the masks; None draws one.
        strides: See `Convolution`.
        padding: See `Convolution`.
        normalisation: See `MaskedActivation`.
        noise: See `FilterGrouping`.
    """

    spatial_rank: int

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int] = 3,
        num_tasks: int = 2,
        dilation: int | Sequence[int] = 1,
        routing: str = "mixed",
        activation: str = "prelu",
        use_bias: bool | None = None,
        initial_probabilities: str | Sequence[float] | None = None,
        assignment: str = "soft",
        per_sample: bool = False,
        learn_grouping: bool = True,
        entropy_decay: float = 1e-5,
        masks: str = "auto",
        temperature: Sequence[float] | None = TemperatureSchedule(),
        statistics: str = "recalibrated",
        kernel_initializer: Any = "he_normal",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        rematerialise: str = "none",
        seed: int | None = None,
        strides: int | Sequence[int] = 1,
        padding: str = "same",
        normalisation: str = "batch",
        noise: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.routing = check_routing(routing)
        self.masks = masks
        self.temperature = None if temperature is None else TemperatureSchedule(*temperature)
        if self.temperature is not None:
            self.iteration = self.add_weight(
                shape=(),
                initializer="zeros",
                dtype="int32",
                trainable=False,
                aggregation="only_first_replica",
                name="iteration",
            )
        self.grouping = FilterGrouping(
            filters,
            num_tasks,
            initial_probabilities=initial_probabilities,
            assignment=assignment,
            per_sample=per_sample,
            noise=noise,
            learn_grouping=learn_grouping,
            entropy_decay=entropy_decay,
            seed=seed,
            # Built before its parent: its name must tell the layers apart.
            name=f"{self.name}_grouping",
        )
        self.grouping.build()
        self.convolution = Convolution(
            self.spatial_rank,
            filters,
            kernel_size,
            dilation=dilation,
            use_bias=normalisation == "none" if use_bias is None else use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            strides=strides,
            padding=padding,
            dtype=self.dtype_policy,
            name="convolution",
        )
        self.activations = [
            MaskedActivation(
                activation,
                statistics=statistics,
                folds_masks=assignment == "soft",
                rematerialise=rematerialise,
                normalisation=normalisation,
                dtype=self.dtype_policy,
                name=f"activation_{group}",
            )
            for group in group_names(num_tasks)
        ]

    @property
    def masks(self) -> str:
        """What inference uses. A change takes effect in what is compiled from then on."""
        return MASK_SOURCES[self._mask_source]

    @masks.setter
    def masks(self, masks: str) -> None:
        self._mask_source = mask_source_index(masks)

    @property
    def num_groups(self) -> int:
        """Number of groups: tasks and shared."""
        return self.grouping.num_groups

    @property
    def filters(self) -> int:
        """Number of filters, over all groups."""
        return self.grouping.filters

    @property
    def kernel(self) -> Any:
        """The kernel `(*kernel_size, channels, filters)`."""
        return self.convolution.kernel

    def build(self, input_shape: Any) -> None:
        """Builds the convolution for the channels of the image or of one stream."""
        is_list = input_shape[0] is not None and not isinstance(input_shape[0], int)
        shape = tuple(input_shape[0]) if is_list else tuple(input_shape)
        if is_list and len(input_shape) != self.num_groups:
            raise ValueError(
                f"layer {self.name!r} received {len(input_shape)} streams; it has {self.num_groups} groups "
                f"(tasks, then shared)"
            )
        if len(shape) != self.spatial_rank + 2:
            raise ValueError(
                f"layer {self.name!r} received an input of shape {shape}; it needs (batch, "
                f"{self.spatial_rank} spatial axes, channels)"
            )
        self.convolution.build(shape)
        for activation in self.activations:
            activation.build(self.convolution.output_shape_of(shape))

    def draw_masks(self, temperature: Any, source: Any, batch_size: Any, training: bool | None) -> list[Any]:
        """Returns a mask `(filters,)` or `(batch, filters)` for every group; see `FilterGrouping.call`."""
        masks = self.grouping(temperature, source=source, batch_size=batch_size, training=training)
        return ops.unstack(masks, self.num_groups, axis=0)

    def call(self, inputs: Any, filter_masks: Any = None, training: bool | None = None) -> list[Any]:
        """Returns the masked streams of all groups.

        Args:
            inputs: An image `(batch, *spatial, channels)`, or the list of `num_groups` streams of that shape.
            filter_masks: One mask per group, drawn before; None draws them here.
            training: Whether masks are always sampled and normalisation uses the batch.

        Returns:
            `num_groups` streams `(batch, *spatial, filters)`, shared last.
        """
        is_image = not isinstance(inputs, list | tuple)
        if filter_masks is None:
            filter_masks = self._own_masks(inputs if is_image else inputs[0], training)
        elif not isinstance(filter_masks, list | tuple):
            filter_masks = ops.unstack(filter_masks, self.num_groups, axis=0)
        streams = [inputs] * self.num_groups if is_image else merge_streams(inputs, self.routing)
        features = self._convolve(streams)
        return [
            activation(feature, mask, training=training)
            for activation, feature, mask in zip(self.activations, features, filter_masks, strict=True)
        ]

    def _convolve(self, streams: list[Any]) -> list[Any]:
        """Convolves every stream; groups that read one and the same tensor share one convolution."""
        readers: dict[int, list[int]] = {}
        for group, stream in enumerate(streams):
            readers.setdefault(id(stream), []).append(group)
        kernels = self.convolution.kernel_copies(len(readers))
        features: list[Any] = [None] * len(streams)
        for kernel, groups in zip(kernels, readers.values(), strict=True):
            convolved = self.convolution(streams[groups[0]], kernel=kernel)
            for group, feature in zip(groups, fan_out(convolved, len(groups)), strict=True):
                features[group] = feature
        return features

    def _own_masks(self, image: Any, training: bool | None) -> Any:
        if self.temperature is None:
            raise ValueError(f"layer {self.name!r} has no temperature schedule: pass filter_masks at every call")
        temperature = temperature_schedule(ops.convert_to_tensor(self.iteration), *self.temperature)
        if training:
            self.iteration.assign(self.iteration + 1)
        source = self._mask_source if training else settled_source(self._mask_source, [self.grouping])
        return self.draw_masks(temperature, source, ops.shape(image)[0], training)

    def save_own_variables(self, store: Any) -> None:
        """Writes the iteration, where the layer counts it; the parts of the layer write the rest."""
        super().save_own_variables(store)
        if self.temperature is not None:
            self._save_record(store)

    def load_own_variables(self, store: Any) -> None:
        """Reads the iteration."""
        if self.temperature is not None:
            self.iteration.assign(np.asarray(store["0"]))
            self._load_record(store)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        convolution = self.convolution.get_config()
        return (
            super().get_config()
            | {
                name: convolution[name]
                for name in (
                    "filters", "kernel_size", "dilation", "strides", "padding", "use_bias",
                    "kernel_initializer", "bias_initializer", "kernel_regularizer",
                )
            }
            | {
                name: self.grouping.get_config()[name]
                for name in (
                    "num_tasks", "initial_probabilities", "assignment", "per_sample", "noise",
                    "learn_grouping", "entropy_decay", "seed",
                )
            }
            | {
                "routing": self.routing,
                "activation": self.activations[0].activation_name,
                "masks": self.masks,
                "temperature": None if self.temperature is None else list(self.temperature),
                **{
                    name: self.activations[0].get_config()[name]
                    for name in ("statistics", "rematerialise", "normalisation")
                },
            }
        )  # fmt: skip


def group_names(num_tasks: int) -> list[str]:
    """Returns `task_1, .., task_T, shared`, for the names of layers."""
    return [f"task_{task}" for task in range(1, num_tasks + 1)] + ["shared"]


@keras.saving.register_keras_serializable(package="sfgkeras")
class SFGConv2D(SFGConvolution):
    """Stochastic Filter Group convolution over two spatial axes; see `SFGConvolution`."""

    spatial_rank = 2


@keras.saving.register_keras_serializable(package="sfgkeras")
class SFGConv3D(SFGConvolution):
    """Stochastic Filter Group convolution over three spatial axes; see `SFGConvolution`."""

    spatial_rank = 3
