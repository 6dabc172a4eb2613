"""The network of Playout et al. 2018: one encoder of many lesions, a way up for each of them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras

from sfgkeras.architecture.stage import Stage
from sfgkeras.networks.shaped import ShapedNetwork
from sfgkeras.sharing import Sharing
from sfgkeras.tables.networks import PlayoutSettings

FIRST_FILTERS = 32
"""Filters of the first level at width 1; each level down has twice as many."""


@keras.saving.register_keras_serializable(package="sfgkeras")
class PlayoutNet(ShapedNetwork):
    """One encoding module, one decoding module for each task that is a map (Playout, Duval and Cheriet 2018).

    Its parts are those of the paper: residual blocks on every level, mixed pooling between levels, large kernels on the
    lowest level, and dense connections, by which every level of the encoder reads all finer ones, pooled over regions
    of 4, 8, ... voxels per axis. The auxiliary cost, whether there is a lesion at all, is a vector on `encoding`,
    where vectors sit unless a head says otherwise. Numbers of filters are ours; the paper does not state them.

    The stages are `encoder_1` to `encoder_L`, `encoding` and `decoder_L` to `decoder_1`.

    Args:
        tasks: See `MultiTaskNetwork`, as for `sharing`, `spatial_rank` and `width`.
        sharing: The mechanism, of the encoder; every task has a way up of its own.
        spatial_rank: 2 or 3.
        width: Factor on the numbers of filters, 32 on the first level.
        levels: How often the image is halved.
        maximum_share: What the maximum counts in pooling; the rest is the mean.
        kernel_size: Side of the kernels on the lowest level, in voxels.
        dense: Whether every level of the encoder reads all finer ones, and not only the one before it.
        **settings: All others of `MultiTaskNetwork`, and those of the sharing mechanism.

    Raises:
        ValueError: As `MultiTaskNetwork`, or if a setting of the shape is out of range.
    """

    shape: PlayoutSettings
    usual_head = "map"
    usual_taps = MappingProxyType({"vector": "encoding"})

    def __init__(
        self,
        tasks: Mapping[str, int],
        sharing: str | Sharing = "hard_sharing",
        spatial_rank: int = 2,
        width: float = 1.0,
        levels: int = 3,
        maximum_share: float = 0.5,
        kernel_size: int = 7,
        dense: bool = True,
        **settings: Any,
    ) -> None:
        shape = PlayoutSettings(levels, maximum_share, kernel_size, dense)
        super().__init__(shape, tasks, sharing, spatial_rank, width, **settings)

    def lay_out(self) -> tuple[Stage, ...]:
        """Returns all stages at full width."""
        return playout_stages(self.shape)


def playout_stages(shape: PlayoutSettings) -> tuple[Stage, ...]:
    """Returns the stages at full width, from the image to the last level of the ways up."""
    down = [
        Stage(
            _filters(level),
            num_blocks=1,
            pools=True,
            name=f"encoder_{level}",
            skip=_finer(level) if shape.dense else (),
            maximum_share=shape.maximum_share,
        )
        for level in range(1, shape.levels + 1)
    ]
    lowest = shape.levels + 1
    bottom = Stage(
        _filters(lowest),
        kernel_size=shape.kernel_size,
        num_blocks=1,
        name="encoding",
        skip=_finer(lowest) if shape.dense else (),
    )
    up = [
        Stage(
            _filters(level),
            num_blocks=1,
            name=f"decoder_{level}",
            upsamples=True,
            skip=f"encoder_{level}",
            per_task=True,
        )
        for level in range(shape.levels, 0, -1)
    ]
    return (*down, bottom, *up)


def _finer(level: int) -> tuple[str, ...]:
    """Returns the levels of the encoder above the one before: that one is read anyway."""
    return tuple(f"encoder_{finer}" for finer in range(1, level - 1))


def _filters(level: int) -> int:
    return FIRST_FILTERS * 2 ** (level - 1)
