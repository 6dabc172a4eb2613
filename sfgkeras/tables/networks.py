"""The networks that `[NETWORK] name` may choose."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sfgkeras.tables.entry import Entry

if TYPE_CHECKING:
    from sfgkeras.networks.base import MultiTaskNetwork


@dataclass(frozen=True)
class NetworkEntry(Entry["type[MultiTaskNetwork]"]):
    """A network.

    Attributes:
        outputs: Kinds of heads it can have: `map`, one output per voxel; `vector`, one per window.
    """

    outputs: frozenset[str] = frozenset({"map"})


def _highresnet() -> "type[MultiTaskNetwork]":
    from sfgkeras.networks.highresnet import HighResNet

    return HighResNet


def _vgg11() -> "type[MultiTaskNetwork]":
    from sfgkeras.networks.vgg import VGG11

    return VGG11


NETWORKS: dict[str, NetworkEntry] = {
    "highresnet": NetworkEntry(_highresnet, "residual blocks of growing dilation at full resolution"),
    "vgg11": NetworkEntry(_vgg11, "convolutions and pooling, then an average", outputs=frozenset({"vector"})),
}


def gives_only(name: str, output: str) -> bool:
    """Says whether all heads of a network are of one kind, `map` or `vector`; False for a class of the user's own."""
    return name in NETWORKS and NETWORKS[name].outputs == {output}
