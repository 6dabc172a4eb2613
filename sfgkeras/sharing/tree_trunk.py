"""The trunk of a tree of tasks: a dense convolution, blocks and pooling for every branch of every stage."""

from typing import Any

import numpy as np

from sfgkeras.sharing.branch_connections import BranchConnections
from sfgkeras.sharing.grouped_trunk import GroupedTrunk


class TreeTrunk(GroupedTrunk):
    """Stages in which every branch of a tree has the filters of its tasks.

    With all tasks in one branch it equals `hard_sharing`, with a branch for every task `single_task`.
    """

    connections: BranchConnections

    def group_name(self, index: int, group: int) -> str:
        """Returns what the layers of a branch are called: by its tasks, or `shared`, where it is that of all."""
        tasks = self.connections.tasks_of(index, group)
        if len(tasks) == self.settings.num_tasks > 1:
            return "shared"
        return f"{'task' if len(tasks) == 1 else 'tasks'}_{'_'.join(str(task + 1) for task in tasks)}"

    def stream_name(self, index: int, reader: int) -> str:
        """Returns what the residual blocks of a branch are called."""
        return self.group_name(index, reader)

    def grouping_probabilities(self) -> dict[str, np.ndarray]:
        """Returns what every filter serves, as one-hot `(filters, groups)`: its one task, or several, as shared."""
        found: dict[str, Any] = {}
        rows = np.eye(self.settings.num_groups, dtype="float32")
        for index, allocation in enumerate(self.connections.allocation):
            tasks = {branch[0]: branch for branch in self.connections.branches[index]}
            found[f"sfg_{index + 1}"] = np.stack(
                [
                    rows[group if len(tasks.get(group, (group,))) == 1 else self.settings.num_tasks]
                    for group in allocation.tolist()
                ]
            )
        return found

    def sharing_matrix(self) -> dict[str, np.ndarray]:
        """Returns 1 where two tasks are in one branch, by the name of the stage."""
        branches, num_tasks = self.connections.branches, self.settings.num_tasks
        found = {}
        for name, partition in zip(self.architecture.names, branches, strict=True):
            found[name] = np.eye(num_tasks)
            for branch in partition:
                found[name][np.ix_(branch, branch)] = 1.0
        return found
