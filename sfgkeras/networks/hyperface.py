"""The HyperFace network (Ranjan et al. 2016): features of several depths, fused by a convolution over one voxel."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from sfgkeras.architecture.stage import Stage
from sfgkeras.networks.shaped import ShapedNetwork
from sfgkeras.sharing import Sharing
from sfgkeras.tables.networks import HyperFaceSettings

FUSED = "fused"
"""The last stage, which every head reads unless it says otherwise."""


@keras.saving.register_keras_serializable(package="sfgkeras")
class HyperFace(ShapedNetwork):
    """One value or a few for each task, from features of several depths (Ranjan, Patel and Chellappa 2016).

    Five convolutions with the numbers of filters of AlexNet, which halve the image three times, and a sixth one over
    one voxel that reads the fifth and those that `fused` names: edges and corners, which tell where landmarks are, and
    the parts that tell what is seen. Heads are vectors; the five of the paper have `head_layers = 512` and
    `head_pooling = flatten`.

    Where the paper brings features to one size by strided convolutions, they are pooled here; and its kernels of 11
    voxels with a stride of 4 are of 5 voxels and pooled, for images of half its size and less. Its dense layer that all
    heads have in common is not there.

    The stages are `conv_1` to `conv_5` and `fused`.

    Args:
        tasks: See `MultiTaskNetwork`, as for `sharing`, `spatial_rank` and `width`.
        sharing: The mechanism, of all stages.
        spatial_rank: 2 or 3.
        width: Factor on the numbers of filters: 96, 256, 384, 384, 256, and 192 of the fusion.
        fused: Stages whose features are fused with those of the fifth; none for a plain chain.
        **settings: All others of `MultiTaskNetwork`, and those of the sharing mechanism.

    Raises:
        ValueError: As `MultiTaskNetwork`, or if a stage cannot be fused.
    """

    shape: HyperFaceSettings
    usual_head = "vector"

    def __init__(
        self,
        tasks: Mapping[str, int],
        sharing: str | Sharing = "hard_sharing",
        spatial_rank: int = 2,
        width: float = 1.0,
        fused: Sequence[str] = ("conv_1", "conv_3"),
        **settings: Any,
    ) -> None:
        shape = HyperFaceSettings(tuple(fused))
        super().__init__(shape, tasks, sharing, spatial_rank, width, **settings)

    def lay_out(self) -> tuple[Stage, ...]:
        """Returns all stages at full width."""
        return hyperface_stages(self.shape)


def hyperface_stages(shape: HyperFaceSettings) -> tuple[Stage, ...]:
    """Returns the stages at full width, from the image to the fusion."""
    return (
        Stage(96, 5, pools=True, name="conv_1"),
        Stage(256, 5, pools=True, name="conv_2"),
        Stage(384, name="conv_3"),
        Stage(384, name="conv_4"),
        Stage(256, pools=True, name="conv_5"),
        Stage(192, 1, skip=shape.fused, name=FUSED),
    )
