"""The residual block of HighResNet."""

from sfgkeras.architecture.stage import Stage
from sfgkeras.layers.block_plan import BlockConvolution, BlockPlan


def plan_residual(stage: Stage, spatial_rank: int) -> BlockPlan:
    """Plans `x + conv(h(conv(h(x))))`, h being normalisation and activation (pre-activation, He et al. 2016)."""
    size = stage.kernel_size if stage.block_size is None else stage.block_size
    return BlockPlan(((BlockConvolution(size, stage.dilation),) * 2,))
