"""SFG-HighResNet: the network of the paper for dense tasks on medical images."""

import keras

from sfgkeras.architecture.stage import Stage
from sfgkeras.networks.base import MultiTaskNetwork


@keras.saving.register_keras_serializable(package="sfgkeras")
class HighResNet(MultiTaskNetwork):
    """HighResNet (Li et al. 2017) with filter groups on layers 1, 6, 11, 16 and 17 (supplement, figure 1).

    Spatial size is kept throughout; residual blocks have dilation 1, 2 and 4. Arguments as
    `MultiTaskNetwork`.
    """

    stages = (
        Stage(16, num_blocks=2, dilation=1),
        Stage(32, num_blocks=2, dilation=2),
        Stage(64, num_blocks=2, dilation=4),
        Stage(64),
        Stage(64),
    )
    usual_head = "map"
