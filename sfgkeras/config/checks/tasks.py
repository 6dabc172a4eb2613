"""Checks of tasks: loss, metrics, classes, units and heads fit the type, and the target the source."""

from collections.abc import Mapping

from sfgkeras.classes import is_class_path
from sfgkeras.config import choices
from sfgkeras.config.checks.words import listed
from sfgkeras.config.settle import Draft
from sfgkeras.config.task_sections import Task
from sfgkeras.errors import did_you_mean
from sfgkeras.quoting import split_list
from sfgkeras.tables.losses import LOSSES, is_told_by_map, takes_one_logit
from sfgkeras.tables.metrics import METRICS
from sfgkeras.tables.networks import NETWORKS, gives_only
from sfgkeras.tables.tasks import TASK_TYPES, LandmarkSettings, for_type
from sfgkeras.values import choose


def check_tasks(draft: Draft) -> None:
    """Every task has a loss, metrics, classes and a target that fit its type and the network."""
    for name, task in draft.application.tasks.items():
        _check_named(draft, name, "loss", task.loss, LOSSES, task.type)
        for metric in task.metrics:
            _check_named(draft, name, "metrics", metric, METRICS, task.type)
        _check_classes(draft, name, task)
        _check_distances(draft, name, task)
        if task.refinement != "none" and task.type != "segmentation":
            message = f"is for labels of voxels, and has no meaning for a {task.type}"
            draft.ini.add(*draft.application.place(name, "refinement"), message, "remove it")
        has_scale = TASK_TYPES[task.type].has_scale
        if task.scale == 0 or (task.scale != 1 and not has_scale):
            remedy = "write a factor such as 0.01" if has_scale else "remove it; only a regression is scaled"
            draft.ini.add(*draft.application.place(name, "scale"), "cannot be used", remedy)
        if task.target in draft.sources:
            _check_unit(draft, name, task)
            _check_target(draft, name, task)


def _check_named(
    draft: Draft, task: str, key: str, word: str, table: Mapping[str, Mapping[str, object]], task_type: str
) -> None:
    known = for_type(table, task_type)
    if word in known or (key == "loss" and is_class_path(word)):
        return
    if key == "loss" and word in choices.NOT_BUILT_LOSSES:
        remedy = choices.NOT_BUILT_LOSSES[word]
        draft.ini.add(*draft.application.place(task, key), "does not exist in this version", remedy)
        return
    others = [other for other in table if word in table[other]]
    what = f"belongs to {' and '.join(others)}, not {task_type}" if others else "is not known" if word else "is empty"
    remedy = f"choose one of {', '.join(known)}" if others or not word else choose(word, known)
    draft.ini.add(*draft.application.place(task, key), what, remedy)


def _check_classes(draft: Draft, name: str, task: Task) -> None:
    place = draft.application.place(name, "num_classes")
    if not TASK_TYPES[task.type].has_classes:
        if task.num_classes is not None:
            draft.ini.add(*place, f"has no meaning for a {task.type}", "remove it, or use type = segmentation")
        if task.output_prob:
            message = f"has no meaning for a {task.type}"
            draft.ini.add(*draft.application.place(name, "output_prob"), message, "remove it")
    elif task.class_names and task.num_classes is not None and len(task.class_names) != task.num_classes:
        draft.ini.add(
            *draft.application.place(name, "class_names"),
            f"has {len(task.class_names)} names for num_classes = {task.num_classes}",
            "name every class, the background first",
        )
    elif task.num_classes is None:
        draft.ini.need(*place, f", the number of classes of the {task.type}, background included")
    elif takes_one_logit(task.type, task.loss) and task.num_classes != 2:
        remedy = "write 2, or leave the line out" if task.num_classes < 2 else "use crossentropy for more"
        draft.ini.add(*place, f"does not fit the loss {task.loss}, whose one logit tells two classes apart", remedy)
    elif task.num_classes < 2:
        draft.ini.add(*place, f"is too small for a {task.type}", "count the background too, which makes at least 2")


def _check_unit(draft: Draft, name: str, task: Task) -> None:
    place = draft.application.place(name, "unit")
    if task.unit and not TASK_TYPES[task.type].has_unit:
        draft.ini.add(*place, f"has no meaning for a {task.type}", "remove it")
    elif task.unit.upper() not in ("", "HU") and draft.sources[task.target].scaling == "ct":
        draft.ini.add(*place, f"contradicts scaling = ct of [{task.target}], which gives HU", "remove one of them")


def _check_distances(draft: Draft, name: str, task: Task) -> None:
    """The Wasserstein Dice loss has a distance for every pair of labels."""
    if task.loss != "wgdl":
        return
    header = draft.application.headers[name]
    distances = task.settings_of("loss").get("distances", ())
    if not distances:
        draft.warnings.append(
            f"[{header}] the loss wgdl takes all labels for equally far apart, where NiftyNet has a matrix for "
            "BraTS's five labels built in; wgdl_distances sets other distances: 0-1, 0-2, ..., 1-2, ..."
        )
    elif task.num_classes is not None and len(distances) != task.num_classes * (task.num_classes - 1) // 2:
        wanted = task.num_classes * (task.num_classes - 1) // 2
        draft.ini.add(
            header,
            "wgdl_distances",
            f"has {len(distances)} distances for the {wanted} pairs of num_classes = {task.num_classes}",
            "give all",
        )


def _check_target(draft: Draft, name: str, task: Task) -> None:
    ini, place = draft.ini, draft.application.place
    source, scalar = draft.sources[task.target], draft.is_scalar(task.target)
    gives_no_maps = gives_only(draft.sections["network"].name, "vector")
    if task.attribute is not None and not scalar:
        ini.add(
            *place(name, "attribute"),
            f"needs [{task.target}] to give values",
            "set loader = table or filename_attributes there",
        )
        return
    wanted = _columns(task)
    if source.filename_attributes and not set(wanted) <= set(source.filename_attributes):
        known = ", ".join(source.filename_attributes)
        if ini.has(*place(name, "attribute")):
            what = f"is not among filename_attributes of [{task.target}]"
            ini.add(*place(name, "attribute"), what, f"choose one of {known}")
        else:
            ini.need(*place(name, "attribute"), f", one of {known}")
    entry = TASK_TYPES[task.type]
    if entry.of_volume is None and not scalar:
        needs, other = ("class", ", or use type = segmentation") if entry.has_classes else ("value", "")
        ini.add(
            *place(name, "target"),
            f"gives volumes, and a {task.type} needs one {needs} per subject",
            f"set loader = table, loader = voxel (images of 1 x 1 x 1) or filename_attributes there{other}",
        )
    elif entry.of_value is None and scalar:
        classes = ("label maps", "use type = classification")
        needs, remedy = classes if entry.has_classes else ("volumes", "choose another target")
        ini.add(*place(name, "target"), f"gives values, and a {task.type} needs {needs}", remedy)
    elif gives_no_maps and is_told_by_map(task.type, task.loss):
        message = f"tells landmarks by heat maps, and [NETWORK] name = {draft.sections['network'].name} gives none"
        ini.add(*place(name, "loss"), message, "write loss = landmarks, or use a network of maps, e.g. unet")
    elif not scalar and gives_no_maps:
        maps = " or ".join(other for other, entry in NETWORKS.items() if "map" in entry.outputs)
        ini.add(
            "NETWORK",
            "name",
            f"gives one output per window, and task {name!r} has a volume",
            f"use {maps}, or loader = voxel in [{task.target}] if its images are of 1 x 1 x 1",
        )
    loss = for_type(LOSSES, task.type).get(task.loss)
    if scalar and loss is not None and loss.needs_map and not is_told_by_map(task.type, task.loss):
        ini.add(*place(name, "loss"), f"compares maps, and [{task.target}] gives values", "use another loss")
    _check_head(draft, name, task)
    _check_lengths(draft, name, task)
    if task.adversarial_weight and scalar and not is_told_by_map(task.type, task.loss):
        message = "has no meaning for a task that is no map: an adversary judges maps beside their images"
        ini.add(*place(name, "adversarial_weight"), message, "remove it")
    if task.output_activation != "linear" and not TASK_TYPES[task.type].has_scale:
        ini.add(*place(name, "output_activation"), f"has no meaning for a {task.type}", "remove it")


def _check_lengths(draft: Draft, name: str, task: Task) -> None:
    """Lengths are between landmarks of the task."""
    columns = task.chosen_settings("type")
    if not isinstance(columns, LandmarkSettings):
        return
    landmarks = split_list(task.attribute or "")
    for length, ends in columns.named_lengths().items():
        for end in ends:
            if end not in landmarks:
                hint = did_you_mean(end, landmarks, f"the landmarks are {', '.join(landmarks)}")
                place = draft.application.place(name, "landmarks_lengths")
                draft.ini.add(*place, f"has the length {length!r} to {end!r}, which is no landmark of the task", hint)


def _columns(task: Task) -> list[str | None]:
    """Returns the columns, or parts of file names, that must be there."""
    columns = task.chosen_settings("type")
    if isinstance(columns, LandmarkSettings):
        return [*columns.point_columns(split_list(task.attribute or ""))]
    is_list = TASK_TYPES[task.type].of_value == "points" or task.type == "regression"
    return [*split_list(task.attribute or "")] if is_list else [task.attribute]


def _check_head(draft: Draft, name: str, task: Task) -> None:
    """What a head reads of the features is asked of tasks of values, and all features of windows of one size."""
    ini, place = draft.ini, draft.application.place
    if not draft.is_scalar(task.target):
        for key, usual in (("per", "image"), ("head_pooling", "average")):
            if getattr(task, key) != usual:
                message = f"has no meaning for a task with a target per voxel, [{task.target}]"
                ini.add(*place(name, key), message, "remove it")
        return
    if task.head_pooling != "average" and is_told_by_map(task.type, task.loss):
        message = f"has no meaning for landmarks that loss = {task.loss} tells by heat maps"
        ini.add(*place(name, "head_pooling"), message, "remove it, or write loss = landmarks")
    if task.per == "window" and TASK_TYPES[task.type].of_value == "points":
        ini.add(*place(name, "per"), f"cannot be: places of a {task.type} are those of the whole image", "remove it")
    window, training = draft.sections["inference"].spatial_window_size, draft.window
    if task.head_pooling == "flatten" and training is not None and window not in (None, training):
        message = f"must be {listed(training)}, the size of training, with head_pooling = flatten in [TASK {name}]"
        ini.add("INFERENCE", "spatial_window_size", message)
