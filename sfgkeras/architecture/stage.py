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
        pools: Whether a maximum over 2 voxels per axis follows.
        name: What skips and taps call the stage; without one it is `stage_1`, `stage_2`, ... by its place.
        upsamples: Whether every voxel is first repeated over 2 voxels per axis, and cut to the size that the last stage
            of that level had.
        skip: Name of an earlier stage of the same level whose streams, before its pooling, are concatenated to what the
            convolution reads: every stream to its own.
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
    skip: str = ""
    per_task: bool = False
    normalisation: str = "batch"

    def scaled(self, width: float) -> "Stage":
        """Returns the stage with `width` times the filters, at least one."""
        return replace(self, filters=max(1, round(self.filters * width)))
