"""Means of several predictions: of several networks, of an image and its mirror images, or of both."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from sfgkeras.applications.inference.predictor import Region
from sfgkeras.applications.subjects.cohort import Cohort
from sfgkeras.applications.subjects.preparation import Preparation
from sfgkeras.applications.subjects.session import Session
from sfgkeras.config import Config
from sfgkeras.data.subjects import Subject

Choose = Callable[[str], Sequence[int] | None]
"""From a subject's id to the numbers of the networks that predict it; None for all."""


def everyone(subject_id: str) -> None:
    """Lets every network predict every subject."""


class PredictingOne(Protocol):
    """What predicts the images of one subject, as `Predictor` does."""

    def slabs(self, image: np.ndarray) -> Iterator[tuple[str, Region, np.ndarray]]:
        """Yields task, place and activated outputs of a volume `(x, y, z, channels)`."""

    def located_volumes(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Predicts the maps of tasks whose results are places in them."""

    def values(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        """Predicts tasks of values for windows `(batch, *window, channels)`."""

    def window_values(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Predicts tasks of values for all windows of an image, and averages them."""


class Predicting(Protocol):
    """What predicts several subjects."""

    def of(self, subject_id: str) -> PredictingOne:
        """Returns what predicts a subject."""


class Mirrored:
    """Predicts mirror images, and gives the results mirrored back.

    Args:
        predictor: Predicts them.
        axes: Axes of the volume that are mirrored.
        window_size: Voxels of a window along x, y, z; of an axis of 1, windows have none.
    """

    def __init__(self, predictor: PredictingOne, axes: Sequence[int], window_size: Sequence[int]) -> None:
        self._predictor = predictor
        self._axes = tuple(axes)
        kept = [axis for axis, size in enumerate(window_size) if size != 1]
        self._axes_of_windows = tuple(1 + kept.index(axis) for axis in self._axes)

    def slabs(self, image: np.ndarray) -> Iterator[tuple[str, Region, np.ndarray]]:
        """As `Predictor.slabs`, each slab at the place that the image itself has it at."""
        for name, region, values in self._predictor.slabs(np.flip(image, self._axes)):
            places = [
                slice(length - (part.stop if part.stop is not None else length), length - (part.start or 0))
                if axis in self._axes
                else part
                for axis, (part, length) in enumerate(zip(region, image.shape[:3], strict=True))
            ]
            yield name, (places[0], places[1], places[2]), np.flip(values, self._axes)

    def located_volumes(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """As `Predictor.located_volumes`."""
        found = self._predictor.located_volumes(np.flip(image, self._axes))
        return {name: np.flip(volume, self._axes) for name, volume in found.items()}

    def values(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        """As `Predictor.values`."""
        return self._predictor.values(np.flip(windows, self._axes_of_windows))

    def window_values(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """As `Predictor.window_values`."""
        return self._predictor.window_values(np.flip(image, self._axes))


class Averaged:
    """The mean of what several predict of the same image.

    Args:
        members: What predicts, and which channels of the image it sees.
    """

    def __init__(self, members: Sequence[tuple[PredictingOne, slice]]) -> None:
        self._members = list(members)

    def slabs(self, image: np.ndarray) -> Iterator[tuple[str, Region, np.ndarray]]:
        """As `Predictor.slabs`; of several members the whole volume is one slab."""
        if len(self._members) == 1:
            predictor, channels = self._members[0]
            yield from predictor.slabs(image[..., channels])
            return
        sums: dict[str, np.ndarray] = {}
        for predictor, channels in self._members:
            for name, region, values in predictor.slabs(image[..., channels]):
                if name not in sums:
                    sums[name] = np.zeros((*image.shape[:3], values.shape[-1]), np.float32)
                sums[name][region] += values
        whole = (slice(0, image.shape[0]), slice(0, image.shape[1]), slice(0, image.shape[2]))
        for name in list(sums):
            yield name, whole, sums.pop(name) / np.float32(len(self._members))

    def located_volumes(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """As `Predictor.located_volumes`."""
        return _mean([predictor.located_volumes(image[..., channels]) for predictor, channels in self._members])

    def values(self, windows: np.ndarray) -> dict[str, np.ndarray]:
        """As `Predictor.values`."""
        return _mean([predictor.values(windows[..., channels]) for predictor, channels in self._members])

    def window_values(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """As `Predictor.window_values`."""
        return _mean([predictor.window_values(image[..., channels]) for predictor, channels in self._members])


def _mean(found: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.stack([each[name] for each in found]).mean(axis=0, dtype=np.float32) for name in found[0]}


class Ensemble:
    """Several networks that predict together, each the image and its mirror images.

    Args:
        predictors: One for each network.
        window_size: Voxels of a window along x, y, z; an axis may be 1.
        flipping_axes: Axes that are mirrored, in every combination.
        channels: Channels of the image that a network sees.
        has_parts: Whether the image holds one of these after the other, a part for each network.
        chosen: Says which of them predict a subject.
    """

    def __init__(
        self,
        predictors: Sequence[PredictingOne],
        window_size: Sequence[int],
        flipping_axes: Sequence[int],
        channels: int,
        has_parts: bool = False,
        chosen: Choose = everyone,
    ) -> None:
        self._chosen = chosen
        self._made: dict[tuple[int, ...], Averaged] = {}
        self._members: list[list[tuple[PredictingOne, slice]]] = []
        for number, predictor in enumerate(predictors):
            first = number * channels if has_parts else 0
            part = slice(first, first + channels)
            self._members.append(
                [
                    (Mirrored(predictor, axes, window_size) if axes else predictor, part)
                    for count in range(len(flipping_axes) + 1)
                    for axes in itertools.combinations(flipping_axes, count)
                ]
            )

    def of(self, subject_id: str) -> Averaged:
        """Returns what predicts a subject; the same object where the same networks do."""
        chosen = self._chosen(subject_id)
        numbers = tuple(range(len(self._members)) if chosen is None else chosen)
        if numbers not in self._made:
            self._made[numbers] = Averaged([member for number in numbers for member in self._members[number]])
        return self._made[numbers]


class JoinedPreparation(Preparation):
    """Prepares each image once for every one of several networks that were trained on images prepared otherwise.

    Args:
        config: The configuration that they have in common.
        cohort: The subjects.
        sessions: The runs that they were trained in.
    """

    def __init__(self, config: Config, cohort: Cohort, sessions: Sequence[Session]) -> None:
        first = sessions[0]
        super().__init__(config, first.tasks, cohort, first.preparation.landmarks, first.preprocessed)
        self.preparations = [session.preparation for session in sessions]

    def image(self, subject: Subject) -> np.ndarray:
        """Returns what the networks see, one after the other along the channels."""
        return np.concatenate([np.asarray(each.image(subject)) for each in self.preparations], axis=-1)


def joined(session: Session, sessions: Sequence[Session]) -> Session:
    """Returns a session whose images are those of several runs, for networks that predict together.

    Args:
        session: What it is otherwise like.
        sessions: The runs; where all prepare images the same way, these are read once.
    """
    first = sessions[0].preparation
    fitted = [
        {name: list(each.described().values()) for name, each in one.preparation.landmarks.items()} for one in sessions
    ]
    outputs = {one.config.preprocessing.output for one in sessions if one.config.preprocessing is not None}
    if all(each == fitted[0] for each in fitted) and len(outputs) < 2:
        return replace(session, preparation=first, preprocessed=sessions[0].preprocessed)
    return replace(
        session,
        preparation=JoinedPreparation(session.config, session.cohort, sessions),
        preprocessed=sessions[0].preprocessed,
    )


def parts_of(session: Session) -> int:
    """Returns for how many networks an image of a session holds a part."""
    preparation = session.preparation
    return len(preparation.preparations) if isinstance(preparation, JoinedPreparation) else 1
