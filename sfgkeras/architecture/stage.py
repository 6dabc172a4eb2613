"""One stage of a network: a convolution, and what stands before and behind it."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Stage:
    """One convolution whose filters tasks may share, then residual blocks and pooling in every stream.

    Attributes:
        filters: Filters over all groups, before the width multiplier; with `per_task`, filters of each task.
        kernel_size: Side of all kernels of the stage, in voxels.
        num_blocks: Residual blocks after the convolution.
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
    """

    filters: int
    kernel_size: int = 3
    num_blocks: int = 0
    dilation: int = 1
    pools: bool = False
    name: str = ""
    upsamples: bool = False
    skip: str | tuple[str, ...] = ""
    per_task: bool = False
    normalisation: str = "batch"
    maximum_share: float = 1.0

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

    def scaled(self, width: float) -> "Stage":
        """Returns the stage with `width` times the filters, at least one."""
        return replace(self, filters=max(1, round(self.filters * width)))
