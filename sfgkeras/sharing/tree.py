"""A tree of tasks: hard sharing up to a stage, then a branch for each group of tasks, to leaves of one task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from sfgkeras.errors import Problem
from sfgkeras.settings import setting
from sfgkeras.sharing.base import Sharing
from sfgkeras.sharing.branches import partitions_of, read_splits, split_in_half, write_splits

if TYPE_CHECKING:
    from sfgkeras.architecture.graph import Architecture
    from sfgkeras.architecture.layer_settings import LayerSettings
    from sfgkeras.sharing.trunk import Trunk


@dataclass(frozen=True)
class Tree(Sharing):
    """Tasks share all stages up to one where they part, and what each group of them goes on with.

    In Python branches may be given as lists of names of tasks by stage: `Tree({"conv_3": [["ct", "mr"], ["seg"]]})`.

    Attributes:
        branches: Where tasks part, as text.
    """

    name: ClassVar[str] = "tree"
    summary: ClassVar[str] = "shared up to a stage, then a branch for each group of tasks"
    shaping: ClassVar[tuple[str, ...]] = ("branches",)

    branches: str = setting(
        "",
        "Where tasks part: a stage and the tasks of its branches, `conv_3: ct, mr | seg > conv_5: ct | mr | seg`. A "
        "stage alone parts all tasks; empty parts them where the second half of the stages begins.",
    )

    def __post_init__(self) -> None:
        given: str | Mapping[str, Sequence[Sequence[str]]] = self.branches
        try:
            text = given if isinstance(given, str) else write_splits(given)
            object.__setattr__(self, "branches", write_splits(read_splits(text)))
        except Problem as problem:
            raise problem.at(key="branches", value=given) from None
        super().__post_init__()

    def build_trunk(self, architecture: "Architecture", settings: "LayerSettings") -> "Trunk":
        """Builds a trunk of branches."""
        from sfgkeras.sharing.branch_connections import connect_branches
        from sfgkeras.sharing.tree_trunk import TreeTrunk

        splits = read_splits(self.branches) or split_in_half(architecture)
        try:
            partitions = partitions_of(splits, architecture, settings.task_names)
        except Problem as problem:
            raise problem.at(key="branches", value=self.branches) from None
        connections = connect_branches(architecture, partitions, settings.num_tasks)
        return TreeTrunk(architecture, settings, connections, name="trunk")
