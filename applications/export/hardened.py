"""`sfgkeras export`: the hardened network of a saved state as one file that needs nothing of this package."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import sfgkeras
from sfgkeras.applications.export.formats import (
    FORMATS,
    ExportFormat,
    Predict,
    compiled_call,
    replacing_path,
    size_on_disk,
)
from sfgkeras.applications.export.latency import available_threads, measure_latency
from sfgkeras.applications.folds import refuse_all_folds
from sfgkeras.applications.inference.inferring import Hook, no_hook
from sfgkeras.applications.records.checkpoints import CheckpointFolder, TrainingState
from sfgkeras.applications.records.files import RunFolder, write_text
from sfgkeras.applications.subjects.folds import chosen_fold
from sfgkeras.applications.subjects.session import Session, open_session, prepare_phase
from sfgkeras.applications.training.fingerprint import refuse_other_network
from sfgkeras.config import Config
from sfgkeras.errors import DataError, Problem, lookup
from sfgkeras.reporter import Reporter, SilentReporter

MASKED, FOLDED = "masked", "hardened, folded"
TOLERANCE = 1e-4
MEGABYTE = 1e6


@dataclass(frozen=True)
class Export:
    """One network on its way out.

    Attributes:
        session: The configuration, its tasks and subjects.
        state: The saved state.
        networks: By the names that the user sees: as trained, with masks in `mode`; with groups of `group_multiple`,
            where filters had to leave their most probable one; hardened; hardened with folded normalisations, which is
            what is written. All in float32.
        calls: The same as compiled functions.
        window: Shape of one window as the network sees it, `(*spatial, channels)`.
        reference: Which of the networks the hardened ones equal.
    """

    session: Session
    state: TrainingState
    networks: Mapping[str, Any]
    calls: Mapping[str, Predict]
    window: tuple[int, ...]
    reference: str = MASKED


def export_network(
    config: Config,
    reporter: Reporter | None = None,
    task: str | None = None,
    file_format: str = "keras",
    output: Path | None = None,
    overwrite: bool = False,
    before_network: Hook = no_hook,
) -> Path:
    """Writes the hardened network of `[INFERENCE] inference_iter`, checked, with a record beside it.

    Masks are those of `mode`, whatever `[INFERENCE] masks` says. Where the training has not fixed the groups,
    `group_multiple` does it here. What was written is read again and compared with the network before it takes its
    place.

    Args:
        config: The configuration.
        reporter: Shows the comparison of size, multiplies and latency.
        task: The one task to keep; None keeps all.
        file_format: A name in `FORMATS`.
        output: File or folder to write; None takes `model_dir/export/hardened[_task]`.
        overwrite: Whether an earlier export there is replaced.
        before_network: Called before anything needs TensorFlow, e.g. to load it without a word.

    Returns:
        The file or folder.

    Raises:
        ConfigError: If task, format or settings cannot be exported.
        DataError: If there is no checkpoint, something is in the way, or the file does not give the same numbers.
    """
    reporter = reporter or SilentReporter()
    refuse_all_folds(config, "export")
    config = chosen_fold(config)
    form = lookup(FORMATS, file_format, "format")
    form.require_packages()
    task = None if task is None else lookup({name: name for name in config.tasks}, task, "task")
    refuse_batch_statistics(config)
    path = default_path(config, form, task) if output is None else output
    form.check_output(path, overwrite)
    export = prepare_export(config, task, form, reporter, before_network)
    with replacing_path(path) as temporary:
        form.write(export.networks[FOLDED], temporary)
        loaded = form.load(temporary)
        verify(export, loaded, f"the reloaded {form.name}")
    record = path.with_name(f"{path.name}.json")
    write_text(record, json.dumps(describe(export, form), indent=2, default=str) + "\n")
    compare(export, loaded, path, form, reporter)
    reporter.message(f"wrote {path} ({size_on_disk(path) / MEGABYTE:.2f} MB) and {record.name}")
    return path


def default_path(config: Config, form: ExportFormat, task: str | None) -> Path:
    """Returns where an export goes without `--output`."""
    name = "hardened" if task is None else f"hardened_{task}"
    return config.system.model_dir / "export" / (f"{name}_{form.name}" if form.is_folder else f"{name}{form.ending}")


def refuse_batch_statistics(config: Config) -> None:
    """Refuses `batch_norm = batch`: an exported network has no batch to take statistics from.

    Raises:
        ConfigError: Always with that setting.
    """
    if config.network.batch_norm == "batch":
        raise Problem(
            "cannot be exported: outputs would depend on which images share a batch",
            "add --NETWORK.batch_norm recalibrated (statistics are measured on the training subjects) or population",
            key="batch_norm",
            value=config.network.batch_norm,
            section="NETWORK",
            file=str(config.path),
        )


def prepare_export(
    config: Config, task: str | None, form: ExportFormat, reporter: Reporter, before_network: Hook = no_hook
) -> Export:
    """Loads the network, hardens it and checks that this changed nothing."""
    checkpoints = CheckpointFolder(RunFolder(config.system.model_dir).checkpoints)
    state = checkpoints.read(config.inference.inference_iter, warn=reporter.warning)
    refuse_other_network(config, state.record["fingerprint"], checkpoints.folder)
    in_mode = replace(config, inference=config.inference.model_copy(update={"masks": "mode"}))
    session = open_session(in_mode, reporter, training=False)
    image = session.preparation.image(next(iter(session.cohort.subjects.values())))
    before_network()
    from sfgkeras.applications.inference.restored_network import restore_network
    from sfgkeras.networks import build_plain_model

    masked = in_float32(restore_network(session, checkpoints, state, image.shape[-1], reporter))
    if masked.undecided_filters:
        reporter.warning(
            f"{masked.undecided_filters:.1%} of the filters have no group with a probability of 0.9 or more; hardening "
            "gives each to its most probable group: evaluate with [INFERENCE] masks = mode to see what that costs"
        )
    sources = {MASKED: masked, **_in_suitable_groups(session, state, masked, reporter)}
    reference, source = list(sources.items())[-1]
    networks = {
        **sources,
        "hardened": build_plain_model(source, task, fold=False),
        FOLDED: build_plain_model(source, task, keep_prelu=form.has_prelu),
    }
    sizes = dict.fromkeys(networks, (*masked.image_size, image.shape[-1]))
    # A hardened network of one task may take images of any size where the whole one does not.
    sizes |= {name: network.inputs[0].shape[1:] for name, network in networks.items() if name not in sources}
    calls = {name: compiled_call(network, sizes[name]) for name, network in networks.items()}
    export = Export(session, state, networks, calls, window_shape(session, image.shape), reference)
    verify(export, calls[FOLDED], "the hardened network")
    return export


def _in_suitable_groups(session: Session, state: TrainingState, masked: Any, reporter: Reporter) -> dict[str, Any]:
    """Returns the network whose groups hold multiples of `group_multiple`; nothing where they do so anyway."""
    from sfgkeras.applications.inference.restored_network import measure_statistics
    from sfgkeras.networks import group_network
    from sfgkeras.networks.hardening import count_moved_filters

    multiple = getattr(masked.sharing, "group_multiple", 1)
    grouped = group_network(masked, multiple)
    moved = count_moved_filters(masked, grouped)
    if not moved:
        return {}
    reporter.warning(
        f"group_multiple = {multiple}: {moved} filters leave their most probable group, which the training has not "
        "healed: results are not those of inference; evaluate the exported network before you use it"
    )
    if session.config.network.batch_norm == "recalibrated":
        subjects = prepare_phase(session, "training", reporter)
        measure_statistics(session, grouped, subjects, state.record["iteration"], reporter)
    return {f"in groups of {multiple}": grouped}


def in_float32(network: Any) -> Any:
    """Returns the network itself, or its twin in float32 where it was trained in mixed precision."""
    import keras

    if network.compute_dtype == "float32":
        return network
    policy = keras.saving.serialize_keras_object(keras.DTypePolicy("float32"))
    twin = type(network).from_config(network.get_config() | {"dtype": policy})
    twin.build((None, *network.image_size, network.image_channels))
    for new, old in zip(twin.variables, network.variables, strict=True):
        new.assign(keras.ops.convert_to_numpy(old))
    return twin


def window_shape(session: Session, image_shape: Sequence[int]) -> tuple[int, ...]:
    """Returns the shape of one window of inference, `(*spatial, channels)`, with the frame of `loss_border`."""
    config = session.config
    wanted = config.inference_window_size if config.sees_windows else config.window_size
    # A whole axis has no size of its own: any will do.
    size = tuple(length or own for length, own in zip(wanted, config.window_size, strict=True))
    frame = 2 * config.multitask.loss_border
    lengths = [wanted or length for wanted, length in zip(size, image_shape[:3], strict=True)]
    return (*(length + frame for length in lengths if length != 1), image_shape[-1])


def verify(export: Export, predict: Predict, what: str) -> None:
    """Compares outputs with those of the masked network, on the window and on a smaller one of odd size.

    Where features are flattened there is one size.

    Raises:
        DataError: If a task differs by more than 1e-4 of its largest output.
    """
    *spatial, channels = export.window
    cases = [(2, spatial), (1, [max(size // 2 | 1, 5) for size in spatial])]
    for batch, sizes in cases[: 1 if None not in export.networks[MASKED].image_size else 2]:
        images = np.random.default_rng(0).normal(size=(batch, *sizes, channels)).astype("float32")
        expected = export.calls[export.reference](images)
        outputs = predict(images)
        wanted = export.networks[FOLDED].output
        if set(outputs) != set(wanted):
            raise DataError(f"{what} gives {sorted(outputs)}, not the tasks {sorted(wanted)}; nothing was written")
        for name, output in outputs.items():
            largest = np.abs(expected[name]).max()
            difference = np.abs(output - expected[name]).max()
            if not difference <= TOLERANCE * largest:
                raise DataError(
                    f"{what} differs from the network of iteration {export.state.record['iteration']}: task {name!r} "
                    f"by {difference:.3g}, more than {TOLERANCE:g} of its largest output {largest:.3g}; "
                    "nothing was written"
                )


def compare(export: Export, loaded: Predict, path: Path, form: ExportFormat, reporter: Reporter) -> None:
    """Shows size, multiplies and latency before and after."""
    from sfgkeras.networks import count_multiplies, count_parameters

    batch_size = export.session.config.network.batch_size
    images = np.random.default_rng(1).normal(size=(batch_size, *export.window)).astype("float32")
    written = f"{form.name} file, reloaded"
    calls = {**export.calls, written: loaded}
    seconds = measure_latency({name: functools.partial(call, images) for name, call in calls.items()})
    base = seconds[MASKED]
    rows: list[list[object]] = []
    for name, network in export.networks.items():
        megabytes = sum(np.prod(weight.shape) for weight in network.weights) * 4 / MEGABYTE
        counts = [f"{count_parameters(network):,}", f"{megabytes:.2f}", f"{count_multiplies(network, export.window):,}"]
        rows.append([name, *counts, *_in_milliseconds(seconds[name], batch_size, base)])
    rows.append(
        [written, "", f"{size_on_disk(path) / MEGABYTE:.2f}", "", *_in_milliseconds(seconds[written], batch_size, base)]
    )
    size = " x ".join(map(str, export.window[:-1]))
    reporter.table(
        f"one window of {size}, in batches of {batch_size}, {available_threads()} threads, medians",
        ["network", "parameters", "MB", "multiplies", "ms", "of masked"],
        rows,
    )


def _in_milliseconds(seconds: float, batch_size: int, base: float) -> list[str]:
    return [f"{1e3 * seconds / batch_size:.2f}", f"{seconds / base:.2f}"]


def describe(export: Export, form: ExportFormat) -> dict[str, Any]:
    """Returns what a user of the file has to know, as plain values: its origin, its input, its outputs."""
    import keras

    config = export.session.config
    record = export.state.record
    rank = len(export.window) - 1
    tasks = {name: export.session.tasks[name] for name in export.networks[FOLDED].output}
    return {
        "made_by": {"sfgkeras": sfgkeras.__version__, "keras": keras.version(), "format": form.name},
        "checkpoint": {
            "model_dir": str(config.system.model_dir),
            "inference_iter": config.inference.inference_iter,
            "iteration": record["iteration"],
            "network": record["fingerprint"],
        },
        "masks": "mode",
        "batch_norm": config.network.batch_norm,
        "input": {
            "name": "image",
            "axes": ["batch", *"xyz"[:rank], "channel"],
            "dtype": "float32",
            "channels": export.window[-1],
            "sources": {name: config.sources[name].model_dump(mode="json") for name in config.image},
            "window": list(export.window[:-1]),
            "frame_of_zeros": config.multitask.loss_border,
            "preparation": _preparation(config),
        },
        "outputs": {name: task.describe_output() for name, task in tasks.items()},
    }


def _preparation(config: Config) -> Mapping[str, Any]:
    """Returns the settings by which images were prepared before the network saw them."""
    names = (
        "normalisation", "whitening", "histogram_ref_file", "norm_type", "cutoff", "normalise_foreground_only",
        "foreground_type", "multimod_foreground_type", "volume_padding_size", "volume_padding_mode",
    )  # fmt: skip
    settings = config.network.model_dump(mode="json")
    steps = None if config.preprocessing is None else config.preprocessing.model_dump(mode="json")
    return {"preprocessing": steps} | {name: settings[name] for name in names}
