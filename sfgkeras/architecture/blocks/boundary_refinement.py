"""Boundary refinement: what a map lacks at the borders of objects, as a residual (Peng et al. 2017, figure 2 C)."""

from sfgkeras.architecture.stage import Stage
from sfgkeras.layers.block_plan import BlockConvolution, BlockPlan


def plan_boundary_refinement(stage: Stage, spatial_rank: int) -> BlockPlan:
    """Plans `x + conv(h(conv(x)))` with kernels of 3 voxels per axis, h being normalisation and activation."""
    return BlockPlan(((BlockConvolution(3, is_activated=False), BlockConvolution(3)),))
