"""INI file to `Config`: text, sections, tasks, defaults, checks, and then every mistake at once."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sfgkeras.config.checks import CHECKS
from sfgkeras.config.chosen import read_settings
from sfgkeras.config.compare import apply_row, take_rows
from sfgkeras.config.config import Config
from sfgkeras.config.grouping_schedule import leave_behind
from sfgkeras.config.known import (
    RUN_SECTIONS,
    fields_of,
    is_open,
    read_model,
    refuse_strays,
    refuse_unknown_keys,
    sort_sections,
)
from sfgkeras.config.niftynet import adapt
from sfgkeras.config.settle import Draft, settle
from sfgkeras.config.task_sections import InputSource
from sfgkeras.config.text import IniText, apply_overrides, parse_ini
from sfgkeras.config.translate import read_application
from sfgkeras.errors import ConfigError, Problem, Problems, did_you_mean

# A section without which there is no object to hold the configuration; None stands for "not asked for".
_OPTIONAL_SECTIONS = frozenset({"PREPROCESSING"})
# So that what depends on a required key can be checked although the key is wrong.
_PLACEHOLDERS: dict[str, dict[str, Any]] = {
    "SYSTEM": {"model_dir": Path()},
    "NETWORK": {"name": "highresnet"},
    "PREPROCESSING": {"steps": ()},
}


def read_config(
    path: Path | str,
    overrides: Sequence[tuple[str, str]] = (),
    checks: Sequence[Callable[[Draft], None]] = (),
    row: str | None = None,
) -> Config:
    """Reads and checks an INI file; nothing but the file itself is touched.

    Relative paths in it start from the working folder; those of results (`dataset_split_file`,
    `histogram_ref_file`, `save_seg_dir`, `save_csv_dir`, `cache_dir`, `output`) from `model_dir`. Both is as in
    NiftyNet. `~` is the home folder.

    Args:
        path: The file.
        overrides: Values from the command line, `("SECTION.KEY", "VALUE")`, which replace the file's.
        checks: Checks of higher layers, which know what this room cannot, such as the settings of preprocessing
            steps; they collect their mistakes with all others.
        row: A row of `[COMPARE]`, whose values replace the file's too. Without it the file is read as it stands, and
            every row is tried.

    Raises:
        ConfigError: If anything in it is wrong; one line for each mistake, with file, line, section, key,
            value and remedy.
    """
    path = Path(path)
    text = read_text(path)
    draft = _read_checked(text, path, overrides, checks, row)
    problems = draft.ini.problems()
    for other in () if row is not None else draft.rows.values():
        found = _read_checked(text, path, overrides, checks, other.name).ini.problems()
        told = {str(problem) for problem in problems}
        problems += [other.problem(problem) for problem in found if str(problem) not in told]
    if problems:
        raise Problems(problems)
    application = draft.application
    return Config(
        application=application.name,
        sources=draft.sources,
        image=application.multitask.image,
        tasks=application.tasks,
        sampler=application.multitask.sampler,
        multitask=application.multitask,
        sharing=draft.sharing,
        path=path,
        text=text,
        warnings=tuple(draft.warnings),
        rows=tuple(draft.rows),
        row_starts={row.name: row.start for row in draft.rows.values() if row.start},
        **draft.sections,
    )


def _read_checked(
    text: str,
    path: Path,
    overrides: Sequence[tuple[str, str]],
    checks: Sequence[Callable[[Draft], None]],
    row: str | None,
) -> Draft:
    """Reads the text of a file, with a row or as it stands; the mistakes are in the draft's `ini`.

    Raises:
        ConfigError: If there is no such row.
    """
    ini = parse_ini(text, str(path))
    refuse_strays(ini)
    apply_overrides(ini, overrides)
    rows = take_rows(ini)
    if row is not None:
        if row not in rows:
            remedy = did_you_mean(row, rows, f"it has {', '.join(rows) or 'none'}")
            raise Problem(f"has no row {row!r}", remedy, section="COMPARE", file=str(path))
        apply_row(ini, rows[row])
    leave_behind(ini)
    told = [change.message(ini.file) for change in adapt(ini) if change.is_told]
    draft = replace(_read_draft(ini), rows=rows, row=row)
    draft.warnings[:0] = told
    settle(draft)
    for check in (*CHECKS, *checks):
        check(draft)
    draft.warnings += ini.warnings
    return draft


def read_text(path: Path) -> str:
    """Reads the text of an INI file.

    Raises:
        ConfigError: If it is not there, or no text.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file; sfgkeras configs lists those that are shipped") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); give the path of an INI file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8 text; save the file as UTF-8") from error
    if "\0" in text:
        raise ConfigError(f"{path}: holds zero bytes: it is no text, or UTF-16 without a mark; save the file as UTF-8")
    return text


def _read_draft(ini: IniText) -> Draft:
    source_sections, task_sections = sort_sections(ini)
    sources = {}
    for section in source_sections:
        refuse_unknown_keys(ini, section, InputSource)
        source = read_model(ini, section.name, InputSource, fields_of(section, InputSource))
        sources[section.name] = read_settings(ini, section.name, source)
    sections: dict[str, Any] = {}
    for name, model in RUN_SECTIONS.items():
        found = ini.sections.get(name)
        if found is None and name in _OPTIONAL_SECTIONS:
            continue
        if found is not None and not is_open(model):
            refuse_unknown_keys(ini, found, model)
        filled = read_model(ini, name, model, fields_of(found, model), _PLACEHOLDERS.get(name))
        sections[name.lower()] = read_settings(ini, name, filled)
    application = read_application(ini, sources, task_sections)
    return Draft(ini, sources, sections, application, application.warnings)
