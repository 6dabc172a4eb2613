"""What a saved state must not be used without: the settings that give its weights and intensities their meaning.

A state carries two sets of settings. Those of the `fingerprint` must be the same wherever it is used, in inference too:
another whitening or another grid would feed the network what it never saw. Those of `training_settings` matter while it
is trained: a resumed run refuses other ones, but for those in `MAY_CHANGE`, whose changes are said. States of earlier
versions carry fewer of them; what a state does not tell is not compared.
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sfgkeras
from sfgkeras.applications.records.files import PLACE_KEYS
from sfgkeras.applications.subjects.image_pipeline import describe_measured
from sfgkeras.applications.subjects.preprocessed import source_folder
from sfgkeras.applications.subjects.preprocessing_settings import build_steps, describe_steps
from sfgkeras.applications.tasks.coverage import fill_value
from sfgkeras.applications.tasks.label_mapping import has_mapping, read_mapping
from sfgkeras.config import Config
from sfgkeras.config.mechanism import OTHER_SPELLINGS
from sfgkeras.config.sections import Section
from sfgkeras.config.task_sections import Task
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.preprocessing.fitted import Fitted
from sfgkeras.preprocessing.foreground import EVERY_VOXEL
from sfgkeras.settings import key_of, setting_values
from sfgkeras.tables.intensities import INTENSITIES
from sfgkeras.tables.losses import takes_one_logit
from sfgkeras.tables.sharing import SHARING

IN_FINGERPRINT: Mapping[str, tuple[str, ...]] = {
    "SYSTEM": ("seed", "mixed_precision"),
    "NETWORK": (
        "name", "sharing", "width", "activation_function", "mask_residual", "whitening", "normalisation", "norm_type",
        "cutoff", "histogram_ref_file", "normalise_foreground_only", "foreground_type", "multimod_foreground_type",
        "volume_padding_size", "volume_padding_mode",
    ),
    "TRAINING": ("optimiser", "grouping_lr"),
    "MULTITASK": ("image", "tasks", "group_connection", "loss_border"),
    "TASK": (
        "type", "num_classes", "scale", "label_normalisation", "tap", "head_layers", "head_pooling", "per",
        "output_activation",
    ),
    "SOURCE": ("axcodes", "pixdim", "interp_order", "padding_value", "scaling"),
}  # fmt: skip
"""Settings that `network_fingerprint` holds, as they take effect: a rule of a foreground only where one is measured."""

MUST_STAY: Mapping[str, tuple[str, ...]] = {
    "NETWORK": ("window_sampling", "keep_prob", "deep_supervision"),
    "TRAINING": ("best_metric", "balancing", "meta_learning", "vars_to_freeze", "schedule", "folds", "fold"),
    "MULTITASK": ("sampler", "weight", "missing_targets", "init_categorical", "cross_stitch_per_channel"),
    "TASK": ("target", "loss", "log_sigma", "attribute", "units", "adversarial_weight"),
    "SOURCE": (
        "spatial_window_size",
        "axcodes",
        "pixdim",
        "interp_order",
        "padding_value",
        "outside",
        "filename_attributes",
    ),
}
"""Settings of training that a resumed run must share with the state, besides those of the fingerprint."""

MAY_CHANGE: Mapping[str, tuple[str, ...]] = {
    "NETWORK": ("batch_size", "decay", "reg_type", "batch_norm"),
    "TRAINING": (
        "lr", "lr_schedule", "warm_up", "clip_norm", "ema_decay", "grouping_lr",
        "sample_per_volume", "rotation_angle", "scaling_percentage", "isotropic_scaling",
        "antialiasing", "bias_field_range", "bf_order", "random_flipping_axes", "do_elastic_deformation",
        "num_ctrl_points", "deformation_sigma", "proportion_to_deform", *INTENSITIES, "num_ghosts",
        "proportion_to_change", "validation_every_n", "validation_every_epochs",
        "validation_max_iter",
        "patience", "early_stopping_mode", "stop_when_grouping_converges",
    ),
    "MULTITASK": (
        "use_hardcat", "batch_sampling", "tau", "use_tau_annealing", "gs_anneal_r", "min_temp", "entropy_decay",
        "cross_stitch_decay", "cost_weight", "group_multiple",
    ),
    "TASK": ("importance", "weight", "metrics"),
}  # fmt: skip
"""Settings of training that may change when a run is resumed; a change is said.

Settings of what a key chooses, such as `huber_delta`, go where the key goes; those of the optimiser may change.
"""


USUAL_HEAD: tuple[Any, ...] = (None, [], "average", "image")
"""The head of a task whose section says nothing of it, as `heads_of` tells it."""


def network_fingerprint(config: Config) -> dict[str, Any]:
    """Returns the settings that give the weights of a network and the intensities it is fed their meaning.

    A state carries them, so that it is used by no configuration with others. Only what takes effect is there.
    """
    network, multitask = config.network, config.multitask
    found = {
        "name": network.name,
        "sharing": network.sharing,
        "width": network.width,
        "activation_function": network.activation_function,
        "optimiser": config.training.optimiser,
        "mixed_precision": config.system.mixed_precision,
        "spatial_rank": config.spatial_rank,
        "tasks": {name: _outputs(task) for name, task in config.tasks.items()},
        "target units": {
            name: [task.scale, config.sources[task.target].scaling] for name, task in config.tasks.items()
        },
        "heads": heads_of(config),
        "image": list(config.image),
        "preprocessing": describe_steps(config),
        "seed": config.system.seed,
        "whitening": network.whitening,
        "normalisation": network.norm_type if network.normalisation else None,
        "foreground": _foreground(config),
        "loss_border": multitask.loss_border,
        "volume_padding": _padding(config),
        **_chosen_settings(network, "name"),
        **{f"[{name}] {key}": value for name in config.image for key, value in _grid(config, name).items()},
    }
    if SHARING[network.sharing].learned:
        # Without grouping logits there is no second optimiser, whatever the INI says.
        found["grouping_lr"] = config.training.grouping_lr is not None
    if SHARING[network.sharing].drawn or network.sharing == "constant_mask":
        found |= {"group_connection": multitask.group_connection, "mask_residual": network.mask_residual}
    if network.sharing == "constant_mask" and multitask.group_multiple > 1:
        found["group_multiple"] = multitask.group_multiple
    if config.sharing is not None:
        found |= {f"[SHARING] {name}": getattr(config.sharing, name) for name in config.sharing.shaping}
    if has_mapping(config):
        found["labels"] = {name: list(labels) for name, labels in read_mapping(config).items()}
    return found | _fitted(config)


def _outputs(task: Task) -> list[Any]:
    """Returns what gives a task's output channels their meaning; what most have is left out."""
    return [task.type, task.num_classes, *(["one logit"] if takes_one_logit(task.type, task.loss) else [])]


def heads_of(config: Config) -> dict[str, list[Any]]:
    """Returns what each task's head reads, and of what it is made: `tap`, `head_layers`, `head_pooling`, `per`.

    Where outputs are not linear, `output_activation` comes last.
    """
    return {
        name: [
            task.tap,
            list(task.head_layers),
            task.head_pooling,
            task.per,
            *([task.output_activation] if task.output_activation != "linear" else []),
        ]
        for name, task in config.tasks.items()
    }


def has_own_head(config: Config, task: str) -> bool:
    """Says whether the section of a task says on what stage its head sits, or of what layers it is made."""
    return heads_of(config)[task][:3] != list(USUAL_HEAD[:3])


def refuse_other_network(config: Config, saved: Mapping[str, Any], folder: Path) -> None:
    """Refuses to use a saved state with a configuration that gives its weights or intensities another meaning.

    Raises:
        ConfigError: Names every setting that differs.
    """
    # States of earlier versions, which do not tell their heads, have the usual ones.
    known = {"heads": dict.fromkeys(config.tasks, list(USUAL_HEAD)), **saved}
    differences = list(_differences(_plain(known), _plain(network_fingerprint(config))))
    if differences:
        then = ", ".join(f"{key} = {old!r}" for key, old, _ in differences)
        now = ", ".join(repr(new) for *_, new in differences)
        raise ConfigError(
            f"{folder} was trained with {then}, the configuration now says {now}; restore it, choose another "
            "model_dir, or begin anew with --restart"
        )


def training_settings(config: Config) -> dict[str, dict[str, Any]]:
    """Returns the settings that decide what is learned, besides the fingerprint, by `[SECTION] key`.

    They come in two parts: `must stay` and `may change`.
    """
    wanted = dict(MUST_STAY)
    if not SHARING[config.network.sharing].learned:
        # Where no groups are learned there is no schedule, whatever the INI says.
        wanted["TRAINING"] = tuple(key for key in MUST_STAY["TRAINING"] if key != "schedule")
    must_stay = {**_settings(config, wanted), **_of_mechanism(config), "window": list(config.window_size)}
    of_optimiser = {f"[TRAINING] {key}": value for key, value in _chosen_settings(config.training, "optimiser").items()}
    return {"must stay": must_stay, "may change": {**_settings(config, MAY_CHANGE), **of_optimiser}}


def _of_mechanism(config: Config) -> dict[str, Any]:
    """Returns the settings of the sharing mechanism that no other entry here has."""
    said_elsewhere = OTHER_SPELLINGS.get(config.network.sharing, {})
    shaping = () if config.sharing is None else config.sharing.shaping
    return {
        f"[SHARING] {name}": value
        for name, value in setting_values(config.sharing).items()
        if name not in said_elsewhere and name not in shaping
    }


def _settings(config: Config, keys: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    sections: dict[str, tuple[str, Section]] = {
        "NETWORK": ("NETWORK", config.network),
        "TRAINING": ("TRAINING", config.training),
        "MULTITASK": ("MULTITASK", config.multitask),
        **{f"TASK {name}": ("TASK", task) for name, task in config.tasks.items()},
        **{name: ("SOURCE", config.sources[name]) for name in _targets(config)},
    }
    return {
        f"[{title}] {name}": value
        for title, (kind, section) in sections.items()
        for values in [section.model_dump(mode="json")]
        for key in keys.get(kind, ())
        for name, value in {key: values[key], **_chosen_settings(section, key)}.items()
    }


def _chosen_settings(section: Section, key: str) -> dict[str, Any]:
    """Returns the settings of what a key of a section chooses, by their INI keys, as values that JSON can hold."""
    chosen = section.settings_of(key)
    return {
        key_of(getattr(section, key), name): str(value) if isinstance(value, Path) else value
        for name, value in chosen.items()
    }


def compare_training(config: Config, saved: Mapping[str, Any] | None, folder: Path) -> list[str]:
    """Refuses to go on training a state with other settings; returns those changes that are allowed, in words.

    Args:
        config: The configuration.
        saved: `training_settings` of the state; None for one of an earlier version.
        folder: Where the state lies.

    Raises:
        ConfigError: Names every setting that must stay and does not.
    """
    if saved is None:
        return ["settings of training (the state does not tell them: an earlier version wrote it)"]
    known = {key: value for part in _plain(saved).values() for key, value in part.items()}
    wanted = _plain(training_settings(config))
    refused = list(_differences(known, wanted["must stay"]))
    if refused:
        then = ", ".join(f"{key} = {old!r}" for key, old, _ in refused)
        now = ", ".join(repr(new) for *_, new in refused)
        raise ConfigError(
            f"{folder} was trained with {then}, the configuration now says {now}; a resumed run must go on with what "
            "it learned: restore it, begin anew with --restart, or start a run of its own from these weights by "
            "[TRAINING] restore_from"
        )
    return [f"{key} from {old!r} to {new!r}" for key, old, new in _differences(known, wanted["may change"])]


def _differences(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for key, value in wanted.items():
        if saved.get(key, value) != value:
            yield key, saved[key], value


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(json.loads(json.dumps(values)))


def _foreground(config: Config) -> str:
    """Returns the rule by which whitening and normalisation measure, `all` for every voxel or where neither is done."""
    is_measured = config.network.whitening or config.network.normalisation
    return describe_measured(config) if is_measured else EVERY_VOXEL


def _padding(config: Config) -> list[Any]:
    size = list(config.network.volume_padding_size)
    return [size, config.network.volume_padding_mode if any(size) else None]


def _grid(config: Config, name: str) -> dict[str, Any]:
    """Returns how an image source is brought onto the network's grid; what interpolates only where that is done."""
    source = config.sources[name]
    resampled = source.pixdim is not None
    return {
        "axcodes": source.axcodes,
        "pixdim": source.pixdim,
        "interp_order": source.interp_order if resampled else None,
        "padding_value": fill_value(source) if resampled else None,
        "scaling": source.scaling,
    }


def _targets(config: Config) -> Sequence[str]:
    names = [task.target for task in config.tasks.values()]
    names += [name for name in (config.sampler, config.multitask.weight) if name]
    return [name for name in dict.fromkeys(names) if name not in config.image]


def _fitted(config: Config) -> dict[str, str]:
    """Returns a digest of what steps were fitted to, by file: an edited one gives intensities another meaning."""
    from sfgkeras.preprocessing.landmark_file import read_landmarks

    files: dict[str, tuple[Path, Callable[[Path], Mapping[str, Fitted]]]] = {}
    if config.network.normalisation and config.network.histogram_ref_file is not None:
        files["landmarks"] = config.network.histogram_ref_file, lambda path: read_landmarks(path, config.network.cutoff)
    pipeline, section = build_steps(config), config.preprocessing
    if section is not None and pipeline is not None:
        for step, name in itertools.product(pipeline.fitted, section.sources):
            key = f"{Path(step.file_name).stem} of [{name}]"
            files[key] = step.file_in(source_folder(section, name)), step.read_all
    found = {}
    for name, (path, read) in files.items():
        try:
            fitted = read(path)
        except DataError:
            continue  # none yet, or damaged: who needs it says so
        values = {key: list(each.described().values()) for key, each in fitted.items()}
        found[name] = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]
    return found


def same_settings(config: Config, state_record: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what decides the result of an inference, as plain values for a digest."""
    inference = config.inference.model_dump(mode="json")
    return {
        "version": sfgkeras.__version__,
        "loss_border": config.multitask.loss_border,
        "iteration": state_record["iteration"],
        "fingerprint": state_record["fingerprint"],
        "progress": state_record.get("progress"),
        "inference": {
            key: value for key, value in inference.items() if key not in ("save_seg_dir", "dataset_to_infer")
        },
        "network": config.network.model_dump(mode="json") | _chosen_settings(config.network, "name"),
        "preprocessing": describe_steps(config),
        "sources": {
            name: config.sources[name].model_dump(mode="json", exclude=set(PLACE_KEYS)) for name in config.image
        },
        **({"refinements": refinements} if (refinements := _refinements(config)) else {}),
    }


def _refinements(config: Config) -> dict[str, Any]:
    """Returns what is done to the labels of each task that refines them."""
    return {
        name: {"refinement": task.refinement, **_chosen_settings(task, "refinement")}
        for name, task in config.tasks.items()
        if task.refinement != "none"
    }
