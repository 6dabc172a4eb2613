"""The kinds of synthetic cohorts: how each is laid out on the disk, and which shipped INI file learns from it."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sfgkeras.phantom import pelvis

Progress = Callable[[int, int], None]


class Writer(Protocol):
    """What writes the files of a cohort; see `pelvis.write_phantom_cohort`."""

    def __call__(
        self,
        folder: str | os.PathLike[str],
        num_subjects: int,
        size: str = "small",
        seed: int = 0,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> list[Path]:
        """Writes a cohort and returns its files."""


@dataclass(frozen=True)
class PhantomKind:
    """A kind of synthetic cohort.

    Attributes:
        summary: What it shows, in one line.
        sizes: Names of the sizes that subjects can have, with what each means.
        layouts: What writes the cohort, by the name of its layout on the disk; the first is usual.
        settings: Settings of an INI file, which lead it to the folder: `(INI file, {SECTION.KEY: path below it})`.
    """

    summary: str
    sizes: Mapping[str, str]
    layouts: Mapping[str, Writer]
    settings: tuple[str, Mapping[str, str]]

    def check_arguments(self, folder: Path) -> Sequence[str]:
        """Returns the arguments of `sfgkeras` that check the shipped INI file on a cohort in a folder."""
        name, places = self.settings
        return [
            "check",
            "-c",
            name,
            *(part for key, below in places.items() for part in (f"--{key}", str(folder / below))),
        ]


KINDS: Mapping[str, PhantomKind] = {
    "pelvis": PhantomKind(
        "male pelves: T2 MR, CT and organ labels as NIfTI",
        {"full": "the resolution of Bragman et al. 2019", "small": "trains in minutes"},
        {"nifti": pelvis.write_phantom_cohort},
        ("demo", {f"{name}.path_to_search": "" for name in ("MR", "CT", "ORGANS")}),
    ),
}
