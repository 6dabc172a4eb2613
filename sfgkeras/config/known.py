"""Which sections and keys there are, and what to say about those that there are not."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from sfgkeras.config.chosen import is_of_own_class, setting_keys
from sfgkeras.config.foreign import meaning_of
from sfgkeras.config.mechanism import sharing_keys
from sfgkeras.config.sections import (
    Evaluation,
    Inference,
    MechanismSettings,
    Network,
    Preprocessing,
    Section,
    System,
    Training,
)
from sfgkeras.config.task_sections import (
    Classification,
    InputSource,
    Multitask,
    Regression,
    Segmentation,
    Task,
)
from sfgkeras.config.text import IniSection, IniText, section_id
from sfgkeras.errors import Problem, closest
from sfgkeras.quoting import unquote

# A new section is one line here; `Config` holds it under its name in lower case.
RUN_SECTIONS: Mapping[str, type[Section]] = {
    "SYSTEM": System,
    "PREPROCESSING": Preprocessing,
    "NETWORK": Network,
    "TRAINING": Training,
    "INFERENCE": Inference,
    "EVALUATION": Evaluation,
}
ONE_TASK_SECTIONS: Mapping[str, type[Section]] = {
    "SEGMENTATION": Segmentation,
    "REGRESSION": Regression,
    "CLASSIFICATION": Classification,
}
SECTIONS: Mapping[str, type[Section]] = {
    **RUN_SECTIONS,
    "SHARING": MechanismSettings,
    "MULTITASK": Multitask,
    **ONE_TASK_SECTIONS,
}

# Sections of NiftyNet, or of this interface, without code behind them; a line in a table above goes before.
NOT_BUILT_SECTIONS: Mapping[str, str] = {
    "GAN": "use [REGRESSION] to make one image from another",
    "AUTOENCODER": "use [MULTITASK] with a [TASK name] of type = reconstruction",
    "REGISTRATION": "register the images before training, with sfgkeras preprocess",
    "GLOBAL": "remove it; there is no file of global settings",
    "SETTINGS": "it is NiftyNet's first format; write its keys in [SYSTEM], [NETWORK], [TRAINING] and [INFERENCE]",
    "SEMISUPERVISED": "use [SEGMENTATION] with the subjects that have labels",
    "CUSTOM": "use [SEGMENTATION], [REGRESSION], [CLASSIFICATION] or [MULTITASK]",
}

# Keys of NiftyNet and of the authors' code that are not taken over.
REFUSED_KEYS: Mapping[str, str] = {
    "event_handler": "remove it, and pass Keras callbacks from sfgkeras.callbacks in Python instead",
    "iteration_generator": "remove it; training, validation and checkpoints follow [TRAINING]",
    "csv_data_file": "use csv_file with loader = table",
    "to_ohe": "remove it; classes are written as whole numbers",
    "volume_padding_to_size": "use volume_padding_size",
    "rgb_normalisation": "use whitening = yes, which treats each colour by itself",
    "weight_initializer_args": "choose a weight_initializer that needs no arguments",
    "bias_initializer_args": "choose a bias_initializer that needs no arguments",
    "rotation_angle_x": "use rotation_angle, which turns about every axis in 3-D",
    "rotation_angle_y": "use rotation_angle, which turns about every axis in 3-D",
    "rotation_angle_z": "use rotation_angle, which turns about every axis in 3-D",
    "softmax": "remove it; losses take the network's outputs as they are and apply softmax themselves",
    "do_mixup_augmentation": "remove it; there is no mixup augmentation",
    "error_map": "remove it; sfgkeras evaluate measures the predictions",
    "categorical": "use [INFERENCE] masks = mean for probabilities as weights",
    "concat_tensors": "remove it; streams are merged by their sum",
    "output_interp_order_task1": "use output_interp_order in [INFERENCE]",
    "output_interp_order_task2": "use output_interp_order in [INFERENCE]",
}

# The spelling of the authors' code: one key per task, in [MULTITASK].
AUTHORS_KEY = re.compile(
    r"(?P<target>output_(?P<a>[1-9]))|(?P<type>task_(?P<b>[1-9])_type)|(?P<loss>loss_task_(?P<c>[1-9]))"
    r"|(?P<output_prob>output_prob_task_(?P<d>[1-9]))|(?P<num_classes>num_classes)"
)

_REFERENCE_KEY = re.compile(r"image|target|label|output|weight|sampler|inferred|output_[1-9]")
_BOUNDS = {
    "greater_than": ("gt", "must be above"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be below"),
    "less_than_equal": ("le", "must be at most"),
}


def is_task(section: str) -> bool:
    """Says whether a section id is one of a `[TASK name]`."""
    return section == "TASK" or section.startswith("TASK ")


def sort_sections(ini: IniText) -> tuple[list[IniSection], list[IniSection]]:
    """Finds the input sources and the `[TASK name]` sections; collects sections that are neither nor known.

    Returns:
        Input sources and task sections, in the order of the file.
    """
    referenced = {
        section_id(name)
        for section in ini.sections.values()
        for entry in section.entries.values()
        if _REFERENCE_KEY.fullmatch(entry.key)
        for name in entry.value.strip("()[] ").split(",")
    }
    sources, tasks = [], []
    for key, section in ini.sections.items():
        if key in SECTIONS:
            continue
        if is_task(key):
            tasks.append(section)
        elif key in NOT_BUILT_SECTIONS:
            ini.add(section.name, None, "does not exist in this version", NOT_BUILT_SECTIONS[key])
        elif key in referenced or {"csv_file", "path_to_search"} & set(section.entries):
            sources.append(section)
        else:
            _refuse_section(ini, section)
    return sources, tasks


def _refuse_section(ini: IniText, section: IniSection) -> None:
    close = closest(section.name, [*SECTIONS, "COMPARE"])
    home = max(SECTIONS, key=lambda name: len(set(SECTIONS[name].model_fields) & set(section.entries)))
    if section_id(section.name).startswith("TASK"):
        remedy = "did you mean [TASK name]?"
    elif close or set(SECTIONS[home].model_fields) & set(section.entries):
        remedy = f"did you mean [{close or home}]?"
    else:
        remedy = "an input source needs path_to_search or csv_file"
    ini.add(section.name, None, "is not a known section", remedy)


def refuse_unknown_keys(ini: IniText, section: IniSection, model: type[Section], more: Iterable[str] = ()) -> None:
    """Collects keys that a section does not have, each with where it belongs or what was meant.

    Args:
        ini: Where they are collected.
        section: The section.
        model: Its model.
        more: Keys that it has besides the model's.
    """
    own = [*model.model_fields, *setting_keys(model), *more]
    unknown = [key for key in section.entries if key not in own and not is_of_own_class(ini, section, model, key)]
    for key in unknown:
        homes = _homes(ini, key)
        everywhere = sorted({name for other in _all_models(ini).values() for name in keys_of(other)})
        meant = closest(key, own)
        if key in REFUSED_KEYS:
            ini.add(section.name, key, "is not supported", REFUSED_KEYS[key])
        elif key not in everywhere and (remedy := meaning_of(key, keys_of(model))):
            ini.add_unknown_key(section.name, key, remedy)
        elif homes:
            ini.add_unknown_key(section.name, key, f"it belongs in {' or '.join(homes)}")
        elif meant:
            ini.add_unknown_key(section.name, key, f"did you mean {meant!r}?")
            ini.ignore(section.name, meant)
        elif other := closest(key, everywhere):
            home = " or ".join(_homes(ini, other))
            ini.add_unknown_key(section.name, key, f"did you mean {other!r} of {home}?")
        else:
            ini.add_unknown_key(section.name, key, "remove the line")


def keys_of(model: type[Section]) -> list[str]:
    """Returns all keys that a section may have: its own, and the settings of what they choose."""
    return [*model.model_fields, *setting_keys(model)]


def _all_models(ini: IniText) -> dict[str, type[Section]]:
    one_task = {key: model for key, model in ONE_TASK_SECTIONS.items() if key in ini.sections}
    tasks = one_task or {"MULTITASK": Multitask, "TASK name": Task}
    return {**RUN_SECTIONS, **tasks, "": InputSource}


def _homes(ini: IniText, key: str) -> list[str]:
    homes = [
        f"[{name}]" if name else "an input source" for name, model in _all_models(ini).items() if key in keys_of(model)
    ]
    return homes or (["[SHARING]"] if key in sharing_keys() else [])


def refuse_strays(ini: IniText) -> None:
    """Collects keys that stand before the first section, each with where it belongs."""
    for line, key in ini.strays:
        homes = " or ".join(f"[{name}]" for name in sections_with(key)) or "its [SECTION]"
        ini.add_at_line(line, f"{key!r} stands before the first section", f"put it below {homes}")


def sections_with(key: str) -> list[str]:
    """Returns the sections that have a key, as `SECTION` or `TASK name`; input sources, named freely, do not count."""
    models: dict[str, type[Section]] = {**RUN_SECTIONS, "MULTITASK": Multitask, "TASK name": Task, **ONE_TASK_SECTIONS}
    found = [name for name, model in models.items() if key.lower() in keys_of(model)]
    return found or (["SHARING"] if key.lower() in sharing_keys() else [])


def read_model(
    ini: IniText,
    section: str,
    model: type[Section],
    fields: Mapping[str, tuple[str, Any]],
    placeholders: Mapping[str, Any] | None = None,
) -> Any:
    """Validates a section's values and collects every mistake in them.

    Args:
        ini: Where mistakes are collected.
        section: The section that messages name.
        model: Its model.
        fields: `{field: (key in the file, value)}`; an empty value leaves a field unset that may be empty.
        placeholders: Values of required fields, so that there is a result to check on when they are wrong.

    Returns:
        A model in which values that are wrong have their defaults; None if a required one is wrong or missing
        and has no placeholder.
    """
    given = {
        name: value
        for name, (_, value) in fields.items()
        if not (isinstance(value, str) and not unquote(value) and _may_be_empty(model, name))
    }
    for attempt in range(2):
        try:
            return model(**given)
        except ValidationError as error:
            wrong = {str(item["loc"][0]): item for item in error.errors()}
        if attempt == 1:
            break
        for name, item in wrong.items():
            if item["type"] == "missing":
                ini.need(section, name, _what(model, name), f"add a line {name} = ...")
            else:
                ini.add(section, fields[name][0], *_sentence(item))
            given.pop(name, None)
            if name in (placeholders or {}):
                given[name] = (placeholders or {})[name]
    return None


def _may_be_empty(model: type[Section], name: str) -> bool:
    info = model.model_fields.get(name)
    return info is not None and not info.is_required() and info.default in (None, (), {})


def _what(model: type[Section], name: str) -> str:
    description = (model.model_fields[name].description or "").rstrip(".")
    return f": {description[0].lower()}{description[1:]}"


def _sentence(item: Any) -> tuple[str, str]:
    """Returns what is wrong with a value, and what to do about it."""
    if item["type"] == "value_error":
        error = item["ctx"]["error"]
        return (error.what, error.remedy) if isinstance(error, Problem) else (str(error), "")
    if item["type"] in _BOUNDS:
        bound, words = _BOUNDS[item["type"]]
        return f"{words} {item['ctx'][bound]:g}", ""
    return f"cannot be used: {item['msg']}", ""


def is_open(model: type[Section]) -> bool:
    """Says whether a section takes keys besides those of its model."""
    return model.model_config.get("extra") == "allow"


def fields_of(section: IniSection | None, model: type[Section]) -> dict[str, tuple[str, Any]]:
    """Returns those entries of a section that its model has or takes, as `read_model` takes them."""
    entries = section.entries if section else {}
    known = {key: (key, entry.value) for key, entry in entries.items() if key in model.model_fields}
    others = {key: (key, unquote(entry.value)) for key, entry in entries.items() if key not in known}
    return {**known, **others} if is_open(model) else known
