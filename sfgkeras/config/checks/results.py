"""Checks of what is made before and after the network: preprocessing, inference, evaluation."""

from sfgkeras.config import choices
from sfgkeras.config.checks.words import listed
from sfgkeras.config.settle import Draft
from sfgkeras.config.task_sections import Task
from sfgkeras.errors import did_you_mean
from sfgkeras.tables.measures import MEASURES, measures_by_type
from sfgkeras.tables.samplers import SAMPLERS
from sfgkeras.tables.tasks import TASK_TYPES, for_type


def _check_flips(draft: Draft) -> None:
    """Windows have the axes that are mirrored, and results can be mirrored back."""
    ini, axes, window = draft.ini, draft.sections["inference"].flipping_axes, draft.window
    for axis in axes:
        if window and window[axis] == 1:
            ini.add("INFERENCE", "flipping_axes", f"mirrors axis {axis}, which has one voxel", "leave it out")
    moved = [name for name, task in draft.application.tasks.items() if _has_places(draft, task)]
    if axes and moved:
        what = f"mirrors images, and the places that task {moved[0]} predicts would not be mirrored back"
        ini.add("INFERENCE", "flipping_axes", what, "remove it")


def _has_places(draft: Draft, task: Task) -> bool:
    entry, source = TASK_TYPES.get(task.type), draft.sources.get(task.target)
    return bool(entry and source and source.gives_values and entry.of_value == "points")


def check_inference(draft: Draft) -> None:
    """Windows of inference cut the same slices as those of training, and their borders leave something."""
    _check_flips(draft)
    ini, inference, network = draft.ini, draft.sections["inference"], draft.sections["network"]
    if any(mark in inference.output_postfix for mark in "/\\"):
        ini.add("INFERENCE", "output_postfix", "is part of a file name", "write it without / and \\")
    _check_class_maps(draft)
    training_window = draft.window
    if training_window is None:
        return
    window = inference.spatial_window_size or training_window
    has_maps = draft.has_maps() or draft.has_heat_maps()
    if window != training_window and SAMPLERS[network.window_sampling].whole:
        message = f"must be {listed(training_window)} with window_sampling = resize"
        ini.add("INFERENCE", "spatial_window_size", message)
    elif [size == 1 for size in window] != [size == 1 for size in training_window]:
        message = f"must have its axis of 1 where the window of training has it, {listed(training_window)}"
        ini.add("INFERENCE", "spatial_window_size", message)
    elif any(inference.border) and (SAMPLERS[network.window_sampling].whole or not has_maps):
        ini.add("INFERENCE", "border", "has no meaning where each volume is one window", "write 0, 0, 0")
    elif any(0 < size <= 2 * border for border, size in zip(inference.border, window, strict=True)):
        fitting = tuple(
            min(b, (size - 1) // 2) if size else b for b, size in zip(inference.border, window, strict=True)
        )
        message = f"leaves nothing of the window {listed(window)}"
        ini.add("INFERENCE", "border", message, f"write e.g. {listed(fitting)}")


def _check_class_maps(draft: Draft) -> None:
    """There are maps of classes where there are classes of images, and of every kind of head that can have them."""
    ini, method = draft.ini, draft.sections["inference"].class_activation_maps
    classifications = {name: task for name, task in draft.application.tasks.items() if task.type == "classification"}
    if method == "none":
        if draft.sections["inference"].class_activation_of is not None:
            message = "says whose map is written, and class_activation_maps = none writes no map"
            ini.add("INFERENCE", "class_activation_of", message, "leave it out, or write class_activation_maps = cam")
        return
    if not classifications:
        ini.add("INFERENCE", "class_activation_maps", "asks for maps of classes, and no task is a classification")
    layered = [name for name, task in classifications.items() if task.head_layers or task.head_pooling != "average"]
    if method == "cam" and layered:
        ini.add(
            "INFERENCE",
            "class_activation_maps",
            f"needs classes right behind the average of the features, and task {layered[0]!r} has head_layers or "
            "head_pooling = flatten",
            "write grad_cam, or leave these out of the task",
        )


def check_preprocessing(draft: Draft) -> None:
    """Only volumes that the network sees are preprocessed, each once."""
    preprocessing, ini = draft.sections.get("preprocessing"), draft.ini
    if preprocessing is None:
        return
    images = [name for name in draft.application.multitask.image if name in draft.sources]
    problems = []
    for name in preprocessing.sources:
        if name in images:
            if draft.sources[name].loader in ("pillow", "table"):
                problems.append(f"has [{name}], whose loader gives no volume; leave it out")
        elif name in draft.sources:
            problems.append(
                f"has {name!r}, which the network does not see: results are compared with the originals of targets; "
                "use scaling = ct in its section or scale in its task, or preprocess the folder beforehand"
            )
        elif images:
            problems.append(f"has {name!r}, which is no image source; choose of {', '.join(images)}")
    if len(set(preprocessing.sources)) < len(preprocessing.sources):
        problems.append("names a source twice; remove one of them")
    if problems and ini.has("PREPROCESSING", "sources"):
        ini.add("PREPROCESSING", "sources", "; it ".join(problems))
    elif problems:
        ini.add("PREPROCESSING", None, f"preprocesses {', '.join(preprocessing.sources)} and {'; '.join(problems)}")


def check_evaluation(draft: Draft) -> None:
    """Every measure fits some task."""
    ini, evaluation, tasks = draft.ini, draft.sections["evaluation"], draft.application.tasks
    if not draft.application.complete:
        return
    by_type = measures_by_type()
    fitting = list(dict.fromkeys(name for task in tasks.values() for name in for_type(by_type, task.type)))
    for measure in evaluation.evaluations:
        if measure not in fitting:
            if remedy := choices.NOT_BUILT_EVALUATIONS.get(measure):
                ini.add("EVALUATION", "evaluations", f"has {measure!r}, which does not exist in this version", remedy)
                continue
            known = measure in MEASURES
            what = f"has {measure!r}, which {'fits no task here' if known else 'is not known'}"
            close = "" if known else did_you_mean(measure, fitting)
            ini.add("EVALUATION", "evaluations", what, f"{close} choose of {', '.join(fitting)}".lstrip())
    _check_mask(draft)
    if evaluation.intensity_bounds and not any(_is_quantity(task) for task in tasks.values()):
        ini.add("EVALUATION", "intensity_bounds", "needs a regression, and there is none", "remove it")


def _is_quantity(task: Task) -> bool:
    """Says whether a task is measured as a regression, whose intensities may be bounded."""
    return task.type == "depth" or "regression" in (task.type, TASK_TYPES[task.type].measured_as)


def _check_mask(draft: Draft) -> None:
    ini, evaluation = draft.ini, draft.sections["evaluation"]
    mask = evaluation.mask
    if not draft.has_maps():
        for key in ("mask", "body"):
            if getattr(evaluation, key):
                ini.add("EVALUATION", key, "needs a task with volumes, and there is none", "remove it")
    elif mask is not None and mask not in draft.sources:
        remedy = did_you_mean(mask, draft.sources, f"add [{mask}] with path_to_search or csv_file")
        ini.add("EVALUATION", "mask", "names no input source", remedy)
    elif mask is not None and draft.is_scalar(mask):
        ini.add("EVALUATION", "mask", "gives values, and a mask has voxels", "name a source of label maps")
    elif mask is not None and mask.lower() in ("all", *(["body"] if evaluation.body else [])):
        ini.add("EVALUATION", "mask", f"is named like the region {mask.lower()!r}", "give the source another name")
