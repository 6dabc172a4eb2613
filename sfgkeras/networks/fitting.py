"""What `MultiTaskNetwork.fit` adds to Keras: statistics that fit the weights, and errors that name the task."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from sfgkeras.errors import suggestion
from sfgkeras.networks.recalibration import BATCHES, recalibrate

DEFAULT_BATCH_SIZE = 32

Batches = Callable[[], Iterable[Any]]


class Recalibration(keras.callbacks.Callback):
    """Measures the normalisation statistics for inference: before every validation, and when training ends.

    Moving averages lag behind a short training and mix the masks of many draws. A validation that chooses the best
    weights has to see what inference will see, so it gets exact statistics too.

    Args:
        batches: Returns the batches of images to measure on; none leaves the moving averages.
    """

    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self._batches = batches
        self._trains = False

    def on_train_begin(self, logs: Any = None) -> None:
        """Notes that a test that begins from now on is a validation."""
        self._trains = True

    def on_test_begin(self, logs: Any = None) -> None:
        """Measures, if a validation of `fit` begins."""
        if self._trains:
            self._measure()

    def on_train_end(self, logs: Any = None) -> None:
        """Measures with the weights that are left at the end."""
        self._trains = False
        self._measure()

    def _measure(self) -> None:
        if self.model.statistics_fit:
            return
        batches = list(itertools.islice(self._batches(), BATCHES))
        if batches:
            recalibrate(self.model, batches)


def batches_of(
    x: Any, batch_size: int | None = None, validation_split: float = 0.0, steps_per_epoch: int | None = None
) -> tuple[Any, Batches]:
    """Finds the batches to measure statistics on, in whatever `fit` was given.

    Args:
        x: What `fit` was given: an array, a `tf.data.Dataset`, a `keras.utils.PyDataset`, a loader of PyTorch, or a
            generator.
        batch_size: As given to `fit`.
        validation_split: As given to `fit`.
        steps_per_epoch: As given to `fit`.

    Returns:
        What `fit` is to get in the place of `x`, and what returns at most 20 batches of images. A generator can be read
        only once: the last batches that it gave are kept.
    """
    count = min(BATCHES, steps_per_epoch or BATCHES)
    if hasattr(x, "shape"):
        return x, lambda: _slices(x, batch_size or DEFAULT_BATCH_SIZE, validation_split, count)
    if isinstance(x, Iterator):
        kept: deque[Any] = deque(maxlen=count)
        return _remembering(x, kept), lambda: list(kept)
    if isinstance(x, keras.utils.PyDataset):
        return x, lambda: (x[index] for index in range(min(len(x), count)))
    return x, lambda: itertools.islice(iter(x), count)


def _slices(x: Any, batch_size: int, validation_split: float, count: int) -> Iterator[Any]:
    """Cuts batches from all over an array, without the end of it that validates, always the same ones."""
    samples = int(len(x) * (1.0 - validation_split))
    chosen = np.sort(np.random.default_rng(0).permutation(samples)[: batch_size * count])
    order = np.random.default_rng(1).permutation(chosen)
    for first in range(0, len(order), batch_size):
        rows = np.sort(order[first : first + batch_size])
        yield np.stack([np.asarray(keras.ops.convert_to_numpy(x[int(row)])) for row in rows])


def _remembering(batches: Iterator[Any], kept: deque[Any]) -> Iterator[Any]:
    for batch in batches:
        kept.append(batch[0] if isinstance(batch, list | tuple) else batch)
        yield batch


def check_names(task_names: Sequence[str], **given: Any) -> None:
    """Refuses a dict with a name that is no task's.

    Args:
        task_names: Names of the tasks.
        **given: What was given, by what it is; all but dicts are passed over.

    Raises:
        ValueError: If `targets` have not all of the names, or another one a name that is no task's.
    """
    for what, values in given.items():
        what = what.replace("_", " ")
        if what == "targets" and hasattr(values, "shape") and len(task_names) > 1:
            names = ", ".join(f"{name!r}: ..." for name in task_names)
            raise ValueError(
                f"targets: one array of shape {tuple(values.shape)} for {len(task_names)} tasks; give {{{names}}}"
            )
        if not isinstance(values, Mapping):
            continue
        for name in values:
            if name not in task_names:
                hint = suggestion(str(name), list(task_names))
                raise ValueError(
                    f"{what}: the network has no task {name!r}{hint}; its tasks are {', '.join(task_names)}"
                )
        missing = [name for name in task_names if name not in values]
        if what == "targets" and missing:
            raise ValueError(
                f"targets: none for task {missing[0]!r}; the dict of targets needs {', '.join(task_names)}"
            )
