"""Y-Net: a U-Net whose way down goes on to a second branch, for a map and what the whole window says."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras

from sfgkeras.architecture.stage import Stage
from sfgkeras.networks.shaped import ShapedNetwork
from sfgkeras.sharing import Sharing
from sfgkeras.tables.networks import YNetSettings

CHANNELS = 64
"""The paper's w at width 1."""


@keras.saving.register_keras_serializable(package="sfgkeras")
class YNet(ShapedNetwork):
    """Y-Net (Mehta et al. 2018) with filter groups on every convolution.

    The way down has the levels `encoder_1`, `encoder_2` and `encoding`. From there two branches go on: up again to
    maps, `decoder_2` and `decoder_1`, which read the way down level by level; and further down, `branch_4` and
    `branch_5`, to features that say which windows are discriminative, and of what (figure 3). Maps are read at the end
    of the first, vectors at that of the second, with one layer of 64 before the logits in the paper, unless a head
    says otherwise. A branch that no head depends on is left out.

    The multiplier of the width is `width`, that of the depth `depth`; the kind of block is free, as in the paper. Two
    things are simpler than there: where the number of channels changes a convolution comes before the blocks, and the
    way up has the same blocks as the way down, not pooled pyramids.

    Args:
        tasks: See `MultiTaskNetwork`, as for `sharing` and `spatial_rank`.
        sharing: The mechanism.
        spatial_rank: 2 or 3.
        width: Factor on the numbers of filters; at 1 the paper's w is 64.
        depth: Blocks at the bottom of the U, d of the paper.
        block: Kind of all blocks, see `sfgkeras.tables.blocks`.
        **settings: All others of `MultiTaskNetwork`, and those of the sharing mechanism.

    Raises:
        ValueError: As `MultiTaskNetwork`, or if a setting of the shape is out of range.
    """

    shape: YNetSettings
    usual_head = "map"
    usual_taps = MappingProxyType({"vector": "branch_5"})

    def __init__(
        self,
        tasks: Mapping[str, int],
        sharing: str | Sharing = "sfg",
        spatial_rank: int = 2,
        width: float = 1.0,
        depth: int = 5,
        block: str = "residual",
        **settings: Any,
    ) -> None:
        shape = YNetSettings(depth, block)
        super().__init__(shape, tasks, sharing, spatial_rank, width, **settings)

    def lay_out(self) -> tuple[Stage, ...]:
        """Returns all stages at full width."""
        return ynet_stages(self.shape)


def ynet_stages(shape: YNetSettings) -> tuple[Stage, ...]:
    """Returns the stages of a Y-Net at full width: the way down, the branch that goes on, the way up (figure 3b)."""
    w, blocks = CHANNELS, (shape.block,)

    def level(name: str, first: int, then: int, num_blocks: int, pools: bool) -> list[Stage]:
        down = Stage(first, name=f"{name}_1")
        return [down, Stage(then, name=name, num_blocks=num_blocks, blocks=blocks, pools=pools)]

    return (
        Stage(16, name="encoder_1", pools=True),
        *level("encoder_2", w, 2 * w, 2, pools=True),
        *level("encoding", 2 * w, 4 * w, shape.depth, pools=True),
        *level("branch_4", w, 2 * w, 2, pools=True),
        *level("branch_5", w // 2, w, 2, pools=False),
        Stage(2 * w, name="decoder_2", reads="encoding", upsamples=True, skip="encoder_2", num_blocks=2, blocks=blocks),
        Stage(w, name="decoder_1", upsamples=True, skip="encoder_1", num_blocks=1, blocks=blocks),
    )
