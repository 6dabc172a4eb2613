"""What a block consists of, as plain values: layers, hardening, counts and couplings of kernels all go by it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class BlockConvolution:
    """One convolution of a block, from as many channels to as many as the block has.

    Attributes:
        kernel_size: Side of the kernel, in voxels: a number, or one per axis.
        dilation: Distance between the voxels that neighbouring kernel entries read.
        is_activated: Whether a normalisation and an activation come before it.
    """

    kernel_size: int | tuple[int, ...] = 3
    dilation: int = 1
    is_activated: bool = True

    def entries(self, spatial_rank: int) -> int:
        """Returns how many voxels the kernel reads."""
        is_one = not isinstance(self.kernel_size, Sequence)
        return self.kernel_size**spatial_rank if is_one else math.prod(self.kernel_size)  # type: ignore[operator,arg-type]


@dataclass(frozen=True)
class BlockPlan:
    """Branches of convolutions, one after the other, that all read the input; the block is the sum of what they give.

    Attributes:
        branches: The convolutions of each branch, in order.
        adds_input: Whether the input is one of the terms of the sum.
    """

    branches: tuple[tuple[BlockConvolution, ...], ...]
    adds_input: bool = True

    @property
    def convolutions(self) -> tuple[BlockConvolution, ...]:
        """All convolutions, branch by branch."""
        return tuple(part for branch in self.branches for part in branch)

    @property
    def common_dilation(self) -> int:
        """The dilation of all convolutions; 1 if they differ."""
        dilations = {part.dilation for part in self.convolutions}
        return dilations.pop() if len(dilations) == 1 else 1

    def places(self) -> Iterator[list[int]]:
        """Yields for every branch the numbers of its convolutions in `convolutions`."""
        start = 0
        for branch in self.branches:
            yield list(range(start, start + len(branch)))
            start += len(branch)

    def values(self) -> dict[str, Any]:
        """Returns the plan as plain values; `read_plan` takes them back."""
        return asdict(self)


def read_plan(values: "BlockPlan | Mapping[str, Any]") -> BlockPlan:
    """Returns a plan, given as it is or by its values."""
    if isinstance(values, BlockPlan):
        return values
    branches = tuple(tuple(_read_convolution(part) for part in branch) for branch in values["branches"])
    return BlockPlan(branches, values["adds_input"])


def _read_convolution(values: Mapping[str, Any]) -> BlockConvolution:
    size = values["kernel_size"]
    return BlockConvolution(**{**values, "kernel_size": tuple(size) if isinstance(size, list | tuple) else size})
