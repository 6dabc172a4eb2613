"""What a step learns from the training subjects: how it is described, kept in a file, chosen and found to be stale.

A step of the table that has `measure` and `fit` is fitted on the cohort: every training subject is measured as the
steps before leave it, `fit` turns the measurements into a `Fitted`, and all subjects are mapped by that one.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self

from sfgkeras import __version__
from sfgkeras.errors import DataError
from sfgkeras.files import replacing
from sfgkeras.preprocessing.settings import describe
from sfgkeras.settings import Settings, setting

FORMAT = "Fitted values of sfgkeras, version 1"
DEFAULT_MODALITY = "image"


@dataclass(frozen=True)
class FittedSettings(Settings):
    """Settings that every step has which is fitted on the cohort."""

    ref_file: Path | None = setting(
        None, "File of what it was fitted to; empty: it is fitted on the training subjects and kept beside the output."
    )
    modality: str | None = setting(None, "Name of the modality in that file; empty where it holds one only.")


class Fitted(Protocol):
    """What a step was fitted to, and on whom."""

    @property
    def modality(self) -> str:
        """Name of the modality."""

    @property
    def fitted_on(self) -> tuple[str, ...]:
        """The training subjects, `id@hash` or `id`; empty if unknown."""

    @property
    def preparation(self) -> str:
        """Steps and settings that ran before the fit, as text; empty if unknown."""

    def described(self) -> dict[str, Any]:
        """Returns its numbers, on which results depend, as values that JSON can hold."""

    def originating(self, settings: Any, modality: str, fitted_on: tuple[str, ...], preparation: str) -> Self:
        """Returns the same numbers with what they were fitted on, and by which settings."""

    def differences(self, settings: Any) -> list[str]:
        """Names what was set otherwise when it was fitted; empty where these settings may use it."""


@dataclass(frozen=True)
class FittedValues:
    """Numbers by name, enough for most steps.

    Attributes:
        numbers: The numbers, and lists of them.
        settings: Settings of the step when it was fitted, as text.
        modality: Name of the modality.
        software: Program and version that fitted them.
        fitted_on: The training subjects, `id@hash`.
        preparation: Steps and settings that ran before, as text.
    """

    numbers: Mapping[str, float | Sequence[float]]
    settings: str = ""
    modality: str = ""
    software: str = f"sfgkeras {__version__}"
    fitted_on: tuple[str, ...] = ()
    preparation: str = ""

    def described(self) -> dict[str, Any]:
        """Returns the numbers."""
        return dict(self.numbers)

    def originating(self, settings: Any, modality: str, fitted_on: tuple[str, ...], preparation: str) -> Self:
        """Returns the same numbers with what they were fitted on, and by which settings."""
        return replace(
            self, settings=_settings_text(settings), modality=modality, fitted_on=fitted_on, preparation=preparation
        )

    def differences(self, settings: Any) -> list[str]:
        """Names the settings of then and now where they differ."""
        now = _settings_text(settings)
        return [] if self.settings in ("", now) else [f"{self.settings}, now {now}"]


def _settings_text(settings: Any) -> str:
    """Returns all settings but those that say where the fitted values lie."""
    return json.dumps({key: value for key, value in describe(settings).items() if key not in ("ref_file", "modality")})


@dataclass(frozen=True)
class FittedFile:
    """How the fitted values of a step are kept in a file, by modality.

    Attributes:
        read: Reads a file, for the settings of now.
        write: Writes a file whole or not at all.
        what: What it holds, for messages.
        name: Name beside an output; empty for `<step>.json`.
    """

    read: Callable[[Path, Any], Mapping[str, Fitted]]
    write: Callable[[Path, Mapping[str, Any]], None]
    what: str = "values"
    name: str = ""


def write_values(path: Path, values: Mapping[str, FittedValues]) -> None:
    """Writes numbers by modality as one readable JSON file, whole or not at all; its folder is created."""
    entries = {
        modality: {
            "numbers": each.described(),
            "settings": each.settings,
            "software": each.software,
            "fitted_on": list(each.fitted_on),
            "preparation": each.preparation,
        }
        for modality, each in values.items()
    }
    text = json.dumps({"format": FORMAT, "modalities": entries}, indent=2, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        stream.write(f"{text}\n".encode())


def read_values(path: Path, settings: Any = None) -> dict[str, FittedValues]:
    """Reads what `write_values` wrote.

    Raises:
        DataError: If the file is missing or no such file; names it.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}, not {FORMAT!r}")
        return {
            modality: FittedValues(
                entry["numbers"], entry["settings"], modality, entry["software"],
                tuple(entry["fitted_on"]), entry["preparation"],
            )
            for modality, entry in content["modalities"].items()
        }  # fmt: skip
    except FileNotFoundError:
        raise DataError(
            f"{path}: there are no values; correct ref_file of the step, or leave it out to fit them on the "
            "training subjects"
        ) from None
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"has no {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{path}: is no file of values: {reason}; fit it again") from error


VALUES_FILE = FittedFile(read_values, write_values)
"""One JSON file a step: for all steps that need no format of their own."""


def choose_modality(
    path: str | Path,
    found: Mapping[str, Any],
    modality: str | None,
    what: str,
    step: str,
    is_only: bool = True,
) -> Any:
    """Returns what was fitted for a modality.

    Args:
        path: The file, for messages.
        found: What it holds.
        modality: Name of the modality; None takes the only one.
        what: What the file holds, for messages.
        step: What settings of the step begin with, for messages.
        is_only: Whether no other modality is asked for: then a file of one modality without a name of its own
            (`image`, of a folder run) will do.

    Raises:
        DataError: If the file has none of that modality, or several and no name is given.
    """
    if not found:
        raise DataError(f"{path}: holds no {what}; fit it again")
    if modality is None and len(found) > 1:
        raise DataError(f"{path}: has {what} of {', '.join(found)}; name one by {step}_modality")
    name = next(iter(found)) if modality is None or (is_only and list(found) == [DEFAULT_MODALITY]) else modality
    if name not in found:
        raise DataError(
            f"{path}: has no {what} of {modality!r}, only of {', '.join(found)}; name another file, or delete this "
            "one to have them fitted"
        )
    return found[name]


def check_fitted(
    path: str | Path,
    fitted: Fitted,
    differences: Sequence[str],
    fitted_on: Sequence[str] | None,
    preparation: str | None,
    what: str,
    step: str,
) -> None:
    """Refuses what was fitted for something else; None is not compared.

    What a file does not tell (NiftyNet's tell neither rule nor subjects) cannot contradict and passes.

    Args:
        path: The file, for the message.
        fitted: As read.
        differences: What else differs, as `then, now ...`.
        fitted_on: The training subjects of now, `id@hash` or `id`; the hash counts where there is one.
        preparation: Steps and settings that run before, as text.
        what: What the file holds, for the message.
        step: What settings of the step begin with, for the message.

    Raises:
        DataError: Names everything that differs.
    """
    found = list(differences)
    if preparation is not None and fitted.preparation and fitted.preparation != preparation:
        found.append(f"steps before {fitted.preparation!r}, now {preparation!r}")
    then, now = ({image_identity(name): name for name in names} for names in (fitted.fitted_on, fitted_on or ()))
    if fitted_on is not None and then and then.keys() != now.keys():
        added = sorted(now[name] for name in now.keys() - then.keys())
        missing = sorted(then[name] for name in then.keys() - now.keys())
        parts = [f"{sign} {_shortened(ids)}" for sign, ids in (("without", added), ("with", missing)) if ids]
        found.append(f"training subjects {' and '.join(parts)}")
    if found:
        raise DataError(
            f"{path}: these {what} are stale, fitted with {'; '.join(found)}; "
            f"delete the file to fit them anew, or name another {step}_ref_file"
        )


def image_identity(name: str) -> str:
    """Returns what identifies a training subject `id@hash`: its image's content, whatever id it goes by.

    Examples:
        >>> image_identity("patient7@1f3a")
        '1f3a'
    """
    return name.rpartition("@")[2]


def _shortened(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
