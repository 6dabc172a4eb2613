"""A pipeline: which steps run in which order with which settings, and what they were fitted to."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.classes import is_class_path
from sfgkeras.errors import Problem, Problems, closest, naming, suggestion
from sfgkeras.preprocessing.fitted import Fitted, check_fitted, choose_modality
from sfgkeras.preprocessing.settings import describe, fill_settings
from sfgkeras.preprocessing.table import (
    ALIASES,
    STEPS,
    Step,
    all_keys,
    find_step,
    own_problem,
    setting_names,
    setting_prefixes,
    short_name,
    step_name,
)
from sfgkeras.preprocessing.volume import StepContext, Volume

_SIGNED = ("whiten", "ct")
# Settings that leave the image as it is.
_BESIDE_THE_IMAGE = frozenset({"label_method", "save_field", "save_transform"})


@dataclass(frozen=True)
class ConfiguredStep:
    """A step with its settings.

    Attributes:
        name: Its name in `STEPS`.
        settings: An instance of its settings.
    """

    name: str
    settings: Any

    @property
    def prefix(self) -> str:
        """What its settings begin with: its name, for a class that of the class in lower case."""
        return short_name(self.name)

    @property
    def step(self) -> Step:
        """Its line of the table."""
        return find_step(self.name)

    @property
    def is_fitted(self) -> bool:
        """Whether it is fitted on the cohort."""
        return self.step.fit is not None

    def measure(self, volume: Volume) -> np.ndarray:
        """Measures one training subject for the fit, `(n,)`.

        Args:
            volume: The subject as the steps before left it.
        """
        assert self.step.measure is not None
        return self.step.measure(volume, self.settings)

    def fit(self, measured: Sequence[np.ndarray], modality: str, fitted_on: Sequence[str], preparation: str) -> Fitted:
        """Fits the step.

        Args:
            measured: What `measure` returned for the training subjects.
            modality: What it goes by, if the settings name no other.
            fitted_on: The training subjects, `id@hash`.
            preparation: Steps and settings before, as `Pipeline.preparation_text` has them.
        """
        assert self.step.fit is not None
        fitted: Fitted = self.step.fit(measured, self.settings)
        return fitted.originating(self.settings, self.settings.modality or modality, tuple(fitted_on), preparation)

    def read_all(self, path: Path) -> Mapping[str, Fitted]:
        """Reads what the step was fitted to, by modality.

        Raises:
            DataError: If the file is missing or damaged.
        """
        return self.step.file.read(path, self.settings)

    def read_fitted(
        self,
        path: Path,
        preparation: str,
        fitted_on: Callable[[Fitted], Sequence[str]] | None = None,
        is_only: bool = True,
    ) -> Fitted:
        """Reads what the step was fitted to.

        Args:
            path: The file.
            preparation: Steps and settings before, as `Pipeline.preparation_text` has them.
            fitted_on: Returns the training subjects that it should have been fitted on; None does not ask.
            is_only: Whether the file is asked for no other modality.

        Raises:
            DataError: If the file is missing, damaged or stale.
        """
        file, key = self.step.file, self.prefix
        fitted = choose_modality(path, self.read_all(path), self.settings.modality, file.what, key, is_only)
        expected = None if fitted_on is None else fitted_on(fitted)
        check_fitted(path, fitted, fitted.differences(self.settings), expected, preparation, file.what, key)
        return fitted

    @property
    def file_name(self) -> str:
        """Name beside the output of the file with what it was fitted to."""
        return self.step.file.name or f"{self.prefix}.json"

    def file_in(self, folder: Path) -> Path:
        """Returns the file of what it was fitted to, for the output in a folder."""
        return self.settings.ref_file or folder / self.file_name

    def describe(self) -> dict[str, Any]:
        """Returns name and settings as values that JSON can hold."""
        return {"step": self.name, **describe(self.settings)}


@dataclass(frozen=True)
class Pipeline:
    """Steps in the order in which they run.

    Attributes:
        steps: The configured steps.
    """

    steps: tuple[ConfiguredStep, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the steps."""
        return tuple(step.name for step in self.steps)

    @property
    def fitted(self) -> tuple[ConfiguredStep, ...]:
        """The steps that are fitted on the cohort."""
        return tuple(step for step in self.steps if step.is_fitted)

    def of_modality(self, modality: str) -> "Pipeline":
        """Returns the pipeline for a modality: what its steps are fitted to goes by that name, if by no other."""
        steps = [
            replace(step, settings=replace(step.settings, modality=modality))
            if step.is_fitted and step.settings.modality is None
            else step
            for step in self.steps
        ]
        return Pipeline(tuple(steps))

    def changing(self, what: str) -> tuple[str, ...]:
        """Names of the steps that change `values`, `grid` or `place`; see `Step`."""
        return tuple(name for name in self.names if find_step(name).changes == what)

    def placing(self) -> "Pipeline":
        """Returns the first steps, up to one that changes values: those that give an image its grid."""
        return Pipeline(self.steps[: self._first_of_values()])

    def measuring(self) -> "Pipeline":
        """Returns the steps after those of `placing`."""
        return Pipeline(self.steps[self._first_of_values() :])

    def _first_of_values(self) -> int:
        return next((i for i, each in enumerate(self.steps) if each.step.changes == "values"), len(self.steps))

    def before(self, name: str) -> "Pipeline":
        """Returns the steps that run before a step."""
        return Pipeline(self.steps[: self.names.index(name)])

    def since(self, name: str) -> "Pipeline":
        """Returns a step and those after it."""
        return Pipeline(self.steps[self.names.index(name) :])

    def describe(self) -> list[dict[str, Any]]:
        """Returns steps and settings as values that JSON can hold."""
        return [step.describe() for step in self.steps]

    def text(self) -> str:
        """Returns steps and settings in one line, for comparison and messages."""
        return "; ".join(
            f"{step.name}({', '.join(f'{key}={value}' for key, value in describe(step.settings).items())})"
            for step in self.steps
        )

    def preparation_text(self) -> str:
        """Returns what a fit remembers of the steps before it: all that changes intensities, or `none`."""
        parts = []
        for step in self.steps:
            settings = {key: value for key, value in describe(step.settings).items() if key not in _BESIDE_THE_IMAGE}
            parts.append(f"{step.name}({', '.join(f'{key}={_in_words(value)}' for key, value in settings.items())})")
        # Empty would mean unknown, as in NiftyNet's files.
        return "; ".join(parts) or "none"

    def digest(self) -> str:
        """Returns a hash of steps and settings."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()

    def apply(
        self,
        volume: Volume,
        context: StepContext,
        watch: Callable[[str, float], None] | None = None,
        fitted: Mapping[str, Fitted] | None = None,
    ) -> Volume:
        """Runs the steps on one subject.

        Args:
            volume: The subject's image and label maps.
            context: Its companions.
            watch: Called after every step with its name and the seconds it took.
            fitted: What steps were fitted to on the training subjects, by their names.

        Raises:
            DataError: From the step that cannot use the volume, with the name of the step.
        """
        for step in self.steps:
            began = time.perf_counter()
            known = (fitted or {}).get(step.name)
            with naming(f"step {step.name}"):
                volume = step.step.apply(volume, step.settings, replace(context, fitted=known))
            if watch is not None:
                watch(step.name, time.perf_counter() - began)
        return volume


def _in_words(value: Any) -> str:
    """Writes a setting as an INI file has it, but for the commas, which stand between settings here."""
    if isinstance(value, list):
        return " ".join(_in_words(each) for each in value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def build_pipeline(steps: str | Sequence[str], options: Mapping[str, Any] | None = None) -> Pipeline:
    """Builds a pipeline from step names and settings as a user writes them.

    Args:
        steps: Names or aliases in order: `"n4, resample, nyul, whiten"`, or a list.
        options: Settings by `<step>_<setting>`, e.g. `{"n4_shrink_factor": "3"}`, texts or values; the step
            may be written with its alias.

    Raises:
        Problems: A ConfigError with every mistake: unknown and repeated steps, unknown settings, values that cannot be,
            settings of steps that do not run, N4 after whitening.

    Examples:
        >>> build_pipeline("n4, resample, whiten", {"resample_spacing": "1"}).names
        ('bias_field', 'resample', 'whiten')
    """
    written = [part.strip() for part in (steps.split(",") if isinstance(steps, str) else steps) if part.strip()]
    names, sentences = _read_names(written)
    options_of_steps, problems = _sort_options(names, options or {}, is_complete=not sentences)
    configured = []
    for name in names:
        settings, wrong = fill_settings(find_step(name).settings, options_of_steps[name], short_name(name))
        # What no single setting is to blame for, e.g. that one is missing, is said of the steps.
        sentences += [str(problem) for problem in wrong if not problem.key]
        problems += [problem for problem in wrong if problem.key]
        configured.append(ConfiguredStep(name, settings))
    if sentences:
        what = f"cannot be used: {'; '.join(sentences)}"
        problems.insert(0, Problem(what, key="steps", value=", ".join(written)))
    if problems:
        raise Problems(problems)
    return Pipeline(tuple(configured))


def _read_names(written: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the names of the steps, and sentences on those that cannot be and on their order."""
    names: list[str] = []
    sentences = [] if written else [f"is empty; name at least one of {', '.join(STEPS)}"]
    for each in written:
        name = step_name(each)
        if name is None:
            sentences.append(f"unknown step {each!r}{_hint(each, [*STEPS, *ALIASES])}")
        elif name in names:
            sentences.append(f"{each!r} is there twice; name each step once")
        elif is_class_path(name) and (reason := own_problem(name)):
            sentences.append(reason)
        else:
            names.append(name)
    if "bias_field" in names:
        earlier = [name for name in names[: names.index("bias_field")] if name in _SIGNED]
        sentences += [
            f"bias_field comes after {name}, but N4 needs positive intensities; put it first" for name in earlier
        ]
    return names, sentences


def _hint(name: str, known: Sequence[str]) -> str:
    return suggestion(name, known) or f"; known are {', '.join(known)}"


def _sort_options(
    names: Sequence[str], options: Mapping[str, Any], is_complete: bool
) -> tuple[dict[str, dict[str, tuple[str, Any]]], list[Problem]]:
    """Splits `<step>_<setting>` into settings by step.

    Args:
        names: The steps.
        options: Settings as written.
        is_complete: Whether these are all the steps; if not, a setting of another one may be right.
    """
    sorted_options: dict[str, dict[str, tuple[str, Any]]] = {name: {} for name in names}
    problems = []
    known = setting_prefixes(names)
    for key, value in options.items():
        # The longest step name first: `resample_like_order` belongs to resample_like, not to resample.
        prefixes = sorted((p for p in known if key.lower().startswith(f"{p}_")), key=len, reverse=True)
        if not prefixes:
            remedy = _remedy(key, all_keys(), "settings are named <step>_<setting>")
            problems.append(Problem(f"unknown setting {key!r}", remedy, key=key, names_key=False))
            continue
        prefix, name = prefixes[0], known[prefixes[0]]
        setting = key.lower()[len(prefix) + 1 :]
        settings = setting_names(name)
        if setting not in settings:
            remedy = _remedy(key, [f"{prefix}_{each}" for each in settings], f"known are {', '.join(settings)}")
            problems.append(Problem(f"unknown setting {key!r}", remedy, key=key, names_key=False))
        elif name not in sorted_options:
            if is_complete:
                problems.append(Problem(f"has no effect: {name} is not among the steps", key=key, value=value))
        elif setting in sorted_options[name]:
            problems.append(Problem(f"repeats {sorted_options[name][setting][0]}", key=key, value=value))
        else:
            sorted_options[name][setting] = (key, value)
    return sorted_options, problems


def _remedy(key: str, known: Sequence[str], otherwise: str) -> str:
    close = closest(key, known)
    return otherwise if close is None else f"did you mean {close!r}?"
