"""Builds the network, its losses and its random seed from a configuration."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sfgkeras.applications.records.settled import Settled
from sfgkeras.applications.tasks.task import Task
from sfgkeras.applications.workers.order_of_sums import keep_order
from sfgkeras.balancing import BALANCING, Balancing
from sfgkeras.config import Config
from sfgkeras.errors import ConfigError, Problem, lookup
from sfgkeras.sharing import ConstantMask, Sharing
from sfgkeras.tables.networks import find_network

if TYPE_CHECKING:
    from sfgkeras.networks.heads import Head

PRECISIONS = {"none": "float32", "float16": "mixed_float16", "bfloat16": "mixed_bfloat16"}


def set_arithmetic(config: Config) -> None:
    """Sets how the networks that are built from here on compute; call it when it is known which devices are used.

    The precision is that of `[SYSTEM] mixed_precision`. On CPUs the order of sums is fixed, so that two runs give the
    same numbers; on a GPU other operations would cost speed.
    """
    import keras
    import tensorflow as tf

    keras.mixed_precision.set_global_policy(PRECISIONS[config.system.mixed_precision])
    if not tf.config.get_visible_devices("GPU"):
        keep_order()


def build_network(
    config: Config, tasks: Mapping[str, Task], image_channels: int, settled: Settled | None = None
) -> Any:
    """Builds the network of a configuration, with all variables made.

    Args:
        config: The configuration.
        tasks: The tasks by name.
        image_channels: Channels of the input.
        settled: The groups that the run has settled on, where it has: its filters have these for good.
    """
    from sfgkeras.architecture.graph import UnknownStage

    settings, rank = config.network, config.spatial_rank
    network_class: Any = find_network(settings.name, "[NETWORK] name").load()
    try:
        network = network_class(
            tasks={name: task.outputs_for(image_channels) for name, task in tasks.items()},
            sharing=config.sharing if settled is None else fixed_groups(config, settled.groups),
            balancing=build_balancing(config),
            spatial_rank=rank,
            width=settings.width,
            masks=config.inference.masks,
            seed=config.system.seed,
            batch_norm=settings.batch_norm,
            activation=settings.activation_function,
            kernel_regularizer=_regularizer(settings.reg_type, settings.decay),
            kernel_initializer=settings.weight_initializer,
            bias_initializer=settings.bias_initializer,
            dropout=1.0 - settings.keep_prob,
            heads=build_heads(tasks, network_class.usual_head),
            adversaries={
                name: task.settings.adversarial_weight
                for name, task in tasks.items()
                if task.settings.adversarial_weight
            },
            deep_supervision=supervised_maps(config, tasks),
            rematerialise=config.system.rematerialise,
            # A fixed name: variables keep their paths whatever else was built before in the same process.
            name="network",
            **settings.settings_of("name"),
        )
    except UnknownStage as error:
        tapping = [config.section_of(name) for name, task in tasks.items() if task.settings.tap == error.stage]
        if not tapping:
            raise
        what = f"is no stage of {settings.name}; the stages are {', '.join(error.names)}"
        raise Problem(what, key="tap", value=error.stage, section=tapping[0], file=str(config.path)) from error
    except Problem as problem:
        if problem.key == "deep_supervision":
            raise problem.at(section="NETWORK", value=settings.deep_supervision, file=str(config.path)) from problem
        if config.sharing is None or problem.key not in config.sharing.setting_names():
            raise
        raise problem.at(section="SHARING", file=str(config.path)) from problem
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"{config.path}: [NETWORK] name = {settings.name!r}: {error}") from error
    network.build((None, *window_shape(config, tasks), image_channels))
    return network


def fixed_groups(config: Config, groups: Sequence[Sequence[int]]) -> Sharing:
    """Returns the mechanism of filters that have these groups for good, with the streams of the configuration's own."""
    own: Any = config.sharing
    return ConstantMask(routing=own.routing, mask_residual=own.mask_residual, allocation=groups)


def build_heads(tasks: Mapping[str, Task], usual: str) -> dict[str, "Head"]:
    """Returns the heads of those tasks that have another one than the network's usual one."""
    from sfgkeras.networks.heads import Head

    heads = {
        name: Head(
            task.head,
            task.settings.tap,
            task.settings.head_layers,
            task.settings.head_pooling,
            task.settings.output_activation,
            start=task.head_start,
            offset=task.head_offset,
        )
        for name, task in tasks.items()
    }
    return {name: head for name, head in heads.items() if head != Head(usual)}


def supervised_maps(config: Config, tasks: Mapping[str, Task]) -> dict[str, int]:
    """Returns `deep_supervision` of `[NETWORK]` for those tasks that have a target for every voxel.

    Raises:
        Problem: If levels are asked for, and there is no such task.
    """
    levels = config.network.deep_supervision
    dense = [name for name, task in tasks.items() if task.is_dense]
    if levels and not dense:
        what = "is for maps with a target for every voxel, and no task is one"
        raise Problem(what, "write 0", key="deep_supervision", value=levels, section="NETWORK", file=str(config.path))
    return dict.fromkeys(dense, levels) if levels else {}


def window_shape(config: Config, tasks: Mapping[str, Task]) -> tuple[int | None, ...]:
    """Returns the spatial shape of what the network sees: any, or where features are flattened that of training."""
    if all(task.settings.head_pooling != "flatten" for task in tasks.values()):
        return (None,) * config.spatial_rank
    return tuple(size + 2 * config.multitask.loss_border for size in config.window_size if size != 1)


def build_balancing(config: Config) -> Balancing:
    """Builds the balancing rule of a configuration, with what each task says of itself."""
    rule = lookup(BALANCING, config.training.balancing, "balancing rule")
    said = {
        "weight": {name: settings.weight for name, settings in config.tasks.items() if settings.weight != 1},
        "log_sigma": {
            name: settings.log_sigma for name, settings in config.tasks.items() if settings.log_sigma is not None
        },
    }
    of_tasks: dict[str, Any] = {field: said[key] for key, field in rule.task_keys.items()}
    return rule.from_values({**of_tasks, **config.training.settings_of("balancing")})


def _regularizer(kind: str, decay: float) -> Any:
    import keras

    regularizer = {"l2": keras.regularizers.L2, "l1": keras.regularizers.L1}[kind.lower()]
    return regularizer(decay) if decay else None
