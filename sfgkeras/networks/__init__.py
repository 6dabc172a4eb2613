"""Networks of filter groups, the sharing mechanisms they take, and what is done to a trained one."""

from collections.abc import Mapping

from sfgkeras.networks.activations import filter_activations, stage_features
from sfgkeras.networks.base import MultiTaskNetwork
from sfgkeras.networks.counting import count_multiplies, count_parameters
from sfgkeras.networks.hardening import build_plain_model, group_network, harden
from sfgkeras.networks.heads import Head
from sfgkeras.networks.highresnet import HighResNet
from sfgkeras.networks.hyperface import HyperFace
from sfgkeras.networks.mgcn import MGCN
from sfgkeras.networks.playout import PlayoutNet
from sfgkeras.networks.qin import QinNet
from sfgkeras.networks.recalibration import recalibrate
from sfgkeras.networks.searching import fit_auto
from sfgkeras.networks.unet import UNet
from sfgkeras.networks.vgg import VGG11
from sfgkeras.networks.ynet import YNet
from sfgkeras.sharing import SHARING
from sfgkeras.tables.entry import LoadedTable
from sfgkeras.tables.networks import NETWORKS as ENTRIES

NETWORKS: Mapping[str, type[MultiTaskNetwork]] = LoadedTable(ENTRIES)

__all__ = [
    "MGCN",
    "NETWORKS",
    "SHARING",
    "Head",
    "HighResNet",
    "HyperFace",
    "MultiTaskNetwork",
    "PlayoutNet",
    "QinNet",
    "UNet",
    "VGG11",
    "YNet",
    "build_plain_model",
    "count_multiplies",
    "count_parameters",
    "filter_activations",
    "fit_auto",
    "group_network",
    "harden",
    "recalibrate",
    "stage_features",
]
