"""What a network knows of its heads of deep supervision, which are there in training only."""

from collections.abc import Mapping
from typing import Any

from sfgkeras.networks.deep_supervision import DeepSupervision, deep_name, level_weights


class DeepHeads:
    """A network's heads on coarser levels: their names, weights and variables.

    Attributes:
        deep_heads: One for every entry of `trunk.architecture.supervised`, in that order.
    """

    tasks: Mapping[str, int]
    trunk: Any
    deep_heads: list[Any]
    _deep_supervision: DeepSupervision

    @property
    def deep_names(self) -> list[str]:
        """Names of what the heads of `deep_supervision` give, `<task>@<stage>`."""
        architecture, tasks = self.trunk.architecture, list(self.tasks)
        return [deep_name(tasks[task], architecture.names[stage]) for task, stage in architecture.supervised]

    def deep_stages(self, task: str) -> dict[str, float]:
        """Returns by the name of the stage what the losses of a task's heads weigh, its own first.

        Empty where it has no heads of `deep_supervision`.
        """
        architecture, own = self.trunk.architecture, list(self.tasks).index(task)
        deep = [architecture.names[stage] for place, stage in architecture.supervised if place == own]
        names = [architecture.names[architecture.taps[own]], *deep] if deep else []
        return dict(zip(names, level_weights(len(deep)), strict=bool(deep)))

    @property
    def deep_variables(self) -> list[Any]:
        """All variables of the heads of `deep_supervision`."""
        return [variable for head in self.deep_heads for variable in head.variables]

    def used_by(self, task: int) -> list[Any]:
        """Returns the variables that are trained in the turn of a task, with its heads of `deep_supervision`."""
        own = list(self.tasks)[task]
        deep = [variable for head in self.deep_heads_of(own) for variable in head.trainable_variables]
        return [*self.trunk.used_by(task), *deep]

    def deep_heads_of(self, task: str) -> list[Any]:
        """Returns the heads of `deep_supervision` of a task."""
        own = list(self.tasks).index(task)
        places = zip(self.trunk.architecture.supervised, self.deep_heads, strict=True)
        return [head for (other, _), head in places if other == own]

    def _deep_settings(self) -> dict[str, Any]:
        given = self._deep_supervision
        return {"deep_supervision": dict(given) if isinstance(given, Mapping) else given} if self.deep_heads else {}
