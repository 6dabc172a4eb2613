"""What all sections of an INI file have in common, and how the text of their keys is read."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr

from sfgkeras import values
from sfgkeras.settings import key_of, setting_values
from sfgkeras.values import Reads

YES_NO = Reads(values.parse_yes_no, "yes / no")
WHOLE = Reads(values.parse_whole, "whole number")
NUMBER = Reads(values.parse_number, "number")
TEXT = Reads(values.parse_text, "text")
NAMES = Reads(values.parse_names, "list of words")
PATTERN = Reads(values.parse_pattern, "regular expression")
PATH = Reads(values.parse_path, "path")
PATHS = Reads(values.parse_paths, "list of paths")
OUTPUT_PATH = Reads(values.parse_path, "path, seen from `model_dir`")
WINDOW = Reads(values.parse_window, "three sizes in voxels")
INFERENCE_WINDOW = Reads(values.parse_inference_window, "three sizes in voxels, 0 for a whole axis")
BORDER = Reads(values.parse_border, "three sizes in voxels")
RANGE = Reads(values.parse_range, "two numbers, low and high")
CUTOFF = Reads(values.parse_cutoff, "two fractions, low and high")
AXES = Reads(values.parse_axes, "list of axes, 0 to 2")
BOUNDS = Reads(values.parse_bounds, "list of `NAME: LOW, HIGH`")
ITERATION = Reads(values.parse_iteration, "iteration / -1 / `best`")


class Section(BaseModel):
    """What all sections share: they cannot be changed, and know every key they have.

    A section may have settings of what its keys choose besides, such as those of a task's loss: see `config.chosen`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    _chosen: dict[str, Any] = PrivateAttr(default_factory=dict)

    def with_settings(self, key: str, settings: Any) -> Self:
        """Returns the section with the settings of what a key chooses; None where it has none."""
        copy = self.model_copy()
        copy._chosen = {**self._chosen, key: settings}
        return copy

    def chosen_settings(self, key: str) -> Any:
        """Returns the settings of what a key chooses, a frozen dataclass; None where nothing can be set."""
        return self._chosen.get(key)

    def settings_of(self, key: str) -> dict[str, Any]:
        """Returns the settings of what a key chooses by their names, every default filled in."""
        return setting_values(self.chosen_settings(key))

    def setting_lines(self) -> dict[str, Any]:
        """Returns the settings of all that the section chooses by their INI keys, `<entry>_<setting>`."""
        return {
            key_of(getattr(self, key), name): value
            for key in self._chosen
            if hasattr(self, key)
            for name, value in self.settings_of(key).items()
        }
