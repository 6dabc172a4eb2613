"""MGCN: a residual encoder, and large kernels and boundary refinement on the way to maps."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras

from sfgkeras.architecture.stage import Stage
from sfgkeras.networks.shaped import ShapedNetwork
from sfgkeras.sharing import Sharing
from sfgkeras.tables.networks import MGCNSettings

FIRST_FILTERS = 64
"""Filters of the first level of the encoder at width 1; each level down has twice as many."""
MAP_FILTERS = 64
"""Filters of every level of the way to maps at width 1."""


@keras.saving.register_keras_serializable(package="sfgkeras")
class MGCN(ShapedNetwork):
    """The multi-task network with global convolutions of Xu et al. 2018, with filter groups on every convolution.

    The levels of the encoder, `encoder_1` to `encoder_L`, have residual blocks. At each of them `global_1` to
    `global_L` are a global convolution and a boundary refinement (Peng et al. 2017): kernels that reach over a large
    part of the image, for what is classified and yet has a place, as landmarks. `decoder_(L - 1)` to `decoder_1` bring
    the levels together from the coarsest to the finest, with a boundary refinement each. Maps are read at the end,
    vectors, such as the view, at `encoder_L`, unless a head says otherwise. What no head depends on is left out.

    In the paper the encoder is a ResNet50, and the levels are added up where here a convolution reads both. Its two
    regularisations are no part of the network: the constraint on coordinates is a loss of `landmarks`, and the
    conditional adversary `[TASK] adversarial_weight`, for any network.

    Args:
        tasks: See `MultiTaskNetwork`, as for `sharing`, `spatial_rank` and `width`.
        sharing: The mechanism.
        spatial_rank: 2 or 3.
        width: Factor on the numbers of filters, 64 on the first level and for maps.
        levels: Levels of the encoder.
        blocks: Residual blocks of every level.
        kernel: Side of the large kernels, in voxels of their level.
        **settings: All others of `MultiTaskNetwork`, and those of the sharing mechanism.

    Raises:
        ValueError: As `MultiTaskNetwork`, or if a setting of the shape is out of range.
    """

    shape: MGCNSettings
    usual_head = "map"

    def __init__(
        self,
        tasks: Mapping[str, int],
        sharing: str | Sharing = "sfg",
        spatial_rank: int = 2,
        width: float = 1.0,
        levels: int = 4,
        blocks: int = 2,
        kernel: int = 7,
        **settings: Any,
    ) -> None:
        shape = MGCNSettings(levels, blocks, kernel)
        self.usual_taps = MappingProxyType({"vector": f"encoder_{levels}"})
        super().__init__(shape, tasks, sharing, spatial_rank, width, **settings)

    def lay_out(self) -> tuple[Stage, ...]:
        """Returns all stages at full width."""
        return mgcn_stages(self.shape)


def mgcn_stages(shape: MGCNSettings) -> tuple[Stage, ...]:
    """Returns the stages of the network at full width: the encoder, then its levels from the coarsest to the finest."""
    levels = range(1, shape.levels + 1)
    stages = [
        Stage(
            FIRST_FILTERS * 2 ** (level - 1),
            name=f"encoder_{level}",
            num_blocks=shape.blocks,
            pools=level < shape.levels,
        )
        for level in levels
    ]
    before = ""
    for level in reversed(levels):
        stages.append(_global_stage(shape, level))
        if before:
            stages.append(_decoder_stage(level, before))
        before = stages[-1].name
    return tuple(stages)


def _global_stage(shape: MGCNSettings, level: int) -> Stage:
    """Returns the large kernels of a level, behind a convolution of 1 voxel that brings it to the width of maps."""
    return Stage(
        MAP_FILTERS,
        kernel_size=1,
        name=f"global_{level}",
        reads=f"encoder_{level}",
        num_blocks=1,
        blocks=("global_convolution", "boundary_refinement"),
        block_size=shape.kernel,
    )


def _decoder_stage(level: int, before: str) -> Stage:
    """Returns what joins a level to the coarser ones."""
    return Stage(
        MAP_FILTERS,
        name=f"decoder_{level}",
        reads=before,
        upsamples=True,
        skip=f"global_{level}",
        num_blocks=1,
        blocks=("boundary_refinement",),
    )
