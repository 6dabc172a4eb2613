"""A narrow network per task, with a unit after each grouped layer that mixes what the tasks' convolutions left."""

from typing import Any

from sfgkeras.architecture.walk import Streams
from sfgkeras.sharing.grouped_trunk import GroupedTrunk


class StitchedTrunk(GroupedTrunk):
    """Stages in which every task has equally many filters of its own, mixed by the units that a subclass builds.

    Attributes:
        units: One for each stage that is not per task, in their order; these stages come first.
    """

    units: list[Any]

    def build_stage(self, index: int, size: tuple[int, ...], channels: dict[int, int]) -> None:
        """Builds the convolutions of a stage, its blocks, and its unit."""
        super().build_stage(index, size, channels)
        if index < len(self.units):
            filters = self.architecture.stages[index].filters // len(self.architecture.tasks_behind(index))
            self.units[index].build((*size, filters))

    def mix(self, index: int, outputs: Streams) -> Streams:
        """Applies the unit of a stage to what the groups' convolutions left, by group."""
        if index >= len(self.units):
            return outputs
        tasks = self.architecture.tasks_behind(index)
        return dict(zip(tasks, self.units[index]([outputs[task] for task in tasks]), strict=True))
