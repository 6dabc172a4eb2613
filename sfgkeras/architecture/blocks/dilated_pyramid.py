"""A pyramid of dilated convolutions: small and large neighbourhoods at once (as in ESP, Mehta et al. 2018)."""

from sfgkeras.architecture.stage import Stage
from sfgkeras.layers.block_plan import BlockConvolution, BlockPlan

DILATIONS = (1, 2, 4)


def plan_dilated_pyramid(stage: Stage, spatial_rank: int) -> BlockPlan:
    """Plans the input plus `conv(h(x))` with 1, 2 and 4 times the stage's dilation, h being norm and activation.

    ESP reduces the channels before its dilated convolutions; here all of them keep the channels of the stream, because
    filters that belong to groups stay the same filters through a block.
    """
    size = stage.kernel_size if stage.block_size is None else stage.block_size
    return BlockPlan(tuple((BlockConvolution(size, stage.dilation * factor),) for factor in DILATIONS))
