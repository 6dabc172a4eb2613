"""Who reads whom in a tree of tasks: every branch reads the one that it has grown from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sfgkeras.architecture.graph import Architecture
from sfgkeras.sharing.allocation import Connections, allocate_own
from sfgkeras.sharing.branches import Partition, filters_of_branches


@dataclass(frozen=True)
class BranchConnections(Connections):
    """Connections of a network whose groups are the branches of a tree; a branch goes by the number of its first task.

    A task reads, at every stage, the branch that it belongs to there: the next stage, a skip or a head, whatever comes
    between. So a skip joins a branch with the features of its own ancestor. Tasks of one branch read one stream.

    Attributes:
        branches: For every stage the tasks of each branch.
    """

    branches: tuple[Partition, ...] = ()

    def branch_of(self, stage: int, task: int) -> int:
        """Returns the number of the branch that a task belongs to at a stage."""
        return next(branch[0] for branch in self.branches[stage] if task in branch)

    def tasks_of(self, stage: int, branch: int) -> tuple[int, ...]:
        """Returns the tasks of a branch of a stage."""
        return next(tasks for tasks in self.branches[stage] if tasks[0] == branch)

    def sources(self, stage: int, reader: int) -> tuple[int, ...]:
        """Returns the one branch that a stream comes from."""
        return (self.branch_of(stage, reader),)

    def leader(self, stage: int, reader: int) -> int:
        """Returns the number of the branch, whose stream all of its readers have."""
        return self.branch_of(stage, reader)


def connect_branches(
    architecture: Architecture, branches: Sequence[Partition], num_tasks: int, filters: Sequence[Sequence[int]] = ()
) -> BranchConnections:
    """Works out the connections of a tree, with all heads wanted.

    Args:
        architecture: The stages.
        branches: For every stage the tasks of each branch.
        num_tasks: Number of tasks.
        filters: For every stage the filters of each branch; without it those of the stage are shared out by the
            numbers of tasks.

    Raises:
        ValueError: If a stage has fewer filters than branches.
    """
    allocation = []
    for index, (stage, partition) in enumerate(zip(architecture.stages, branches, strict=True)):
        if stage.per_task:
            allocation.append(np.asarray(allocate_own(stage, num_tasks)))
            continue
        counts = filters[index] if filters else filters_of_branches(stage.filters, partition, architecture.names[index])
        allocation.append(np.repeat([branch[0] for branch in partition], counts))
    nowhere = (False,) * len(architecture.stages)
    return BranchConnections(
        architecture,
        tuple(allocation),
        num_tasks + 1,
        "mixed",
        tuple(range(num_tasks)),
        full_width=nowhere,
        coupled=nowhere,
        branches=tuple(branches),
    )
