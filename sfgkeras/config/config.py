"""A whole configuration: what the applications read, and how it is written down again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import sfgkeras
from sfgkeras.config.known import ONE_TASK_SECTIONS, RUN_SECTIONS
from sfgkeras.config.sections import Evaluation, Inference, Network, Preprocessing, Section, System, Training
from sfgkeras.config.settle import output_paths
from sfgkeras.config.task_sections import InputSource, Multitask, Task
from sfgkeras.config.translate import TARGET_KEYS
from sfgkeras.settings import setting_values
from sfgkeras.tables.losses import is_told_by_map
from sfgkeras.tables.tasks import TASK_TYPES
from sfgkeras.values import format_value

if TYPE_CHECKING:
    from sfgkeras.sharing.base import Sharing


@dataclass(frozen=True)
class Config:
    """A valid configuration, with every default filled in.

    Two configurations are equal when they ask for the same run, whatever file and spelling they come from.

    Attributes:
        application: `multi_task`, `segmentation`, `regression` or `classification`.
        sources: Input sources by name.
        image: Names of the sources whose channels the network sees.
        tasks: Tasks by name, in order.
        sampler: Name of the source that weighted or balanced sampling draws by, or None.
        system: `[SYSTEM]`.
        network: `[NETWORK]`.
        training: `[TRAINING]`.
        inference: `[INFERENCE]`.
        evaluation: `[EVALUATION]`.
        multitask: `[MULTITASK]`, or its defaults in a one-task application.
        preprocessing: `[PREPROCESSING]`, or None.
        sharing: The sharing mechanism, with its settings of `[SHARING]`.
        path: The file it was read from.
        text: That file's text.
        warnings: What looks wrong but can be used.
        rows: Names of the rows of `[COMPARE]`; see `read_config`.
        row_starts: The row that a row starts from, of those that start from one.
    """

    application: str
    sources: Mapping[str, InputSource]
    image: tuple[str, ...]
    tasks: Mapping[str, Task]
    sampler: str | None
    system: System
    network: Network
    training: Training
    inference: Inference
    evaluation: Evaluation
    multitask: Multitask
    preprocessing: Preprocessing | None = None
    sharing: "Sharing | None" = None
    path: Path = field(default=Path(), compare=False)
    text: str = field(default="", compare=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)
    rows: tuple[str, ...] = field(default=(), compare=False)
    row_starts: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def window_size(self) -> tuple[int, int, int]:
        """Window of training; an axis of 1 is the one that slices are cut across."""
        sizes = (self.sources[name].spatial_window_size for name in self.image)
        return next(size for size in sizes if size is not None)

    @property
    def inference_window_size(self) -> tuple[int, int, int]:
        """Window of inference; a size of 0 is the volume's whole extent."""
        return self.inference.spatial_window_size or self.window_size

    @property
    def sees_windows(self) -> bool:
        """Whether any task is told from windows that need not be whole images: one of maps, or with `per = window`."""
        return any(
            not self.has_value(name) or task.per == "window" or is_told_by_map(task.type, task.loss)
            for name, task in self.tasks.items()
        )

    @property
    def spatial_rank(self) -> int:
        """2 where windows are slices, otherwise 3."""
        return 2 if 1 in self.window_size else 3

    def section_of(self, task: str) -> str:
        """Returns the header of the section that says what a task is, e.g. `TASK ct`, or `REGRESSION`."""
        return f"TASK {task}" if self.application == "multi_task" else self.application.upper()

    def target_kind(self, task: str) -> str:
        """Returns the kind of a task's reference: `map`, `labels` per voxel, `value`, `class`, ... per subject."""
        entry = TASK_TYPES[self.tasks[task].type]
        return str(entry.of_value if self.has_value(task) else entry.of_volume)

    def has_value(self, task: str) -> bool:
        """Says whether the reference of a task is a value per subject, or a few, rather than a volume."""
        source = self.sources[self.tasks[task].target]
        return source.gives_values

    def effective_text(self) -> str:
        """Returns the whole configuration as an INI file that `read_config` reads back to an equal one."""
        lines = [
            f"# The whole configuration of a run of sfgkeras {sfgkeras.__version__}, every default written out.",
            "# Relative paths start from the folder that the run was started in, those of results from model_dir.",
        ]
        for name, source in self.sources.items():
            lines += self._section(name, source)
        for name in RUN_SECTIONS:
            section = getattr(self, name.lower())
            lines += [] if section is None else self._section(name, section)
        if settings := setting_values(self.sharing):
            lines += ["", "[SHARING]", *(f"{key} = {format_value(value)}".rstrip() for key, value in settings.items())]
        if self.application == "multi_task":
            lines += self._section("MULTITASK", self.multitask)
            for name, task in self.tasks.items():
                lines += self._section(f"TASK {name}", task)
        else:
            lines += self._one_task_section()
        return "\n".join(lines) + "\n"

    def _one_task_section(self) -> list[str]:
        name = self.application.upper()
        ((_, task),) = self.tasks.items()
        values = {TARGET_KEYS[name]: task.target}
        for key in ONE_TASK_SECTIONS[name].model_fields:
            if key not in values:
                values[key] = getattr(self.multitask if key in Multitask.model_fields else task, key)
        values |= task.setting_lines()
        return [
            "",
            f"[{name}]",
            *(f"{key} = {format_value(value)}".rstrip() for key, value in values.items()),
        ]

    def _section(self, name: str, section: Section) -> list[str]:
        lines = ["", f"[{name}]"]
        below_model_dir = output_paths(type(section))
        for key in type(section).model_fields:
            value = getattr(section, key)
            if key in below_model_dir and value is not None and value.is_relative_to(self.system.model_dir):
                value = value.relative_to(self.system.model_dir)
            lines.append(f"{key} = {format_value(value)}".rstrip())
        more = {**(section.model_extra or {}), **section.setting_lines()}
        lines += [f"{key} = {format_value(value)}".rstrip() for key, value in more.items()]
        return lines
