"""The configuration of a trained run, for new patients: what was trained cannot be changed, and no data are needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sfgkeras.applications.records.files import PLACE_KEYS, RunFolder
from sfgkeras.applications.subjects.preprocessing_settings import read_run
from sfgkeras.config import Config, find_config
from sfgkeras.config.known import SECTIONS, is_open
from sfgkeras.config.sections import Evaluation, Inference, Network, Preprocessing, Section, System, Training
from sfgkeras.config.task_sections import Classification, InputSource, Multitask, Regression, Segmentation, Task
from sfgkeras.config.text import section_id
from sfgkeras.errors import ConfigError, Problem
from sfgkeras.settings import described, key_of
from sfgkeras.tables.refinements import REFINEMENTS
from sfgkeras.values import format_value

REFINING = frozenset(
    key_of(name, field) for name, entry in REFINEMENTS.items() for field in described(entry.settings_class())
)
"""Settings of refinements, which change results and nothing that was trained."""

FREE: Mapping[type[Section], frozenset[str]] = {
    System: frozenset(("num_threads", "cuda_devices", "cache_dir")),
    Network: frozenset(("batch_size", "smaller_final_batch_mode", "batch_norm", "histogram_ref_file")),
    Inference: frozenset(Inference.model_fields) - {"save_seg_dir", "dataset_to_infer"},
    Preprocessing: frozenset(("workers", "scheduler")),
    Task: frozenset(("output_prob", "refinement")) | REFINING,
    Segmentation: frozenset(("output_prob",)),
    InputSource: frozenset(("filename_contains", "filename_not_contains", "filename_removefromid", "loader")),
}
"""Keys that the command line may change, by section."""


@dataclass(frozen=True)
class TrainedRun:
    """What `sfgkeras predict -c` names.

    Attributes:
        config: The configuration, with the values of the command line.
        trained: The configuration that the last training started with, without those; paths of data in it may be gone.
        overrides: Those values.
    """

    config: Config
    trained: Config
    overrides: tuple[tuple[str, str], ...] = ()

    @property
    def folder(self) -> RunFolder:
        """The model folder."""
        return RunFolder(self.config.system.model_dir)


def read_trained_run(name: str, overrides: Sequence[tuple[str, str]] = ()) -> TrainedRun:
    """Reads the configuration of a model folder, or of an INI file and its model folder.

    Args:
        name: A model folder, wherever it lies now; or an INI file as `find_config` takes it.
        overrides: Values of the command line, `("SECTION.KEY", "VALUE")`.

    Raises:
        ConfigError: If there is no configuration, a value would change what was trained or change nothing, or an INI
            file says something else than what was trained.
    """
    path = Path(name).expanduser()
    if (
        path.is_file()
        and path.name == RunFolder(path.parent).configuration.name
        and RunFolder(path.parent).checkpoints.is_dir()
    ):
        path = path.parent
    if path.is_dir():
        model_dir, ini = path, RunFolder(path).configuration
        if not ini.is_file():
            raise Problem(
                f"holds no {ini.name}, so it is no model folder of a training",
                "give the folder that [SYSTEM] model_dir names, or an INI file",
                file=str(path),
            )
        here = [("SYSTEM.model_dir", format_value(model_dir))]
        trained = read_run(ini, here)
        _refuse_overrides(trained, overrides)
        return TrainedRun(read_run(ini, [*here, *overrides]), trained, tuple(overrides))
    ini = find_config(name)
    plain = read_run(ini)
    _refuse_overrides(plain, overrides)
    config, kept = read_run(ini, overrides), RunFolder(plain.system.model_dir).configuration
    if not kept.is_file():
        return TrainedRun(config, plain, tuple(overrides))
    trained = read_run(kept, [("SYSTEM.model_dir", format_value(plain.system.model_dir))])
    return TrainedRun(config, trained, tuple(overrides))


def _refuse_overrides(config: Config, overrides: Sequence[tuple[str, str]]) -> None:
    """Refuses values that would change what was trained, or nothing; unknown keys are left to who reads them."""
    models: dict[str, type[Section]] = {section_id(name): InputSource for name in config.sources}
    models |= SECTIONS
    models |= {section_id(f"TASK {name}"): Task for name in config.tasks}
    problems = []
    for name, value in overrides:
        section, _, key = name.removeprefix("--").rpartition(".")
        prefix, _, rest = section.partition(".")
        model = models.get(section_id(f"TASK {rest}" if prefix.upper() == "TASK" and rest else section))
        key = key.strip().lower()
        if model is not None and (key in model.model_fields or is_open(model)) and key not in FREE.get(model, ()):
            problems.append(f"--{name} {value}: {_why_not(model, key)}")
    if problems:
        raise ConfigError("\n".join(problems))


def _why_not(model: type[Section], key: str) -> str:
    if model is InputSource and key in {*PLACE_KEYS, "layout"}:
        return "would not be used; --input names the images"
    if (model, key) in ((Inference, "save_seg_dir"), (Preprocessing, "output")):
        return "would not be used; --output names the folder"
    if (model, key) == (System, "model_dir"):
        return "names another run; give its folder by -c"
    if model in (Training, Evaluation) or (model, key) in _WITHOUT_EFFECT or (model in _TASKS and key in _OF_LEARNING):
        return "has no effect on predictions; leave it out"
    return "is part of what was trained, and cannot be changed afterwards; leave it out, or train such a network"


_WITHOUT_EFFECT = {
    *((System, key) for key in ("dataset_split_file", "num_gpus", "strategy", "jit_compile", "rematerialise")),
    *((Network, key) for key in ("decay", "reg_type", "queue_length", "weight_initializer", "bias_initializer")),
    *((Network, "keep_prob"), (Inference, "dataset_to_infer"), (Preprocessing, "pictures")),
}
_TASKS = (Task, Multitask, Segmentation, Regression, Classification)
_OF_LEARNING = frozenset(("loss", "weight", "metrics", "class_names", "sampler"))
