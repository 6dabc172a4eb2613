"""The arrays of one subject, ready for drawing windows, and the checks that they belong together."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sfgkeras.data.on_demand import as_array
from sfgkeras.errors import DataError


@dataclass(frozen=True, eq=False)
class PreparedSubject:
    """The arrays of one subject; memory maps stay where they are.

    Attributes:
        subject_id: Name for messages.
        image: `(x, y, z, channels)`, of any real number type.
        targets: By task: a volume `(x, y, z)` or `(x, y, z, k)` on the grid of the image, or a number or
            vector.
        sampling_weight: `(x, y, z)` for the weighted (weights) and the balanced (labels) sampler.
        spacing: Voxel size in mm.
        loss_weight: `(x, y, z)`, not negative: how much each voxel counts in the losses; None for all alike.
        known: By task: `(x, y, z)` bool, where its target knows anything; elsewhere its loss and scores do not count. A
            task that is not named counts everywhere.
        missing: Tasks of which there is no target: the subject teaches them nothing.

    Raises:
        DataError: If the shapes disagree or a number is not finite; names the subject.
    """

    subject_id: str
    image: np.ndarray
    targets: Mapping[str, np.ndarray]
    sampling_weight: np.ndarray | None = None
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    loss_weight: np.ndarray | None = None
    known: Mapping[str, np.ndarray] = field(default_factory=dict)
    missing: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        # Slicing a numpy.memmap costs ten times as much as slicing the plain array over the same memory.
        image = as_array(self.image)
        targets = {task: as_array(target) for task, target in self.targets.items()}
        weight = None if self.sampling_weight is None else np.asarray(self.sampling_weight)
        if image.ndim != 4 or 0 in image.shape:
            raise self._error(f"the image has shape {image.shape}, which is not (x, y, z, channels)")
        for task, target in targets.items():
            if target.ndim >= 3:
                self._check_grid(f"the target of task {task!r}", target, image)
            elif target.ndim == 2 or target.size == 0 or not _is_finite(target):
                raise self._error(
                    f"the target of task {task!r} is {target.tolist()}, which is neither a volume nor a "
                    "finite number or vector; correct its table or exclude the subject"
                )
        if weight is not None:
            self._check_grid("the sampling weight", weight, image)
            if weight.shape[3:] not in ((), (1,)):
                raise self._error(f"the sampling weight has {weight.shape[3]} channels; it needs one")
            weight = weight.reshape(weight.shape[:3])
        loss_weight = None if self.loss_weight is None else np.asarray(self.loss_weight)
        if loss_weight is not None:
            self._check_grid("the weight map of the loss", loss_weight, image)
            if loss_weight.ndim != 3 or not _is_finite(loss_weight) or loss_weight.min() < 0:
                raise self._error("the weight map of the loss must hold one number of at least 0 per voxel")
        known = {task: np.asarray(mask) for task, mask in self.known.items()}
        for task, mask in known.items():
            self._check_grid(f"what is known of task {task!r}", mask, image)
            if mask.ndim != 3 or mask.dtype != bool:
                raise self._error(f"what is known of task {task!r} must be one truth value per voxel")
        if len(self.spacing) != 3 or not all(0 < size < math.inf for size in self.spacing):
            raise self._error(f"the spacing is {tuple(self.spacing)}; it must be three positive lengths in mm")
        for name, value in (
            ("image", image),
            ("targets", targets),
            ("sampling_weight", weight),
            ("loss_weight", loss_weight),
            ("known", known),
        ):
            object.__setattr__(self, name, value)

    def target(self, task: str) -> np.ndarray:
        """Returns the target of a task.

        Raises:
            DataError: If the subject has none.
        """
        try:
            return self.targets[task]
        except KeyError:
            raise self._error(
                f"there is no target for task {task!r}, only for {sorted(self.targets)}; exclude the subject "
                "or complete its files"
            ) from None

    def label_map(self, task: str) -> np.ndarray:
        """Returns the target of a task that is a label map, `(x, y, z)`.

        Raises:
            DataError: If it is not a volume of one channel of integers.
        """
        target = self._volume(task)
        is_integer = np.issubdtype(target.dtype, np.integer) or target.dtype == bool
        if not is_integer or target.shape[3:] not in ((), (1,)):
            raise self._error(
                f"the label map of task {task!r} must be one channel of integers, but is of type "
                f"{target.dtype} and shape {target.shape}; read it as a label map or make it a regression"
            )
        return target.reshape(target.shape[:3])

    def target_map(self, task: str) -> np.ndarray:
        """Returns the target of a task that is a continuous volume, `(x, y, z, k)`.

        Raises:
            DataError: If it is not a volume.
        """
        target = self._volume(task)
        return target if target.ndim == 4 else target.reshape((*target.shape, 1))

    def values(self, task: str) -> np.ndarray:
        """Returns the target of a task that is a number or vector, `(k,)` float32.

        Raises:
            DataError: If it is a volume.
        """
        target = self.target(task)
        if target.ndim > 1:
            raise self._error(f"task {task!r} needs a number, but its target is a volume of {target.shape}")
        return np.atleast_1d(target).astype(np.float32)

    def class_index(self, task: str) -> np.ndarray:
        """Returns the target of a task that is a class, a whole number without axes, int32.

        Raises:
            DataError: If it is not one whole number of at least 0.
        """
        target = self.target(task)
        if target.ndim > 1 or target.size != 1 or target.item() < 0 or int(target.item()) != target.item():
            value = target.tolist() if target.ndim <= 1 else f"a volume of {target.shape}"
            raise self._error(f"the class of task {task!r} is {value}; classes are whole numbers from 0")
        return np.array(int(target.item()), np.int32)

    def _volume(self, task: str) -> np.ndarray:
        target = self.target(task)
        if target.ndim < 3:
            raise self._error(f"task {task!r} needs a volume, but its target is {target.tolist()}")
        return target

    def _check_grid(self, what: str, volume: np.ndarray, image: np.ndarray) -> None:
        if volume.ndim > 4 or volume.shape[:3] != image.shape[:3]:
            raise self._error(
                f"{what} has shape {volume.shape} but the image {image.shape}; resample both to one grid "
                "(give their input sections the same pixdim and axcodes)"
            )

    def _error(self, text: str) -> DataError:
        return DataError(f"subject {self.subject_id!r}: {text}")


def _is_finite(target: np.ndarray) -> bool:
    return np.issubdtype(target.dtype, np.number) and bool(np.all(np.isfinite(target)))
