"""The tries of benchmarks/bad_inputs.py: what is done to a working set-up, and how a verb should end on it."""

import gzip
import shutil
from collections.abc import Callable, Iterator

from bad_inputs import Place, Try
from bad_inputs_images import HEADERS, VOXELS
from bad_inputs_subjects import DICOM, HDF5, PHOTOS, SUBJECTS, broken_hdf5, no_hdf5, with_hdf5, with_photos, with_series

# Settings: section, key, value, what is said. The line must name file, line, section, key and value.
SETTINGS = (
    ("TRAINING", "max_iter", "-1", "must be at least 0"),
    ("TRAINING", "max_iter", "1e3x", "whole number"),
    ("TRAINING", "max_iter", "nan", "whole number"),
    ("TRAINING", "max_iter", "2.5", "whole number"),
    ("TRAINING", "lr", "0", "greater than 0|above 0"),
    ("TRAINING", "lr", "inf", "finite|number"),
    ("TRAINING", "lr", "0,1", "number"),
    ("TRAINING", "optimiser", "adamm", "adam"),
    ("TRAINING", "schedule", "automatic", "auto"),
    ("TRAINING", "validation_every_n", "-5", "at least -1"),
    ("TRAINING", "save_every_n", "-1", "at least"),
    ("TRAINING", "max_checkpoints", "0", "at least 1"),
    ("TRAINING", "exclude_fraction_for_validation", "1.5", "less than|at most|below|1"),
    ("TRAINING", "exclude_fraction_for_inference", "-0.1", "at least 0"),
    ("TRAINING", "rotation_angle", "10, -10", "10, -10"),
    ("TRAINING", "rotation_angle", "ten", "number"),
    ("TRAINING", "scaling_percentage", "-100, 10", "-100"),
    ("TRAINING", "random_flipping_axes", "7", "7"),
    ("TRAINING", "early_stopping_mode", "medium", "median"),
    ("TRAINING", "balancing", "uncertain", "uncertainty"),
    ("SYSTEM", "mixed_precision", "float8", "float"),
    ("TRAINING", "vars_to_freeze", "(", "regular expression"),
    ("TRAINING", "grouping_lr", "-1", "0"),
    ("NETWORK", "name", "highres", "highresnet"),
    ("NETWORK", "sharing", "sgf", "sfg"),
    ("NETWORK", "width", "0", "0"),
    ("NETWORK", "width", "-0.5", "0"),
    ("NETWORK", "batch_size", "0", "at least 1"),
    ("NETWORK", "batch_size", "four", "whole number"),
    ("NETWORK", "whitening", "maybe", "yes"),
    ("NETWORK", "cutoff", "0.9, 0.1", "0.9, 0.1"),
    ("NETWORK", "queue_length", "-1", "at least"),
    ("NETWORK", "activation_function", "swoosh", "known"),
    ("NETWORK", "window_sampling", "unifrom", "uniform"),
    ("NETWORK", "decay", "-1", "0"),
    ("NETWORK", "unet_levels", "3", "unet"),
    ("MULTITASK", "tasks", "ct, bones", "bones"),
    ("MULTITASK", "tasks", "ct, ct", "ct"),
    ("MULTITASK", "image", "MRI", "MR"),
    ("MULTITASK", "loss_border", "-1", "at least 0"),
    ("MULTITASK", "loss_border", "50000", "memory|GiB|window"),
    ("MULTITASK", "init_categorical", "0.5, 0.6", "0.5, 0.6"),
    ("MULTITASK", "init_categorical", "0.5, 0.6, 0.7", "1"),
    ("MULTITASK", "tau", "0", "0"),
    ("MULTITASK", "group_multiple", "0", "at least 1"),
    ("TASK ct", "type", "regresion", "regression"),
    ("TASK ct", "target", "CTT", "CT"),
    ("TASK ct", "loss", "rmze", "rmse"),
    ("TASK ct", "weight", "-1", "0"),
    ("TASK ct", "num_classes", "6", "num_classes"),
    ("TASK ct", "huber_delta", "0.5", "huber"),
    ("TASK organs", "num_classes", "0", "at least"),
    ("TASK organs", "num_classes", "six", "whole number"),
    ("TASK organs", "loss", "rmse", "rmse"),
    ("TASK organs", "class_names", "a, b", "6"),
    ("MR", "pixdim", "8, 8", "three|3"),
    ("MR", "pixdim", "8, 8, -8", "-8"),
    ("MR", "axcodes", "R, A, Q", "Q"),
    ("MR", "axcodes", "R, L, S", "R, L, S"),
    ("MR", "interp_order", "9", "9"),
    ("MR", "spatial_window_size", "24, 24, 0", "0"),
    ("MR", "spatial_window_size", "24", "24"),
    ("MR", "filename_removefromid", "(", "regular expression|filename_removefromid"),
    ("MR", "loader", "itk", "simpleitk"),
    ("MR", "layout", "flatt", "flat"),
    ("CT", "scaling", "hu", "ct"),
    ("CT", "padding_value", "air", "number"),
    ("INFERENCE", "border", "12, 12, 0", "border"),
    ("INFERENCE", "border", "-1, 0, 0", "-1"),
    ("INFERENCE", "inference_iter", "-7", "-1"),
    ("INFERENCE", "output_postfix", "../x", "output_postfix"),
    ("EVALUATION", "evaluations", "mae, dise", "dice"),
    ("SYSTEM", "seed", "x", "whole number"),
    ("SYSTEM", "seed", "-1", "seed"),
    ("SYSTEM", "num_threads", "100000", "at most"),
    ("SYSTEM", "num_threads", "-2", "at least"),
    ("SYSTEM", "cuda_devices", "gpu", "whole number"),
)
# Misspelt or misplaced: where, and what the message leads to.
NAMES = (
    ("TRAINING", "max_iters", "5", "'max_iter'"),
    ("TRAINING", "optimizer", "adam", "optimiser"),
    ("TRAINING", "flip_axes", "7", "random_flipping_axes"),
    ("NETWORK", "max_iter", "5", "TRAINING"),
    ("TASK organs", "weigth", "2", "weight"),
    ("MR", "pixdims", "1, 1, 1", "pixdim"),
    ("MULTITASK", "task", "ct", "tasks"),
)


def _setting(section: str, key: str, value: str, says: str, ends: str = "refused") -> Try:
    place = rf"(?=.*run\.ini(:\d+)?: \[{section}\] .*{key})"
    return Try(
        "settings",
        f"[{section}] {key} = {value}",
        lambda p: p.set(section, key, value),
        ends,
        f"(?s){place}(?=.*({says}))",
    )


# INI files.


def _rewrite(how: Callable[[str], str | bytes]) -> Callable[[Place], None]:
    def change(place: Place) -> None:
        new = how(place.ini.read_text("utf-8"))
        place.ini.write_bytes(new if isinstance(new, bytes) else new.encode("utf-8"))

    return change


def _folder_for_ini(place: Place) -> None:
    place.ini.unlink()
    place.ini.mkdir()


INI_FILES = (
    ("is missing", lambda place: place.ini.unlink(), "refused", r"run\.ini"),
    ("is a folder", _folder_for_ini, "refused", r"run\.ini.*folder"),
    ("is empty", _rewrite(lambda text: ""), "refused", r"run\.ini"),
    ("is of zero bytes only", _rewrite(lambda text: b"\0" * 100), "refused", r"run\.ini"),
    ("is an image", _rewrite(lambda text: gzip.compress(b"\0" * 500)), "refused", r"run\.ini"),
    ("UTF-16 with a mark", _rewrite(lambda text: text.encode("utf-16")), "refused", r"run\.ini.*UTF-(8|16)"),
    ("UTF-16 without a mark", _rewrite(lambda text: text.encode("utf-16-le")), "refused", r"run\.ini.*UTF-(8|16)"),
    ("Latin-1", _rewrite(lambda text: "# für\n".encode("latin-1") + text.encode()), "refused", r"run\.ini.*UTF-8"),
    ("UTF-8 with a mark", _rewrite(lambda text: "\ufeff" + text), "works", ""),
    ("lines of Windows", _rewrite(lambda text: text.replace("\n", "\r\n")), "works", ""),
    ("no section", _rewrite(lambda text: "max_iter = 3\n" + text), "refused", r"run\.ini:1"),
    ("a section twice", _rewrite(lambda text: text + "[MR]\npixdim = 1, 1, 1\n"), "refused", r"\[MR\].*a second time"),
    (
        "a key twice",
        _rewrite(lambda text: text.replace("lr = 0.001", "lr = 1\nlr = 2")),
        "refused",
        r"lr.*a second time",
    ),
    (
        "a line without =",
        _rewrite(lambda text: text.replace("lr = 0.001", "lr 0.001")),
        "refused",
        r"run\.ini:\d+.*lr 0.001",
    ),
    ("a bracket is not closed", _rewrite(lambda text: text.replace("[MR]", "[MR")), "refused", r"run\.ini:1"),
    ("a section in small letters", _rewrite(lambda text: text.replace("[TRAINING]", "[training]")), "works", ""),
    ("a task without its section", lambda place: place.remove_section("TASK ct"), "refused", r"TASK ct"),
    ("no [MULTITASK]", lambda place: place.remove_section("MULTITASK"), "refused", "MULTITASK"),
    ("no [NETWORK]", lambda place: place.remove_section("NETWORK"), "refused", "NETWORK"),
    ("no [SYSTEM]", lambda place: place.remove_section("SYSTEM"), "refused", "model_dir|SYSTEM"),
    (
        "a section that nothing uses",
        _rewrite(lambda text: text + "[PET]\npath_to_search = data\n"),
        "refused|warned",
        "PET",
    ),
    ("a percent sign", lambda place: place.set("SYSTEM", "cache_dir", "100%_cache"), "works", ""),
    ("a comment behind a value", lambda place: place.set("TRAINING", "lr", "0.001 ; small"), "refused|works", ""),
    ("a line of 1 MB", _rewrite(lambda text: text + "# " + "x" * 1_000_000), "works", ""),
    ("a zero byte in a path", lambda place: place.set("MR", "path_to_search", "da\0ta"), "refused", "zero bytes"),
    (
        "a key of control characters",
        _rewrite(lambda text: text.replace("lr =", "l\x1br =")),
        "refused",
        r"run\.ini:\d+",
    ),
)

# The command line, folders of results, other verbs.


def _nothing(place: Place) -> None:
    """Leaves the place as it is."""


def _model_is_a_file(place: Place) -> None:
    shutil.rmtree(place.folder / "model")
    (place.folder / "model").write_text("mine")


def _foreign_page(place: Place) -> None:
    (place.folder / "out").mkdir()
    (place.folder / "out" / "overview.html").write_text("mine")
    shutil.copy(place.path(0, "mr"), place.folder / "out")


def _foreign_ini(place: Place) -> None:
    (place.folder / "demo.ini").write_text("mine")


def _damaged_state(place: Place) -> None:
    checkpoints = place.folder / "model" / "checkpoints"
    checkpoints.mkdir()
    (checkpoints / "iteration_000000400.npz").write_bytes(b"PK\x03\x04 no archive")


COMMANDS = (
    ("no verb", _nothing, "chek -c run.ini", "refused", "check"),
    ("no file", _nothing, "check", "refused", "-c"),
    ("an unknown option", _nothing, "check -c run.ini --fast", "refused", "fast"),
    ("an unknown setting", _nothing, "check -c run.ini --TRAINING.max_iters 3", "refused", "max_iter"),
    ("a setting without value", _nothing, "check -c run.ini --TRAINING.max_iter", "refused", "max_iter"),
    ("a section that is not there", _nothing, "check -c run.ini --PET.pixdim 1,1,1", "refused", "PET"),
    ("a bad value", _nothing, "check -c run.ini --TRAINING.lr fast", "refused", "--TRAINING.lr"),
    ("a word too many", _nothing, "check -c run.ini run.ini", "refused", "run.ini"),
    ("model_dir is a file", _model_is_a_file, "check -c run.ini", "refused", "model is a file"),
    ("inference before training", _nothing, "inference -c run.ini", "refused", "train"),
    ("evaluation before inference", _nothing, "evaluate -c run.ini", "refused", "inference|train"),
    ("report before training", _nothing, "report -c run.ini", "refused", "train"),
    ("export before training", _nothing, "export -c run.ini", "refused", "train"),
    ("inference from a damaged state", _damaged_state, "inference -c run.ini", "refused", "iteration_000000400"),
    ("predict without input", _nothing, "predict -c run.ini", "refused", "input"),
    (
        "predict before training",
        _nothing,
        "predict -c run.ini --input data/p0_mr.nii.gz --output out",
        "refused",
        "train",
    ),
    ("predict of nothing", _nothing, "predict -c run.ini --input gone --output out", "refused", "gone|train"),
    (
        "preprocess a folder that is gone",
        _nothing,
        "preprocess --input gone --output out --steps whiten",
        "refused",
        "gone",
    ),
    (
        "preprocess by an unknown step",
        _nothing,
        "preprocess --input data --output out --steps whitten",
        "refused",
        "whiten",
    ),
    ("preprocess without a step", _nothing, "preprocess --input data --output out", "refused", "steps"),
    ("preprocess into its input", _nothing, "preprocess --input data --output data --steps whiten", "refused", "data"),
    (
        "preprocess over the files of another",
        _foreign_page,
        "preprocess --input data --output out --steps whiten",
        "refused",
        "overview.html|p0_mr",
    ),
    (
        "preprocess by no worker",
        _nothing,
        "preprocess --input data --output out --steps whiten --workers 0",
        "refused",
        "workers",
    ),
    ("a shipped file over one's own", _foreign_ini, "configs demo", "refused", "demo.ini"),
    ("a shipped file that is none", _nothing, "configs demos", "refused", "demo"),
    ("a phantom of an unknown kind", _nothing, "phantom --kind pelviss --output out", "refused", "pelvis"),
    ("a phantom over the data", _nothing, "phantom --output run.ini --subjects 1", "refused", "run.ini"),
    ("no subject", _nothing, "phantom --output out --subjects 0", "refused", "subjects"),
    ("convert nothing", _nothing, "convert gone out.h5", "refused", "gone"),
    ("convert over a file", _nothing, "convert data run.ini", "refused", "run.ini"),
    ("compare by no seed", _nothing, "compare -c run.ini --seeds 0", "refused", "seeds"),
    ("compare by an unknown mechanism", _nothing, "compare -c run.ini --sharing sfg hard", "refused", "hard"),
)
ENVIRONMENTS = (
    ("COLUMNS=0", {"COLUMNS": "0"}, "works", "next: "),
    ("COLUMNS=wide", {"COLUMNS": "wide"}, "works", "next: "),
    ("no TMPDIR", {"TMPDIR": "/nowhere"}, "works|warned", ""),
    ("LANG=C", {"LANG": "C", "LC_ALL": "C"}, "works", "next: "),
    ("no HOME", {"HOME": "/nowhere"}, "works", "next: "),
    ("a backend that is none", {"KERAS_BACKEND": "theano"}, "works|warned|refused", ""),
    ("TERM=dumb", {"TERM": "dumb"}, "works", "next: "),
)


def _all() -> Iterator[Try]:
    yield Try("settings", "nothing is changed", _nothing, "works")
    for row in (*SETTINGS, *NAMES):
        yield _setting(*row)
    for group, rows in (("INI files", INI_FILES), ("headers", HEADERS), ("voxels", VOXELS), ("subjects", SUBJECTS)):
        for name, change, ends, says in rows:
            yield Try(group, name, change, ends, says)
    for name, folder_change, ends, says in PHOTOS:
        yield Try("photos and tables", name, with_photos(folder_change), ends, says)
    for name, file_change, ends, says in HDF5:
        yield Try("HDF5", name, with_hdf5(file_change), ends, says)
    yield Try("HDF5", "a file that is cut", broken_hdf5, "refused", r"all\.h5")
    yield Try("HDF5", "a file that is none", no_hdf5, "refused", r"all\.h5")
    for name, series_change, ends, says in DICOM:
        yield Try("DICOM", name, with_series(series_change), ends, says)
    for name, change, verb, ends, says in COMMANDS:
        yield Try("commands", name, change, ends, says, tuple(verb.split()))
    for name, environment, ends, says in ENVIRONMENTS:
        yield Try("environment", name, _nothing, ends, says, environment=environment)


TRIES = tuple(_all())
