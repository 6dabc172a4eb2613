"""Three ways of naming tasks made one: `[TASK name]`, the authors' two-task keys, one-task sections."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sfgkeras.config.known import (
    AUTHORS_KEY,
    NOT_BUILT_SECTIONS,
    ONE_TASK_SECTIONS,
    SECTIONS,
    fields_of,
    read_model,
    refuse_unknown_keys,
)
from sfgkeras.config.task_sections import InputSource, Multitask, Task
from sfgkeras.config.text import IniSection, IniText, section_id
from sfgkeras.errors import did_you_mean
from sfgkeras.quoting import split_list
from sfgkeras.tables.tasks import learns_image

# The task types that the authors' code assumes where task_1_type and task_2_type are left out.
_AUTHORS_TYPES = {1: "regression", 2: "classification"}
TARGET_KEYS = {"SEGMENTATION": "label", "REGRESSION": "output", "CLASSIFICATION": "label"}
_TASK_NAME = re.compile(r"[a-z][a-z0-9_]*")
# Groups, columns of logs and tables, and keys of the losses of a step have these names.
_RESERVED_NAMES = frozenset(
    {"shared", "loss", "image", "regularisation", "seconds_per_iteration", "iteration", "count", "subject_id"}
)


@dataclass
class Application:
    """What a file asks for, whatever its spelling.

    Attributes:
        name: `multi_task`, or the type of a one-task application.
        section: Name of the section that says so.
        multitask: Its settings; `image`, `weight` and `sampler` name existing sources.
        tasks: By name, in order.
        unlearned: Types of the tasks that the file has and `[MULTITASK] tasks` leaves out, by their sections.
        places: Where a task's field stands in the file, `(section, key)`.
        headers: The section in which the settings of a task's choices stand.
        complete: Whether every task that the file names could be read, so that tasks may be counted.
        authors_spelling: Whether the authors' two-task keys are used.
        warnings: What looks wrong but can be used.
    """

    name: str = "multi_task"
    section: str = "MULTITASK"
    multitask: Multitask = field(default_factory=lambda: Multitask())
    tasks: dict[str, Task] = field(default_factory=dict)
    unlearned: dict[str, str] = field(default_factory=dict)
    places: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    complete: bool = True
    authors_spelling: bool = False
    warnings: list[str] = field(default_factory=list)

    def place(self, task: str, key: str) -> tuple[str, str]:
        """Returns the section and key where a task's field stands, or would stand."""
        return self.places.get((task, key), (self.section, key))


def read_application(ini: IniText, sources: dict[str, InputSource], task_sections: Sequence[IniSection]) -> Application:
    """Reads the sections that say what is learned from what.

    Args:
        ini: The file; mistakes are collected in it.
        sources: Input sources by name.
        task_sections: The `[TASK name]` sections.
    """
    present = [name for name in ("MULTITASK", *ONE_TASK_SECTIONS) if name in ini.sections]
    if len(present) > 1:
        others = " and ".join(f"[{name}]" for name in present[1:])
        ini.add(present[0], None, f"stands beside {others}", "keep one of them, a run has one application")
    if not present and any(name in ini.sections for name in NOT_BUILT_SECTIONS):
        return Application(complete=False)
    if not present:
        ini.add_at_line(
            task_sections[0].line if task_sections else None,
            "nothing says what is learned; add [MULTITASK] with image and one [TASK name] per task, or one "
            "of " + ", ".join(f"[{name}]" for name in ONE_TASK_SECTIONS),
        )
        return Application(complete=False)
    if present[0] == "MULTITASK":
        application = _read_multitask(ini, task_sections)
    else:
        for section in task_sections:
            ini.add(section.name, None, "needs [MULTITASK]", f"[{present[0]}] has one task only")
        application = _read_one_task(ini, present[0])
    _resolve_sources(ini, application, sources)
    if application.name == "multi_task" and not application.tasks and not task_sections:
        ini.add(application.section, None, "has no task", "add a [TASK name] section for each")
    application.complete = application.complete and bool(application.tasks)
    return application


def _read_multitask(ini: IniText, task_sections: Sequence[IniSection]) -> Application:
    section = ini.sections["MULTITASK"]
    authors_keys = [key for key in section.entries if AUTHORS_KEY.fullmatch(key)]
    is_authors = any(key.startswith("output_") for key in authors_keys) and not task_sections
    refuse_unknown_keys(ini, section, Multitask, authors_keys if is_authors else ())
    application = Application(multitask=read_model(ini, "MULTITASK", Multitask, fields_of(section, Multitask)))
    application.authors_spelling = is_authors
    if is_authors:
        if ini.has("MULTITASK", "tasks"):
            ini.add("MULTITASK", "tasks", "needs [TASK name] sections", "remove it, or output_1, output_2, ...")
        _read_authors_tasks(ini, section, application)
    else:
        _read_task_sections(ini, task_sections, application)
    return application


def _read_task_sections(ini: IniText, task_sections: Sequence[IniSection], application: Application) -> None:
    by_name = {" ".join(section.name.split()[1:]).lower(): section for section in task_sections}
    chosen = [name.lower() for name in application.multitask.tasks] or list(by_name)
    if len(set(chosen)) < len(chosen):
        ini.add("MULTITASK", "tasks", "names a task twice", "remove one of them")
        application.complete = False
    for name in dict.fromkeys(chosen):
        section = by_name.get(name)
        if section is None:
            remedy = did_you_mean(name, by_name, f"add [TASK {name}] with type and target")
            ini.add("MULTITASK", "tasks", f"names {name!r}, which has no section", remedy)
            application.complete = False
        elif not _TASK_NAME.fullmatch(name) or name in _RESERVED_NAMES:
            reason = "is reserved" if name in _RESERVED_NAMES else "is not made of letters, digits and _"
            ini.add(section.name, None, f"has a name that {reason}", "write e.g. [TASK ct]")
            application.complete = False
        else:
            _add_task(ini, application, name, section.name, fields_of(section, Task))
    for name, section in by_name.items():
        refuse_unknown_keys(ini, section, Task)
        if name not in chosen:
            # Read for its mistakes: what it says is used where another row of a study learns it.
            left_out = read_model(ini, section.name, Task, _with_target(application, fields_of(section, Task)))
            if left_out is not None:
                application.unlearned[section.name] = left_out.type


def _add_task(
    ini: IniText, application: Application, name: str, section: str, fields: dict[str, tuple[str, Any]]
) -> None:
    fields = _with_target(application, fields)
    for key, (place, _) in fields.items():
        application.places[name, key] = (section, place)
    application.headers[name] = section
    for key in Task.model_fields:
        application.places.setdefault((name, key), (section, key))
    task = read_model(ini, section, Task, fields)
    if task is None:
        application.complete = False
    else:
        application.tasks[name] = task


def _with_target(application: Application, fields: dict[str, tuple[str, Any]]) -> dict[str, tuple[str, Any]]:
    """Gives a task whose target is the image, and that names none, the image."""
    if "target" in fields or not learns_image(fields.get("type", ("", ""))[1].strip().lower()):
        return fields
    return {**fields, "target": ("target", next(iter(application.multitask.image), ""))}


def _read_authors_tasks(ini: IniText, section: IniSection, application: Application) -> None:
    fields: dict[int, dict[str, tuple[str, Any]]] = {}
    for key, entry in section.entries.items():
        match = AUTHORS_KEY.fullmatch(key)
        if match and match.lastgroup != "num_classes":
            number = int(next(match[group] for group in "abcd" if match[group]))
            name = next(n for n in ("target", "type", "loss", "output_prob") if match[n])
            fields.setdefault(number, {})[name] = (key, entry.value)
    numbers = sorted(number for number in fields if ini.has("MULTITASK", f"output_{number}"))
    for number in sorted(set(fields) - set(numbers)):
        ini.need("MULTITASK", f"output_{number}", f", the input source of task {number}")
    classes = _authors_classes(ini, section, len(numbers))
    names = _authors_names([fields[number]["target"][1] for number in numbers])
    for position, (number, name) in enumerate(zip(numbers, names, strict=True)):
        own = fields[number]
        if "type" not in own and number in _AUTHORS_TYPES:
            own["type"] = (f"task_{number}_type", _AUTHORS_TYPES[number])
        if classes:
            own["num_classes"] = ("num_classes", classes[position])
        _add_task(ini, application, name, "MULTITASK", own)
        for key, pattern in (
            ("type", "task_{}_type"),
            ("loss", "loss_task_{}"),
            ("output_prob", "output_prob_task_{}"),
        ):
            application.places[name, key] = ("MULTITASK", pattern.format(number))


def _authors_classes(ini: IniText, section: IniSection, count: int) -> list[str]:
    if not ini.has("MULTITASK", "num_classes"):
        return []
    try:
        classes = split_list(section.entries["num_classes"].value)
    except ValueError as error:
        ini.add("MULTITASK", "num_classes", str(error))
        return []
    if len(classes) != count:
        ini.add(
            "MULTITASK",
            "num_classes",
            f"has {len(classes)} numbers for {count} tasks",
            "write one per task, 1 for a regression",
        )
        return []
    return classes


def _authors_names(targets: Sequence[str]) -> list[str]:
    names = [re.sub(r"\W+", "_", target.strip().lower()).strip("_") for target in targets]
    names = [name if _TASK_NAME.fullmatch(name) and name not in _RESERVED_NAMES else f"task_{name}" for name in names]
    return [f"{name}_{i}" if names.count(name) > 1 else name for i, name in enumerate(names, start=1)]


def _read_one_task(ini: IniText, kind: str) -> Application:
    section, model, name = ini.sections[kind], SECTIONS[kind], kind.lower()
    refuse_unknown_keys(ini, section, model)
    settings = read_model(ini, kind, model, fields_of(section, model))
    target_key = TARGET_KEYS[kind]
    shared = ("image", "weight", "sampler", "loss_border")
    application = Application(name=name, section=kind)
    if not settings.image and settings.inferred:
        settings = _evaluated_only(ini, kind, settings, application)
    application.multitask = Multitask(**{key: getattr(settings, key) for key in shared}, tasks=(name,))
    own = {
        key: (key, getattr(settings, key)) for key in model.model_fields if key in Task.model_fields and key != "weight"
    }
    own["type"] = (kind, name)
    loss = ini.sections["TRAINING"].entries.get("loss_type") if "TRAINING" in ini.sections else None
    if loss is not None:
        own["loss"] = ("loss_type", loss.value)
    target = getattr(settings, target_key)
    if target is None:
        ini.need(kind, target_key, ", the input source of the reference")
    else:
        _add_task(ini, application, name, kind, {**own, "target": (target_key, target)})
    application.places[name, "loss"] = ("TRAINING", "loss_type")
    return application


def _evaluated_only(ini: IniText, kind: str, settings: Any, application: Application) -> Any:
    """Lets the predictions stand for the image, as NiftyNet's files for evaluation have none."""
    changes: dict[str, Any] = {"image": (settings.inferred,)}
    application.warnings.append(
        f"[{kind}] has no image: [{settings.inferred}], the source of inferred, stands for it; evaluate measures it, "
        "and there is nothing to train"
    )
    for key in ("weight", "sampler"):
        name = getattr(settings, key)
        if name is not None and section_id(name) not in ini.sections:
            changes[key] = None
            application.warnings.append(f"[{kind}] {key} = {name} names no section, and evaluate needs none")
    return settings.model_copy(update=changes)


def _resolve_sources(ini: IniText, application: Application, sources: dict[str, InputSource]) -> None:
    """Puts the spelling of the section headers in place of the names that refer to them."""
    section, multitask = application.section, application.multitask
    if not multitask.image:
        ini.need(section, "image", ", the input source that the network sees")
    images = [_resolve(ini, sources, section, "image", name) for name in multitask.image]
    if len(set(images)) < len(images):
        ini.add(section, "image", "names a source twice", "remove one of them")
    changes: dict[str, Any] = {"image": tuple(images)}
    for key in ("weight", "sampler"):
        if getattr(multitask, key) is not None:
            changes[key] = _resolve(ini, sources, section, key, getattr(multitask, key))
    if application.name == "multi_task":
        changes["tasks"] = tuple(application.tasks)
    application.multitask = multitask.model_copy(update=changes)
    for name, task in application.tasks.items():
        found = {"target": _resolve(ini, sources, *application.place(name, "target"), task.target)}
        if task.inferred is not None:
            found["inferred"] = _resolve(ini, sources, *application.place(name, "inferred"), task.inferred)
        application.tasks[name] = task.model_copy(update=found)


def _resolve(ini: IniText, sources: dict[str, InputSource], section: str, key: str, name: str) -> str:
    by_id = {section_id(source): source for source in sources}
    if section_id(name) in by_id:
        return by_id[section_id(name)]
    remedy = did_you_mean(name, sources, f"add [{name}] with path_to_search or csv_file")
    what = "" if section_id(name) in ini.sections else " (there is no such section)"
    ini.add(section, key, f"names no input source{what}", remedy)
    return name
