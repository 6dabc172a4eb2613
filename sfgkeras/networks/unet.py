"""SFG-U-Net: a way down, a way up that reads the way down level by level, for maps and vectors."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras

from sfgkeras.architecture.stage import Stage
from sfgkeras.networks.shaped import ShapedNetwork
from sfgkeras.sharing import Sharing
from sfgkeras.tables.networks import UNetSettings

FIRST_FILTERS = 64
"""Filters of every convolution of the first level at width 1; each level down has twice as many."""


@keras.saving.register_keras_serializable(package="sfgkeras")
class UNet(ShapedNetwork):
    """U-Net (Ronneberger et al. 2015) with filter groups on every convolution, and heads where tasks want them.

    The stages of the levels are `encoder_1` to `encoder_L`, `encoding` at the bottom, and `decoder_L` to `decoder_1`;
    of several convolutions on a level the last one has that name, and those before it a number more (`encoder_1_1`).
    Maps are read at the end, vectors at `encoding` (both as in Psi-Net, Murugesan et al. 2019) unless a head says
    otherwise. What no head depends on is left out: with vectors alone there is no way up.

    Sizes need not be divisible: levels round up, and the way up cuts what that has added.

    Args:
        tasks: See `MultiTaskNetwork`, as for `sharing`, `spatial_rank` and `width`.
        sharing: The mechanism, of all levels before `decoder_start`.
        spatial_rank: 2 or 3.
        width: Factor on the numbers of filters, 64 on the first level.
        levels: How often the image is halved.
        convolutions: Convolutions of every level, down and up, and at the bottom.
        normalisation: `batch`, or `none`: then convolutions have a bias.
        skips: Whether every level on the way up reads the last features of its level on the way down.
        upsampling: `repeat` (every voxel over 2 per axis) or `convolution` (then a convolution over 2 voxels per axis,
            with the filters of the level: the up-convolution of the paper).
        decoder_start: From where on every task has convolutions of its own, whatever is shared: `decoder` (a way up
            for each task), the name of a level, or `encoder` (everything); None for nowhere.
        **settings: All others of `MultiTaskNetwork`, and those of the sharing mechanism.

    Raises:
        ValueError: As `MultiTaskNetwork`, or if a setting of the shape is out of range.
    """

    shape: UNetSettings
    usual_head = "map"
    usual_taps = MappingProxyType({"vector": "encoding"})

    def __init__(
        self,
        tasks: Mapping[str, int],
        sharing: str | Sharing = "sfg",
        spatial_rank: int = 2,
        width: float = 1.0,
        levels: int = 4,
        convolutions: int = 2,
        normalisation: str = "batch",
        skips: bool = True,
        upsampling: str = "repeat",
        decoder_start: str | None = None,
        **settings: Any,
    ) -> None:
        shape = UNetSettings(levels, convolutions, normalisation, skips, upsampling, decoder_start)
        super().__init__(shape, tasks, sharing, spatial_rank, width, **settings)

    def lay_out(self) -> tuple[Stage, ...]:
        """Returns all stages at full width."""
        return unet_stages(self.shape)


def unet_stages(shape: UNetSettings) -> tuple[Stage, ...]:
    """Returns the stages of a U-Net at full width, from the image to the last level of the way up."""
    down = [
        stage
        for level in range(1, shape.levels + 1)
        for stage in _level(shape, f"encoder_{level}", level, last={"pools": True})
    ]
    up = [stage for level in range(shape.levels, 0, -1) for stage in _way_up(shape, level)]
    stages = [*down, *_level(shape, "encoding", shape.levels + 1), *up]
    if shape.decoder_start is None:
        return tuple(stages)
    # `decoder` and `encoder` begin the names of all their levels, the first of which comes first.
    own = next(index for index, stage in enumerate(stages) if _belongs(stage.name, shape.decoder_start))
    return (*stages[:own], *(dataclasses.replace(stage, per_task=True) for stage in stages[own:]))


def _belongs(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}_")


def _way_up(shape: UNetSettings, level: int) -> list[Stage]:
    """Returns the stages of one level of the way up."""
    name = f"decoder_{level}"
    skip = {"skip": f"encoder_{level}"} if shape.skips else {}
    if shape.upsampling == "repeat":
        return _level(shape, name, level, first={"upsamples": True, **skip})
    up = Stage(_filters(level), 2, name=f"{name}_up", upsamples=True, normalisation=shape.normalisation)
    return [up, *_level(shape, name, level, first=skip)]


def _level(
    shape: UNetSettings,
    name: str,
    level: int,
    first: Mapping[str, Any] | None = None,
    last: Mapping[str, Any] | None = None,
) -> list[Stage]:
    """Returns the convolutions of one level; `first` and `last` are settings of the first and the last of them."""
    stages = [
        Stage(_filters(level), name=f"{name}_{number}", normalisation=shape.normalisation)
        for number in range(1, shape.convolutions)
    ]
    stages.append(Stage(_filters(level), name=name, normalisation=shape.normalisation))
    stages[0] = dataclasses.replace(stages[0], **(first or {}))
    stages[-1] = dataclasses.replace(stages[-1], **(last or {}))
    return stages


def _filters(level: int) -> int:
    return FIRST_FILTERS * 2 ** (level - 1)
