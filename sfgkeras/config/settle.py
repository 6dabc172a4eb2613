"""Fills in what one section leaves to another: sharing, losses, label sources, paths below `model_dir`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfgkeras.classes import is_class_path
from sfgkeras.config.chosen import read_settings
from sfgkeras.config.compare import Row
from sfgkeras.config.grouping_schedule import settle_schedule
from sfgkeras.config.mechanism import settle_mechanism
from sfgkeras.config.network_section import Network
from sfgkeras.config.section import OUTPUT_PATH, Section
from sfgkeras.config.task_sections import InputSource, Task
from sfgkeras.config.text import IniText, section_id
from sfgkeras.config.translate import Application
from sfgkeras.tables.entry import aliases_of
from sfgkeras.tables.loaders import LOADERS
from sfgkeras.tables.losses import default_loss, is_told_by_map, loss_aliases, takes_one_logit
from sfgkeras.tables.measures import MEASURES, measures_by_type
from sfgkeras.tables.metrics import usual_metrics
from sfgkeras.tables.networks import gives_only
from sfgkeras.tables.samplers import SAMPLERS
from sfgkeras.tables.sharing import SHARING
from sfgkeras.tables.tasks import TASK_TYPES, LandmarkSettings, for_type

if TYPE_CHECKING:
    from sfgkeras.sharing.base import Sharing
BOX_COLUMNS = {2: "x_min, y_min, x_max, y_max", 3: "x_min, y_min, z_min, x_max, y_max, z_max"}
"""Usual columns of a box by the rank of the windows, low corner, then high corner."""

MAX_ITER = 10_000
"""Iterations of a training that nothing says the length of, as in NiftyNet."""


@dataclass
class Draft:
    """A configuration in the making; checks read it, `settle` fills it in.

    Attributes:
        ini: The file, and the mistakes found so far.
        sources: Input sources by name.
        sections: Models of the sections of a run, by lower-case name.
        application: What is learned.
        warnings: What looks wrong but can be used.
        rows: Rows of `[COMPARE]` by name.
        row: Which of them is read, if any.
        sharing: The sharing mechanism; None before it is settled.
    """

    ini: IniText
    sources: dict[str, InputSource]
    sections: dict[str, Any]
    application: Application
    warnings: list[str]
    rows: Mapping[str, Row] = field(default_factory=dict)
    row: str | None = None
    sharing: "Sharing | None" = None

    def is_scalar(self, source: str) -> bool:
        """Says whether a source gives one value per subject rather than a volume."""
        found = self.sources.get(source)
        return found is not None and found.gives_values

    def has_maps(self) -> bool:
        """Says whether any task has a target per voxel, as far as tasks are known."""
        tasks = self.application.tasks.values()
        return not tasks or any(not self.is_scalar(task.target) for task in tasks)

    def has_heat_maps(self) -> bool:
        """Says whether any task has landmarks that are told by heat maps."""
        return any(is_told_by_map(task.type, task.loss) for task in self.application.tasks.values())

    def sees_windows(self) -> bool:
        """Says whether any task is told from windows that need not be whole images."""
        per_window = any(task.per == "window" for task in self.application.tasks.values())
        return self.has_maps() or self.has_heat_maps() or per_window

    @property
    def by_name(self) -> dict[str, Any]:
        """Models of the sections by upper-case name, that of the application among them."""
        named = {name.upper(): section for name, section in self.sections.items()}
        return {**named, "MULTITASK": self.application.multitask}

    @property
    def window(self) -> tuple[int, int, int] | None:
        """The training window, from the first image source that gives one."""
        images = [self.sources[name] for name in self.application.multitask.image if name in self.sources]
        return next((source.spatial_window_size for source in images if source.spatial_window_size), None)

    @property
    def map_sources(self) -> list[str]:
        """Sources other than images that must lie on the image's grid, without repeats."""
        multitask = self.application.multitask
        names = [task.target for task in self.application.tasks.values()] + [
            multitask.weight,
            multitask.sampler,
        ]
        return [
            name
            for name in dict.fromkeys(names)
            if name in self.sources and name not in multitask.image and not self.is_scalar(name)
        ]


def settle(draft: Draft) -> None:
    """Fills in every value that follows from others."""
    _settle_left_out(draft)
    _settle_sharing(draft)
    draft.sections["training"] = settle_schedule(draft.ini, draft.by_name, draft.sections["network"].sharing)
    _settle_voxels(draft)
    _settle_contents(draft)
    _settle_tasks(draft)
    _settle_training(draft)
    _settle_windows(draft)
    _settle_label_sources(draft)
    _settle_preprocessing(draft)
    _settle_chosen(draft)
    _settle_paths(draft)


def _settle_left_out(draft: Draft) -> None:
    """Says which tasks are not learned; of a row of a study that is what is meant."""
    for section in draft.application.unlearned if draft.row is None else ():
        draft.warnings.append(f"[{section}] is not among [MULTITASK] tasks and is not learned")


def _settle_sharing(draft: Draft) -> None:
    ini, application = draft.ini, draft.application
    network: Network = draft.sections["network"]
    multitask = application.multitask
    sharing = network.sharing
    if not ini.has("NETWORK", "sharing"):
        if application.name != "multi_task":
            sharing = "hard_sharing"
        elif multitask.constant_grouping:
            sharing = "constant_mask"
        elif not multitask.learn_categorical:
            sharing = "constant_p"
    is_learned = SHARING[sharing].learned
    if ini.has("MULTITASK", "learn_categorical") and multitask.learn_categorical != is_learned:
        remedy = "remove it" if is_learned else "use sharing = sfg"
        ini.add("MULTITASK", "learn_categorical", f"contradicts [NETWORK] sharing = {sharing}", remedy)
    is_constant = SHARING[sharing].constant
    if ini.has("MULTITASK", "constant_grouping") and multitask.constant_grouping != is_constant:
        remedy = "remove it" if is_constant else "use sharing = constant_mask"
        ini.add("MULTITASK", "constant_grouping", f"contradicts [NETWORK] sharing = {sharing}", remedy)
    changes: dict[str, Any] = {"learn_categorical": is_learned, "constant_grouping": is_constant}
    probabilities = multitask.init_categorical
    if application.authors_spelling and probabilities is not None and len(probabilities) == 3:
        first, shared, second = probabilities
        changes["init_categorical"] = (first, second, shared)
        draft.warnings.append(
            f"[MULTITASK] init_categorical is read in the authors' order: task 1 {first:g}, "
            f"shared {shared:g}, task 2 {second:g}; with [TASK name] sections the shared group comes last"
        )
    if multitask.layer_scale is not None:
        if ini.has("NETWORK", "width") and network.width != multitask.layer_scale:
            ini.add(
                "MULTITASK",
                "layer_scale",
                f"contradicts [NETWORK] width = {network.width:g}",
                "remove one of them",
            )
        network = network.model_copy(update={"width": multitask.layer_scale})
    network, multitask = network.model_copy(update={"sharing": sharing}), multitask.model_copy(update=changes)
    draft.sharing, draft.sections["network"], application.multitask = settle_mechanism(ini, network, multitask)


def _settle_voxels(draft: Draft) -> None:
    """Takes images of one voxel for classes and values, as NiftyNet's files give them.

    A value or class per subject is told by a window of 1, 1, 1; and where a network gives no maps, a classification has
    no other volume for a target.
    """
    images, network = draft.application.multitask.image, draft.sections["network"].name
    has_no_maps = gives_only(network, "vector") or is_class_path(network)
    for task in draft.application.tasks.values():
        source = draft.sources.get(task.target)
        if source is None or task.target in images or draft.is_scalar(task.target) or task.attribute is not None:
            continue
        entry = TASK_TYPES[task.type]
        is_voxel = (entry.of_volume is None and has_no_maps) or source.spatial_window_size == (1, 1, 1)
        if is_voxel and source.loader in (None, "nibabel", "simpleitk") and entry.of_value is not None:
            draft.sources[task.target] = source.model_copy(update={"loader": "voxel", "spatial_window_size": None})


def _settle_contents(draft: Draft) -> None:
    """Decides of sources that can give both, images and values, by what they are used for."""
    both = {name for name, entry in LOADERS.items() if entry.gives_values is None}
    wanted: dict[str, bool] = {}
    for task in draft.application.tasks.values():
        kind = TASK_TYPES.get(task.type)
        takes_values = kind is not None and kind.of_value is not None
        takes_only = kind is not None and kind.of_volume is None
        by_network = gives_only(draft.sections["network"].name, "vector")
        wanted[task.target] = takes_values and (takes_only or task.attribute is not None or by_network)
    for name, source in draft.sources.items():
        if source.loader in both and source.settings_of("loader").get("content") == "auto":
            is_image = name in draft.application.multitask.image
            content = "values" if wanted.get(name) and not is_image else "images"
            settings = replace(source.chosen_settings("loader"), content=content)
            draft.sources[name] = source.with_settings("loader", settings)


def _settle_windows(draft: Draft) -> None:
    """Brings a window of inference with whole axes, NiftyNet's 0 and -1, to what the network takes."""
    inference, training = draft.sections["inference"], draft.window
    window = inference.spatial_window_size
    if window is None or training is None or 0 not in window:
        return
    is_fixed = SAMPLERS[draft.sections["network"].window_sampling].whole or not draft.sees_windows()
    # A network of slices takes slices, and one of whole images its own size.
    window = tuple(
        length if size == 0 and (is_fixed or length == 1) else size
        for size, length in zip(window, training, strict=True)
    )
    border = tuple(
        size if n == 0 else min(size, (n - 1) // 2) for size, n in zip(inference.border, window, strict=True)
    )
    if is_fixed:
        border = (0, 0, 0)
    if border != inference.border:
        given, used = (", ".join(map(str, sizes)) for sizes in (inference.border, border))
        draft.warnings.append(
            f"[INFERENCE] border = {given} is taken as {used}: more would leave nothing of the window "
            f"{', '.join(map(str, window))}"
        )
    changes = {"spatial_window_size": window, "border": border}
    draft.sections["inference"] = inference.model_copy(update=changes)


def _settle_tasks(draft: Draft) -> None:
    application = draft.application
    for name, task in application.tasks.items():
        word = task.loss if is_class_path(task.loss) else task.loss.lower()
        changes: dict[str, Any] = {
            "loss": loss_aliases().get(word, word) or default_loss(task.type),
            "metrics": tuple(metric.lower() for metric in task.metrics) or usual_metrics(task.type),
        }
        if draft.is_scalar(task.target) and task.attribute is None:
            changes["attribute"] = _usual_attribute(draft, name, task)
        if task.type == "regression" and task.num_classes == 1:
            # The authors' files give a regression one class.
            changes["num_classes"] = None
        if task.num_classes is None and takes_one_logit(task.type, changes["loss"]):
            changes["num_classes"] = 2
        application.tasks[name] = task.model_copy(update=changes)
    training = draft.sections["training"]
    if application.name != "multi_task":
        loss = next((task.loss for task in application.tasks.values()), None)
        draft.sections["training"] = training.model_copy(update={"loss_type": loss})
    elif application.authors_spelling and training.loss_type is not None:
        # The authors' files always have one, which their code does not use either.
        draft.warnings.append("[TRAINING] loss_type has no effect; loss_task_1, loss_task_2 name the losses")
        draft.sections["training"] = training.model_copy(update={"loss_type": None})
    evaluation = draft.sections["evaluation"]
    measures = (measure.lower() for measure in evaluation.evaluations)
    aliases = aliases_of(MEASURES)
    learned = {task.type for task in application.tasks.values()}
    # What is asked for of a task that a row of a study leaves out is not asked for.
    unlearned = set(application.unlearned.values()) - learned if draft.row else set()
    if learned | unlearned == {"segmentation"}:
        # NiftyNet's accuracy of a segmentation counts voxels.
        aliases["accuracy"] = "voxel_accuracy"
    evaluations = tuple(dict.fromkeys(aliases.get(measure, measure) for measure in measures))
    unasked = {measure for kind in unlearned for measure in for_type(measures_by_type(), kind)}
    unasked -= {measure for kind in learned for measure in for_type(measures_by_type(), kind)}
    evaluations = tuple(measure for measure in evaluations if measure not in unasked)
    bounds = {} if "regression" in unlearned else evaluation.intensity_bounds
    by_id = {section_id(name): name for name in draft.sources}
    mask = evaluation.mask and by_id.get(section_id(evaluation.mask), evaluation.mask)
    changes = {"evaluations": evaluations, "mask": mask, "intensity_bounds": bounds}
    draft.sections["evaluation"] = evaluation.model_copy(update=changes)


def _settle_training(draft: Draft) -> None:
    """Gives a training without a length NiftyNet's, and lets inference use what a training is to end with."""
    training, inference = draft.sections["training"], draft.sections["inference"]
    if training.max_iter is None and training.max_epochs is None:
        draft.sections["training"] = training.model_copy(update={"max_iter": MAX_ITER})
    if training.restore_best and not draft.ini.has("INFERENCE", "inference_iter"):
        draft.sections["inference"] = inference.model_copy(update={"inference_iter": "best"})


def _usual_attribute(draft: Draft, name: str, task: Task) -> str:
    """Returns the column that a task's values stand in where the file does not say it; of a box the columns."""
    if task.type == "landmarks":
        return ""  # which landmarks there are only the file can say
    if TASK_TYPES[task.type].of_value == "points":
        return BOX_COLUMNS[2 if draft.window is not None and 1 in draft.window else 3]
    return name if draft.application.name == "multi_task" else task.target.lower()


def label_sources(draft: Draft) -> list[str]:
    """Returns the sources that hold label maps: they must not be interpolated."""
    names = [task.target for task in draft.application.tasks.values() if TASK_TYPES[task.type].of_volume == "labels"]
    if SAMPLERS[draft.sections["network"].window_sampling].labels and draft.application.multitask.sampler:
        names.append(draft.application.multitask.sampler)
    return [name for name in dict.fromkeys(names) if name in draft.sources]


def _settle_label_sources(draft: Draft) -> None:
    for name in label_sources(draft):
        if not draft.ini.has(name, "interp_order"):
            draft.sources[name] = draft.sources[name].model_copy(update={"interp_order": 0})


def _settle_preprocessing(draft: Draft) -> None:
    """Preprocesses what the network sees; names are spelled as their section headers."""
    preprocessing = draft.sections.get("preprocessing")
    if preprocessing is None:
        return
    images = draft.application.multitask.image
    by_id = {section_id(name): name for name in images}
    sources = tuple(by_id.get(section_id(name), name) for name in preprocessing.sources) or images
    draft.sections["preprocessing"] = preprocessing.model_copy(update={"sources": sources})


def _settle_chosen(draft: Draft) -> None:
    """Reads the settings of what tasks choose, now that it is known what they choose."""
    ini, application = draft.ini, draft.application
    for name, task in application.tasks.items():
        choosers = {key: application.place(name, key) for key in ("type", "loss")}
        task = read_settings(ini, application.headers[name], task, task.type, choosers)
        columns = task.chosen_settings("type")
        if isinstance(columns, LandmarkSettings) and columns.dimensions is None:
            rank = 2 if draft.window is not None and 1 in draft.window else 3
            task = task.with_settings("type", replace(columns, dimensions=rank))
        application.tasks[name] = task


def _settle_paths(draft: Draft) -> None:
    model_dir: Path = draft.sections["system"].model_dir
    for section, model in draft.sections.items():
        changes = {}
        for key in output_paths(type(model)):
            path = getattr(model, key)
            if path is None:
                continue
            changes[key] = model_dir / path
            if (
                draft.ini.has(section, key)
                and not path.is_absolute()
                and model_dir.parts == path.parts[: len(model_dir.parts)] != ()
            ):
                draft.warnings.append(
                    f"[{section.upper()}] {key} = {path} is seen from model_dir, as in NiftyNet, and becomes "
                    f"{model_dir / path}; write {path.relative_to(model_dir)}"
                )
        draft.sections[section] = model.model_copy(update=changes)


def output_paths(model: type[Section]) -> list[str]:
    """Returns the keys of a section whose paths are seen from `model_dir`."""
    return [key for key, info in model.model_fields.items() if OUTPUT_PATH in info.metadata]
