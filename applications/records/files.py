"""Names and provenance of what a run writes: nothing is overwritten unless it was asked for, nothing is done twice."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sfgkeras.config import Config
from sfgkeras.errors import DataError
from sfgkeras.files import replacing
from sfgkeras.protection import inside

VALUES_FILE = "values.csv"
IN_EFFECT = "configuration_in_effect.ini"
BEGUN = "begun by "
FROM = " from "
PLACE_KEYS = frozenset(
    (
        "csv_file", "path_to_search", "filename_contains", "filename_not_contains", "filename_removefromid",
        "filename_attributes", "layout",
    )
)  # fmt: skip
"""Keys of an input source that say where its files are, not what is made of them."""


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps what it writes.

    Attributes:
        path: `model_dir`.
    """

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Training states."""
        return self.path / "checkpoints"

    @property
    def logs(self) -> Path:
        """CSV logs, TensorBoard events and grouping probabilities."""
        return self.path / "logs"

    @property
    def grouping(self) -> Path:
        """Grouping probabilities over the iterations."""
        return self.logs / "grouping.npz"

    @property
    def sharing(self) -> Path:
        """Which tasks share what, over the iterations; beside it what the mechanism has learned."""
        return self.logs / "sharing.npz"

    @property
    def network_size(self) -> Path:
        """Parameters and multiplies of the network."""
        return self.logs / "network.json"

    @property
    def training_record(self) -> Path:
        """When, for how long and on what machine the run was trained."""
        return self.logs / "training.json"

    @property
    def images(self) -> Path:
        """What the images that the network was trained on were like."""
        return self.logs / "images.json"

    @property
    def exploration(self) -> Path:
        """A folder for each candidate of `schedule = auto`, laid out as a run's."""
        return self.path / "explore"

    @property
    def candidates(self) -> Path:
        """Table of these candidates, and which of them went on."""
        return self.path / "explore.csv"

    @property
    def configuration(self) -> Path:
        """The effective INI file of the last start; beside a `configuration.ini` of the user's own it is another."""
        beside = self.path / IN_EFFECT
        return beside if beside.is_file() else self.path / "configuration.ini"

    @property
    def report(self) -> Path:
        """The HTML page of the run and its figures."""
        return self.path / "report"


def prediction_path(config: Config, subject_id: str, task: str, ending: str = "") -> Path:
    """Returns the file of one subject's predicted volume.

    Raises:
        DataError: If the id leads out of the folder of results.
    """
    name = f"{subject_id}_{task}{config.inference.output_postfix}{ending}.nii.gz"
    return inside(config.inference.save_seg_dir, name)


def keep_configuration(config: Config) -> Path:
    """Writes the effective INI file of a run; one that the user wrote, or that is being read, is left alone.

    Returns:
        The file that was written.
    """
    path, text = RunFolder(config.system.model_dir).configuration, config.effective_text()
    if path.is_file():
        is_read = config.path.is_file() and path.samefile(config.path)
        first_line = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
        if is_read or not first_line.startswith(text.partition(" of sfgkeras ")[0]):
            path = path.with_name(IN_EFFECT)
    write_text(path, text)
    return path


def write_text(path: Path, text: str) -> None:
    """Writes a small text file under a temporary name and moves it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        # A folder of the user's may have a name that is not UTF-8; it is shown with escapes.
        stream.write(text.encode("utf-8", "backslashreplace"))


def make_writable(folder: Path) -> None:
    """Makes a folder and refuses one that cannot be written, before any long work.

    Raises:
        DataError: If the folder cannot be made or written.
    """
    probe = folder / f".probe_{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_text("writable", encoding="utf-8")
        probe.unlink()
    except OSError as error:
        why = "is a file" if folder.is_file() else f"cannot be written ({error.strerror or error})"
        raise DataError(f"{folder}: {why}; choose another folder") from error


def digest(values: Any) -> str:
    """Returns a short digest of plain values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:16]


class Provenance:
    """Remembers by what each result in a folder was made.

    Several workers may write results into one folder at a time. Each keeps a file of its own, and all files are read:
    of two entries for one result the one with the higher number counts, which its writer gave it after reading the
    other.

    Args:
        folder: The folder of results.
        made_by: Digest of checkpoint and settings of the present run.
        worker: Number of this worker.
        content: Returns a digest of the images that a result is made from; asked only for results that are there.
    """

    def __init__(
        self, folder: Path, made_by: str, worker: int = 0, content: Callable[[Path], str] | None = None
    ) -> None:
        self._path = folder / (f"provenance_{worker}.json" if worker else "provenance.json")
        self._made_by = made_by
        self._content = content
        self._own = _read_entries(self._path)
        self._known = dict(self._own)
        for path in sorted(folder.glob("provenance*.json")):
            for name, entry in _read_entries(path).items():
                if entry[1] > self._known.get(name, ("", -1))[1]:
                    self._known[name] = entry

    def is_done(self, paths: Iterable[Path]) -> bool:
        """Says whether all files exist and were made by the present checkpoint and settings from the same images."""
        return all(path.is_file() and self._is_own(path) for path in paths)

    def refuse_foreign(self, paths: Iterable[Path]) -> None:
        """Refuses to go on where a file exists that something else made.

        Raises:
            DataError: Names the first such file.
        """
        begun = BEGUN + self._made_by
        foreign = [path for path in paths if path.exists() and self._maker(path) != begun and not self._is_own(path)]
        if foreign:
            is_other_image = self._maker(foreign[0]).startswith(self._made_by + FROM)
            what = "from other images" if is_other_image else "by another checkpoint or other settings"
            raise DataError(
                f"{foreign[0]} exists and was made {what} ({len(foreign)} such {_files(len(foreign))}); add "
                f"--overwrite, or choose another folder than {self._path.parent}"
            )

    def unknown(self, paths: Iterable[Path]) -> list[Path]:
        """Returns the files that exist and that no inference into this folder made."""
        return [path for path in paths if path.exists() and not self._maker(path)]

    def is_outdated(self, path: Path) -> bool:
        """Says whether an inference into this folder made a file, and not the present one."""
        return path.exists() and bool(self._maker(path)) and not self._is_own(path)

    def forget(self, paths: Iterable[Path]) -> None:
        """Lets these files be made again."""
        for path in paths:
            if path.name in self._known:
                self._known[path.name] = ("", self._known[path.name][1])

    def begin(self, paths: Iterable[Path]) -> None:
        """Notes that the present run is about to make these files: killed meanwhile, it may go on with them."""
        self._note(dict.fromkeys(paths, BEGUN + self._made_by))

    def record(self, paths: Iterable[Path]) -> None:
        """Notes that the present run made these files."""
        self._note({path: self._maker_of_now(path) for path in paths})

    def settings_of(self, path: Path) -> str:
        """Returns the digest of checkpoint and settings that made a finished result; empty where it is not known."""
        maker = self._maker(path)
        return "" if maker.startswith(BEGUN) else maker.partition(FROM)[0]

    def _note(self, makers: Mapping[Path, str]) -> None:
        for path, maker in makers.items():
            number = self._known.get(path.name, ("", -1))[1] + 1
            self._own[path.name] = self._known[path.name] = (maker, number)
        write_text(self._path, json.dumps(self._own, indent=1, sort_keys=True) + "\n")

    def _is_own(self, path: Path) -> bool:
        # The images are read only where all else fits.
        return self._maker(path).startswith(self._made_by) and self._maker(path) == self._maker_of_now(path)

    def _maker_of_now(self, path: Path) -> str:
        return self._made_by if self._content is None else f"{self._made_by}{FROM}{self._content(path)}"

    def _maker(self, path: Path) -> str:
        return self._known.get(path.name, ("", 0))[0]


def _files(count: int) -> str:
    return "file" if count == 1 else "files"


def _read_entries(path: Path) -> dict[str, tuple[str, int]]:
    """Reads who made each result, with the number of the entry; a bare maker is an entry of number 0."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = {name: (entry, 0) if isinstance(entry, str) else entry for name, entry in content.items()}
        return {str(name): (str(maker), int(number)) for name, (maker, number) in entries.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}  # none yet, or damaged: its results are made again
