"""The table of steps, and a pipeline: which steps run in which order with which settings."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from sfgkeras.classes import is_class_path, load_class
from sfgkeras.errors import ConfigError, DataError, suggestion
from sfgkeras.preprocessing.bias_field import BiasFieldSettings, bias_field_step
from sfgkeras.preprocessing.clipping import ClipSettings, clip_step
from sfgkeras.preprocessing.conversion import ConvertSettings, convert_step
from sfgkeras.preprocessing.cropping import CropSettings, crop_step
from sfgkeras.preprocessing.ct import CtSettings, ct_step
from sfgkeras.preprocessing.histogram import HistogramSettings, histogram_step
from sfgkeras.preprocessing.orientation import ReorientSettings, reorient_step
from sfgkeras.preprocessing.registration import RegisterSettings, register_step
from sfgkeras.preprocessing.resample_steps import (
    ResampleLikeSettings,
    ResampleSettings,
    resample_like_step,
    resample_step,
)
from sfgkeras.preprocessing.settings import SettingProblems, build_settings, describe
from sfgkeras.preprocessing.steps import OwnStep
from sfgkeras.preprocessing.volume import StepContext, Volume
from sfgkeras.preprocessing.whitening import WhitenSettings, whiten_step


@dataclass(frozen=True)
class Step:
    """One line of the table of steps.

    Attributes:
        apply: Function of volume, settings and context.
        settings: Its frozen dataclass of settings; every field has a default.
        summary: What it does, for help texts.
        changes: `values` on the same grid; `grid`, with every voxel at its place in space; or `place`, which moves the
            image in space.
    """

    apply: Callable[[Volume, Any, StepContext], Volume]
    settings: type
    summary: str
    changes: Literal["values", "grid", "place"] = "values"


STEPS: Mapping[str, Step] = {
    "bias_field": Step(bias_field_step, BiasFieldSettings, "N4 bias field correction of MR"),
    "histogram": Step(histogram_step, HistogramSettings, "Nyul histogram standardisation of MR"),
    "ct": Step(ct_step, CtSettings, "CT / 1024 + 1, clipped"),
    "resample": Step(resample_step, ResampleSettings, "to a given spacing", "grid"),
    "resample_like": Step(resample_like_step, ResampleLikeSettings, "onto another image's grid", "grid"),
    "register": Step(register_step, RegisterSettings, "rigid, affine or SyN registration to another image", "place"),
    "whiten": Step(whiten_step, WhitenSettings, "zero mean, unit variance"),
    "clip": Step(clip_step, ClipSettings, "intensities between limits or percentiles"),
    "crop_foreground": Step(crop_step, CropSettings, "the box around the foreground", "grid"),
    "reorient": Step(reorient_step, ReorientSettings, "axes permuted and flipped", "grid"),
    "convert": Step(convert_step, ConvertSettings, "data type of the output"),
}
ALIASES: Mapping[str, str] = {
    "n4": "bias_field",
    "nyul": "histogram",
    "whitening": "whiten",
    "crop": "crop_foreground",
    "registration": "register",
    "isotropic": "resample",
}
# Steps after which intensities have no logarithm any more.
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
    def histogram(self) -> HistogramSettings | None:
        """Settings of the step `histogram`, None without it."""
        return next((step.settings for step in self.steps if step.name == "histogram"), None)

    def changing(self, what: str) -> tuple[str, ...]:
        """Names of the steps that change `values`, `grid` or `place`; see `Step`."""
        return tuple(name for name in self.names if find_step(name).changes == what)

    def before_histogram(self) -> "Pipeline":
        """Returns the steps that run before the histogram is measured."""
        return Pipeline(self.steps[: self.names.index("histogram")])

    def from_histogram(self) -> "Pipeline":
        """Returns the steps from `histogram` on."""
        return Pipeline(self.steps[self.names.index("histogram") :])

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
        """Returns what landmarks remember of the steps before their fit: all that changes intensities, or `none`."""
        parts = []
        for step in self.steps:
            settings = {key: value for key, value in describe(step.settings).items() if key not in _BESIDE_THE_IMAGE}
            parts.append(f"{step.name}({', '.join(f'{key}={_in_words(value)}' for key, value in settings.items())})")
        # Empty would mean unknown, as in NiftyNet's files.
        return "; ".join(parts) or "none"

    def digest(self) -> str:
        """Returns a hash of steps and settings."""
        return hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()

    def apply(self, volume: Volume, context: StepContext, watch: Callable[[str, float], None] | None = None) -> Volume:
        """Runs the steps on one subject.

        Args:
            volume: The subject's image and label maps.
            context: Its companions and the cohort's landmarks.
            watch: Called after every step with its name and the seconds it took.

        Raises:
            DataError: From the step that cannot use the volume, with the name of the step.
        """
        for step in self.steps:
            began = time.perf_counter()
            try:
                volume = find_step(step.name).apply(volume, step.settings, context)
            except DataError as error:
                raise DataError(f"step {step.name}: {error}") from error
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


def find_step(name: str) -> Step:
    """Returns a step of the table, or one of the user's own by the path of its class.

    Raises:
        ConfigError: If the class cannot be imported, or is no `OwnStep`.
    """
    if name in STEPS:
        return STEPS[name]
    own = load_class(name, "steps", OwnStep)
    summary = (own.__doc__ or name).strip().partition("\n")[0]
    return Step(_apply_own, own, summary, own.changes)  # type: ignore[attr-defined]


def _apply_own(volume: Volume, settings: OwnStep, context: StepContext) -> Volume:
    return settings.apply(volume, context)


def _prefixes(names: Sequence[str]) -> dict[str, str]:
    """Returns what settings of steps begin with, with the name of the step."""
    own = {name.rpartition(".")[2].lower(): name for name in names if is_class_path(name)}
    return {**{name: name for name in STEPS}, **ALIASES, **own}


def step_name(name: str) -> str | None:
    """Returns the name of a step in the table for a name or alias, None if there is none.

    The path of a class, `my.module.Class`, is its own name.
    """
    if is_class_path(name.strip()):
        return name.strip()
    name = name.strip().lower()
    name = ALIASES.get(name, name)
    return name if name in STEPS else None


def build_pipeline(steps: str | Sequence[str], options: Mapping[str, Any] | None = None) -> Pipeline:
    """Builds a pipeline from step names and settings as a user writes them.

    Args:
        steps: Names or aliases in order: `"n4, resample, nyul, whiten"`, or a list.
        options: Settings by `<step>_<setting>`, e.g. `{"n4_shrink_factor": "3"}`, texts or values; the step
            may be written with its alias.

    Raises:
        SettingProblems: A ConfigError with every mistake: unknown and repeated steps, unknown settings,
            values that cannot be, settings of steps that do not run, N4 after whitening.
    """
    written = [part for part in steps.split(",") if part.strip()] if isinstance(steps, str) else list(steps)
    problems: list[tuple[str, str]] = []
    names: list[str] = []
    for each in written:
        name = step_name(each)
        if name is None:
            known = [*STEPS, *ALIASES]
            hint = suggestion(each.strip(), known) or f"; known are {', '.join(known)}"
            problems.append(("steps", f"steps: unknown step {each.strip()!r}{hint}"))
        elif name in names:
            problems.append(("steps", f"steps: {each.strip()!r} is there twice; name each step once"))
        elif is_class_path(name) and (reason := _own_problem(name)):
            problems.append(("steps", reason))
        else:
            names.append(name)
    if not written:
        problems.append(("steps", f"steps is empty; name at least one of {', '.join(STEPS)}"))
    problems += _order_problems(names)
    options_of_steps, more = _sort_options(names, options or {})
    problems += more
    configured = []
    for name in names:
        settings, more = build_settings(find_step(name).settings, options_of_steps[name])
        problems += more
        configured.append(ConfiguredStep(name, settings))
    if problems:
        raise SettingProblems(problems)
    return Pipeline(tuple(configured))


def _own_problem(name: str) -> str:
    """Says why a step of the user's own cannot be used, or returns an empty string."""
    try:
        find_step(name)
    except ConfigError as error:
        return str(error)
    return ""


def _order_problems(names: Sequence[str]) -> list[tuple[str, str]]:
    if "bias_field" not in names:
        return []
    earlier = [name for name in names[: names.index("bias_field")] if name in _SIGNED]
    return [
        ("steps", f"steps: bias_field comes after {name}, but N4 needs positive intensities; put it first")
        for name in earlier
    ]


def _sort_options(
    names: Sequence[str], options: Mapping[str, Any]
) -> tuple[dict[str, dict[str, tuple[str, Any]]], list[tuple[str, str]]]:
    """Splits `<step>_<setting>` into settings by step."""
    sorted_options: dict[str, dict[str, tuple[str, Any]]] = {name: {} for name in names}
    problems = []
    known = _prefixes(names)
    for key, value in options.items():
        # The longest step name first: `resample_like_order` belongs to resample_like, not to resample.
        prefixes = sorted((p for p in known if key.lower().startswith(f"{p}_")), key=len, reverse=True)
        if not prefixes:
            hint = suggestion(key, _all_keys()) or "; settings are named <step>_<setting>"
            problems.append((key, f"unknown setting {key!r}{hint}"))
            continue
        name = known[prefixes[0]]
        setting = key.lower()[len(prefixes[0]) + 1 :]
        if name not in sorted_options:
            problems.append((key, f"{key} = {value!r} has no effect: {name} is not among the steps"))
        elif setting in sorted_options[name]:
            problems.append((key, f"{key} = {value!r} repeats {sorted_options[name][setting][0]}"))
        else:
            sorted_options[name][setting] = (key, value)
    return sorted_options, problems


def _all_keys() -> list[str]:
    return [f"{name}_{each}" for name in STEPS for each in setting_names(name)]


def known_keys(steps: Sequence[str] = ()) -> list[str]:
    """Returns every setting, `<step>_<setting>`, under the names and the aliases of the steps.

    Args:
        steps: Steps of a run, of which those of the user's own have settings too.
    """
    own = {name.rpartition(".")[2].lower(): name for name in steps if is_class_path(name) and not _own_problem(name)}
    aliases = [f"{alias}_{each}" for alias, name in ALIASES.items() for each in setting_names(name)]
    return [*_all_keys(), *aliases, *(f"{short}_{each}" for short, name in own.items() for each in setting_names(name))]


def setting_names(step: str) -> list[str]:
    """Returns the names of a step's settings."""
    return [each.name for each in fields(find_step(step).settings)]


def explain_steps() -> list[tuple[str, str, str]]:
    """Lists name, aliases and summary of every step, for help texts."""
    return [
        (name, ", ".join(alias for alias, target in ALIASES.items() if target == name), step.summary)
        for name, step in STEPS.items()
    ]
