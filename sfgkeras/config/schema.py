"""A JSON schema of INI files, for editors and for whoever writes such files by program.

It describes a file as an object of sections, each an object of its keys (`ini_document`): section names in upper case,
keys in lower case, values as their text, numbers as numbers where one is meant. Everything in it is taken from the
models that read the files, so that nothing is known twice. `read_config` stays the judge: it checks what concerns
several keys, too.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from sfgkeras import values
from sfgkeras.config.chosen import Choosing, choosing_keys
from sfgkeras.config.known import AUTHORS_KEY, NOT_BUILT_SECTIONS, ONE_TASK_SECTIONS, RUN_SECTIONS, is_open
from sfgkeras.config.mechanism import sharing_keys
from sfgkeras.config.reader import read_text
from sfgkeras.config.section import Section
from sfgkeras.config.task_sections import InputSource, Multitask, Task
from sfgkeras.config.text import parse_ini, section_id
from sfgkeras.quoting import unquote
from sfgkeras.settings import REQUIRED, Described, described, key_of
from sfgkeras.tables.sharing import SHARING
from sfgkeras.tables.tasks import TASK_TYPES, learns_image
from sfgkeras.values import Choice, Reads, format_value

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_WHOLE, _NUMBER = r"[+-]?[0-9]+", r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?(\s*/\s*[0-9.]+)?"
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_HAS_DOT = {"pattern": r"\."}


def _list_of(element: str) -> str:
    return rf"[(\[]?\s*{element}(\s*,\s*{element})*\s*,?\s*[)\]]?"


def _any_case(words: Iterable[str]) -> str:
    """Returns a pattern of words in any letter case, for engines without flags."""
    parts = ("".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else _escaped(c) for c in word) for word in words)
    return "(" + "|".join(parts) + ")"


def _escaped(character: str) -> str:
    return character if character.isalnum() or character == "_" else f"\\{character}"


_FORMS: Mapping[Callable[[str], Any], tuple[list[str], str]] = {
    values.parse_whole: (["integer", "string"], _WHOLE),
    values.parse_number: (["number", "string"], _NUMBER),
    values.parse_wholes: (["integer", "string"], _list_of(_WHOLE)),
    values.parse_widths: (["integer", "string"], _list_of(_WHOLE)),
    values.parse_axes: (["integer", "string"], _list_of(_WHOLE)),
    values.parse_window: (["string"], _list_of(_WHOLE)),
    values.parse_inference_window: (["string"], _list_of(_WHOLE)),
    values.parse_border: (["integer", "string"], _list_of(_WHOLE)),
    values.parse_devices: (["integer", "string"], _list_of(_WHOLE)),
    values.parse_numbers: (["number", "string"], _list_of(_NUMBER)),
    values.parse_spacing: (["string"], _list_of(_NUMBER)),
    values.parse_range: (["string"], _list_of(_NUMBER)),
    values.parse_cutoff: (["string"], _list_of(_NUMBER)),
    values.parse_iteration: (["integer", "string"], f"({_WHOLE}|{_any_case(['best'])})"),
    values.parse_outside: (["number", "string"], f"({_NUMBER}|{_any_case(['auto', 'none'])})"),
}
"""What the text of a value looks like by the function that reads it; other texts may be anything."""
_YES_NO = ["yes", "no", "true", "false", "y", "n", "t", "f", "on", "off", "1", "0"]


def build_schema(step_settings: Mapping[str, Described] | None = None) -> Schema:
    """Returns the JSON schema of an INI file as a dictionary.

    Args:
        step_settings: Settings of the steps of `[PREPROCESSING]` by their keys, which a higher layer knows; None takes
            any key there.
    """
    sections: dict[str, Schema] = {}
    models: dict[str, type[Section]] = {**RUN_SECTIONS, **ONE_TASK_SECTIONS, "MULTITASK": Multitask}
    for name, model in models.items():
        sections[name] = _section(model, {k: _described(v) for k, v in (step_settings or {}).items()})
    sections["PREPROCESSING"] |= _closed(sections["PREPROCESSING"], "steps") if step_settings else {}
    sections["MULTITASK"] = _with_authors_keys(sections["MULTITASK"])
    sections["SHARING"] = {
        "type": "object",
        "description": "Settings of the mechanism that [NETWORK] sharing chooses.",
        "propertyNames": {"enum": list(sharing_keys())},
    }
    sections["COMPARE"] = {
        "type": "object",
        "description": "Rows of a study: a name, and what is changed in the file for it.",
        "additionalProperties": {"type": "string"},
    }
    missing = {
        name: {"not": {}, "description": f"Does not exist in this version: {remedy}."}
        for name, remedy in NOT_BUILT_SECTIONS.items()
        if name not in sections
    }
    return {
        "$schema": DIALECT,
        "title": "INI file of sfgkeras",
        "description": "Sections by upper-case name, keys in lower case, values as their text; numbers may be numbers.",
        "type": "object",
        "required": ["SYSTEM", "NETWORK"],
        "anyOf": [{"required": [name]} for name in ("MULTITASK", *ONE_TASK_SECTIONS)],
        "properties": {**sections, **missing},
        "patternProperties": {"^TASK ": {"$ref": "#/$defs/task"}},
        "additionalProperties": {"$ref": "#/$defs/input_source"},
        "allOf": [_without_own_loss(), *_mechanisms()],
        "$defs": {"task": _task(), "input_source": _section(InputSource)},
    }


def ini_document(text: str, schema: Schema, file: str = "<text>") -> dict[str, dict[str, Any]]:
    """Returns an INI file as the schema describes it.

    Args:
        text: The text of the file.
        schema: What `build_schema` gave; it says where numbers are meant.
        file: How messages call the file.

    Raises:
        ConfigError: If the text is no INI file.
    """
    ini = parse_ini(text, file)
    document: dict[str, dict[str, Any]] = {}
    for name, section in ini.sections.items():
        known = _properties(schema, section_id(name))
        document[section_id(name)] = {
            key: _plain(entry.value, known.get(key, {})) for key, entry in section.entries.items()
        }
    return document


def read_document(path: Path, schema: Schema) -> dict[str, dict[str, Any]]:
    """Returns an INI file as the schema describes it; see `ini_document`."""
    return ini_document(read_text(path), schema, str(path))


def _properties(schema: Schema, name: str) -> Mapping[str, Any]:
    kind = "task" if name.startswith("TASK ") else "input_source"
    section = schema["properties"].get(name, schema["$defs"][kind])
    found: Mapping[str, Any] = section.get("properties", {})
    return found


def _plain(text: str, schema: Schema) -> Any:
    """Returns a number where one is meant and written, else the text without its quotes."""
    text, kinds = unquote(text), schema.get("type", ())
    for kind, read in (("integer", int), ("number", float)):
        if kind in kinds:
            try:
                return read(text)
            except ValueError:
                continue
    return text


def _section(model: type[Section], more: Mapping[str, Schema] | None = None) -> Schema:
    """Returns the schema of a section: its own keys, and the settings of what they choose."""
    properties = {key: _field(info) for key, info in model.model_fields.items()}
    depends: dict[str, Schema] = {}
    for choosing in choosing_keys(model):
        for name, key, setting in _settings(choosing):
            properties[key] = _described(setting, f"With `{choosing.key} = {name}`: ")
            depends |= _dependence(model, choosing, name, key)
    found: Schema = {
        "type": "object",
        "description": " ".join((model.__doc__ or "").split()),
        "properties": {**properties, **((more or {}) if is_open(model) else {})},
    }
    required = [key for key, info in model.model_fields.items() if info.is_required()]
    found |= {"required": required} if required else {}
    found |= {"dependentSchemas": depends} if depends else {}
    choosers = [each.key for each in choosing_keys(model) if each.find is not None and each.key in model.model_fields]
    if not is_open(model) and model not in ONE_TASK_SECTIONS.values():
        found |= _closed(found, *choosers)
    return found


def _closed(section: Schema, *choosers: str) -> Schema:
    """Returns what refuses keys that a section does not have; a class of the user's own may have others."""
    names = {"propertyNames": {"enum": list(section["properties"])}}
    if not choosers:
        return names
    own = [{"properties": {key: _HAS_DOT}, "required": [key]} for key in choosers]
    return {"if": {"anyOf": own}, "else": names}


def _settings(choosing: Choosing) -> Iterable[tuple[str, str, Described]]:
    for table in choosing.tables.values():
        for name, entry in table.items():
            for setting in described(entry.settings_class()).values():
                yield from ((name, key_of(called, setting.name), setting) for called in (name, *entry.aliases))


def _dependence(model: type[Section], choosing: Choosing, name: str, key: str) -> dict[str, Schema]:
    """Returns what a setting of an entry asks for: that the entry is chosen."""
    if set(choosing.tables) != {""} or choosing.key not in model.model_fields:
        return {}
    entry = choosing.tables[""][name]
    chosen: Schema = {"properties": {choosing.key: {"pattern": f"^{_any_case([name, *entry.aliases])}$"}}}
    is_usual = model.model_fields[choosing.key].default == name
    return {key: chosen if is_usual else chosen | {"required": [choosing.key]}}


def _task() -> Schema:
    """Returns the schema of `[TASK name]`; what learns from the image needs no target."""
    task = _section(Task)
    task["required"] = ["type"]
    of_images = _any_case([name for name in TASK_TYPES if learns_image(name)])
    needs = {"if": {"properties": {"type": {"not": {"pattern": f"^{of_images}$"}}}}}
    return task | {"allOf": [needs | {"then": {"required": ["target"]}}]}


def _with_authors_keys(section: Schema) -> Schema:
    """Lets `[MULTITASK]` have the keys of the paper's authors, one for each task."""
    pattern = re.sub(r"\?P<\w+>", "", AUTHORS_KEY.pattern)
    known = {"anyOf": [{"enum": list(section["properties"])}, {"pattern": f"^({pattern})$"}]}
    return section | {"propertyNames": known}


def _without_own_loss() -> Schema:
    """Refuses unknown keys in a section of one task, unless `loss_type` is a class, whose settings stand there."""
    own = {"TRAINING": {"properties": {"loss_type": _HAS_DOT}, "required": ["loss_type"]}}
    closed = {name: _closed(_section(model)) for name, model in ONE_TASK_SECTIONS.items()}
    return {"if": {"properties": own, "required": ["TRAINING"]}, "else": {"properties": closed}}


def _mechanisms() -> list[Schema]:
    """Returns what `[SHARING]` may hold by the mechanism that `[NETWORK] sharing` chooses."""
    found = []
    for name, entry in SHARING.items():
        keys = {key: _described(each) for key, each in described(entry.settings_class()).items()}
        chosen = {
            "NETWORK": {"properties": {"sharing": {"pattern": f"^{_any_case([name])}$"}}, "required": ["sharing"]}
        }
        holds = {"SHARING": {"properties": keys, "propertyNames": {"enum": list(keys)}}}
        found.append({"if": {"properties": chosen, "required": ["NETWORK"]}, "then": {"properties": holds}})
    return found


def _field(info: FieldInfo) -> Schema:
    (reads,) = (item for item in info.metadata if isinstance(item, Reads))
    bounds = {
        name: getattr(item, name)
        for item in info.metadata
        for name in _BOUNDS
        if not isinstance(item, Reads) and getattr(item, name, None) is not None
    }
    may_be_empty = not info.is_required() and info.default in (None, (), {})
    return _value(reads, info.description or "", info.default, bounds, may_be_empty)


def _described(setting: Described, before: str = "") -> Schema:
    return _value(setting.reads, before + setting.description, setting.default, setting.bounds, setting.optional)


def _value(reads: Reads, description: str, default: Any, bounds: Mapping[str, float], may_be_empty: bool) -> Schema:
    """Returns the schema of one value."""
    found = _form(reads, may_be_empty)
    if "type" in found and found["type"] != ["string"]:
        found |= {_BOUNDS[name]: bound for name, bound in bounds.items()}
    found["description"] = description
    if default not in (PydanticUndefined, REQUIRED, None, (), {}):
        found["default"] = str(default) if isinstance(default, Path) else format_value(default)
    return found


def _form(reads: Reads, may_be_empty: bool) -> Schema:
    empty = [""] if may_be_empty else []
    if isinstance(reads, Choice):
        return _words([*reads.names], {**dict.fromkeys(reads.names), **reads.aliases}, empty, reads.classes)
    if reads.parse is values.parse_yes_no:
        return _words(["yes", "no"], _YES_NO, empty, False)
    if reads.parse not in _FORMS:
        return {"type": ["string"]}
    kinds, pattern = _FORMS[reads.parse]
    return {"type": kinds, "pattern": f"^\\s*({pattern}{'|' if may_be_empty else ''})\\s*$"}


def _words(shown: list[str], accepted: Collection[str], empty: list[str], classes: bool) -> Schema:
    """Returns the schema of a choice: the usual words for completion, and all that is understood."""
    pattern = _any_case([word for word in accepted if word] + empty)
    ways: list[Schema] = [{"enum": [*shown, *empty]}, {"pattern": f"^{pattern}$"}]
    ways += [{"pattern": r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$"}] if classes else []
    return {"type": ["string"], "anyOf": ways}
