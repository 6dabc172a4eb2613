"""SFG-VGG11: the network of the paper for attributes of faces."""

import keras

from sfgkeras.architecture.stage import Stage
from sfgkeras.networks.base import MultiTaskNetwork


@keras.saving.register_keras_serializable(package="sfgkeras")
class VGG11(MultiTaskNetwork):
    """VGG11 (Simonyan & Zisserman 2014) with filter groups on all eight convolutions (supplement, figure 1).

    Global average pooling and a dense head per task. Arguments as `MultiTaskNetwork`.
    """

    stages = (
        Stage(64, pools=True),
        Stage(128, pools=True),
        Stage(256),
        Stage(256, pools=True),
        Stage(512),
        Stage(512, pools=True),
        Stage(512),
        Stage(512, pools=True),
    )
    usual_head = "vector"
