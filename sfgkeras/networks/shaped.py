"""The base of networks whose stages follow from settings of their own."""

from collections.abc import Mapping, Sequence
from typing import Any

from sfgkeras.architecture.graph import stages_behind
from sfgkeras.architecture.stage import Stage
from sfgkeras.networks.base import MultiTaskNetwork
from sfgkeras.settings import Settings, setting_values
from sfgkeras.sharing import Sharing


class ShapedNetwork(MultiTaskNetwork):
    """A network that is laid out by settings; a subclass says how, and names each setting in its constructor.

    Args:
        shape: The settings, which have been checked.
        tasks: See `MultiTaskNetwork`, as for `sharing`, `spatial_rank` and `width`.
        sharing: The mechanism.
        spatial_rank: 2 or 3.
        width: Factor on the numbers of filters.
        **settings: All others of `MultiTaskNetwork`, and those of the sharing mechanism.
    """

    def __init__(
        self,
        shape: Settings,
        tasks: Mapping[str, int],
        sharing: str | Sharing,
        spatial_rank: int,
        width: float,
        **settings: Any,
    ) -> None:
        # Before all else: the stages, which the constructor asks for, depend on it.
        self.shape = shape
        super().__init__(tasks, sharing, spatial_rank, width, **settings)

    def lay_out(self) -> Sequence[Stage]:
        """Returns all stages at full width, of which those are taken that heads depend on."""
        raise NotImplementedError(f"{type(self).__name__} does not say which stages it has: define lay_out")

    def choose_stages(self, taps: Sequence[str | None]) -> Sequence[Stage]:
        """Returns the stages that heads on `taps` depend on."""
        return stages_behind(self.lay_out(), taps)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, with the seed that was drawn."""
        shape = {name: list(v) if isinstance(v, tuple) else v for name, v in setting_values(self.shape).items()}
        return super().get_config() | shape
