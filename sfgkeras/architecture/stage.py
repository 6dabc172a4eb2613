"""One stage of a network: a convolution, and what stands before and behind it."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sfgkeras.tables.blocks import find_block

if TYPE_CHECKING:
    from sfgkeras.layers.block_plan import BlockPlan


@dataclass(frozen=True)
class Stage:
    """One convolution whose filters tasks may share, then blocks and pooling in every stream.

    Attributes:
        filters: Filters over all groups, before the width multiplier; with `per_task`, filters of each task.
        kernel_size: Side of the kernels of the stage, in voxels: a number, or one per axis.
        num_blocks: How often the blocks of `blocks` come after the convolution.
        dilation: Dilation of the blocks' convolutions.
        pools: Whether pooling over 2 voxels per axis follows.
        maximum_share: What the maximum counts in that pooling; the rest is the mean (mixed pooling, Lee et al. 2016).
        name: What skips and taps call the stage; without one it is `stage_1`, `stage_2`, ... by its place.
        upsamples: Whether every voxel is first repeated over 2 voxels per axis, and cut to the size that the last stage
            of that level had.
        skip: Name of an earlier stage whose streams, before its pooling, are concatenated to what the convolution
            reads, every stream to its own; or names of several. From a finer level they are pooled as that stage pools,
            over regions of 4, 8, ... voxels per axis where levels lie in between; from a coarser one voxels are
            repeated.
        normalisation: What stands between convolutions and activations of the stage, `batch` or `none`; with `none` its
            convolutions have a bias.
        per_task: Whether every task has a stage of its own here, whatever the sharing mechanism. All later stages
            must be of this kind, too.
        reads: Name of the earlier stage whose streams, before its pooling, it reads in place of those of the stage
            before it: there a branch of the network begins.
        blocks: Kinds of the blocks after the convolution, in their order; see `tables.blocks`.
        block_size: Side of the largest kernels of blocks; None: as of the convolution. Kinds that know one size only do
            not look at it.

    Raises:
        ValueError: If the share of the maximum is no part of one.
    """

    filters: int
    kernel_size: int | tuple[int, ...] = 3
    num_blocks: int = 0
    dilation: int = 1
    pools: bool = False
    name: str = ""
    upsamples: bool = False
    skip: str | tuple[str, ...] = ""
    per_task: bool = False
    normalisation: str = "batch"
    maximum_share: float = 1.0
    reads: str = ""
    blocks: tuple[str, ...] = ("residual",)
    block_size: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.maximum_share <= 1.0:
            raise ValueError(
                f"maximum_share = {self.maximum_share} of stage {self.name!r} must lie between 0, the mean, and 1, the "
                "maximum"
            )

    @property
    def skips(self) -> tuple[str, ...]:
        """Names of the stages that it reads besides the one before it."""
        return tuple(filter(None, (self.skip,) if isinstance(self.skip, str) else self.skip))

    def block_plans(self, spatial_rank: int) -> "tuple[BlockPlan, ...]":
        """Returns what every block after the convolution consists of.

        Raises:
            ConfigError: If there is no such kind of block.
        """
        return tuple(find_block(kind)(self, spatial_rank) for kind in self.blocks) * self.num_blocks

    def scaled(self, width: float) -> "Stage":
        """Returns the stage with `width` times the filters, at least one."""
        return replace(self, filters=max(1, round(self.filters * width)))
