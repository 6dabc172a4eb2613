"""Which files of an output folder its runs made; all others are somebody else's and are not replaced unasked."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from sfgkeras.errors import ConfigError
from sfgkeras.files import replacing
from sfgkeras.preprocessing.folder.job import PICTURES, PROVENANCE, Job
from sfgkeras.preprocessing.folder.manifest import Manifest
from sfgkeras.preprocessing.registration import SUFFIXES
from sfgkeras.protection import named

CLAIMS = ".outputs.json"


class OutputFolder:
    """An output folder and the files in it that runs of this package made.

    Before a run writes a result it claims its name, so that a killed run may go on with what it left.

    Args:
        folder: The folder.
        manifest: What has been done there.
        fixed: Files that every run writes, e.g. the overview.
    """

    def __init__(self, folder: Path, manifest: Manifest, fixed: Sequence[str]) -> None:
        self._folder, self._fixed = folder, fixed
        self._claims = folder / CLAIMS
        self._is_own = self._claims.is_file() or manifest.path.is_file()
        self._names = set(_read_claims(self._claims))
        for record in manifest.records.values():
            # Folders of versions that claimed nothing are known by their manifest.
            stem = record.output.removesuffix(".gz").removesuffix(".nii")
            self._names |= {f"{place}{stem}{ending}" for place in ("", "labels/") for ending in (".nii", ".nii.gz")}

    def planned(self, jobs: Iterable[Job]) -> list[Path]:
        """Returns the files that jobs will write, as far as they are known before."""
        names = [*self._fixed]
        for job in jobs:
            names += [job.output, *job.label_outputs.values(), f"{PROVENANCE}/{job.subject_id}.json"]
            names += [f"{PICTURES}/{job.subject_id}.png"] if job.picture else []
            names += [f"bias_field/{job.subject_id}.nii.gz"]
            names += [f"transforms/{job.subject_id}{suffix}" for suffix in SUFFIXES]
        return [self._folder / name for name in names]

    def foreign(self, jobs: Iterable[Job]) -> list[Path]:
        """Returns the files that jobs would replace and that no run of this package made."""
        side_folders = tuple(f"{name}/" for name in (PROVENANCE, PICTURES, "bias_field", "transforms"))
        found = []
        for path in self.planned(jobs):
            name = path.relative_to(self._folder).as_posix()
            is_by_the_way = name in self._fixed or name.startswith(side_folders)
            is_known = self._is_own and (is_by_the_way or name in self._names)
            if not is_known and path.exists():
                found.append(path)
        return found

    def claim(self, jobs: Iterable[Job]) -> None:
        """Notes that the files of jobs are this package's own from now on."""
        self._names |= {path.relative_to(self._folder).as_posix() for path in self.planned(jobs)}
        self._is_own = True
        with replacing(self._claims) as stream:
            stream.write(f"{json.dumps(sorted(self._names), indent=0)}\n".encode())


def refuse_foreign(folder: Path, foreign: Sequence[Path]) -> None:
    """Refuses to replace what somebody else made.

    Raises:
        ConfigError: Names the first files.
    """
    if foreign:
        raise ConfigError(
            f"{folder}: holds files that no run of preprocessing made and that this one would replace "
            f"({named(foreign)}); choose another output folder, or add --overwrite to replace them"
        )


def refuse_other_steps(folder: Path, jobs: Sequence[Job]) -> None:
    """Refuses to replace results of other steps than those that are asked for.

    Raises:
        ConfigError: Names subjects, steps and remedy.
    """
    wanted = jobs[0].pipeline.names if jobs else ()
    recorded = {job.subject_id: _recorded_steps(job) or wanted for job in jobs}
    others = [subject_id for subject_id, steps in recorded.items() if steps != wanted]
    if others:
        raise ConfigError(
            f"{folder}: holds results of other steps ({', '.join(recorded[others[0]])}) of {len(others)} subjects, "
            f"e.g. {others[0]!r}, than these ({', '.join(wanted)}); choose another folder, or add --overwrite to "
            "replace them"
        )


def _recorded_steps(job: Job) -> tuple[str, ...] | None:
    """Returns the steps by which a subject's present result was made, or None."""
    if job.recorded is None or not (job.folder / job.output).exists():
        return None
    try:
        provenance = json.loads((job.folder / PROVENANCE / f"{job.subject_id}.json").read_text(encoding="utf-8"))
        return tuple(str(step["step"]) for step in provenance["steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_claims(path: Path) -> list[str]:
    try:
        return [str(name) for name in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError):
        return []  # none yet, or damaged: the manifest knows what is done
