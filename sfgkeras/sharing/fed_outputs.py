"""What lower tasks predict, embedded and fed to the stages of higher ones (Hashimoto et al. 2017, section 2)."""

from collections.abc import Sequence
from typing import Any, Protocol

import keras
from keras import ops

from sfgkeras.architecture.graph import Architecture
from sfgkeras.architecture.walk import Streams, TensorOperations
from sfgkeras.layers import multiplies


class LabelEmbedding(keras.layers.Layer):
    """Embeds a task's outputs: `sum_j p_j e_j`, p of the outputs by an activation, e_j learned vectors.

    Args:
        width: Length of the vectors.
        activation: `softmax` of classes, `sigmoid` of labels that may hold together, or `linear` for quantities.
        initializer: Keras initialiser of the vectors.
    """

    def __init__(self, width: int, activation: str, initializer: Any, **kwargs: Any) -> None:
        super().__init__(autocast=False, dtype="float32", **kwargs)
        self.width = width
        self.activation = activation
        self.initializer = initializer

    def build(self, input_shape: Any) -> None:
        """Makes the vectors, `(outputs, width)`."""
        self.vectors = self.add_weight(
            shape=(input_shape[-1], self.width), initializer=self.initializer, name="vectors"
        )

    def call(self, outputs: Any) -> Any:
        """Returns the embedded outputs, `(batch, ..., width)`."""
        multiplies.record_convolution(outputs.shape, self.vectors.shape)
        return ops.matmul(keras.activations.get(self.activation)(outputs), self.vectors)


class FeedingOperations(Protocol):
    """What feeding does to features, with tensors or with plain Keras layers."""

    def pool(self, features: Any, maximum_share: float = 1.0) -> Any:
        """Takes maximum and mean over 2 voxels per axis, the maximum by its share."""
        ...

    def concatenate(self, parts: Sequence[Any]) -> Any:
        """Concatenates channels."""
        ...

    def embed(self, head: Any, embedding: LabelEmbedding, features: Any) -> Any:
        """Returns what a head makes of features, embedded."""
        ...

    def spread(self, vectors: Any, like: Any) -> Any:
        """Returns vectors `(batch, channels)` at every voxel of features."""
        ...


class FeedingTensors(TensorOperations):
    """The operations on tensors of any Keras backend."""

    def embed(self, head: Any, embedding: LabelEmbedding, features: Any) -> Any:
        """Returns what a head makes of features, embedded; dropout before the head is left out."""
        return embedding(head(features, training=False))

    def spread(self, vectors: Any, like: Any) -> Any:
        """Returns vectors `(batch, channels)` at every voxel of features."""
        rank = len(like.shape) - 2
        vectors = ops.reshape(vectors, (-1, *(1,) * rank, vectors.shape[-1]))
        return vectors * ops.ones_like(ops.cast(like[..., :1], vectors.dtype))


class Feeding:
    """What one pass over the stages feeds: it notes what lower heads read, and widens what later stages read.

    The first stage behind each head reads the embedded outputs of all fed tasks whose heads are before it. Maps are
    pooled to its size, vectors stand at every voxel.

    Args:
        architecture: The stages.
        fed: The tasks whose outputs are fed.
        heads: The heads of all tasks.
        embeddings: By task that of its outputs.
        operations: What is done to features.
        dtype: Of the features; None leaves it.
    """

    def __init__(
        self,
        architecture: Architecture,
        fed: Sequence[int],
        heads: Sequence[Any],
        embeddings: dict[int, LabelEmbedding],
        operations: FeedingOperations,
        dtype: str | None = None,
    ) -> None:
        self._architecture = architecture
        self._fed = fed
        self._heads = heads
        self._embeddings = embeddings
        self._operations = operations
        self._dtype = dtype
        self._embedded: dict[tuple[int, int], Any] = {}

    def widen(self, index: int, streams: Streams) -> Streams:
        """Returns the streams that a stage reads, with what is fed to it behind them."""
        tasks = tasks_fed(self._architecture, self._fed, index)
        done: dict[int, Any] = {}
        for stream in streams.values() if tasks else ():
            if id(stream) not in done:
                parts = [self._at(task, index, stream) for task in tasks]
                done[id(stream)] = self._operations.concatenate([stream, *parts])
        return {reader: done.get(id(stream), stream) for reader, stream in streams.items()}

    def _at(self, task: int, index: int, like: Any) -> Any:
        if self._heads[task].kind == "vector":
            found = self._operations.spread(self._embedded[task, 0], like)
        else:
            level = self._architecture.levels[index]
            for finer in range(level):
                if (task, finer + 1) not in self._embedded:
                    self._embedded[task, finer + 1] = self._operations.pool(self._embedded[task, finer])
            found = self._embedded[task, level]
        return found if self._dtype is None else ops.cast(found, self._dtype)

    def note(self, index: int, left: Streams) -> None:
        """Keeps what the heads on a stage make of what it leaves, which is one stream for all tasks."""
        for task in self._fed:
            if self._architecture.taps[task] == index:
                features = next(iter(left.values()))
                stage = self._architecture.stages[index]
                if stage.pools:
                    features = self._operations.pool(features, stage.maximum_share)
                self._embedded[task, 0] = self._operations.embed(self._heads[task], self._embeddings[task], features)


def tasks_fed(architecture: Architecture, fed: Sequence[int], index: int) -> list[int]:
    """Returns the tasks whose outputs a stage reads: if it is the first behind a head, all fed ones before it."""
    if index - 1 not in architecture.taps:
        return []
    return [task for task in fed if architecture.taps[task] < index]
