"""What must hold between keys: each check reads a settled draft and collects its mistakes."""

import math
from collections.abc import Callable, Mapping

from sfgkeras.classes import is_class_path
from sfgkeras.config import choices
from sfgkeras.config.sections import Training
from sfgkeras.config.settle import Draft, label_sources
from sfgkeras.config.target_checks import check_boxes, check_reconstructions
from sfgkeras.config.task_sections import InputSource, Multitask, Task
from sfgkeras.errors import suggestion
from sfgkeras.quoting import split_list
from sfgkeras.tables.balancing import BALANCING
from sfgkeras.tables.losses import LOSSES, takes_one_logit
from sfgkeras.tables.metrics import METRICS
from sfgkeras.tables.networks import NETWORKS, gives_only
from sfgkeras.tables.samplers import SAMPLERS
from sfgkeras.tables.sharing import SHARING
from sfgkeras.tables.tasks import TASK_TYPES, for_type

GROUPING_WINDOW = 10_000
"""Iterations over which the grouping probabilities must stand still (`callbacks.GroupingConvergence`)."""

FEWEST_NOTES = 10
"""Notes of them that this takes at least: between two or three they may have moved and come back."""


def check_sources(draft: Draft) -> None:
    """Every source says where its files are, and no option contradicts its loader."""
    for name, source in draft.sources.items():
        if source.loader == "table":
            if source.csv_file is None:
                draft.ini.need(name, "csv_file", ", the table that loader = table reads")
            for key in ("filename_attributes", "path_to_search"):
                if getattr(source, key):
                    draft.ini.add(name, key, "has no use with loader = table; remove one of them")
        elif source.loader == "hdf5":
            _check_hdf5(draft, name, source)
        elif source.csv_file is None and not source.path_to_search:
            draft.ini.need(name, "path_to_search", ", the folder of its files, or csv_file, a list of them")
        if source.csv_file is not None and source.layout != "flat":
            draft.ini.add(name, "layout", "has no use with csv_file, which lists ids and files; remove one of them")
    for name in label_sources(draft):
        if draft.sources[name].interp_order != 0:
            draft.ini.add(name, "interp_order", "would mix labels; write 0, or leave the line out")
        if draft.sources[name].scaling != "none":
            draft.ini.add(name, "scaling", "would change labels; remove the line")
        if draft.sources[name].outside not in ("auto", "none"):
            draft.ini.add(name, "outside", "would leave out a label; remove the line, or use weight for a weight map")


_NAME_KEYS = (
    "csv_file",
    "filename_contains",
    "filename_not_contains",
    "filename_removefromid",
    "filename_attributes",
    "layout",
)


def _check_hdf5(draft: Draft, name: str, source: InputSource) -> None:
    if source.settings_of("loader").get("file") is None:
        draft.ini.need(name, "hdf5_file", ", the file that loader = hdf5 reads")
    for key in _NAME_KEYS:
        if draft.ini.has(name, key):
            draft.ini.add(name, key, "has no use with loader = hdf5, whose subjects are rows of a file; remove it")


def check_images(draft: Draft) -> None:
    """The image has a window that every volume shares, and every volume lies on the first image's grid."""
    ini, images = draft.ini, [name for name in draft.application.multitask.image if name in draft.sources]
    for name in images:
        source = draft.sources[name]
        if source.loader == "hdf5" and source.gives_values:
            ini.add(name, "hdf5_content", "gives numbers, and an image is needed; write images, or remove the line")
        elif source.gives_values and not source.filename_attributes:
            ini.add(name, "loader", "reads numbers, and an image is needed; choose nibabel, simpleitk or pillow")
    window = draft.window
    if window is None:
        for name in images[:1]:
            ini.need(name, "spatial_window_size", ", the window of training; write e.g. 128, 128, 1")
        return
    for name in [*images, *draft.map_sources]:
        own = draft.sources[name].spatial_window_size
        is_niftynets = draft.application.name != "multi_task" or draft.application.authors_spelling
        if own is not None and own != window and name not in images and is_niftynets:
            draft.warnings.append(
                f"[{name}] spatial_window_size = {_listed(own)} has no effect: the network's outputs are as large as "
                f"the image's window {_listed(window)}"
            )
        elif own is not None and own != window:
            ini.add(
                name,
                "spatial_window_size",
                f"differs from the image's window {_listed(window)}; use the same size",
            )
        for key in ("axcodes", "pixdim"):
            own, first = getattr(draft.sources[name], key), getattr(draft.sources[images[0]], key)
            if own is not None and own != first:
                wanted = _listed(first) if first else f"the file's own, as it has no {key}"
                ini.add(name, key, f"differs from [{images[0]}], whose grid all volumes take; write {wanted}")
    if window.count(1) > 1:
        name = next(name for name in images if draft.sources[name].spatial_window_size)
        ini.add(
            name,
            "spatial_window_size",
            "has more than one axis of 1; one makes 2-D slices, none makes 3-D windows",
        )


def _listed(numbers: tuple[object, ...]) -> str:
    return ", ".join(f"{number:g}" if isinstance(number, float) else str(number) for number in numbers)


def check_tasks(draft: Draft) -> None:
    """Every task has a loss, metrics, classes and a target that fit its type and the network."""
    for name, task in draft.application.tasks.items():
        _check_named(draft, name, "loss", task.loss, LOSSES, task.type)
        for metric in task.metrics:
            _check_named(draft, name, "metrics", metric, METRICS, task.type)
        _check_classes(draft, name, task)
        _check_distances(draft, name, task)
        has_unit = TASK_TYPES[task.type].has_unit
        if task.scale == 0 or (task.scale != 1 and not has_unit):
            remedy = "write a factor such as 0.01" if has_unit else "remove it; only a regression is scaled"
            draft.ini.add(*draft.application.place(name, "scale"), f"cannot be used; {remedy}")
        if task.target in draft.sources:
            _check_unit(draft, name, task)
            _check_target(draft, name, task)


def _check_named(
    draft: Draft, task: str, key: str, word: str, table: Mapping[str, Mapping[str, object]], task_type: str
) -> None:
    known = for_type(table, task_type)
    usual = next(iter(known))
    if word in known or (key == "loss" and is_class_path(word)):
        return
    if key == "loss" and word in choices.NOT_BUILT_LOSSES:
        remedy = choices.NOT_BUILT_LOSSES[word]
        draft.ini.add(*draft.application.place(task, key), f"does not exist in this version; {remedy}")
        return
    others = [other for other in table if word in table[other]]
    what = f"belongs to {' and '.join(others)}, not {task_type}" if others else "is not known"
    hint = "" if others else suggestion(word, list(known))
    message = f"{what}{hint or ';'} choose one of {', '.join(known)}" if word else f"is empty; choose {usual}"
    draft.ini.add(*draft.application.place(task, key), message)


def _check_classes(draft: Draft, name: str, task: Task) -> None:
    place = draft.application.place(name, "num_classes")
    if not TASK_TYPES[task.type].has_classes:
        if task.num_classes is not None:
            draft.ini.add(*place, f"has no meaning for a {task.type}; remove it, or use type = segmentation")
        if task.output_prob:
            message = f"has no meaning for a {task.type}; remove it"
            draft.ini.add(*draft.application.place(name, "output_prob"), message)
    elif task.class_names and task.num_classes is not None and len(task.class_names) != task.num_classes:
        draft.ini.add(
            *draft.application.place(name, "class_names"),
            f"has {len(task.class_names)} names for num_classes = {task.num_classes}; name every class, "
            "the background first",
        )
    elif task.num_classes is None:
        draft.ini.need(*place, f", the number of classes of the {task.type}, background included")
    elif takes_one_logit(task.type, task.loss) and task.num_classes != 2:
        remedy = "write 2, or leave the line out" if task.num_classes < 2 else "use crossentropy for more"
        draft.ini.add(*place, f"does not fit the loss {task.loss}, whose one logit tells two classes apart; {remedy}")
    elif task.num_classes < 2:
        draft.ini.add(*place, f"is too small for a {task.type}; count the background too, which makes at least 2")


def _check_unit(draft: Draft, name: str, task: Task) -> None:
    place = draft.application.place(name, "unit")
    if task.unit and not TASK_TYPES[task.type].has_unit:
        draft.ini.add(*place, f"has no meaning for a {task.type}; remove it")
    elif task.unit.upper() not in ("", "HU") and draft.sources[task.target].scaling == "ct":
        draft.ini.add(*place, f"contradicts scaling = ct of [{task.target}], which gives HU; remove one of them")


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
            f"needs [{task.target}] to give values; set loader = table or filename_attributes there",
        )
        return
    wanted = split_list(task.attribute or "") if TASK_TYPES[task.type].of_value == "points" else [task.attribute]
    if source.filename_attributes and not set(wanted) <= set(source.filename_attributes):
        known = ", ".join(source.filename_attributes)
        hint = f"is not among filename_attributes of [{task.target}]; choose one of {known}"
        if ini.has(*place(name, "attribute")):
            ini.add(*place(name, "attribute"), hint)
        else:
            ini.need(*place(name, "attribute"), f", one of {known}")
    entry = TASK_TYPES[task.type]
    if entry.of_volume is None and not scalar:
        needs, other = ("class", ", or use type = segmentation") if entry.has_classes else ("value", "")
        ini.add(
            *place(name, "target"),
            f"gives volumes, and a {task.type} needs one {needs} per subject; set loader = table, loader = voxel "
            f"(images of 1 x 1 x 1) or filename_attributes there{other}",
        )
    elif entry.of_value is None and scalar:
        needs = "label maps; use type = classification" if entry.has_classes else "volumes; choose another target"
        ini.add(*place(name, "target"), f"gives values, and a {task.type} needs {needs}")
    elif not scalar and gives_no_maps:
        maps = " or ".join(other for other, entry in NETWORKS.items() if "map" in entry.outputs)
        ini.add(
            "NETWORK",
            "name",
            f"gives one output per window, and task {name!r} has a volume; use {maps}, or loader = voxel in "
            f"[{task.target}] if its images are of 1 x 1 x 1",
        )
    _check_head(draft, name, task)


def _check_head(draft: Draft, name: str, task: Task) -> None:
    """What a head reads of the features is asked of tasks of values, and all features of windows of one size."""
    ini, place = draft.ini, draft.application.place
    if not draft.is_scalar(task.target):
        for key, usual in (("per", "image"), ("head_pooling", "average")):
            if getattr(task, key) != usual:
                message = f"has no meaning for a task with a target per voxel, [{task.target}]; remove it"
                ini.add(*place(name, key), message)
        return
    if task.per == "window" and TASK_TYPES[task.type].of_value == "points":
        ini.add(*place(name, "per"), f"cannot be: places of a {task.type} are those of the whole image; remove it")
    window, training = draft.sections["inference"].spatial_window_size, draft.window
    if task.head_pooling == "flatten" and training is not None and window not in (None, training):
        message = f"must be {_listed(training)}, the size of training, with head_pooling = flatten in [TASK {name}]"
        ini.add("INFERENCE", "spatial_window_size", message)


def check_network(draft: Draft) -> None:
    """Normalisation has its file, the sampler its source, the loss border a map to lie in, and XLA its way."""
    ini, network, application = draft.ini, draft.sections["network"], draft.application
    multitask = application.multitask
    if network.normalisation and network.histogram_ref_file is None:
        ini.need("NETWORK", "histogram_ref_file", ", the file of landmarks that normalisation = yes fits or reads")
    if SAMPLERS[network.window_sampling].needs_source and multitask.sampler is None:
        ini.add(
            "NETWORK",
            "window_sampling",
            f"needs a source to draw by; set sampler in [{application.section}] to an input source",
        )
    elif multitask.sampler is not None and not SAMPLERS[network.window_sampling].needs_source:
        draft.warnings.append(
            f"[{application.section}] sampler = {multitask.sampler} has no effect with window_sampling = "
            f"{network.window_sampling}; use weighted or balanced"
        )
    if multitask.loss_border and SAMPLERS[network.window_sampling].whole:
        ini.add(application.section, "loss_border", "cannot be used with window_sampling = resize; write 0")
    elif multitask.loss_border and not draft.has_maps():
        ini.add(
            application.section,
            "loss_border",
            f"has no meaning for {network.name}, which predicts no map; write 0",
        )
    system = draft.sections["system"]
    if system.jit_compile and system.rematerialise != "none":
        message = "has no effect with jit_compile = yes: XLA chooses what to keep; write none, or jit_compile = no"
        ini.add("SYSTEM", "rematerialise", message)


def check_grouping(draft: Draft) -> None:
    """The groups' probabilities are probabilities, and the temperature can fall."""
    ini, network, multitask = draft.ini, draft.sections["network"], draft.application.multitask
    probabilities, num_tasks = multitask.init_categorical, len(draft.application.tasks)
    if probabilities is not None and draft.application.complete:
        groups = ", ".join([*draft.application.tasks, "shared"])
        own = [("SHARING", key) for key in ("initial_probabilities", "fractions") if ini.has("SHARING", key)]
        place = own[0] if own else ("MULTITASK", "init_categorical")
        if len(probabilities) != num_tasks + 1:
            message = f"has {len(probabilities)} numbers for {num_tasks + 1} groups"
            ini.add(*place, message, f"give one each for {groups}")
        elif min(probabilities) < 0 or not math.isclose(sum(probabilities), 1, abs_tol=5e-3):
            remedy = f"write probabilities from 0 up that sum to 1, for {groups}"
            ini.add(*place, f"sums to {sum(probabilities):g}", remedy)
        elif multitask.random_p_init:
            ini.add("MULTITASK", "random_p_init", "contradicts init_categorical; keep one of them")
    if multitask.use_tau_annealing and multitask.min_temp > multitask.tau:
        ini.add(
            "MULTITASK",
            "min_temp",
            f"is above tau = {multitask.tau:g}, where the temperature starts; lower it",
        )
    if network.sharing != "cross_stitch":
        for key in ("cross_stitch_init", "cross_stitch_per_channel", "cross_stitch_decay"):
            if ini.has("MULTITASK", key) and getattr(multitask, key) != Multitask.model_fields[key].default:
                draft.warnings.append(
                    f"[MULTITASK] {key} has no effect with [NETWORK] sharing = {network.sharing}; use cross_stitch"
                )
    _check_grouping_convergence(draft)


def _check_grouping_convergence(draft: Draft) -> None:
    """A training that is to end once p stands still must look at it, and often enough."""
    ini, network, training = draft.ini, draft.sections["network"], draft.sections["training"]
    if not training.stop_when_grouping_converges:
        return
    if not SHARING[network.sharing].learned:
        message = f"never happens with [NETWORK] sharing = {network.sharing}; use sharing = sfg, or no"
        ini.add("TRAINING", "stop_when_grouping_converges", message)
    elif training.grouping_every_n > GROUPING_WINDOW // FEWEST_NOTES:
        ini.add(
            "TRAINING",
            "grouping_every_n",
            f"is too long for stop_when_grouping_converges, which looks at {FEWEST_NOTES} notes in {GROUPING_WINDOW:,} "
            f"iterations or more; write {GROUPING_WINDOW // FEWEST_NOTES} at most, or 0",
        )


def check_monte_carlo(draft: Draft) -> None:
    """Several passes are only asked for where they differ."""
    ini, network, inference = draft.ini, draft.sections["network"], draft.sections["inference"]
    if inference.monte_carlo == 1:
        ini.add("INFERENCE", "monte_carlo", "has no spread; write 2 or more passes, or 0")
    elif inference.monte_carlo and not SHARING[network.sharing].drawn:
        ini.add(
            "INFERENCE",
            "monte_carlo",
            f"repeats equal passes: [NETWORK] sharing = {network.sharing} draws no masks; use sharing = sfg, or 0",
        )
    elif inference.monte_carlo and inference.masks != "sample":
        ini.add("INFERENCE", "monte_carlo", f"repeats equal passes with masks = {inference.masks}; use masks = sample")


def check_training(draft: Draft) -> None:
    """Augmentation fits the window; iterations and losses make sense."""
    ini, training, window = draft.ini, draft.sections["training"], draft.window
    if "MULTITASK" in ini.sections and training.loss_type is not None:
        ini.add("TRAINING", "loss_type", "has no effect with [MULTITASK]; set loss in each [TASK name]")
    if training.scaling_percentage and training.scaling_percentage[0] <= -100:
        ini.add("TRAINING", "scaling_percentage", "shrinks to nothing; percentages start above -100")
    for axis in training.random_flipping_axes:
        if window and window[axis] == 1:
            ini.add("TRAINING", "random_flipping_axes", f"flips axis {axis}, which has one voxel; leave it out")
    if training.max_iter is not None and training.max_epochs is not None:
        message = f"stands beside max_epochs = {training.max_epochs}; remove one of them, both say how long to train"
        ini.add("TRAINING", "max_iter", message)
    if training.max_iter is not None and training.starting_iter > training.max_iter:
        ini.add("TRAINING", "starting_iter", f"is above max_iter = {training.max_iter}; raise max_iter")
    held_out = training.exclude_fraction_for_validation + training.exclude_fraction_for_inference
    if held_out >= 1:
        key = "exclude_fraction_for_inference"
        ini.add(
            "TRAINING",
            key,
            f"leaves no subject for training, {held_out:g} are held out in all; lower one of them",
        )


def check_validation(draft: Draft) -> None:
    """What follows from validation is only asked for where there is validation."""
    ini, training = draft.ini, draft.sections["training"]
    _check_best_metric(draft)
    if ini.is_wrong("TRAINING", "validation_every_n") or ini.is_wrong("TRAINING", "validation_every_epochs"):
        return
    if training.validation_every_n > 0 and training.validation_every_epochs:
        message = f"stands beside validation_every_n = {training.validation_every_n}; remove one of them"
        ini.add("TRAINING", "validation_every_epochs", message)
    if training.validates:
        # Rows of HDF5 files may be divided by the folders that these lie in.
        images = draft.application.multitask.image
        is_divided = any(draft.sources[name].loader == "hdf5" for name in images if name in draft.sources)
        has_split = ini.has("SYSTEM", "dataset_split_file") or is_divided
        if training.exclude_fraction_for_validation == 0 and not has_split:
            draft.warnings.append(
                f"[TRAINING] {_every(training)} needs subjects, and with "
                "exclude_fraction_for_validation = 0 a newly drawn split has none"
            )
        return
    remedy = "and there is none; set validation_every_n or validation_every_epochs in [TRAINING]"
    if training.restore_best:
        ini.add("TRAINING", "restore_best", f"takes what was best in validation, {remedy}")
        return
    if training.patience:
        ini.add("TRAINING", "patience", f"counts validations, {remedy}")
    if training.best_metric is not None:
        ini.add("TRAINING", "best_metric", f"is measured in validation, {remedy}")
    if draft.sections["inference"].inference_iter == "best":
        ini.add("INFERENCE", "inference_iter", f"is chosen by validation, {remedy}")


def _every(training: Training) -> str:
    key = "validation_every_n" if training.validation_every_n > 0 else "validation_every_epochs"
    return f"{key} = {getattr(training, key)}"


def check_balancing(draft: Draft) -> None:
    """A task says only what the balancing rule makes use of."""
    chosen = draft.sections["training"].balancing
    used = BALANCING[chosen].load().task_keys
    owners = {key: name for name, entry in BALANCING.items() for key in entry.load().task_keys}
    for name, task in draft.application.tasks.items():
        for key, owner in owners.items():
            value = getattr(task, key)
            if key in used or value == Task.model_fields[key].default:
                continue
            draft.ini.add(
                *draft.application.place(name, key),
                f"has no meaning with [TRAINING] balancing = {chosen}; {_instead(draft, task, key, owner, chosen)}",
            )


def _instead(draft: Draft, task: Task, key: str, owner: str, chosen: str) -> str:
    """Says what to write in the place of a task's key that another balancing rule has."""
    loss = for_type(LOSSES, task.type).get(task.loss)
    same = BALANCING[chosen].load().instead_of(key, getattr(task, key), loss.likelihood) if loss is not None else ""
    return f"write {same}" if same else f"remove it, or use balancing = {owner}"


def _check_best_metric(draft: Draft) -> None:
    best_metric, tasks = draft.sections["training"].best_metric, draft.application.tasks
    scores = [f"{name}_{score}" for name, task in tasks.items() for score in ("loss", *task.metrics)]
    if draft.application.complete and best_metric is not None and best_metric not in ("loss", *scores):
        hint = suggestion(best_metric, scores) or ";"
        draft.ini.add("TRAINING", "best_metric", f"is not a score{hint} choose one of loss, {', '.join(scores)}")


def check_inference(draft: Draft) -> None:
    """Windows of inference cut the same slices as those of training, and their borders leave something."""
    ini, inference, network = draft.ini, draft.sections["inference"], draft.sections["network"]
    if any(mark in inference.output_postfix for mark in "/\\"):
        ini.add("INFERENCE", "output_postfix", "is part of a file name; write it without / and \\")
    training_window = draft.window
    if training_window is None:
        return
    window = inference.spatial_window_size or training_window
    if window != training_window and SAMPLERS[network.window_sampling].whole:
        message = f"must be {_listed(training_window)} with window_sampling = resize"
        ini.add("INFERENCE", "spatial_window_size", message)
    elif [size == 1 for size in window] != [size == 1 for size in training_window]:
        message = f"must have its axis of 1 where the window of training has it, {_listed(training_window)}"
        ini.add("INFERENCE", "spatial_window_size", message)
    elif any(inference.border) and (SAMPLERS[network.window_sampling].whole or not draft.has_maps()):
        ini.add("INFERENCE", "border", "has no meaning where each volume is one window; write 0, 0, 0")
    elif any(0 < size <= 2 * border for border, size in zip(inference.border, window, strict=True)):
        fitting = tuple(
            min(b, (size - 1) // 2) if size else b for b, size in zip(inference.border, window, strict=True)
        )
        message = f"leaves nothing of the window {_listed(window)}; write e.g. {_listed(fitting)}"
        ini.add("INFERENCE", "border", message)


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
    fitting = list(dict.fromkeys(name for task in tasks.values() for name in for_type(choices.EVALUATIONS, task.type)))
    for measure in evaluation.evaluations:
        if measure not in fitting:
            if remedy := choices.NOT_BUILT_EVALUATIONS.get(measure):
                ini.add("EVALUATION", "evaluations", f"has {measure!r}, which does not exist in this version; {remedy}")
                continue
            known = any(measure in names for names in choices.EVALUATIONS.values())
            what = f"has {measure!r}, which {'fits no task here' if known else 'is not known'}"
            hint = ";" if known else suggestion(measure, fitting) or ";"
            ini.add("EVALUATION", "evaluations", f"{what}{hint} choose of {', '.join(fitting)}")
    _check_mask(draft)
    if evaluation.intensity_bounds and not any(_is_quantity(task) for task in tasks.values()):
        ini.add("EVALUATION", "intensity_bounds", "needs a regression, and there is none; remove it")


def _is_quantity(task: Task) -> bool:
    """Says whether a task is measured as a regression, whose intensities may be bounded."""
    return "regression" in (task.type, TASK_TYPES[task.type].measured_as)


def _check_mask(draft: Draft) -> None:
    ini, evaluation = draft.ini, draft.sections["evaluation"]
    mask = evaluation.mask
    if not draft.has_maps():
        for key in ("mask", "body"):
            if getattr(evaluation, key):
                ini.add("EVALUATION", key, "needs a task with volumes, and there is none; remove it")
    elif mask is not None and mask not in draft.sources:
        hint = suggestion(mask, list(draft.sources)) or f"; add [{mask}] with path_to_search or csv_file"
        ini.add("EVALUATION", "mask", f"names no input source{hint}")
    elif mask is not None and draft.is_scalar(mask):
        ini.add("EVALUATION", "mask", "gives values, and a mask has voxels; name a source of label maps")
    elif mask is not None and mask.lower() in ("all", *(["body"] if evaluation.body else [])):
        ini.add("EVALUATION", "mask", f"is named like the region {mask.lower()!r}; give the source another name")


def warn_unused_sources(draft: Draft) -> None:
    """Warns of input sources that nothing refers to; in a row of a study another row may."""
    if draft.row is not None:
        return
    multitask = draft.application.multitask
    used = {*multitask.image, multitask.weight, multitask.sampler, draft.sections["evaluation"].mask}
    used |= {task.target for task in draft.application.tasks.values()}
    draft.warnings.extend(
        f"[{name}] is an input source that no image, task, weight or sampler refers to"
        for name in draft.sources
        if name not in used
    )


CHECKS: tuple[Callable[[Draft], None], ...] = (
    check_sources,
    check_images,
    check_tasks,
    check_boxes,
    check_reconstructions,
    check_network,
    check_grouping,
    check_monte_carlo,
    check_training,
    check_balancing,
    check_validation,
    check_inference,
    check_preprocessing,
    check_evaluation,
    warn_unused_sources,
)
