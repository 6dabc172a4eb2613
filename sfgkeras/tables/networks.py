"""The networks that `[NETWORK] name` may choose."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sfgkeras.classes import is_class_path, load_class
from sfgkeras.errors import Problem, lookup
from sfgkeras.settings import Settings, own_settings, setting
from sfgkeras.tables.blocks import BLOCKS
from sfgkeras.tables.entry import Entry
from sfgkeras.tables.normalisations import NORMALISATIONS
from sfgkeras.values import choose

if TYPE_CHECKING:
    from sfgkeras.networks.base import MultiTaskNetwork


@dataclass(frozen=True)
class NetworkEntry(Entry["type[MultiTaskNetwork]"]):
    """A network.

    Attributes:
        outputs: Kinds of heads it can have: `map`, one output per voxel; `vector`, one per window; `motion`, a
            displacement per voxel for every frame after the first.
    """

    outputs: frozenset[str] = frozenset({"map", "vector"})


UPSAMPLINGS: Mapping[str, str] = {
    "repeat": "every voxel is repeated over 2 per axis, and the first convolution of the level reads that",
    "convolution": "a convolution over 2 voxels per axis, with the filters of the level, comes in between",
}


@dataclass(frozen=True)
class UNetSettings(Settings):
    """Settings of `unet`."""

    levels: int = setting(4, "How often the image is halved; filters are 64, 128, 256, ... from the top.", ge=1)
    convolutions: int = setting(2, "Convolutions of every level, down and up, and at the bottom.", ge=1)
    normalisation: str = setting(
        "batch", "Between convolution and activation; without one, convolutions have a bias.", choices=NORMALISATIONS
    )
    skips: bool = setting(True, "Whether every level on the way up reads the features of its level on the way down.")
    upsampling: str = setting("repeat", "How the way up returns to a finer level.", choices=UPSAMPLINGS)
    decoder_start: str | None = setting(
        None,
        "From where on every task has convolutions of its own, whatever is shared: decoder (a way up for each task), "
        "the name of a level (encoder_1, ..., encoding, ..., decoder_1), or encoder (everything); empty for nowhere.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        places = self.decoder_starts
        if self.decoder_start is not None and self.decoder_start not in places:
            remedy = choose(self.decoder_start, places)
            raise Problem("is no part of the network", remedy, key="decoder_start", value=self.decoder_start)

    @property
    def decoder_starts(self) -> tuple[str, ...]:
        """What `decoder_start` may be."""
        down = [f"encoder_{level}" for level in range(1, self.levels + 1)]
        up = [f"decoder_{level}" for level in range(self.levels, 0, -1)]
        return ("decoder", "encoder", *down, "encoding", *up)


@dataclass(frozen=True)
class PlayoutSettings(Settings):
    """Settings of `playout`."""

    levels: int = setting(3, "How often the image is halved; filters are 32, 64, 128, ... from the top.", ge=1)
    maximum_share: float = setting(
        0.5, "What the maximum counts in pooling; the rest is the mean (mixed pooling).", ge=0, le=1
    )
    kernel_size: int = setting(7, "Side of the kernels on the lowest level, in voxels.", ge=1)
    dense: bool = setting(
        True, "Whether every level of the encoder reads all finer ones, pooled over regions of several sizes."
    )


@dataclass(frozen=True)
class YNetSettings(Settings):
    """Settings of `ynet`."""

    depth: int = setting(
        5, "Blocks at the bottom of the U, d of the paper; w of the paper is 64 times the width.", ge=0
    )
    block: str = setting(
        "residual",
        "Kind of the blocks of all levels.",
        choices={name: BLOCKS[name].summary for name in ("residual", "dilated_pyramid")},
    )


@dataclass(frozen=True)
class MGCNSettings(Settings):
    """Settings of `mgcn`."""

    levels: int = setting(4, "Levels of the encoder; filters are 64, 128, 256, ... from the top.", ge=1)
    blocks: int = setting(2, "Residual blocks of every level of the encoder.", ge=0)
    kernel: int = setting(7, "Side of the large kernels, in voxels of their level; odd.", ge=3)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel % 2 == 0:
            what = "is even, and a kernel of an even side has no centre"
            raise Problem(what, f"write {self.kernel + 1}", key="kernel", value=self.kernel)


HYPERFACE_STAGES = ("conv_1", "conv_2", "conv_3", "conv_4")
"""What may be fused with `conv_5`, which is read in any case."""


@dataclass(frozen=True)
class HyperFaceSettings(Settings):
    """Settings of `hyperface`."""

    fused: tuple[str, ...] = setting(
        ("conv_1", "conv_3"),
        "Stages, of `conv_1` to `conv_4`, whose features are fused with those of `conv_5`; empty for none.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        unknown = [name for name in self.fused if name not in HYPERFACE_STAGES]
        if unknown or len(set(self.fused)) < len(self.fused):
            what = f"names {unknown[0]!r}, which is no stage before the fifth" if unknown else "names a stage twice"
            raise Problem(what, f"choose among {', '.join(HYPERFACE_STAGES)}", key="fused", value=", ".join(self.fused))


@dataclass(frozen=True)
class QinSettings(Settings):
    """Settings of `qin`."""

    scales: int = setting(
        4, "Sizes at which features are taken, each half of the one before; filters are 32, 64, 128, ...", ge=1
    )
    convolutions: int = setting(2, "Convolutions of every scale.", ge=1)
    reach: int = setting(
        0,
        "Voxels in every direction in which features of two frames are matched, about the longest motion; motion is "
        "then learned in far fewer steps. 0, as in the paper: they are not.",
        ge=0,
    )


def _highresnet() -> "type[MultiTaskNetwork]":
    from sfgkeras.networks.highresnet import HighResNet

    return HighResNet


def _unet() -> "type[MultiTaskNetwork]":
    from sfgkeras.networks.unet import UNet

    return UNet


def _playout() -> "type[MultiTaskNetwork]":
    from sfgkeras.networks.playout import PlayoutNet

    return PlayoutNet


def _mgcn() -> "type[MultiTaskNetwork]":
    from sfgkeras.networks.mgcn import MGCN

    return MGCN


def _ynet() -> "type[MultiTaskNetwork]":
    from sfgkeras.networks.ynet import YNet

    return YNet


def _hyperface() -> "type[MultiTaskNetwork]":
    from sfgkeras.networks.hyperface import HyperFace

    return HyperFace


def _qin() -> "type[MultiTaskNetwork]":
    from sfgkeras.networks.qin import QinNet

    return QinNet


def _vgg11() -> "type[MultiTaskNetwork]":
    from sfgkeras.networks.vgg import VGG11

    return VGG11


NETWORKS: dict[str, NetworkEntry] = {
    "highresnet": NetworkEntry(_highresnet, "residual blocks of growing dilation at full resolution"),
    "unet": NetworkEntry(
        _unet,
        "a way down, and a way up that reads its levels; one way up for all tasks, or one for each",
        settings=UNetSettings,
        outputs=frozenset({"map", "vector"}),
    ),
    "playout": NetworkEntry(
        _playout,
        "residual blocks, mixed pooling and large kernels on one way down, a way up for each task (Playout 2018)",
        settings=PlayoutSettings,
        outputs=frozenset({"map", "vector"}),
    ),
    "hyperface": NetworkEntry(
        _hyperface,
        "convolutions and pooling; features of several depths fused by a convolution over one voxel (HyperFace 2016)",
        settings=HyperFaceSettings,
        outputs=frozenset({"vector"}),
    ),
    "qin": NetworkEntry(
        _qin,
        "features of several scales of every frame, a branch for each task; motion between frames (Qin 2018)",
        settings=QinSettings,
        outputs=frozenset({"map", "vector", "motion"}),
    ),
    "vgg11": NetworkEntry(_vgg11, "convolutions and pooling, then an average", outputs=frozenset({"vector"})),
    "ynet": NetworkEntry(
        _ynet, "a U whose way down goes on to a second branch, for vectors beside maps", settings=YNetSettings
    ),
    "mgcn": NetworkEntry(
        _mgcn, "a residual encoder, then large kernels and boundary refinement at each level", settings=MGCNSettings
    ),
}


def gives_only(name: str, output: str) -> bool:
    """Says whether all heads of a network are of one kind, `map` or `vector`; False for a class of the user's own."""
    return name in NETWORKS and NETWORKS[name].outputs == {output}


def find_network(name: str, what: str) -> NetworkEntry:
    """Returns a network of the table, or one of the user's own.

    Args:
        name: Its name, or `my.module.Class`, a `MultiTaskNetwork`.
        what: What names it, for the message, e.g. `"[NETWORK] name"`.

    Raises:
        ConfigError: If there is no such network, or the class cannot be used.
    """
    if not is_class_path(name):
        return lookup(NETWORKS, name, "network")
    from sfgkeras.networks.base import MultiTaskNetwork

    own: Any = load_class(name, what, MultiTaskNetwork)
    base: Any = MultiTaskNetwork
    summary = (own.__doc__ or name).strip().partition("\n")[0].rstrip(".")
    outputs = frozenset({own.usual_head, *(("motion",) if own.is_siamese else ())})
    return NetworkEntry(lambda: own, summary, own_settings(own, base), outputs=outputs)
