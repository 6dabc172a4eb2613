"""The INI files that are shipped with the package, and how a name finds one."""

import itertools
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from sfgkeras.errors import ConfigError, suggestion

_FOLDER = "ini_configs"
_PAPER = "paper:"


def _shipped() -> dict[str, Path]:
    folder = files(f"sfgkeras.{_FOLDER}")
    found = (Path(str(entry)) for entry in folder.iterdir() if entry.name.endswith(".ini"))
    return {path.stem: path for path in sorted(found)}


def find_config(name: str) -> Path:
    """Finds an INI file: in the working folder first, then among the shipped ones.

    Args:
        name: A path; or `NAME`, `NAME.ini` or `ini_configs/NAME.ini` of a shipped file.

    Raises:
        ConfigError: If neither exists; names the shipped files.
    """
    path = Path(name).expanduser()
    for candidate in (path, path.with_name(f"{path.name}.ini") if path.name else path):
        if candidate.is_file():
            return candidate
    shipped = _shipped()
    stem = path.name.removesuffix(".ini")
    if stem in shipped and str(path.parent) in (".", _FOLDER):
        return shipped[stem]
    if path.is_dir():
        inside = path / "configuration.ini"
        shipped_ones = f"give the path of the INI file itself, or the name of a shipped one: {', '.join(shipped)}"
        found = f"that of the run in it is {inside}" if inside.is_file() else shipped_ones
        raise ConfigError(f"{name}: is a folder, not an INI file; {found}")
    hint = suggestion(stem, list(shipped))
    raise ConfigError(f"{name}: there is no such file{hint or ';'} shipped are {', '.join(shipped)}")


@dataclass(frozen=True)
class ShippedConfig:
    """What a shipped INI file says of itself in the comments that it begins with.

    Attributes:
        name: The file's name without ending.
        description: The first comment line.
        paper: What stands behind `# paper:`; empty where no paper is behind it.
    """

    name: str
    description: str
    paper: str

    @property
    def year(self) -> int:
        """The year that ends the line of the paper; 9999 without one."""
        found = re.search(r"\b((?:19|20)\d\d)\W*$", self.paper)
        return int(found[1]) if found else 9999


def _described(name: str, path: Path) -> ShippedConfig:
    head = itertools.takewhile(lambda line: not line.startswith("["), path.read_text(encoding="utf-8").splitlines())
    lines = [line.lstrip("# ").strip() for line in head if line.startswith("#")]
    papers = (line.removeprefix(_PAPER).strip() for line in lines if line.startswith(_PAPER))
    return ShippedConfig(name, next(iter(lines), ""), next(papers, ""))


def list_configs() -> dict[str, str]:
    """Returns the shipped INI files: name to the first line of its first comment."""
    return {name: _described(name, path).description for name, path in _shipped().items()}


def configs_by_paper() -> dict[str, list[ShippedConfig]]:
    """Returns the shipped INI files by the paper that they name, the oldest first; those of none, under "", last."""
    found = [_described(name, path) for name, path in _shipped().items()]
    found.sort(key=lambda each: (not each.paper, each.year, each.paper, each.name))
    return {paper: list(group) for paper, group in itertools.groupby(found, lambda each: each.paper)}
