"""Keras layers: filter grouping, SFG convolutions, normalisation, residual blocks, and routing."""

from sfgkeras.layers.activation import MaskedActivation, PReLU
from sfgkeras.layers.convolution import Convolution
from sfgkeras.layers.cross_stitch import CrossStitch
from sfgkeras.layers.filter_grouping import FilterGrouping
from sfgkeras.layers.normalization import StreamNormalization
from sfgkeras.layers.residual import ResidualBlock
from sfgkeras.layers.routing import merge_streams
from sfgkeras.layers.sfg_convolution import SFGConv2D, SFGConv3D

__all__ = [
    "Convolution",
    "CrossStitch",
    "FilterGrouping",
    "MaskedActivation",
    "PReLU",
    "ResidualBlock",
    "SFGConv2D",
    "SFGConv3D",
    "StreamNormalization",
    "merge_streams",
]
