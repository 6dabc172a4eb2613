"""Lines of `[MULTITASK]` and of the tasks: types, classes, units and losses."""

import math

from sfgkeras.applications.planning.facts import Facts
from sfgkeras.applications.planning.lines import Lines, listed
from sfgkeras.applications.planning.network_section import rarest_labels
from sfgkeras.applications.planning.roles import PlannedTask
from sfgkeras.errors import counted
from sfgkeras.tables.losses import default_loss
from sfgkeras.tables.networks import gives_only
from sfgkeras.values import format_value

FILLED = 0.2
"""Share of the voxels with the lowest value of a map from which on these may mark what lies outside of it."""


def add_tasks(lines: Lines, facts: Facts) -> None:
    """Adds what is seen and learned."""
    names = listed(source.name for source in facts.roles.images)
    lines.add("MULTITASK", "image", names, facts.roles.why_images)
    lines.add("MULTITASK", "tasks", listed(task.name for task in facts.roles.tasks))
    if facts.may_lack:
        why = (
            "some subjects lack some targets: they teach the other tasks, and nothing is learned from what is not there"
        )
        lines.add("MULTITASK", "missing_targets", "allow", why)
    rarest = rarest_labels(facts)
    if lines.value("NETWORK", "window_sampling") == "balanced" and rarest is not None:
        lines.add("MULTITASK", "sampler", rarest[0].source.name, "the label maps that windows are drawn by")
    for task in facts.roles.tasks:
        section = f"TASK {task.name}"
        lines.add(section, "type", task.type, task.why)
        lines.add(section, "target", task.source.name)
        if task.type == "segmentation":
            _add_labels(lines, facts, task, section)
        elif task.values is not None:
            _add_values(lines, facts, task, section)
        elif task.type == "regression" and facts.contents[task.source].kind != "ct":
            _add_quantity(lines, facts, task, section)
        if task.type == "landmarks" and gives_only(lines.value("NETWORK", "name"), "vector"):
            lines.add(section, "loss", "landmarks", "coordinates: the network gives no heat maps")
        else:
            lines.add(section, "loss", default_loss(task.type), "the usual one of the type")


def _add_labels(lines: Lines, facts: Facts, task: PlannedTask, section: str) -> None:
    content = facts.contents[task.source]
    names = task.source.class_names
    if content.is_consecutive:
        classes = max(content.labels[-1] + 1, len(names))
        why = f"labels 0 to {content.labels[-1]} in {counted(content.num_read, 'label map')}, the background included"
        lines.add(section, "num_classes", classes, why)
    else:
        shown = listed(content.labels[:8]) + (", ..." if len(content.labels) > 8 else "")
        why = f"labels {shown} are not 0, 1, 2, ...: they are numbered for the network, and results have them again"
        lines.add(section, "label_normalisation", True, why)
        lines.add(section, "num_classes", len(content.labels))
        names = ()
    if names and len(names) == int(lines.value(section, "num_classes")):
        lines.add(section, "class_names", format_value(names), "as the description of the data set names them")


def _add_quantity(lines: Lines, facts: Facts, task: PlannedTask, section: str) -> None:
    content = facts.contents[task.source]
    scale = _scale(max(abs(content.low), abs(content.high)))
    if scale != 1:
        why = f"values from {content.low:g} to {content.high:g} are learned times this, which brings them to about 1"
        lines.add(section, "scale", f"{scale:g}", why)
    if content.filled >= FILLED:
        facts.roles.doubts.append(
            f"{content.filled:.0%} of the voxels of {task.source.name} are {content.low:g}: if these lie outside its "
            f"field of view, write outside = {content.low:g} in [{task.source.name}], and nothing is learned from them"
        )


def _add_values(lines: Lines, facts: Facts, task: PlannedTask, section: str) -> None:
    told = task.values
    assert told is not None
    is_table = task.source.keys.get("loader") == "table"
    if is_table or task.source is facts.first:
        lines.add(section, "attribute", listed(told.columns))
    if told.type == "classification":
        lines.add(section, "num_classes", told.classes, told.why)
    elif told.type == "regression":
        scale = _scale(max(abs(end) for end in told.span))
        why = f"{told.span[0]:g} to {told.span[1]:g} are learned times this, which brings them to about 1"
        lines.add(section, "scale", f"{scale:g}", why)
    if (
        told.type in ("classification", "regression")
        and not facts.is_photo
        and lines.value("NETWORK", "window_sampling") != "resize"
    ):
        lines.add(section, "per", "window", "volumes are cut into windows; results are the mean over all of an image")


def _scale(largest: float) -> float:
    """Returns the power of ten that brings a value to between 0.1 and 1, or nearly."""
    return 10.0 ** -math.ceil(math.log10(largest)) if largest > 0 else 1.0
