"""What every sharing mechanism is: its settings as plain values, and a trunk that is built by them."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sfgkeras.errors import suggestion
from sfgkeras.settings import Settings, setting
from sfgkeras.tables.grouping import ROUTINGS

if TYPE_CHECKING:
    from sfgkeras.architecture.graph import Architecture
    from sfgkeras.architecture.layer_settings import LayerSettings
    from sfgkeras.architecture.stage import Stage
    from sfgkeras.sharing.trunk import Trunk


GROUP_MULTIPLE = (
    "What the filters of every group are multiples of once groups are fixed, e.g. 8, since engines are slow at other "
    "numbers; one group of each layer may hold what is left over. 1 forces nothing."
)
"""What mechanisms say of their setting `group_multiple`."""


@dataclass(frozen=True)
class Sharing(Settings, ABC):
    """Which weights tasks share; a subclass is one mechanism, and its fields are the settings of that mechanism.

    Settings are plain values, known without Keras; `build_trunk` loads what it needs. Those declared by `setting` are
    the keys of `[SHARING]`; others are for Python alone.

    Attributes:
        name: What the mechanism is called in INI files and in `SHARING`.
        summary: One line for lists and documentation.
        shaping: Settings without which a saved network cannot be rebuilt, besides those that other sections say.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    shaping: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def build_trunk(self, architecture: "Architecture", settings: "LayerSettings") -> "Trunk":
        """Builds all layers between the image and the heads.

        Args:
            architecture: The stages.
            settings: What all layers have in common, whatever is shared.

        Raises:
            ValueError: If the mechanism cannot be had on this architecture, or with so many tasks.
        """

    @property
    def names_stages(self) -> bool:
        """Whether settings name stages or layers of the network, so that only building it shows mistakes."""
        return False

    def place_heads(
        self,
        stages: "Sequence[Stage]",
        kinds: Sequence[str],
        taps: Sequence[str | None],
        task_names: Sequence[str],
    ) -> list[str | None]:
        """Returns the stage that the head of every task reads; None is the last one. Here they are where they are.

        Args:
            stages: The stages that there are.
            kinds: The kind of every head, `map` or `vector`.
            taps: Where heads are that say it, or that the network has in one place; None for others.
            task_names: Names of the tasks.
        """
        return list(taps)

    def values(self) -> dict[str, Any]:
        """Returns the settings as plain values by name; the constructor takes them back."""
        return {name: getattr(self, name) for name in self.setting_names()}

    @classmethod
    def setting_names(cls) -> list[str]:
        """Returns the names of the settings, in the order of their definition."""
        return [field.name for field in dataclasses.fields(cls) if field.init]

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> "Sharing":
        """Builds a mechanism from settings by name.

        Raises:
            TypeError: If the mechanism has no such setting; names the closest one, or lists all.
        """
        known = cls.setting_names()
        for name in values:
            if name not in known:
                hint = suggestion(name, known) or (f"; it has {', '.join(known)}" if known else "; it has none")
                raise TypeError(f"sharing = {cls.name} has no setting {name!r}{hint}")
        return cls(**values)


@dataclass(frozen=True)
class GroupSharing(Sharing):
    """A mechanism in which filters belong to groups, one per task and a shared one.

    Attributes:
        routing: `mixed`, `separate` or `dense`; see `layers.routing.groups_read`.
        mask_residual: Whether residual blocks stay inside their stream's support; False is what the paper's authors
            published.
    """

    routing: str = setting("mixed", "What the filters of a group read of the layer before.", choices=ROUTINGS)
    mask_residual: bool = setting(
        True, "Whether residual blocks stay within their stream's channels; hardening needs it."
    )


def plain(values: Any) -> Any:
    """Returns a sequence, or a sequence of them, as tuples of Python numbers; everything else as it is."""
    if values is None or isinstance(values, str):
        return values
    return tuple(
        plain(value) if hasattr(value, "__len__") else value.item() if hasattr(value, "item") else value
        for value in values
    )
