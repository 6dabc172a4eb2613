"""Classes of the user's own, named `my.module.Class` in an INI file: found in the working folder and on the path."""

import importlib
import importlib.util
import re
import sys
from pathlib import Path

from sfgkeras.errors import Problem

_CLASS_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)


def is_class_path(text: str) -> bool:
    """Says whether a text looks like the path of a class, `my.module.Class`."""
    return _CLASS_PATH.fullmatch(text) is not None


def find_module(path: str, what: str) -> None:
    """Refuses the path of a class whose module is not there, without running the module.

    Args:
        path: `my.module.Class`.
        what: What the class is, for the message, e.g. `"[NETWORK] name"`.

    Raises:
        Problem: If there is no such module; names the folders that were searched.
    """
    module = path.rpartition(".")[0]
    _see_working_folder()
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise Problem(
            f"cannot be used: there is no module {module!r}",
            f"write {module.replace('.', '/')}.py in the working folder {Path.cwd()}, or set PYTHONPATH to the folder "
            "that has it",
            key=what,
            value=path,
        )


def load_class(path: str, what: str, base: type) -> type:
    """Imports a class.

    Args:
        path: `my.module.Class`.
        what: What the class is, for the message, e.g. `"[NETWORK] name"`.
        base: What it must be a subclass of.

    Raises:
        Problem: If the module is not there, cannot be imported, lacks the class, or has another kind of object by
            that name.
    """
    find_module(path, what)
    module_name, _, name = path.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise Problem(f"cannot be used: importing {module_name!r} fails: {reason}", key=what, value=path) from error
    found = getattr(module, name, None)
    if found is None:
        there = [key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, base)]
        hint = f"it has {', '.join(there)}" if there else ""
        where = getattr(module, "__file__", None) or f"the module {module_name!r}"
        raise Problem(f"cannot be used: {where} has no {name!r}", hint, key=what, value=path)
    if not isinstance(found, type) or not issubclass(found, base):
        kind = "class" if isinstance(found, type) else type(found).__name__
        name = f"{base.__module__}.{base.__qualname__}"
        raise Problem(f"cannot be used: the {kind} is no subclass of {name}", "derive it", key=what, value=path)
    return found


def _see_working_folder() -> None:
    """Lets modules of the working folder be imported: a script's own folder is on the path, its user's is not."""
    folder = str(Path.cwd())
    if folder not in sys.path and "" not in sys.path:
        # At the end: a file there must not stand in the way of a library.
        sys.path.append(folder)
    importlib.invalidate_caches()
