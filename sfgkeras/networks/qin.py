"""The network of Qin et al. 2018: one encoder of all frames, a branch for motion and one for segmentation."""

from collections.abc import Mapping
from typing import Any

import keras

from sfgkeras.architecture.stage import Stage
from sfgkeras.networks.shaped import ShapedNetwork
from sfgkeras.sharing import Sharing
from sfgkeras.tables.networks import QinSettings

FIRST_FILTERS = 32
"""Filters of the first scale at width 1; each further one has twice as many."""


@keras.saving.register_keras_serializable(package="sfgkeras")
class QinNet(ShapedNetwork):
    """A multi-scale encoder of single frames, and for every task a branch that fuses its scales (Qin et al. 2018).

    The channels of an image are the frames of a sequence. The same encoder sees each of them (Siamese); a branch of its
    own for every task joins the last features of all scales at the size of the image. A `motion` head reads the
    branch's features of all frames, one after the other (`MotionHead`); all other heads read those of the first frame,
    to which their targets belong. So frames without labels teach the encoder by motion alone.

    The stages are `encoder_1` to `encoder_S`, each with a convolution before it (`encoder_1_1`), then `fusion` and
    `branch`. The paper has the convolutions of VGG-16, of which the numbers here are halves.

    Args:
        tasks: See `MultiTaskNetwork`, as for `sharing`, `spatial_rank` and `width`.
        sharing: The mechanism, of the encoder; every task has a branch of its own.
        spatial_rank: 2 or 3.
        width: Factor on the numbers of filters, 32 on the first scale.
        scales: Sizes at which features are taken; each is half of the one before.
        convolutions: Convolutions of every scale.
        reach: Voxels in every direction that a `motion` head seeks matches of two frames in; 0, as in the paper: none.
        **settings: All others of `MultiTaskNetwork`, and those of the sharing mechanism.

    Raises:
        ValueError: As `MultiTaskNetwork`, or if a setting of the shape is out of range.
    """

    shape: QinSettings
    usual_head = "map"
    is_siamese = True

    def __init__(
        self,
        tasks: Mapping[str, int],
        sharing: str | Sharing = "hard_sharing",
        spatial_rank: int = 2,
        width: float = 1.0,
        scales: int = 4,
        convolutions: int = 2,
        reach: int = 0,
        **settings: Any,
    ) -> None:
        shape = QinSettings(scales, convolutions, reach)
        super().__init__(shape, tasks, sharing, spatial_rank, width, **settings)

    @property
    def motion_reach(self) -> int:  # type: ignore[override]
        """The reach of the shape."""
        return self.shape.reach

    def lay_out(self) -> tuple[Stage, ...]:
        """Returns all stages at full width."""
        return qin_stages(self.shape)


def qin_stages(shape: QinSettings) -> tuple[Stage, ...]:
    """Returns the stages at full width: the encoder, scale by scale, and the branches."""
    encoder = [
        Stage(
            FIRST_FILTERS * 2 ** (scale - 1),
            pools=number == shape.convolutions and scale < shape.scales,
            name=f"encoder_{scale}" if number == shape.convolutions else f"encoder_{scale}_{number}",
        )
        for scale in range(1, shape.scales + 1)
        for number in range(1, shape.convolutions + 1)
    ]
    coarser = tuple(f"encoder_{scale}" for scale in range(2, shape.scales + 1))
    fusion = Stage(2 * FIRST_FILTERS, kernel_size=1, name="fusion", reads="encoder_1", skip=coarser, per_task=True)
    return (*encoder, fusion, Stage(2 * FIRST_FILTERS, kernel_size=1, name="branch", per_task=True))
