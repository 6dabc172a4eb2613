"""What a run over a folder will do: a job for every subject, and the files that it may replace or not."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sfgkeras.preprocessing.folder.inputs import MANIFEST, output_name
from sfgkeras.preprocessing.folder.job import Job
from sfgkeras.preprocessing.folder.log import LOG, Write
from sfgkeras.preprocessing.folder.manifest import Manifest
from sfgkeras.preprocessing.folder.outputs import OutputFolder, refuse_foreign
from sfgkeras.preprocessing.folder.overview import OVERVIEW
from sfgkeras.preprocessing.folder.subjects import FolderSubjects
from sfgkeras.preprocessing.pipeline import Pipeline
from sfgkeras.protection import ReadFiles, inside

LABELS = "labels"


@dataclass(frozen=True)
class Plan:
    """The jobs of a run, as the output folder is now.

    Attributes:
        manifest: What has been done there.
        jobs: One for each subject.
        owned: Which files of the folder its runs made.
        foreign: Files that will be replaced, and that no run made.
    """

    manifest: Manifest
    jobs: tuple[Job, ...]
    owned: OutputFolder
    foreign: tuple[Path, ...]


@dataclass(frozen=True)
class Order:
    """What a run over a folder is asked for.

    Attributes:
        output: Folder of the results, absolute.
        subjects: Whom it is about.
        pipeline: The steps.
        reads: Files that must never be written over.
        picture: Whether quality pictures are drawn.
        loader: What reads the images; None chooses by their ending.
        restart: Whether all subjects are done again, and steps fitted again.
        overwrite: Whether files that no run made are replaced.
    """

    output: Path
    subjects: FolderSubjects
    pipeline: Pipeline
    reads: ReadFiles
    picture: bool
    loader: str | None
    restart: bool
    overwrite: bool

    def plan(self) -> Plan:
        """Plans the run, and writes nothing.

        Raises:
            ConfigError: If it would write over what it reads, or over what no run made, without being asked.
        """
        manifest = Manifest(self.output / MANIFEST)
        jobs = tuple(self._job(subject_id, image, manifest) for subject_id, image in self.subjects.images.items())
        fixed = (OVERVIEW, LOG, MANIFEST, *(path.name for path in self._refitted()))
        owned = OutputFolder(self.output, manifest, fixed)
        self.reads.refuse(owned.planned(jobs), "choose another output folder")
        foreign = tuple(owned.foreign(jobs))
        if not self.overwrite:
            refuse_foreign(self.output, foreign)
        return Plan(manifest, jobs, owned, foreign)

    def begin(self, write_log: Write) -> Plan:
        """Plans the run in a folder that nobody else writes to, claims its files, and logs what it will do.

        Raises:
            ConfigError: As `plan`.
        """
        plan = self.plan()
        plan.owned.claim(plan.jobs)
        for path in plan.foreign:
            write_log(f"replaced, made by something else: {path}")
        if self.restart:
            plan.manifest.records.clear()
            for path in self._refitted():
                path.unlink(missing_ok=True)
            plan = replace(plan, jobs=tuple(replace(job, recorded=None) for job in plan.jobs))
        return plan

    def _refitted(self) -> list[Path]:
        """Returns the files of fitted steps that a restart fits again."""
        steps = self.pipeline.fitted if self.restart else ()
        return [step.file_in(self.output) for step in steps if step.settings.ref_file is None]

    def _job(self, subject_id: str, image: Path, manifest: Manifest) -> Job:
        label_map, name = self.subjects.label_maps.get(subject_id), output_name(subject_id, image)
        labels: Mapping[str, Path] = {} if label_map is None else {LABELS: label_map}
        label_outputs = {kind: f"{LABELS}/{output_name(subject_id, path)}" for kind, path in labels.items()}
        inside(self.output, name)
        return Job(
            subject_id, image, labels, self.output, name, label_outputs, self.pipeline,
            recorded=manifest.records.get(subject_id), picture=self.picture, loader=self.loader,
        )  # fmt: skip
