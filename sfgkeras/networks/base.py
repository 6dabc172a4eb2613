"""The base of all filter group networks: a trunk, a head per task, and the state that masks depend on."""

import random
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from keras import ops

from sfgkeras.architecture.graph import build_architecture, stages_behind
from sfgkeras.architecture.layer_settings import LayerSettings
from sfgkeras.architecture.stage import Stage
from sfgkeras.balancing import Balancing, Fixed, find_balancing, read_balancing
from sfgkeras.balancing.balancer import Balancer
from sfgkeras.errors import Problem
from sfgkeras.grouping import TemperatureSchedule, is_decided, temperature_schedule, undecided_share
from sfgkeras.layers.filter_grouping import MASK_SOURCES, FilterGrouping, mask_source_index
from sfgkeras.layers.normalization import StreamNormalization, check_statistics
from sfgkeras.layers.own_gradient import gradients_with_graph
from sfgkeras.layers.statistics_record import StatisticsRecord
from sfgkeras.losses.judged import judged_maps
from sfgkeras.networks.balanced_loss import balanced_loss, compiled_losses, likelihoods, loss_trackers
from sfgkeras.networks.building_heads import build_adversaries, build_head, check_tasks
from sfgkeras.networks.counting import predicting_weights
from sfgkeras.networks.deep_heads import DeepHeads
from sfgkeras.networks.deep_supervision import DeepSupervision, check_way_up, supervised_levels
from sfgkeras.networks.earlier_configs import translate_config
from sfgkeras.networks.expected_multiplies import relative_multiplies
from sfgkeras.networks.fitting import Recalibration, batches_of, check_names
from sfgkeras.networks.frames import frames_apart, frames_in_batch
from sfgkeras.networks.gradient_step import gradient_step
from sfgkeras.networks.heads import Head, TaskHead, find_head
from sfgkeras.networks.motion_head import MotionHead
from sfgkeras.networks.splitting import SplittingCallback, sample_errors
from sfgkeras.networks.summary import summary_lines
from sfgkeras.networks.turn_step import turn_step
from sfgkeras.sharing import Sharing, find_sharing
from sfgkeras.sharing.adaptive_trunk import AdaptiveTrunk

KERAS_ARGUMENTS = ("name", "dtype", "trainable")
TURN_BALANCING = ("fixed", "uncertainty")
"""Rules that weigh a task's loss by what they know of it alone."""
PAPERS_REGULARIZER = keras.regularizers.L2(1e-6)


class MultiTaskNetwork(DeepHeads, StatisticsRecord, keras.Model):
    """A multi-task network of filter groups; subclasses say which stages it has.

    Calling it on images `(batch, *spatial, channels)` returns a dict of float32 logits by task name. Any
    Keras way of training works: the regularisation is in `losses`, and the network counts its own training
    calls for the temperature. `fit` measures the normalisation statistics that inference uses, before every validation
    and at its end; after a training loop of another kind `networks.recalibrate` does it.

    Attributes:
        stages: What the network consists of.
        usual_head: Kind of the heads of tasks that `heads` does not name.
        usual_taps: Name of the stage that heads of a kind read unless they say otherwise; for kinds that are not here
            it is the last one.
        is_siamese: Whether the channels of an image are frames that go through the trunk one by one. A `motion` head
            then reads the features of all frames, every other head those of the first.
        motion_reach: Voxels in every direction that a `motion` head seeks matches in; 0: none.

    Args:
        tasks: Output channels by task name; the order is the order of the groups.
        sharing: A mechanism of `sfgkeras.sharing`, or its name in `SHARING`.
        spatial_rank: 2 or 3.
        width: Factor on all numbers of filters.
        masks: What inference uses; training always samples. `auto`: each filter's most probable group once the
            groups are decided (`grouping.is_decided`), until then the mean of all draws at the temperature that
            training has reached. `sample` draws anew at every call, `mean` takes the probabilities, `mode` the most
            probable groups.
        seed: Seed of weights, masks and dropout; None draws one from Python's `random`.
        batch_norm: Statistics for inference: `batch`, `population` or `recalibrated`; see
            `StreamNormalization`.
        activation: `"prelu"` or any name that Keras knows.
        kernel_regularizer: Keras regulariser of all convolution kernels; by default lambda_1 of the paper, 1e-6 times
            the sum of their squares.
        rematerialise: What training makes again for its gradients, to spare memory: `none`, `activations` (what
            normalisations and activations give) or `blocks` (everything in residual blocks, too).
        kernel_initializer: Keras initialiser of all kernels.
        bias_initializer: Keras initialiser of all biases: of the heads, and of convolutions without normalisation.
        dropout: Probability of dropping a feature before the heads in training.
        heads: Heads by task name, for tasks whose head is not the network's usual one: a `Head`, or in short its kind,
            `map` or `vector`; `vector@NAME` or `map@NAME` puts it on the stage of that name.
        adversaries: By name of a task that is a map, what the judgement of a conditional adversary counts beside its
            loss (Xu et al. 2018); see `layers.adversary`. It is part of the training, not of predictions.
        deep_supervision: On how many levels below its head a map is predicted in training, too, with a head for each
            level of the way up: of all maps, or by task; see `networks.deep_supervision`. A training call returns these
            outputs besides, as `<task>@<stage>`.
        **settings: Settings of the sharing mechanism where it is given by name, e.g. `assignment="hard"` for `sfg`;
            `balancing`, how `fit` weighs the losses of the tasks: a rule of `sfgkeras.balancing`, its name in
            `BALANCING`, or numbers by task (by default the weights given to `compile`); and Keras' own `name`, `dtype`
            and `trainable`.

    Raises:
        ValueError: If tasks, stages, heads or settings do not fit each other.
        TypeError: If the mechanism has no such setting.
    """

    stages: Sequence[Stage] = ()
    usual_head = "map"
    usual_taps: Mapping[str, str] = MappingProxyType({})
    is_siamese = False
    motion_reach = 0

    def __init__(
        self,
        tasks: Mapping[str, int],
        sharing: str | Sharing = "sfg",
        spatial_rank: int = 2,
        width: float = 1.0,
        masks: str = "auto",
        seed: int | None = None,
        batch_norm: str = "recalibrated",
        activation: str = "prelu",
        kernel_regularizer: Any = PAPERS_REGULARIZER,
        rematerialise: str = "none",
        kernel_initializer: Any = "he_normal",
        bias_initializer: Any = "zeros",
        dropout: float = 0.0,
        heads: Mapping[str, str | Head] | None = None,
        adversaries: Mapping[str, float] | None = None,
        deep_supervision: DeepSupervision = 0,
        **settings: Any,
    ) -> None:
        super().__init__(**{name: settings.pop(name) for name in KERAS_ARGUMENTS if name in settings})
        check_tasks(tasks)
        self.tasks = {name: int(channels) for name, channels in tasks.items()}
        self._balancing = find_balancing(settings.pop("balancing", None))
        self.seed = random.randrange(2**31 - 1) if seed is None else int(seed)
        self.sharing = find_sharing(sharing, settings)
        self.temperature_parameters = TemperatureSchedule(*getattr(self.sharing, "temperature", ()))
        self._batch_norm = check_statistics(batch_norm)
        # A proxy, because Keras would wrap a dict and what is in it.
        self._settings = MappingProxyType(
            {
                "spatial_rank": spatial_rank,
                "width": width,
                "activation": activation,
                "rematerialise": rematerialise,
                "dropout": dropout,
                "heads": {name: find_head(head).values() for name, head in (heads or {}).items()},
            }
        )
        # A proxy, as of the settings.
        self._deep_supervision = (
            MappingProxyType(dict(deep_supervision)) if isinstance(deep_supervision, Mapping) else deep_supervision
        )
        self._kernel_initializer = keras.initializers.get(kernel_initializer)
        self._bias_initializer = keras.initializers.get(bias_initializer)
        self._kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.spatial_rank = spatial_rank
        described = [find_head((heads or {}).get(name, self.usual_head)) for name in self.tasks]
        taps = [head.tap or self.usual_taps.get(head.kind) for head in described]
        kinds = [head.kind for head in described]
        taps = self.sharing.place_heads(self.choose_stages(taps), kinds, taps, list(self.tasks))
        levels = supervised_levels(deep_supervision, list(self.tasks), kinds)
        architecture = build_architecture(self.choose_stages(taps), width, taps, levels)
        check_way_up(architecture, levels, self)
        common = LayerSettings(
            spatial_rank=spatial_rank,
            num_tasks=len(self.tasks),
            activation=activation,
            statistics=self._batch_norm,
            kernel_initializer=self._kernel_initializer,
            bias_initializer=self._bias_initializer,
            kernel_regularizer=self._kernel_regularizer,
            rematerialise=rematerialise,
            dtype=self.dtype_policy,
            seeds=np.random.default_rng(self.seed),
            task_names=tuple(self.tasks),
        )
        self.trunk = self.sharing.build_trunk(architecture, common)
        self.heads = [
            build_head(self, task, head, common, self._bias_initializer, dropout) for task, head in enumerate(described)
        ]
        self.adversaries = build_adversaries(self, adversaries or {}, common)
        # After all else that draws seeds: the rest of the network starts as it would without them.
        self.deep_heads = [
            build_head(self, task, described[task], common, self._bias_initializer, 0.0, stage)
            for task, stage in architecture.supervised
        ]
        self.counts_iterations = True
        self.image_channels: int | None = None
        self.image_size: tuple[int | None, ...] = (None,) * spatial_rank
        self.iteration = self._add_state("iteration", 0)
        self._mask_source = self._add_state("mask_source", mask_source_index(masks))
        if self.trunk.takes_turns and self._balancing.name not in TURN_BALANCING:
            what = f"does not go with balancing = {self._balancing.name}, which weighs several tasks in a step"
            raise Problem(what, f"use {' or '.join(TURN_BALANCING)}, or trained = together", key="trained")
        self._balancer = self._balancing.build(self.task_names)
        self._balancer.set_seed(self.seed)
        self.loss_trackers = {} if self._is_plain_sum else loss_trackers(self.task_names)

    def choose_stages(self, taps: Sequence[str | None]) -> Sequence[Stage]:
        """Returns the stages at full width that the heads depend on.

        A subclass whose stages depend on its arguments makes them here.

        Args:
            taps: For every task the name of the stage that its head reads; None is the last one.
        """
        return stages_behind(self.stages, taps)

    @property
    def adversary_variables(self) -> list[Any]:
        """All variables of the adversaries of tasks."""
        return [variable for adversary in self.adversaries.values() for variable in adversary.variables]

    def judgement(self, task: str, loss: Any, images: Any, y: Any, y_pred: Any, sample_weight: Any) -> Any:
        """Returns what the adversary of a task makes of a batch, `(batch,)`; None where it has none.

        Args:
            task: Name of the task.
            loss: Its loss, which knows what its targets are.
            images: `(batch, *spatial, channels)`.
            y: Targets of the task.
            y_pred: Its outputs.
            sample_weight: Weights of its targets, or None. Samples without a label count nothing.
        """
        if task not in self.adversaries:
            return None
        truth, prediction, counts = judged_maps(loss, y, y_pred, sample_weight)
        return counts * self.adversaries[task].judge(images, truth, prediction)

    def _add_state(self, name: str, value: int) -> Any:
        return self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(value),
            dtype="int32",
            trainable=False,
            aggregation="only_first_replica",
            name=name,
        )

    def build(self, input_shape: Any) -> None:
        """Builds all layers for images of `input_shape`, `(batch, *spatial, channels)`."""
        if len(input_shape) != self.spatial_rank + 2:
            raise ValueError(
                f"{self.name} received images of shape {tuple(input_shape)}; with spatial_rank = "
                f"{self.spatial_rank} it needs (batch, {self.spatial_rank} spatial axes, channels)"
            )
        self.image_channels = int(input_shape[-1])
        if any(head.head.needs_fixed_size for head in self.heads):
            self.image_size = tuple(input_shape[1:-1])
        seen = (*input_shape[:-1], self.trunk_channels)
        self._check_frames()
        self.trunk.build(seen)
        self.trunk.build_heads(self.heads, self.trunk.output_shapes(seen))
        for head, shape in zip(self.deep_heads, self.trunk.supervised_shapes(seen), strict=True):
            head.build(shape)
        for task, adversary in self.adversaries.items():
            adversary.build((*input_shape[:-1], self.image_channels + self.tasks[task]))
        self.built = True

    @property
    def trunk_channels(self) -> int:
        """Channels of what the trunk of a built network sees: those of the image, or one of each frame."""
        return 1 if self.is_siamese else int(self.image_channels or 1)

    def _check_frames(self) -> None:
        for name, head in zip(self.tasks, self.heads, strict=True):
            if isinstance(head, MotionHead) and head.num_frames != self.image_channels:
                raise ValueError(
                    f"task {name!r} has {head.channels} outputs, the motion of {head.num_frames} frames, and the image "
                    f"{self.image_channels}; give it {self.spatial_rank} for every frame after the first"
                )

    def trunk_images(self, images: Any) -> Any:
        """Returns images as the trunk sees them: as they are, or every frame as an image of its own."""
        return frames_in_batch(images, int(self.image_channels or 1)) if self.is_siamese else images

    def head_features(self, head: TaskHead | MotionHead, features: Any) -> Any:
        """Returns what a head reads of the features of `trunk_images`: of frames those of the first, or all."""
        if not self.is_siamese or isinstance(head, MotionHead):
            return features
        return frames_apart(features, int(self.image_channels or 1))[0]

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Returns float32 logits by task name.

        Args:
            inputs: Images `(batch, *spatial, channels)`.
            training: Whether this is a training step: masks are sampled at the temperature of the current
                iteration, normalisation uses the batch, and the iteration is counted.

        Returns:
            `(batch, *spatial, outputs)` or `(batch, outputs)` for every task; in training besides what the heads of
            `deep_supervision` say, `<task>@<stage>`, at the size of their stage.
        """
        inputs = ops.cast(inputs, self.compute_dtype)
        if training and self.counts_iterations:
            self.trunk.before_step(ops.convert_to_tensor(self.iteration))
        images, source = self.trunk_images(inputs), ops.convert_to_tensor(self._mask_source)
        features = self.trunk(images, self.temperature, source, training=training)
        outputs = {
            name: head(self.head_features(head, feature), training=training)
            for name, head, feature in zip(self.tasks, self.heads, features[: self.num_tasks], strict=True)
        }
        for name, head, feature in zip(self.deep_names, self.deep_heads, features[self.num_tasks :], strict=False):
            outputs[name] = head(self.head_features(head, feature), training=training)
        for penalty in self.trunk.penalties():
            self.add_loss(penalty)
        if training and self.counts_iterations:
            self.iteration.assign(self.iteration + 1)
        return outputs

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns metrics as `keras.Model` does: of the tasks' own outputs."""
        if isinstance(y_pred, Mapping) and self.deep_heads:
            y_pred = {name: y_pred[name] for name in self.tasks}
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Trains as `keras.Model.fit`, and measures the normalisation statistics for inference.

        See `fitting.Recalibration`. Nothing is added where inference uses the statistics of the batch or the moving
        averages (`batch_norm` `batch` and `population`).

        Raises:
            ValueError: As `compute_loss`.
        """
        check_names(self.task_names, targets=y, loss=self.loss, sample_weight=kwargs.get("sample_weight"))
        own: list[keras.callbacks.Callback] = []
        if isinstance(self.trunk, AdaptiveTrunk):
            own.append(SplittingCallback(kwargs.get("initial_epoch", 0), verbose))
        if self.batch_norm == "recalibrated":
            x, batches = batches_of(x, batch_size, kwargs.get("validation_split", 0.0), kwargs.get("steps_per_epoch"))
            # The last one: it sees the weights that others have put back.
            own.append(Recalibration(batches))
        if isinstance(callbacks, keras.callbacks.CallbackList):
            for callback in own:
                callbacks.append(callback)
        else:
            callbacks = [*(callbacks if isinstance(callbacks, list | tuple) else filter(None, [callbacks])), *own]
        return super().fit(x, y, batch_size, epochs, verbose, callbacks, **kwargs)

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """Returns the loss of a batch as `keras.Model` does, its tasks weighed by `balancing`.

        Raises:
            ValueError: If targets, losses or weights name other tasks than the network's, or losses have weights
                besides those of `balancing`.
        """
        check_names(self.task_names, targets=y, loss=self.loss, sample_weight=sample_weight)
        if training:
            self.record_errors(y, y_pred, sample_weight)
        if not self._is_plain_sum:
            return balanced_loss(self, x, y, y_pred, sample_weight, training)
        return super().compute_loss(x, y, y_pred, sample_weight, training=training)

    def record_errors(self, y: Any, y_pred: Any, sample_weight: Any) -> None:
        """Notes the errors of a batch where the trunk learns from them which tasks belong together."""
        if isinstance(self.trunk, AdaptiveTrunk):
            self.trunk.record_errors(sample_errors(self, y, y_pred, sample_weight))

    def train_step(self, *args: Any, **kwargs: Any) -> Any:
        """Takes a step as `keras.Model` does; by the tasks' gradients or in turns, where the network is trained so."""
        with gradients_with_graph():
            if self._balancer.asks_for_gradients and keras.backend.backend() == "tensorflow":
                return gradient_step(self, *args, **kwargs)
            if self.trunk.takes_turns:
                return turn_step(self, super().train_step, *args, **kwargs)
            return super().train_step(*args, **kwargs)

    @property
    def losses(self) -> list[Any]:
        """The terms of the objective besides the losses of the tasks: regularisation, and what multiplies cost."""
        found = list(super().losses)
        weight = getattr(self.sharing, "cost_weight", 0.0)
        # Keras gives back what it was given here where it differentiates without state.
        if not weight or not self.built or self._losses_override:
            return found
        return [*found, weight * relative_multiplies(self)]

    def summary(self, print_fn: Any = None, **kwargs: Any) -> None:
        """Prints the layers of every stage, their kernels, filters and parameters; how far the groups are decided.

        Args:
            print_fn: Called with every line; None prints it.
            **kwargs: With any further argument of `keras.Model.summary` it is Keras' own table of trunk and heads.
        """
        if kwargs:
            super().summary(print_fn=print_fn, **kwargs)
            return
        for line in summary_lines(self):
            (print_fn or print)(line)

    @property
    def statistics_fit(self) -> bool:
        """Whether nothing was trained since the normalisation statistics were measured, or there are none."""
        return not self.normalizations() or super().statistics_fit

    @property
    def balancing(self) -> Balancing:
        """The rule by which the losses of the tasks become one; `balancer` holds what it has learned."""
        return self._balancing

    @property
    def balancer(self) -> Balancer:
        """What weighs the losses of the tasks, with the variables of the rule, for the losses of `compile`."""
        if self.compiled and self.loss is not None and not self._is_plain_sum and not self._balancer.likelihoods:
            self._balancer.learn_of(likelihoods(compiled_losses(self)))
        return self._balancer

    @property
    def predicting_variables(self) -> list[Any]:
        """All variables that predictions depend on: not those of the balancing rule."""
        return predicting_weights(self, self.variables)

    @property
    def _is_plain_sum(self) -> bool:
        """Whether there is nothing but what Keras does anyway: the sum, or the weights given to `compile`."""
        is_fixed = self._balancing == Fixed() and not self.trunk.takes_turns
        return is_fixed and not self.adversaries and not self.deep_heads

    @property
    def undecided_filters(self) -> float:
        """The share of filters, over all layers, whose group is not decided; see `grouping.undecided_share`."""
        probabilities = list(self.grouping_probabilities().values())
        if not self.groupings() or not probabilities:
            return 0.0
        return float(ops.convert_to_numpy(undecided_share(probabilities)))

    @property
    def settled_masks(self) -> str:
        """The masks that inference takes now: `masks`, or what stands behind `auto`: `mode`, or `average`."""
        if self.masks != "auto":
            return self.masks
        return "mode" if is_decided(self.undecided_filters) else "average"

    @property
    def temperature(self) -> Any:
        """The temperature of the current iteration, a float32 scalar."""
        return temperature_schedule(ops.convert_to_tensor(self.iteration), *self.temperature_parameters)

    @property
    def task_names(self) -> list[str]:
        """Names of the tasks, in the order of their groups."""
        return list(self.tasks)

    @property
    def num_tasks(self) -> int:
        """Number of tasks."""
        return len(self.tasks)

    @property
    def masks(self) -> str:
        """What inference uses: `auto`, `sample`, `mean` or `mode`.

        It is kept in a variable, so that a change takes effect in every function that is already compiled. It
        is not written with the weights: it is a choice of the user, not a result of training.
        """
        return MASK_SOURCES[int(ops.convert_to_numpy(self._mask_source))]

    @masks.setter
    def masks(self, masks: str) -> None:
        self._mask_source.assign(mask_source_index(masks))

    @property
    def batch_norm(self) -> str:
        """Statistics that inference normalises with: `batch`, `population` or `recalibrated`.

        It decides what is computed, so a change makes Keras compile `fit`, `evaluate` and `predict` again; a
        `tf.function` of the caller's own has to be made again.
        """
        return self._batch_norm

    @batch_norm.setter
    def batch_norm(self, batch_norm: str) -> None:
        self._batch_norm = check_statistics(batch_norm)
        for layer in self.normalizations():
            layer.statistics = batch_norm
        self.train_function = self.test_function = self.predict_function = None

    def normalizations(self) -> list[StreamNormalization]:
        """Returns all normalisation layers."""
        return [layer for layer in self._flatten_layers() if isinstance(layer, StreamNormalization)]

    def groupings(self) -> dict[str, FilterGrouping]:
        """Returns the grouping of every SFG layer by the layer's name; empty where masks are constant."""
        return self.trunk.groupings()

    def grouping_probabilities(self) -> dict[str, np.ndarray]:
        """Returns p of every filter group layer by its name, `(filters, num_tasks + 1)`, shared last."""
        return self.trunk.grouping_probabilities()

    def sharing_matrix(self) -> dict[str, np.ndarray]:
        """Returns which tasks share what, under any mechanism: `(tasks, tasks)` by stage, entries from 0 to 1.

        Entry `[i, j]` says how much of what task i uses at that stage task j uses or trains, too: 0 for independent
        networks, 1 for hard sharing. See `Trunk.sharing_matrix`.
        """
        return self.trunk.sharing_matrix()

    def learned(self) -> dict[str, np.ndarray]:
        """Returns what the sharing mechanism learned besides kernels and p, by name; see `Trunk.learned`."""
        return self.trunk.learned()

    @property
    def form(self) -> Any:
        """What is computed now, besides the constructor's arguments; another one has to be compiled anew."""
        return self.trunk.form

    def restored(self) -> None:
        """Goes by variables that somebody has assigned: which branches tasks have may depend on them."""
        if self.trunk.restored():
            self.train_function = self.test_function = self.predict_function = None

    def random_state(self) -> dict[str, np.ndarray]:
        """Returns the state of every seed: with it, a resumed run draws what it would have drawn."""
        state = {}
        for layer, grouping in self.groupings().items():
            for purpose, value in grouping.random_state().items():
                state[f"{layer}/{purpose}"] = value
        for name, head in zip(self.tasks, self.heads, strict=True):
            if head.dropout is not None:
                state[f"{name}/dropout"] = ops.convert_to_numpy(head.dropout.seed_generator.state)
        return state

    def set_random_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Sets the state of every seed to what `random_state` returned.

        Raises:
            ValueError: If the state belongs to another network.
        """
        expected = set(self.random_state())
        if set(state) != expected:
            raise ValueError(f"random state of another network: {sorted(set(state) ^ expected)} are not in both")
        for layer, grouping in self.groupings().items():
            grouping.set_random_state({name: state[f"{layer}/{name}"] for name in grouping.random_state()})
        for name, head in zip(self.tasks, self.heads, strict=True):
            if head.dropout is not None:
                head.dropout.seed_generator.state.assign(state[f"{name}/dropout"])

    def seed_inference(self, *numbers: int) -> None:
        """Makes the next call in inference draw the masks that belong to some numbers, in every SFG layer.

        Calls after the same numbers draw the same masks: windows of one volume can so be predicted by one draw.

        Args:
            numbers: Not negative; the network's own seed is one more.
        """
        for layer, grouping in enumerate(self.groupings().values()):
            words = np.random.SeedSequence([self.seed, layer, *numbers]).generate_state(2)
            grouping.inference_draws.state.assign(words)

    def save_own_variables(self, store: Any) -> None:
        """Writes the iteration; the layers write the rest."""
        store["iteration"] = ops.convert_to_numpy(self.iteration)
        self._save_record(store)

    def load_own_variables(self, store: Any) -> None:
        """Reads the iteration."""
        self.iteration.assign(np.asarray(store["iteration"]))
        self._load_record(store)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments, with the seed that was drawn."""
        return {
            "name": self.name,
            "dtype": keras.saving.serialize_keras_object(self.dtype_policy),
            "tasks": dict(self.tasks),
            "masks": self.masks,
            "seed": self.seed,
            "batch_norm": self.batch_norm,
            "kernel_initializer": keras.initializers.serialize(self._kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self._bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self._kernel_regularizer),
            **describe_sharing(self.sharing),
            "balancing": {"name": self._balancing.name, **self._balancing.values()},
            **self._settings,
            **self._deep_settings(),
            **(
                {"adversaries": {task: each.weight for task, each in self.adversaries.items()}}
                if self.adversaries
                else {}
            ),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "MultiTaskNetwork":
        """Builds the network from what `get_config` returned, in this version or an earlier one."""
        config = translate_config(config)
        values = config.pop("sharing_settings")
        restored = {
            "sharing": find_sharing(config["sharing"], values),
            "balancing": read_balancing(config.get("balancing", {"name": "fixed"})),
            "dtype": keras.saving.deserialize_keras_object(config["dtype"]),
            "kernel_regularizer": keras.regularizers.deserialize(config["kernel_regularizer"]),
        }
        return cls(**(config | restored))


def describe_sharing(sharing: Sharing) -> dict[str, Any]:
    """Returns a mechanism as the plain values that `MultiTaskNetwork.from_config` reads."""
    return {"sharing": sharing.name, "sharing_settings": sharing.values()}
