"""The trained grouping of one layer's filters, and the masks drawn from it."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from sfgkeras import grouping
from sfgkeras.errors import suggestion
from sfgkeras.layers.draws import uniform_rows
from sfgkeras.tables.grouping import ASSIGNMENTS

MASK_SOURCES = ("sample", "mean", "mode", "auto")


def mask_source_index(masks: str) -> int:
    """Returns the place of a mask source in `MASK_SOURCES`.

    Raises:
        ValueError: If the name is none of them.
    """
    if masks not in MASK_SOURCES:
        hint = suggestion(str(masks), list(MASK_SOURCES)) or f"; use one of {', '.join(MASK_SOURCES)}"
        raise ValueError(f"unknown mask source {masks!r}{hint}")
    return MASK_SOURCES.index(masks)


def settled_source(source: Any, groupings: Sequence["FilterGrouping"]) -> Any:
    """Returns `mode` in the place of `auto` where the groups are decided, and every other source as it is.

    Args:
        source: Index into `MASK_SOURCES`, a number or an integer tensor.
        groupings: The groupings of the layers that decide together.
    """
    auto, mode = MASK_SOURCES.index("auto"), MASK_SOURCES.index("mode")
    share = grouping.undecided_share([layer.probabilities() for layer in groupings])
    takes_mode = ops.logical_and(ops.equal(source, auto), grouping.is_decided(share))
    return ops.where(takes_mode, mode, source)


@keras.saving.register_keras_serializable(package="sfgkeras")
class EntropyBonus(keras.regularizers.Regularizer):
    """Regulariser of grouping logits: `-decay * sum_k H(p_k)` (section 3.2 of the paper, equation 5).

    Args:
        decay: lambda_2 of the paper.
    """

    def __init__(self, decay: float = 1e-5) -> None:
        self.decay = decay

    def __call__(self, grouping_logits: Any) -> Any:
        """Returns the scalar loss of logits `(filters, groups)`."""
        log_probabilities = grouping.log_grouping_probabilities(ops.cast(grouping_logits, "float32"))
        return self.decay * ops.sum(ops.exp(log_probabilities) * log_probabilities)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"decay": self.decay}


@keras.saving.register_keras_serializable(package="sfgkeras")
class FilterGrouping(keras.layers.Layer):
    """Holds the grouping logits of a layer's filters and draws its masks; float32 in every precision.

    Training always samples. Inference takes its masks from a source: `sample` (a draw at the given temperature), `mean`
    (the probabilities themselves), `mode` (one-hot at the most probable group; for ties see
    `grouping.mode_assignment`) or `auto`: the mean of all draws at the given temperature, in whose place the owner of
    the layer asks for `mode` once the groups are decided (see `settled_source`). Draws for inference come from a seed
    of their own, so that a validation does not change the training.

    Args:
        filters: Number of filters.
        num_tasks: Number of tasks; groups are `num_tasks + 1`, shared last.
        initial_probabilities: See `grouping.initial_probabilities`.
        assignment: `soft` (relaxed one-hot) or `hard` (one-hot, straight-through gradient).
        per_sample: Whether every sample of a batch gets a draw of its own in training. In inference a call is one draw.
        learn_grouping: Whether the logits are trained.
        entropy_decay: lambda_2, weight of the entropy in the objective; only where the logits are trained.
        seed: Seed of all draws; None draws one.
        noise: Whether masks are drawn at random; False leaves the noise out of every draw.
    """

    built: bool

    def __init__(
        self,
        filters: int,
        num_tasks: int,
        initial_probabilities: str | Sequence[float] | None = None,
        assignment: str = "soft",
        per_sample: bool = False,
        learn_grouping: bool = True,
        entropy_decay: float = 1e-5,
        seed: int | None = None,
        noise: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**(kwargs | {"dtype": "float32"}))
        if assignment not in ASSIGNMENTS:
            raise ValueError(f"unknown assignment {assignment!r}; use one of {', '.join(ASSIGNMENTS)}")
        if num_tasks < 1:
            raise ValueError(f"num_tasks = {num_tasks}: a layer needs at least one task")
        self.filters = filters
        self.num_tasks = num_tasks
        self.num_groups = num_tasks + 1
        self.initial_probabilities = initial_probabilities
        self.assignment = assignment
        self.per_sample = per_sample
        self.noise = noise
        self.learn_grouping = learn_grouping
        self.entropy_decay = entropy_decay
        self.seed = seed
        entropy = np.random.SeedSequence(seed)
        initial_seed, training_seed, inference_seed = (int(word) >> 1 for word in entropy.generate_state(3))
        self._initial_seed = initial_seed
        self.training_draws = keras.random.SeedGenerator(training_seed)
        self.inference_draws = keras.random.SeedGenerator(inference_seed)

    def build(self, input_shape: Any = None) -> None:
        """Creates the grouping logits, float32 `(filters, groups)`."""
        if self.built:
            return
        probabilities = grouping.initial_probabilities(
            self.initial_probabilities,
            self.filters,
            self.num_tasks,
            np.random.default_rng(self._initial_seed),
        )
        logits = grouping.initial_grouping_logits(probabilities)
        self.grouping_logits = self.add_weight(
            shape=(self.filters, self.num_groups),
            initializer=keras.initializers.Constant(logits),
            regularizer=EntropyBonus(self.entropy_decay) if self.entropy_decay else None,
            trainable=self.learn_grouping,
            autocast=False,
            name="grouping_logits",
        )
        self.built = True

    def probabilities(self) -> Any:
        """Returns the grouping probabilities, float32 `(filters, groups)`, shared last."""
        return grouping.grouping_probabilities(ops.convert_to_tensor(self.grouping_logits))

    def log_probabilities(self) -> Any:
        """Returns the logarithms of the grouping probabilities, float32 `(filters, groups)`; all are finite."""
        return grouping.log_grouping_probabilities(ops.convert_to_tensor(self.grouping_logits))

    def call(self, temperature: Any, source: Any = 0, batch_size: Any = None, training: bool | None = None) -> Any:
        """Returns the masks of all groups.

        Args:
            temperature: Positive scalar.
            source: Index into `MASK_SOURCES`, a number or an integer tensor; used in inference only.
            batch_size: Number of samples; needed for `per_sample`.
            training: Whether to sample whatever the source.

        Returns:
            float32 `(groups, filters)`, or `(groups, batch, filters)` for `per_sample`.
        """
        of_filters = self.log_probabilities()
        log_probabilities = of_filters
        if self.per_sample:
            if batch_size is None:
                raise ValueError("per_sample draws need the batch size: pass batch_size")
            log_probabilities = ops.broadcast_to(of_filters[None], (batch_size, self.filters, self.num_groups))
        sample = self._sample(log_probabilities, temperature, bool(training))
        if training:
            assignment = sample
        else:
            fixed = [ops.exp(of_filters), grouping.mode_assignment(of_filters), self._average(of_filters, temperature)]
            shape = ops.shape(log_probabilities)
            choices = ops.stack([sample, *(ops.broadcast_to(choice, shape) for choice in fixed)])
            assignment = ops.take(choices, source, axis=0)
        return ops.moveaxis(assignment, -1, 0)

    def _sample(self, log_probabilities: Any, temperature: Any, training: bool) -> Any:
        shape = ops.shape(log_probabilities)
        draw = grouping.relaxed_assignment if self.assignment == "soft" else grouping.hard_assignment
        temperature = ops.cast(temperature, "float32")
        if not self.noise:
            return draw(log_probabilities, ops.zeros_like(log_probabilities), temperature)
        if training and self.per_sample:
            uniform = uniform_rows(shape, self.training_draws)
        else:
            # In inference the whole batch has one draw: what a window gets must not depend on its place.
            seed = self.training_draws if training else self.inference_draws
            uniform = keras.random.uniform(shape[-2:], dtype="float32", seed=seed)
        noise = grouping.gumbel_noise(uniform)
        return draw(log_probabilities, noise, temperature)

    def _average(self, log_probabilities: Any, temperature: Any) -> Any:
        """Returns the mean of all draws, `(filters, groups)`; of one-hot draws that is p, without noise the draw."""
        if not self.noise:
            return self._sample(log_probabilities, temperature, training=False)
        if self.assignment == "hard":
            return ops.exp(log_probabilities)
        return grouping.expected_assignment(log_probabilities, ops.cast(temperature, "float32"))

    def random_state(self) -> dict[str, np.ndarray]:
        """Returns the state of both seed generators."""
        return {
            "training": ops.convert_to_numpy(self.training_draws.state),
            "inference": ops.convert_to_numpy(self.inference_draws.state),
        }

    def set_random_state(self, state: dict[str, np.ndarray]) -> None:
        """Sets the state of both seed generators to what `random_state` returned."""
        self.training_draws.state.assign(state["training"])
        self.inference_draws.state.assign(state["inference"])

    def save_own_variables(self, store: Any) -> None:
        """Writes the logits and the state of the seeds: a loaded layer draws on where this one stopped."""
        store["grouping_logits"] = ops.convert_to_numpy(self.grouping_logits)
        for name, state in self.random_state().items():
            store[f"{name}_draws"] = state

    def load_own_variables(self, store: Any) -> None:
        """Reads what `save_own_variables` wrote."""
        self.grouping_logits.assign(np.asarray(store["grouping_logits"]))
        self.set_random_state({name: np.asarray(store[f"{name}_draws"]) for name in self.random_state()})

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {
            "filters": self.filters,
            "num_tasks": self.num_tasks,
            "initial_probabilities": self.initial_probabilities,
            "assignment": self.assignment,
            "per_sample": self.per_sample,
            "noise": self.noise,
            "learn_grouping": self.learn_grouping,
            "entropy_decay": self.entropy_decay,
            "seed": self.seed,
        }
