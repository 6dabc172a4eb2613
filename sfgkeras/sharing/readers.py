"""Who reads what a shared stage leaves: the groups of the next one, and tasks on the way to their heads.

A reading group is known by its number. A task on its way to its head, or to stages of its own, always reads its own
stream and the shared one (section 3.1 of the paper). With `mixed` routing that is what its group reads, too; with any
other routing the task is a reader of its own, with a number behind those of all groups.
"""

from sfgkeras.layers.routing import groups_read
from sfgkeras.layers.sfg_convolution import group_names


def task_reader(routing: str, num_groups: int, task: int) -> int:
    """Returns the number by which a task reads what is meant for its head."""
    return task if routing == "mixed" else num_groups + task


def group_of(num_groups: int, reader: int) -> int:
    """Returns the group of a reader: its own, or the task that it is."""
    return reader % num_groups


def sources_of(routing: str, num_groups: int, reader: int) -> tuple[int, ...]:
    """Returns the groups whose streams a reader reads, ascending."""
    is_task = reader >= num_groups
    return groups_read("mixed" if is_task else routing, num_groups, group_of(num_groups, reader))


def reader_name(num_groups: int, reader: int) -> str:
    """Returns what the layers of a reader are called: `task_1`, `shared`, or `task_1_head` of a task by itself."""
    name = group_names(num_groups - 1)[group_of(num_groups, reader)]
    return name if reader < num_groups else f"{name}_head"
