"""The kinds of blocks that stages of a network may have after their convolution."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from sfgkeras.errors import lookup
from sfgkeras.tables.entry import Entry

if TYPE_CHECKING:
    from sfgkeras.architecture.stage import Stage
    from sfgkeras.layers.block_plan import BlockPlan

PlanBlock = Callable[["Stage", int], "BlockPlan"]
"""Says what a block of a stage consists of, for 2 or 3 spatial axes."""


def _residual() -> PlanBlock:
    from sfgkeras.architecture.blocks.residual import plan_residual

    return plan_residual


def _global_convolution() -> PlanBlock:
    from sfgkeras.architecture.blocks.global_convolution import plan_global_convolution

    return plan_global_convolution


def _boundary_refinement() -> PlanBlock:
    from sfgkeras.architecture.blocks.boundary_refinement import plan_boundary_refinement

    return plan_boundary_refinement


def _dilated_pyramid() -> PlanBlock:
    from sfgkeras.architecture.blocks.dilated_pyramid import plan_dilated_pyramid

    return plan_dilated_pyramid


BLOCKS: dict[str, Entry[PlanBlock]] = {
    "residual": Entry(_residual, "twice (normalise, activate, convolve), added to what it reads"),
    "dilated_pyramid": Entry(
        _dilated_pyramid, "a convolution with each of three dilations, 1, 2 and 4, added to what they read"
    ),
    "global_convolution": Entry(
        _global_convolution, "a large kernel, as two ways of one long thin kernel per axis after the other"
    ),
    "boundary_refinement": Entry(
        _boundary_refinement, "two small convolutions with an activation between them, added to what they read"
    ),
}


def find_block(kind: str) -> PlanBlock:
    """Returns what says what a block of a kind consists of.

    Raises:
        ConfigError: If there is no such kind.
    """
    return lookup(BLOCKS, kind, "kind of block").load()
