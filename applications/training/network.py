"""Builds the network, its losses and its random seed from a configuration."""

from collections.abc import Mapping
from typing import Any

from sfgkeras.applications.tasks.task import Task
from sfgkeras.classes import is_class_path
from sfgkeras.config import Config
from sfgkeras.errors import ConfigError, lookup
from sfgkeras.tables.networks import find_network

PRECISIONS = {"none": "float32", "float16": "mixed_float16", "bfloat16": "mixed_bfloat16"}


def spatial_rank(config: Config) -> int:
    """Returns 2 where the window has an axis of one voxel, else 3."""
    return 2 if 1 in config.window_size else 3


def set_precision(config: Config) -> None:
    """Sets the Keras policy of `[SYSTEM] mixed_precision` for what is built from here on."""
    import keras

    keras.mixed_precision.set_global_policy(PRECISIONS[config.system.mixed_precision])


def build_network(config: Config, tasks: Mapping[str, Task], image_channels: int) -> Any:
    """Builds the network of a configuration, with all variables made.

    Args:
        config: The configuration.
        tasks: The tasks by name.
        image_channels: Channels of the input.
    """
    settings, rank = config.network, spatial_rank(config)
    network_class = find_network(settings.name, "[NETWORK] name").load()
    if is_class_path(settings.name):
        _refuse_other_head(network_class, config)
    network = network_class(
        tasks={name: task.num_outputs for name, task in tasks.items()},
        sharing=build_sharing(config),
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
        rematerialise=config.system.rematerialise,
        # A fixed name: variables keep their paths whatever else was built before in the same process.
        name="network",
        **settings.settings_of("name"),
    )
    network.build((None, *(None,) * rank, image_channels))
    return network


def _refuse_other_head(network_class: Any, config: Config) -> None:
    """Refuses a network of the user's own whose outputs are not what its tasks need."""
    wanted = "vector" if config.is_window_network else "map"
    if network_class.usual_head != wanted:
        what = "one value per subject" if wanted == "vector" else "volumes"
        raise ConfigError(
            f"[NETWORK] name = {config.network.name!r} has usual_head = {network_class.usual_head!r}, and the tasks "
            f"have {what} as targets; set usual_head = {wanted!r} in the class, or choose other targets"
        )


def build_sharing(config: Config) -> Any:
    """Builds the sharing mechanism of a configuration, with the settings that are its own."""
    from sfgkeras.sharing import SHARING

    mechanism, multitask = lookup(SHARING, config.network.sharing, "sharing mechanism"), config.multitask
    drawn = "dirichlet" if multitask.random_p_init else multitask.init_categorical
    rate = multitask.gs_anneal_r if multitask.use_tau_annealing else 0.0
    settings = {
        "routing": multitask.group_connection,
        "mask_residual": config.network.mask_residual,
        "initial_probabilities": drawn,
        "learn_grouping": multitask.learn_categorical,
        "assignment": "hard" if multitask.use_hardcat else "soft",
        "per_sample": multitask.batch_sampling,
        "entropy_decay": multitask.entropy_decay,
        "temperature": (multitask.tau, rate, min(multitask.min_temp, multitask.tau)),
        "fractions": multitask.init_categorical,
        "weight": multitask.cross_stitch_init,
        "per_channel": multitask.cross_stitch_per_channel,
        "decay": multitask.cross_stitch_decay,
    }
    return mechanism.from_values({name: settings[name] for name in mechanism.setting_names() if name in settings})


def _regularizer(kind: str, decay: float) -> Any:
    import keras

    regularizer = {"l2": keras.regularizers.L2, "l1": keras.regularizers.L1}[kind.lower()]
    return regularizer(decay) if decay else None
