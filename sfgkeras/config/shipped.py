"""The INI files that are shipped with the package, and how a name finds one."""

from importlib.resources import files
from pathlib import Path

from sfgkeras.errors import ConfigError, suggestion

_FOLDER = "ini_configs"


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


def list_configs() -> dict[str, str]:
    """Returns the shipped INI files: name to the first line of its first comment."""
    described = {}
    for name, path in _shipped().items():
        first = next((line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")), "#")
        described[name] = first.lstrip("# ").strip()
    return described
