"""One line of a table: what a name of an INI file stands for, known before anything heavy is loaded."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class Entry(Generic[Loaded]):
    """What a name stands for; tables have subclasses with facts of their own.

    Attributes:
        load: Imports and returns the object behind the name; called when it is needed, and not before.
        summary: What it is, in one line, for documentation and lists.
        settings: The frozen dataclass of what can be set about it (`sfgkeras.settings`); None: nothing.
        aliases: Other spellings of the name, lower case, such as NiftyNet's.
    """

    load: Callable[[], Loaded]
    summary: str
    settings: type | None = None
    aliases: tuple[str, ...] = ()

    def settings_class(self) -> type | None:
        """Returns the dataclass of its settings; None where nothing can be set."""
        return self.settings


class LoadedTable(Mapping[str, Loaded]):
    """What the names of a table stand for; each object is loaded when it is asked for.

    Args:
        entries: The table; entries that are added later are seen.
    """

    def __init__(self, entries: Mapping[str, Entry[Loaded]]) -> None:
        self._entries = entries

    def __getitem__(self, name: str) -> Loaded:
        return self._entries[name].load()

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self)})"


def aliases_of(entries: Mapping[str, Entry[Any]]) -> dict[str, str]:
    """Returns the other spellings of the names of a table, each with the name."""
    return {alias: name for name, entry in entries.items() for alias in entry.aliases}
