"""A block of a stage: convolutions of one stream that its plan puts together."""

import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from sfgkeras.layers.activation import MaskedActivation
from sfgkeras.layers.backend import fan_out
from sfgkeras.layers.block_plan import BlockPlan, read_plan
from sfgkeras.layers.convolution import Convolution
from sfgkeras.layers.recomputation import recomputed, rematerialises


@keras.saving.register_keras_serializable(package="sfgkeras")
class Block(keras.layers.Layer):
    """Convolutions from a stream's channels to as many, in the branches of a plan.

    With the mask u of the stream's support every activation before a convolution is multiplied by u, and so is every
    result of a convolution that no activation follows. So with a one-hot mask the block neither writes to nor reads
    from a channel outside the support: a channel that is 0 there would leave a normalisation as its offset and be read
    by the next convolution. All these products are folded into scales, offsets and kernels and cost nothing.

    Args:
        spatial_rank: 2 or 3.
        filters: Channels of input and output.
        plan: What the block consists of, or its values.
        activation: `"prelu"` or any name that Keras knows.
        statistics: See `StreamNormalization`.
        folds_masks: See `MaskedActivation`.
        kernel_initializers: Keras initialiser of the kernel of every convolution; None: `he_normal` for all.
        kernel_regularizer: Keras regulariser of all kernels.
        rematerialise: What training makes again for its gradients: `none`, `activations` (what normalisations and
            activations give; only inputs and results of convolutions are kept) or `blocks` (see `ResidualSection`).
        normalisation: See `MaskedActivation`; with `none` all convolutions have a bias.
        bias_initializers: Keras initialiser of the bias of every convolution, where there are any; None: zeros.
    """

    def __init__(
        self,
        spatial_rank: int,
        filters: int,
        plan: BlockPlan | Mapping[str, Any],
        activation: str = "prelu",
        statistics: str = "recalibrated",
        folds_masks: bool = True,
        kernel_initializers: Sequence[Any] | None = None,
        kernel_regularizer: Any = None,
        rematerialise: str = "none",
        normalisation: str = "batch",
        bias_initializers: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.plan = read_plan(plan)
        self.rematerialise = rematerialise
        self._recomputes = rematerialises(rematerialise, "activations")
        self.spatial_rank = spatial_rank
        self.filters = filters
        self._shown: dict[str, Any] = {
            "activation": activation.lower(),
            "statistics": statistics,
            "folds_masks": folds_masks,
            "normalisation": normalisation,
        }
        parts = self.plan.convolutions
        self.activations = [
            MaskedActivation(**self._shown, dtype=self.dtype_policy, name=f"activation_{number}")
            for number, part in enumerate(parts, start=1)
            if part.is_activated
        ]
        self.convolutions = [
            Convolution(
                spatial_rank,
                filters,
                part.kernel_size,
                dilation=part.dilation,
                use_bias=normalisation == "none",
                kernel_initializer=kernel_initializer,
                bias_initializer=bias_initializer,
                kernel_regularizer=kernel_regularizer,
                dtype=self.dtype_policy,
                name=f"convolution_{number}",
            )
            for number, part, kernel_initializer, bias_initializer in zip(
                range(1, len(parts) + 1),
                parts,
                kernel_initializers or ["he_normal"] * len(parts),
                bias_initializers or ["zeros"] * len(parts),
                strict=True,
            )
        ]

    @property
    def common_dilation(self) -> int:
        """The dilation of all convolutions; 1 if they differ."""
        return self.plan.common_dilation

    def activation_before(self, place: int) -> MaskedActivation | None:
        """Returns the normalisation and activation before a convolution; None where there is none."""
        parts = self.plan.convolutions
        return self.activations[sum(part.is_activated for part in parts[:place])] if parts[place].is_activated else None

    def build(self, input_shape: Any) -> None:
        """Builds all convolutions and activations.

        Raises:
            ValueError: If the input has not `filters` channels.
        """
        if input_shape[-1] != self.filters:
            raise ValueError(
                f"block {self.name!r} received {input_shape[-1]} channels; it adds its input to {self.filters} channels"
                if self.plan.adds_input
                else f"block {self.name!r} received {input_shape[-1]} channels; it is of {self.filters} channels"
            )
        for place, convolution in enumerate(self.convolutions):
            activation = self.activation_before(place)
            if activation is not None:
                activation.build(input_shape)
            convolution.build(input_shape)

    def call(
        self, inputs: Any, filter_mask: Any = None, training: bool | None = None, dilation: int | None = None
    ) -> Any:
        """Returns the sum of the block's masked branches, and of the input where the plan adds it.

        Args:
            inputs: `(batch, *spatial, filters)`.
            filter_mask: Mask of the stream's support, `(filters,)` or `(batch, filters)`; None masks nothing.
            training: See `StreamNormalization`.
            dilation: Dilation of this call, for inputs in phases; None means the block's own.

        Returns:
            Tensor of the shape of `inputs`.
        """
        branches, adds_input = self.plan.branches, self.plan.adds_input
        uses = [self._masks_used(place, places) for places in self.plan.places() for place in places]
        count = sum(before + after for before, after in uses)
        masks = iter([] if filter_mask is None else fan_out(filter_mask, count))
        read = fan_out(inputs, len(branches) + adds_input)
        terms = [read[-1]] if adds_input else []
        for features, places in zip(read, self.plan.places(), strict=False):
            for place in places:
                before, after = (next(masks, None) if used else None for used in uses[place])
                features = self._activate_and_convolve(place, features, before, after, training, dilation)
            terms.append(features)
        return functools.reduce(operator.add, terms)

    def _masks_used(self, place: int, branch: Sequence[int]) -> tuple[bool, bool]:
        """Says whether a mask is multiplied to what comes before a convolution, and to its result."""
        parts = self.plan.convolutions
        return parts[place].is_activated, place == branch[-1] or not parts[place + 1].is_activated

    def _activate_and_convolve(
        self, place: int, inputs: Any, before: Any, after: Any, training: bool | None, dilation: int | None
    ) -> Any:
        """Returns what a convolution makes of the activated inputs, with the masks of activation and convolution."""
        activation, convolution = self.activation_before(place), self.convolutions[place]

        def call(inputs: Any, before: Any = None, after: Any = None) -> Any:
            if activation is not None:
                inputs = activation(inputs, before, training=training)
            return convolution(inputs, after, dilation=dilation)

        if activation is None or not (training and self._recomputes):
            return call(inputs, before, after)
        masks = [mask for mask in (before, after) if mask is not None]
        return recomputed([activation, convolution], call, inputs, *masks)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {
            "spatial_rank": self.spatial_rank,
            "filters": self.filters,
            "plan": self.plan.values(),
            **self._shown,
            **({"statistics": self.activations[0].get_config()["statistics"]} if self.activations else {}),
            "kernel_initializers": [
                keras.initializers.serialize(layer.kernel_initializer) for layer in self.convolutions
            ],
            "bias_initializers": [keras.initializers.serialize(layer.bias_initializer) for layer in self.convolutions],
            "kernel_regularizer": keras.regularizers.serialize(self.convolutions[0].kernel_regularizer),
            "rematerialise": self.rematerialise,
        }
