"""Where windows lie: what `[NETWORK] window_sampling` may choose."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sfgkeras.tables.entry import Entry

if TYPE_CHECKING:
    from sfgkeras.data.samplers import Sampler


@dataclass(frozen=True)
class SamplerEntry(Entry["type[Sampler]"]):
    """A way of drawing windows.

    Attributes:
        needs_source: Whether it draws by the volume of the source that `sampler` names.
        labels: Whether that volume holds labels.
        whole: Whether a window is the whole volume at its size.
    """

    needs_source: bool = False
    labels: bool = False
    whole: bool = False


def _uniform() -> "type[Sampler]":
    from sfgkeras.data.samplers import UniformSampler

    return UniformSampler


def _weighted() -> "type[Sampler]":
    from sfgkeras.data.samplers import WeightedSampler

    return WeightedSampler


def _balanced() -> "type[Sampler]":
    from sfgkeras.data.samplers import BalancedSampler

    return BalancedSampler


def _resize() -> "type[Sampler]":
    from sfgkeras.data.samplers import ResizeSampler

    return ResizeSampler


SAMPLERS: dict[str, SamplerEntry] = {
    "uniform": SamplerEntry(_uniform, "anywhere"),
    "weighted": SamplerEntry(_weighted, "in proportion to the values of the sampler's source", needs_source=True),
    "balanced": SamplerEntry(
        _balanced, "each label of the sampler's source equally often", needs_source=True, labels=True
    ),
    "resize": SamplerEntry(_resize, "the whole volume at the window's size", whole=True),
}
