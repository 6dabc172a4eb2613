"""Checks of training: augmentation, iterations, balancing, and what follows from validation."""

from sfgkeras.config.grouping_schedule import check_schedule
from sfgkeras.config.sections import Network, Training
from sfgkeras.config.settle import Draft
from sfgkeras.config.task_sections import Task
from sfgkeras.errors import did_you_mean
from sfgkeras.tables.balancing import BALANCING
from sfgkeras.tables.intensities import INTENSITIES
from sfgkeras.tables.losses import LOSSES
from sfgkeras.tables.sharing import SHARING
from sfgkeras.tables.stopping import STOPPING
from sfgkeras.tables.tasks import for_type
from sfgkeras.tables.trackers import TRACKERS


def check_training(draft: Draft) -> None:
    """Augmentation fits the window; iterations and losses make sense."""
    ini, training, window = draft.ini, draft.sections["training"], draft.window
    if "MULTITASK" in ini.sections and training.loss_type is not None:
        ini.add("TRAINING", "loss_type", "has no effect with [MULTITASK]", "set loss in each [TASK name]")
    if training.scaling_percentage and training.scaling_percentage[0] <= -100:
        ini.add("TRAINING", "scaling_percentage", "shrinks to nothing", "percentages start above -100")
    _check_intensities(draft)
    for axis in training.random_flipping_axes:
        if window and window[axis] == 1:
            ini.add("TRAINING", "random_flipping_axes", f"flips axis {axis}, which has one voxel", "leave it out")
    if training.max_iter is not None and training.max_epochs is not None:
        message = f"stands beside max_epochs = {training.max_epochs}"
        ini.add("TRAINING", "max_iter", message, "remove one of them, both say how long to train")
    if training.max_iter is not None and training.starting_iter > training.max_iter:
        ini.add("TRAINING", "starting_iter", f"is above max_iter = {training.max_iter}", "raise max_iter")
    held_out = training.exclude_fraction_for_validation + training.exclude_fraction_for_inference
    if held_out >= 1:
        key = "exclude_fraction_for_inference"
        ini.add(
            "TRAINING",
            key,
            f"leaves no subject for training, {held_out:g} are held out in all",
            "lower one of them",
        )


def check_trackers(draft: Draft) -> None:
    """Trackers are known, each once."""
    ini, names = draft.ini, draft.sections["training"].trackers
    for name in names:
        if name not in TRACKERS:
            remedy = did_you_mean(name, TRACKERS, f"choose of {', '.join(TRACKERS)}")
            ini.add("TRAINING", "trackers", f"has {name!r}, which is none", remedy)
    if len(set(names)) < len(names):
        ini.add("TRAINING", "trackers", "names one twice", "remove one of them")


def check_folds(draft: Draft) -> None:
    """There are several folds, the one that is meant is among them, and subjects are held out by them alone."""
    ini, training, tasks = draft.ini, draft.sections["training"], draft.application.tasks
    if training.folds == 1:
        ini.add("TRAINING", "folds", "trains on nobody: one fold holds out all", "write 5, or 0 for one run")
    if not training.folds:
        for key in ("fold", "fold_groups", "fold_strata"):
            if getattr(training, key) is not None:
                ini.add("TRAINING", key, "has no meaning without folds", "set folds, or remove this line")
        return
    if training.fold is not None and training.fold > training.folds:
        ini.add("TRAINING", "fold", f"is above folds = {training.folds}", f"write 1 to {training.folds}")
    if training.exclude_fraction_for_validation:
        what = f"stands beside folds = {training.folds}, which hold out every subject in turn"
        ini.add("TRAINING", "exclude_fraction_for_validation", what, "remove one of them")
    if training.restore_from is not None and training.restore_from == draft.sections["system"].model_dir:
        ini.add("TRAINING", "restore_from", "is the run's own model_dir", "name another run")
    if training.fold_strata is not None and draft.application.complete:
        if training.fold_strata not in tasks:
            remedy = did_you_mean(training.fold_strata, tasks, f"choose one of {', '.join(tasks)}")
            ini.add("TRAINING", "fold_strata", "is no task", remedy)
        elif tasks[training.fold_strata].type not in ("classification", "regression") or not (
            draft.sources[tasks[training.fold_strata].target].gives_values
        ):
            what = "has no class or number for each subject that folds could be balanced by"
            ini.add("TRAINING", "fold_strata", what, "name a classification or regression of values")


def _check_intensities(draft: Draft) -> None:
    """Ranges of random intensities mean something, and what belongs to them does not stand alone."""
    ini, training = draft.ini, draft.sections["training"]
    for key, bounds in INTENSITIES.items():
        values = getattr(training, key)
        if values is not None and (problem := bounds.problem(values)):
            ini.add("TRAINING", key, f"is out of range: both numbers {problem}", "correct it, or leave it out")
    usual = {name: field.default for name, field in Training.model_fields.items()}
    if training.num_ghosts != usual["num_ghosts"] and training.ghosting_range is None:
        ini.add("TRAINING", "num_ghosts", "has no effect without ghosting_range", "set that, or remove this line")
    is_off = all(getattr(training, key) is None for key in INTENSITIES)
    if training.proportion_to_change != usual["proportion_to_change"] and is_off:
        what = f"has no effect without a range of {', '.join(INTENSITIES)}"
        ini.add("TRAINING", "proportion_to_change", what, "give one of them, or remove this line")


def check_grouping_schedule(draft: Draft) -> None:
    """What only drawn masks need stands beside no schedule that draws none."""
    check_schedule(draft.ini, draft.by_name, draft.sections["network"].sharing)


def check_validation(draft: Draft) -> None:
    """What follows from validation is only asked for where there is validation."""
    ini, training = draft.ini, draft.sections["training"]
    _check_best_metric(draft)
    if ini.is_wrong("TRAINING", "validation_every_n") or ini.is_wrong("TRAINING", "validation_every_epochs"):
        return
    if training.validation_every_n > 0 and training.validation_every_epochs:
        message = f"stands beside validation_every_n = {training.validation_every_n}"
        ini.add("TRAINING", "validation_every_epochs", message, "remove one of them")
    if training.validates:
        # Rows of HDF5 files may be divided by the folders that these lie in.
        images = draft.application.multitask.image
        is_divided = any(draft.sources[name].loader == "hdf5" for name in images if name in draft.sources)
        has_split = ini.has("SYSTEM", "dataset_split_file") or is_divided
        if training.exclude_fraction_for_validation == 0 and not has_split and not training.folds:
            draft.warnings.append(
                f"[TRAINING] {_every(training)} needs subjects, and with "
                "exclude_fraction_for_validation = 0 a newly drawn split has none"
            )
        return
    remedy = "set validation_every_n or validation_every_epochs in [TRAINING]"
    if training.restore_best:
        ini.add("TRAINING", "restore_best", "takes what was best in validation, and there is none", remedy)
        return
    if training.patience:
        ini.add("TRAINING", "patience", "counts validations, and there is none", remedy)
    if training.best_metric is not None:
        ini.add("TRAINING", "best_metric", "is measured in validation, and there is none", remedy)
    if draft.sections["inference"].inference_iter == "best":
        ini.add("INFERENCE", "inference_iter", "is chosen by validation, and there is none", remedy)


def _every(training: Training) -> str:
    key = "validation_every_n" if training.validation_every_n > 0 else "validation_every_epochs"
    return f"{key} = {getattr(training, key)}"


def check_stopping(draft: Draft) -> None:
    """A rule that stops single tasks has several, validations, and a main task; what it does not use is not said."""
    ini, training, tasks = draft.ini, draft.sections["training"], draft.application.tasks
    mode = training.early_stopping_mode
    rule = STOPPING[mode].load()
    owners = {key: name for name, entry in STOPPING.items() for key in entry.load().task_keys}
    for name, task in tasks.items():
        for key, owner in owners.items():
            if key not in rule.task_keys and getattr(task, key) is not None:
                what = f"has no meaning with [TRAINING] early_stopping_mode = {mode}"
                ini.add(*draft.application.place(name, key), what, f"remove it, or use early_stopping_mode = {owner}")
    if training.patience and not rule.uses_patience:
        ini.add("TRAINING", "patience", f"has no meaning with early_stopping_mode = {mode}", "remove it")
    if not rule.stops_tasks or not draft.application.complete:
        return
    if not training.validates:
        remedy = "set validation_every_n or validation_every_epochs in [TRAINING]"
        ini.add("TRAINING", "early_stopping_mode", "looks at validations, and there is none", remedy)
    if len(tasks) == 1:
        what = "stops tasks beside the main one, and there is one task"
        ini.add("TRAINING", "early_stopping_mode", what, "use another mode")
    main = training.settings_of("early_stopping_mode").get("main", "")
    if main and main not in tasks:
        remedy = did_you_mean(main, tasks, f"choose one of {', '.join(tasks)}")
        ini.add("TRAINING", f"{mode}_main", "is no task", remedy)


def check_meta_learning(draft: Draft) -> None:
    """Meta-training has several tasks, halves of batches, one device, and weights that nothing else looks for."""
    ini, training, system = draft.ini, draft.sections["training"], draft.sections["system"]
    network: Network = draft.sections["network"]
    chosen = training.meta_learning
    if chosen == "none":
        return
    what = f"does not go with [TRAINING] meta_learning = {chosen}"
    count = training.settings_of("meta_learning").get("tasks_per_step", 1)
    tasks = draft.application.tasks
    if draft.application.complete and len(tasks) < max(2, count):
        message = f"picks {count} of several tasks, and there {'is one' if len(tasks) == 1 else 'are fewer'}"
        ini.add("TRAINING", "meta_learning", message, "add tasks, or write none")
    if network.batch_size < 2:
        ini.add("NETWORK", "batch_size", f"{what}, which divides a batch into support and query", "write 2 or more")
    entry = SHARING[network.sharing]
    if entry.learned or entry.own_steps:
        ini.add("NETWORK", "sharing", what, "write hard_sharing, or another mechanism that learns no groups or turns")
    if training.balancing != "fixed":
        ini.add("TRAINING", "balancing", f"{what}, which has a curriculum in place of a rule", "write fixed")
    for name, task in tasks.items():
        if task.adversarial_weight:
            place = draft.application.place(name, "adversarial_weight")
            ini.add(*place, f"{what}, whose gradients an adversary has no part in", "remove it")
    if system.num_gpus > 1:
        ini.add("SYSTEM", "num_gpus", f"{what}, which trains on one device", "write 1")
    if system.mixed_precision == "float16":
        ini.add("SYSTEM", "mixed_precision", what, "write bfloat16 or none")
    if system.jit_compile:
        ini.add("SYSTEM", "jit_compile", what, "write no")


def check_balancing(draft: Draft) -> None:
    """A task says only what the balancing rule makes use of."""
    chosen = draft.sections["training"].balancing
    rule = BALANCING[chosen].load()
    used, owners = rule.task_keys, dict[str, str]()
    for name, entry in BALANCING.items():
        for key in entry.load().task_keys:
            owners.setdefault(key, name)
    for name, task in draft.application.tasks.items():
        for key, owner in owners.items():
            value = getattr(task, key)
            if key in used or value == Task.model_fields[key].default:
                continue
            draft.ini.add(
                *draft.application.place(name, key),
                f"has no meaning with [TRAINING] balancing = {chosen}",
                f"{_instead(draft, task, key, owner, chosen)}",
            )
    _check_comparing(draft, chosen)


def _check_comparing(draft: Draft, chosen: str) -> None:
    """A rule that compares tasks has something to compare, or the user is told."""
    rule, tasks = BALANCING[chosen].load(), draft.application.tasks
    if not draft.application.complete or not rule.compares:
        return
    if len(tasks) == 1:
        draft.warnings.append(f"[TRAINING] balancing = {chosen} compares tasks, and there is one: it trains as fixed")
    elif rule.compares == "gradients" and draft.sections["network"].sharing == "single_task":
        why = "compares gradients of what tasks share, and with [NETWORK] sharing = single_task they share nothing"
        if rule.needs_shared:
            draft.ini.add("TRAINING", "balancing", why, "use another rule, or another mechanism of sharing")
        else:
            draft.warnings.append(f"[TRAINING] balancing = {chosen} {why}: it trains as fixed")
    if rule.needs_positive_weights:
        for name, task in tasks.items():
            if not task.weight > 0:
                what = f"is 0, and [TRAINING] balancing = {chosen} learns it from there"
                draft.ini.add(*draft.application.place(name, "weight"), what, "give a number above 0")


def _instead(draft: Draft, task: Task, key: str, owner: str, chosen: str) -> str:
    """Says what to write in the place of a task's key that another balancing rule has."""
    loss = for_type(LOSSES, task.type).get(task.loss)
    same = BALANCING[chosen].load().instead_of(key, getattr(task, key), loss.likelihood) if loss is not None else ""
    return f"write {same}" if same else f"remove it, or use balancing = {owner}"


def _check_best_metric(draft: Draft) -> None:
    best_metric, tasks = draft.sections["training"].best_metric, draft.application.tasks
    scores = [f"{name}_{score}" for name, task in tasks.items() for score in ("loss", *task.metrics)]
    if draft.application.complete and best_metric is not None and best_metric not in ("loss", *scores):
        remedy = f"{did_you_mean(best_metric, scores)} choose one of loss, {', '.join(scores)}".lstrip()
        draft.ini.add("TRAINING", "best_metric", "is not a score", remedy)
