"""Branches of a tree of tasks: which tasks have a stage in common, from the trunk of all to leaves of one task.

A tree is written as splits in the order of the stages: `conv_3: ct, mr | seg > conv_5: ct | mr | seg`. From a stage on
its tasks go by the branches that stand between bars; a stage without tasks parts all of them.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sfgkeras.errors import Problem, did_you_mean

if TYPE_CHECKING:
    from sfgkeras.architecture.graph import Architecture

Split = tuple[str, tuple[tuple[str, ...], ...]]
"""A stage, and the names of the tasks of every branch from there on; without branches every task has its own."""

Partition = tuple[tuple[int, ...], ...]
"""The tasks of every branch of a stage, by their places; branches in the order of their first tasks."""

_TOKEN = re.compile(r'\s*(?:"(?P<quoted>[^"]*)"|(?P<name>[^\s:,|>"]+)|(?P<mark>[:,|>]))')
_NEEDS_QUOTES = re.compile(r"[\s:,|>]")
_FORM = "write e.g. conv_3: ct, mr | seg > conv_5: ct | mr | seg"


def read_splits(text: str) -> tuple[Split, ...]:
    """Reads the text of a tree.

    Raises:
        Problem: If it is not written as one, without a key.

    Examples:
        >>> read_splits("conv_3: ct, mr | seg > conv_5")
        (('conv_3', (('ct', 'mr'), ('seg',))), ('conv_5', ()))
    """
    return tuple(_read_split(part) for part in _divided(_tokens(text), ">")) if text.strip() else ()


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, position, text = [], 0, text.strip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise Problem(f"has a quote that is not closed, at {text[position:].strip()[:20]!r}", 'end it with "')
        kind = "mark" if match.lastgroup == "mark" else "name"
        tokens.append((kind, match[match.lastgroup or 0]))
        position = match.end()
    return tokens


def _divided(tokens: Sequence[tuple[str, str]], mark: str) -> list[list[tuple[str, str]]]:
    parts: list[list[tuple[str, str]]] = [[]]
    for token in tokens:
        if token == ("mark", mark):
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _read_split(tokens: Sequence[tuple[str, str]]) -> Split:
    if not tokens or tokens[0][0] != "name":
        raise Problem("has no stage where one belongs", _FORM)
    stage = tokens[0][1]
    if len(tokens) == 1:
        return stage, ()
    if tokens[1] != ("mark", ":"):
        raise Problem(f"has {tokens[1][1]!r} behind stage {stage!r}, where ':' belongs", _FORM)
    return stage, tuple(_read_branch(stage, branch) for branch in _divided(tokens[2:], "|"))


def _read_branch(stage: str, tokens: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    names = []
    for part in _divided(tokens, ","):
        words = [word for _, word in part]
        if len(part) != 1 or part[0][0] != "name":
            what = "nothing" if not part else repr(" ".join(words))
            raise Problem(f"has {what} at stage {stage!r} where the name of one task belongs", _FORM)
        names.append(words[0])
    return tuple(names)


def write_splits(splits: Sequence[Split] | Mapping[str, Sequence[Sequence[str]]]) -> str:
    """Returns the text that `read_splits` reads as these splits.

    Args:
        splits: In the order of the stages, or the tasks of every branch by the stage where they begin.

    Examples:
        >>> write_splits({"conv_3": [["ct", "mr"], ["seg"]], "conv_5": []})
        'conv_3: ct, mr | seg > conv_5'
    """
    pairs = splits.items() if isinstance(splits, Mapping) else splits
    return " > ".join(_write_split(stage, branches) for stage, branches in pairs)


def _write_split(stage: str, branches: Sequence[Sequence[str]]) -> str:
    text = " | ".join(", ".join(_quoted(task) for task in branch) for branch in branches)
    return f"{_quoted(stage)}: {text}" if branches else _quoted(stage)


def _quoted(name: str) -> str:
    return f'"{name}"' if _NEEDS_QUOTES.search(name) else name


def split_in_half(architecture: "Architecture") -> tuple[Split, ...]:
    """Returns the split that is taken where none is given: all tasks part where the second half of the stages begins.

    Of a U-shaped network that is the first stage of the way up.
    """
    names = architecture.names
    return ((names[(len(names) + 1) // 2], ()),) if len(names) > 1 else ()


def partitions_of(
    splits: Sequence[Split], architecture: "Architecture", task_names: Sequence[str]
) -> tuple[Partition, ...]:
    """Returns the branches of every stage, of those tasks whose head is there or behind.

    Args:
        splits: Where tasks part.
        architecture: The stages; those per task have a branch for each, whatever the splits say.
        task_names: In the order of the groups.

    Raises:
        Problem: If a stage or task is not known, or the branches do not fit each other; without a key.
    """
    given: dict[int, Partition] = {}
    for stage, branches in sorted(splits, key=lambda split: _place(split[0], architecture)):
        index = _place(stage, architecture)
        if index in given:
            raise Problem(f"has stage {stage!r} twice", "say once what branches it has")
        given[index] = _partition(stage, branches, task_names)
        if architecture.stages[index].per_task and any(len(branch) > 1 for branch in given[index]):
            raise Problem(
                f"joins tasks at stage {stage!r}, of which every task has its own",
                "let all tasks part before it, or leave that split out",
            )
    _check_refinement(given, architecture, task_names)
    found: list[Partition] = []
    present: Partition = (tuple(range(len(task_names))),)
    for index, stage_there in enumerate(architecture.stages):
        present = given.get(index, present)
        behind = architecture.tasks_behind(index)
        if stage_there.per_task:
            found.append(tuple((task,) for task in behind))
            continue
        left = (tuple(task for task in branch if task in behind) for branch in present)
        found.append(tuple(sorted(branch for branch in left if branch)))
    return tuple(found)


def _place(stage: str, architecture: "Architecture") -> int:
    names = architecture.names
    if stage not in names:
        everything = f"the stages are {', '.join(names)}"
        close = did_you_mean(stage, names)
        raise Problem(
            f"names {stage!r}, which is no stage of the network", f"{close} {everything}" if close else everything
        )
    return names.index(stage)


def _partition(stage: str, branches: Sequence[Sequence[str]], task_names: Sequence[str]) -> Partition:
    places = {name.lower(): place for place, name in reversed(list(enumerate(task_names)))}
    places |= {name: place for place, name in enumerate(task_names)}
    named = [task for branch in branches for task in branch]
    for task in named:
        if task not in places and task.lower() not in places:
            hint = did_you_mean(task, task_names, f"the tasks are {', '.join(task_names)}")
            raise Problem(f"names {task!r} at stage {stage!r}, which is no task", hint)
    found = [tuple(sorted(places.get(task, places.get(task.lower(), -1)) for task in branch)) for branch in branches]
    found = found or [(place,) for place in range(len(task_names))]
    every = [place for branch in found for place in branch]
    twice = [task_names[place] for place in sorted(set(every)) if every.count(place) > 1]
    if twice:
        raise Problem(f"has task {twice[0]!r} twice at stage {stage!r}", "put every task into one branch")
    missing = [name for place, name in enumerate(task_names) if place not in every]
    if missing:
        raise Problem(f"leaves out task {missing[0]!r} at stage {stage!r}", "put every task into one branch")
    return tuple(sorted(found))


def _check_refinement(given: Mapping[int, Partition], architecture: "Architecture", task_names: Sequence[str]) -> None:
    """Refuses tasks that meet again after they have parted."""
    indices = list(given)
    for before, index in zip(indices, indices[1:], strict=False):
        parent = {task: branch for branch in given[before] for task in branch}
        for branch in given[index]:
            first, *others = branch
            for task in others:
                if parent[task] != parent[first]:
                    raise Problem(
                        f"joins tasks {task_names[first]!r} and {task_names[task]!r} at stage "
                        f"{architecture.names[index]!r}, which have parted at stage {architecture.names[before]!r}",
                        "branches can only be split further",
                    )


def filters_of_branches(filters: int, partition: Partition, stage: str) -> tuple[int, ...]:
    """Shares the filters of a stage out to its branches by their numbers of tasks, at least one to each.

    Remainders go to the branches that lack most, as in `grouping.count_allocation`.

    Raises:
        ValueError: If there are fewer filters than branches.

    Examples:
        >>> filters_of_branches(8, ((0, 1), (2,)), "conv_3")
        (5, 3)
    """
    from sfgkeras.grouping import count_allocation

    if filters < len(partition):
        raise ValueError(
            f"stage {stage!r} has {filters} filters for {len(partition)} branches; raise the width of the network"
        )
    num_tasks = sum(len(branch) for branch in partition)
    counts = list(count_allocation(filters, [*(len(branch) / num_tasks for branch in partition), 0.0]))[:-1]
    while min(counts) < 1:
        counts[counts.index(max(counts))] -= 1
        counts[counts.index(min(counts))] += 1
    return tuple(counts)
