"""What all choices of a plan rest on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from sfgkeras.applications.planning.contents import Content
from sfgkeras.applications.planning.geometry import Geometry, relation
from sfgkeras.applications.planning.machine import Machine
from sfgkeras.applications.planning.roles import PlannedTask, Roles
from sfgkeras.applications.planning.sources import FoundSource


@dataclass(frozen=True)
class Facts:
    """What was found, measured and decided.

    Attributes:
        folder: The folder that was looked through.
        model_dir: Where the run will live.
        roles: What each source is for.
        contents: What the sources of images hold.
        geometry: Voxels and volumes of what sets the grid.
        machine: What the training runs on.
        split: A file of the split that lies in the folder; None where there is none.
        phase_of: The phase of each subject, as the split or folders of HDF5 files say it; empty where nothing does.
    """

    folder: Path
    model_dir: Path
    roles: Roles
    contents: dict[FoundSource, Content]
    geometry: Geometry
    machine: Machine
    split: Path | None = None
    phase_of: Mapping[str, str] = field(default_factory=dict)

    @property
    def phases(self) -> set[str]:
        """Phases that subjects are said to serve."""
        return set(self.phase_of.values())

    @property
    def first(self) -> FoundSource:
        """The image that sets the grid."""
        return self.roles.images[0]

    @property
    def is_photo(self) -> bool:
        """Whether the network sees photos."""
        return self.first.is_photo

    @property
    def maps(self) -> list[PlannedTask]:
        """Tasks with a target per voxel."""
        return [task for task in self.roles.tasks if task.values is None]

    @property
    def rows(self) -> list[PlannedTask]:
        """Tasks with a target per subject."""
        return [task for task in self.roles.tasks if task.values is not None]

    @cached_property
    def subjects(self) -> list[str]:
        """Subjects that have all images."""
        return sorted(set.intersection(*(set(source.images) for source in self.roles.images)))

    @cached_property
    def complete(self) -> list[str]:
        """Subjects that have all images and all targets."""
        targets = [set(task.source.images) for task in self.roles.tasks]
        return sorted(set(self.subjects).intersection(*targets))

    @cached_property
    def may_lack(self) -> bool:
        """Whether subjects that lack some targets teach the other tasks."""
        gaps = any(task.values is not None and task.values.num_missing for task in self.roles.tasks)
        return len(self.roles.tasks) > 1 and (gaps or self.complete != self.subjects)

    @cached_property
    def teaching(self) -> list[str]:
        """Subjects that can be learned from."""
        if not self.may_lack:
            return self.complete
        return sorted(set(self.subjects).intersection(set().union(*(task.source.images for task in self.roles.tasks))))

    @cached_property
    def on_one_grid(self) -> bool:
        """Whether all sources lie on the grid of the first image, but for the orientation that they are stored in."""
        others = [source for source in self.roles.used if source is not self.first and source in self.contents]
        return all(relation(self.first.images, source.images) == "same" for source in others)

    @cached_property
    def smallest(self) -> np.ndarray:
        """Voxels of the smallest volume along each axis, `(3,)`."""
        found: np.ndarray = self.geometry.shapes.min(axis=0)
        return found
