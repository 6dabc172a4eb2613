"""Global convolution: a very large kernel for the price of a few long thin ones (Peng et al. 2017, figure 3)."""

from sfgkeras.architecture.stage import Stage
from sfgkeras.layers.block_plan import BlockConvolution, BlockPlan


def plan_global_convolution(stage: Stage, spatial_rank: int) -> BlockPlan:
    """Plans the sum of two ways: `k x 1` and then `1 x k`, and `1 x k` and then `k x 1`, without activations.

    On images with three axes a way has a kernel per axis, in the order of the axes and in the opposite one. The sum is
    connected as densely as one kernel of `k` voxels along every axis, with `2 k` entries in place of `k^2`. `k` is the
    stage's `block_size`.
    """
    size = stage.kernel_size if stage.block_size is None else stage.block_size
    if not isinstance(size, int):
        raise ValueError(f"a global convolution has one size along all axes, not {size!r}: set block_size")
    ones = (1,) * spatial_rank
    way = tuple(
        BlockConvolution((*ones[:axis], size, *ones[axis + 1 :]), is_activated=False) for axis in range(spatial_rank)
    )
    return BlockPlan((way, way[::-1]), adds_input=False)
