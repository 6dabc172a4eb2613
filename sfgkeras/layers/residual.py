"""The residual block of HighResNet, on one stream of a filter group network."""

from collections.abc import Sequence
from typing import Any

import keras

from sfgkeras.layers.activation import MaskedActivation
from sfgkeras.layers.backend import fan_out, join_phases, pays_to_split, split_phases
from sfgkeras.layers.convolution import Convolution
from sfgkeras.layers.recomputation import recomputed, rematerialises


@keras.saving.register_keras_serializable(package="sfgkeras")
class ResidualBlock(keras.layers.Layer):
    """Twice (normalise, activate, convolve), then adds the input (pre-activation, He et al. 2016).

    With the mask u of the stream's support, the block is

        a = u * h(x)        b = u * h(conv(a))        x + u * conv(b)

    so that with a one-hot mask the block neither writes to nor reads from a channel outside the support: a
    channel that is 0 there would leave a normalisation as its offset and be read by the next convolution. All
    three products are folded into scales, offsets and the second kernel and cost nothing.

    Args:
        spatial_rank: 2 or 3.
        filters: Channels of input and output.
        kernel_size: Side of the kernels, in voxels.
        dilation: Distance between the voxels that neighbouring kernel entries read.
        activation: `"prelu"` or any name that Keras knows.
        statistics: See `StreamNormalization`.
        folds_masks: See `MaskedActivation`.
        kernel_initializers: Keras initialisers of the two kernels.
        kernel_regularizer: Keras regulariser of both kernels.
        rematerialise: What training makes again for its gradients: `none`, `activations` (what normalisations and
            activations give; only inputs and results of convolutions are kept) or `blocks` (see `ResidualSection`).
        normalisation: See `MaskedActivation`; with `none` both convolutions have a bias.
        bias_initializers: Keras initialisers of the two biases, where there are any.
    """

    def __init__(
        self,
        spatial_rank: int,
        filters: int,
        kernel_size: int = 3,
        dilation: int = 1,
        activation: str = "prelu",
        statistics: str = "recalibrated",
        folds_masks: bool = True,
        kernel_initializers: Any = ("he_normal", "he_normal"),
        kernel_regularizer: Any = None,
        rematerialise: str = "none",
        normalisation: str = "batch",
        bias_initializers: Any = ("zeros", "zeros"),
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self.rematerialise = rematerialise
        self._recomputes = rematerialises(rematerialise, "activations")
        self.spatial_rank = spatial_rank
        self.filters = filters
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.activations = [
            MaskedActivation(
                activation,
                statistics=statistics,
                folds_masks=folds_masks,
                normalisation=normalisation,
                dtype=self.dtype_policy,
                name=f"activation_{number}",
            )
            for number in (1, 2)
        ]
        self.convolutions = [
            Convolution(
                spatial_rank,
                filters,
                kernel_size,
                dilation=dilation,
                use_bias=normalisation == "none",
                kernel_initializer=initializer,
                bias_initializer=bias_initializer,
                kernel_regularizer=kernel_regularizer,
                dtype=self.dtype_policy,
                name=f"convolution_{number}",
            )
            for number, initializer, bias_initializer in zip(
                (1, 2), kernel_initializers, bias_initializers, strict=True
            )
        ]

    def build(self, input_shape: Any) -> None:
        """Builds both halves.

        Raises:
            ValueError: If the input has not `filters` channels.
        """
        if input_shape[-1] != self.filters:
            raise ValueError(
                f"block {self.name!r} received {input_shape[-1]} channels; it adds its input to {self.filters} channels"
            )
        for activation, convolution in zip(self.activations, self.convolutions, strict=True):
            activation.build(input_shape)
            convolution.build(input_shape)

    def call(
        self, inputs: Any, filter_mask: Any = None, training: bool | None = None, dilation: int | None = None
    ) -> Any:
        """Returns the sum of the input and the block's masked branch.

        Args:
            inputs: `(batch, *spatial, filters)`.
            filter_mask: Mask of the stream's support, `(filters,)` or `(batch, filters)`; None masks nothing.
            training: See `StreamNormalization`.
            dilation: Dilation of this call, for inputs in phases; None means the block's own.

        Returns:
            Tensor of the shape of `inputs`.
        """
        masks = [None] * 3 if filter_mask is None else fan_out(filter_mask, 3)
        features = self._activate_and_convolve(0, inputs, masks[0], None, training, dilation)
        return inputs + self._activate_and_convolve(1, features, masks[1], masks[2], training, dilation)

    def _activate_and_convolve(
        self, half: int, inputs: Any, before: Any, after: Any, training: bool | None, dilation: int | None
    ) -> Any:
        """Returns one half of the block, with the masks of its activation and of its convolution."""
        activation, convolution = self.activations[half], self.convolutions[half]

        def call(inputs: Any, before: Any = None, after: Any = None) -> Any:
            return convolution(activation(inputs, before, training=training), after, dilation=dilation)

        if not (training and self._recomputes):
            return call(inputs, before, after)
        masks = [mask for mask in (before, after) if mask is not None]
        return recomputed([activation, convolution], call, inputs, *masks)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {
            "spatial_rank": self.spatial_rank,
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "dilation": self.dilation,
            "activation": self.activations[0].activation_name,
            **{name: self.activations[0].get_config()[name] for name in ("statistics", "folds_masks", "normalisation")},
            "kernel_initializers": [
                keras.initializers.serialize(layer.kernel_initializer) for layer in self.convolutions
            ],
            "bias_initializers": [keras.initializers.serialize(layer.bias_initializer) for layer in self.convolutions],
            "kernel_regularizer": keras.regularizers.serialize(self.convolutions[0].kernel_regularizer),
            "rematerialise": self.rematerialise,
        }


@keras.saving.register_keras_serializable(package="sfgkeras")
class ResidualSection(keras.layers.Layer):
    """Residual blocks of one stream, one after the other, all with the same mask.

    Args:
        blocks: The blocks, in order. Where they rematerialise `blocks`, training keeps the input of the section alone
            and runs it again for its gradients.
    """

    def __init__(self, blocks: Sequence[ResidualBlock], **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.blocks = list(blocks)
        self._recomputes = any(rematerialises(block.rematerialise, "blocks") for block in self.blocks)

    def build(self, input_shape: Any) -> None:
        """Builds every block."""
        for block in self.blocks:
            block.build(input_shape)

    def call(self, inputs: Any, filter_mask: Any = None, training: bool | None = None) -> Any:
        """Returns the features after the last block; arguments as `ResidualBlock.call`."""

        def call(inputs: Any, filter_mask: Any = None) -> Any:
            return self._run(inputs, filter_mask, training)

        if not (training and self._recomputes):
            return call(inputs, filter_mask)
        return recomputed(self.blocks, call, inputs, *([] if filter_mask is None else [filter_mask]))

    def _run(self, inputs: Any, filter_mask: Any, training: bool | None) -> Any:
        count, dilation = len(self.blocks), self._common_dilation()
        masks = [None] * count if filter_mask is None else fan_out(filter_mask, count)
        # A mask per sample belongs to a batch axis that phases would multiply.
        is_per_sample = filter_mask is not None and len(filter_mask.shape) == 2
        splits = not is_per_sample and pays_to_split(inputs, dilation, bool(training))
        features = split_phases(inputs, dilation) if splits else inputs
        for block, mask in zip(self.blocks, masks, strict=True):
            features = block(features, mask, training=training, dilation=1 if splits else None)
        return join_phases(features, dilation) if splits else features

    def _common_dilation(self) -> int:
        dilations = {block.dilation for block in self.blocks}
        return dilations.pop() if len(dilations) == 1 else 1

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        blocks = [keras.saving.serialize_keras_object(block) for block in self.blocks]
        return super().get_config() | {"blocks": blocks}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "ResidualSection":
        """Builds the section from what `get_config` returned."""
        blocks = [keras.saving.deserialize_keras_object(block) for block in config["blocks"]]
        return cls(**(config | {"blocks": blocks}))
