"""The residual block of HighResNet, on one stream of a filter group network, and blocks one after the other."""

from collections.abc import Sequence
from typing import Any

import keras

from sfgkeras.layers.backend import fan_out, join_phases, pays_to_split, split_phases
from sfgkeras.layers.block import Block
from sfgkeras.layers.block_plan import BlockConvolution, BlockPlan
from sfgkeras.layers.recomputation import recomputed, rematerialises


@keras.saving.register_keras_serializable(package="sfgkeras")
class ResidualBlock(Block):
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
        kernel_size: int | tuple[int, ...] = 3,
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
        super().__init__(
            spatial_rank,
            filters,
            BlockPlan(((BlockConvolution(kernel_size, dilation),) * 2,)),
            activation=activation,
            statistics=statistics,
            folds_masks=folds_masks,
            kernel_initializers=kernel_initializers,
            kernel_regularizer=kernel_regularizer,
            rematerialise=rematerialise,
            normalisation=normalisation,
            bias_initializers=bias_initializers,
            **kwargs,
        )
        self.kernel_size = kernel_size
        self.dilation = dilation

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        config = super().get_config()
        config.pop("plan")
        return config | {"kernel_size": self.kernel_size, "dilation": self.dilation}


def build_block(spatial_rank: int, filters: int, plan: BlockPlan, **settings: Any) -> Block:
    """Builds a block; a residual one is a `ResidualBlock`, by whose name saved networks know its weights.

    Args:
        spatial_rank: 2 or 3.
        filters: Channels of input and output.
        plan: What the block consists of.
        **settings: All others of `Block`.
    """
    first = plan.convolutions[0]
    if plan == BlockPlan(((first, first),)) and first.is_activated:
        return ResidualBlock(spatial_rank, filters, first.kernel_size, first.dilation, **settings)
    return Block(spatial_rank, filters, plan, **settings)


@keras.saving.register_keras_serializable(package="sfgkeras")
class ResidualSection(keras.layers.Layer):
    """Blocks of one stream, one after the other, all with the same mask.

    Args:
        blocks: The blocks, in order. Where they rematerialise `blocks`, training keeps the input of the section alone
            and runs it again for its gradients.
    """

    def __init__(self, blocks: Sequence[Block], **kwargs: Any) -> None:
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
        dilations = {block.common_dilation for block in self.blocks}
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
