"""The INI file of a run with what this layer knows of it: the steps of `[PREPROCESSING]` and their settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sfgkeras.config import Config, Preprocessing, read_config
from sfgkeras.config.known import refuse_unknown_keys
from sfgkeras.config.settle import Draft
from sfgkeras.errors import Problems

if TYPE_CHECKING:
    from sfgkeras.preprocessing.pipeline import Pipeline

SECTION = "PREPROCESSING"


def read_run(path: Path | str, overrides: Sequence[tuple[str, str]] = (), row: str | None = None) -> Config:
    """Reads an INI file, or a row of its `[COMPARE]`, as `read_config` does; checks the steps of `[PREPROCESSING]` too.

    Raises:
        ConfigError: Every mistake at once; see `read_config`.
    """
    return read_config(path, overrides, checks=(check_steps,), row=row)


def check_steps(draft: Draft) -> None:
    """Every step and setting of `[PREPROCESSING]` exists, fits the others and leaves a way back to the image."""
    section, preprocessing = draft.ini.sections.get(SECTION), draft.sections.get("preprocessing")
    if section is None or preprocessing is None:
        return
    from sfgkeras.preprocessing.pipeline import build_pipeline
    from sfgkeras.preprocessing.table import known_keys

    known = known_keys(preprocessing.steps)
    refuse_unknown_keys(draft.ini, section, Preprocessing, known)
    if draft.ini.is_wrong(SECTION, "steps"):
        return
    settings = {key: value for key, value in preprocessing.settings.items() if key in known}
    try:
        pipeline = build_pipeline(preprocessing.steps, settings)
    except Problems as error:
        for problem in error.problems:
            draft.ini.add(SECTION, problem.key, problem.what, problem.remedy)
        return
    remedies = _contradictions(draft, pipeline)
    if remedies:
        draft.ini.add(SECTION, "steps", "; ".join(remedies))


def _contradictions(draft: Draft, pipeline: "Pipeline") -> list[str]:
    remedies = []
    if moving := pipeline.changing("place"):
        remedies.append(
            f"has {moving[0]}, which moves the image away from its targets and from where results belong; register "
            "the folder beforehand, with sfgkeras preprocess --input, and name its output in path_to_search"
        )
    if "histogram" in pipeline.names and draft.sections["network"].normalisation:
        remedies.append("has histogram beside [NETWORK] normalisation = yes; keep one of them")
    scaled = [
        name
        for name in draft.sections["preprocessing"].sources
        if name in draft.sources and draft.sources[name].scaling == "ct"
    ]
    if "ct" in pipeline.names and scaled:
        remedies.append(f"has ct beside scaling = ct in [{scaled[0]}]; keep one of them")
    return remedies


def build_steps(config: Config) -> "Pipeline | None":
    """Returns the pipeline of `[PREPROCESSING]`, None without the section.

    Raises:
        ConfigError: If steps or settings cannot be used; a file read by `read_run` has been checked for it.
    """
    if config.preprocessing is None:
        return None
    from sfgkeras.preprocessing.pipeline import build_pipeline

    try:
        return build_pipeline(config.preprocessing.steps, config.preprocessing.settings)
    except Problems as error:
        raise Problems(each.at(file=str(config.path), section=SECTION) for each in error.problems) from error


def describe_steps(config: Config) -> str:
    """Returns steps and settings of `[PREPROCESSING]` in one line, empty without the section."""
    pipeline = build_steps(config)
    return "" if pipeline is None else pipeline.text()
