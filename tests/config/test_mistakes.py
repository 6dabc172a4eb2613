"""Every mistake in an INI file is found before data is read; its message says where and what to do."""

from pathlib import Path

import pytest

from sfgkeras.config import read_config
from sfgkeras.errors import ConfigError

GOOD = """\
[MR]
path_to_search = ./data
filename_contains = _mr
spatial_window_size = 64, 64, 1
[CT]
path_to_search = ./data
filename_contains = _ct
[ORGANS]
path_to_search = ./data
filename_contains = _organs
[SYSTEM]
model_dir = ./models/run
[NETWORK]
name = highresnet
[TRAINING]
max_iter = 100
[INFERENCE]
border = 4, 4, 0
[EVALUATION]
evaluations = mae, dice
[MULTITASK]
image = MR
tasks = ct, organs
[TASK ct]
type = regression
target = CT
[TASK organs]
type = segmentation
target = ORGANS
num_classes = 6
"""


def messages(text: str, tmp_path: Path, overrides=()) -> list[str]:
    """Returns the lines of the error, without the folder."""
    path = tmp_path / "run.ini"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        read_config(path, overrides)
    return str(caught.value).replace(f"{tmp_path}/", "").splitlines()


def line_of(text: str, fragment: str) -> int:
    return next(i for i, line in enumerate(text.splitlines(), start=1) if line.strip() == fragment)


def changed(old: str, new: str) -> str:
    assert GOOD.count(f"{old}\n") == 1, old
    return GOOD.replace(f"{old}\n", f"{new}\n")


def added(section: str, line: str) -> str:
    return changed(f"[{section}]", f"[{section}]\n{line}")


def test_the_file_that_the_others_are_made_from_is_good(tmp_path):
    path = tmp_path / "run.ini"
    path.write_text(GOOD)
    config = read_config(path)
    assert config.warnings == ()
    assert list(config.tasks) == ["ct", "organs"]


# One mistake each: (section, line put below its header, the rest of the message after `run.ini:LINE: `).
ONE_LINE = [
    ("NETWORK", "max_iter = 3", "[NETWORK] has no option 'max_iter'; it belongs in [TRAINING]"),
    ("TRAINING", "max_itr = 3", "[TRAINING] has no option 'max_itr', did you mean 'max_iter'?"),
    ("NETWORK", "max_itr = 3", "[NETWORK] has no option 'max_itr', did you mean 'max_iter' of [TRAINING]?"),
    ("NETWORK", "border = 3", "[NETWORK] has no option 'border'; it belongs in [INFERENCE]"),
    (
        "TRAINING",
        "spatial_window_size = 3",
        "has no option 'spatial_window_size'; it belongs in [INFERENCE] or an input source",
    ),
    ("TRAINING", "num_classes = 3", "has no option 'num_classes'; it belongs in [TASK name]"),
    ("TRAINING", "zzz = 3", "[TRAINING] has no option 'zzz'; remove the line"),
    ("MR", "lr = 3", "[MR] has no option 'lr'; it belongs in [TRAINING]"),
    ("SYSTEM", "batch_size = 3", "[SYSTEM] has no option 'batch_size'; it belongs in [NETWORK]"),
    (
        "SYSTEM",
        "event_handler = x",
        "event_handler = 'x' is not supported; remove it, and pass Keras callbacks",
    ),
    ("NETWORK", "volume_padding_to_size = 9", "is not supported; use volume_padding_size"),
    ("TRAINING", "rotation_angle_x = -9, 9", "is not supported; use rotation_angle"),
    (
        "INFERENCE",
        "monte_carlo = 10",
        "monte_carlo = '10' repeats equal passes with masks = auto; use masks = sample",
    ),
    ("INFERENCE", "monte_carlo = 1", "monte_carlo = '1' has no spread; write 2 or more passes, or 0"),
    ("MULTITASK", "categorical = no", "is not supported; use [INFERENCE] masks = mean"),
    ("TRAINING", "lr = fast", "[TRAINING] lr = 'fast' is not a number"),
    ("TRAINING", "lr = 0,001", "[TRAINING] lr = '0,001' is not a number; write 0.001"),
    ("TRAINING", "lr = 1e999", "lr = '1e999' is too large for a number"),
    ("TRAINING", "lr = nan", "lr = 'nan' is not a number"),
    ("TRAINING", "lr = 0", "[TRAINING] lr = '0' must be above 0"),
    ("TRAINING", "lr =", "[TRAINING] lr = '' is not a number; give one, or remove the line"),
    ("NETWORK", "batch_size = 0", "[NETWORK] batch_size = '0' must be at least 1"),
    ("NETWORK", "batch_size = 2.5", "[NETWORK] batch_size = '2.5' is not a whole number"),
    ("NETWORK", "batch_size = 1e1", "is not written as a whole number; write 10"),
    ("NETWORK", "batch_size = ٣", "is not a whole number"),
    ("NETWORK", "keep_prob = 1.5", "keep_prob = '1.5' must be at most 1"),
    ("NETWORK", "whitening = maybe", "whitening = 'maybe' is neither yes nor no"),
    (
        "NETWORK",
        "cutoff = 1, 99",
        "lies outside [0, 1]; cutoffs are fractions: 1 % is 0.01, so write 0.01, 0.99",
    ),
    ("NETWORK", "cutoff = -0.1, 0.5", "lies outside [0, 1]"),
    ("NETWORK", "cutoff = 0.5, 0.5", "leaves nothing between its ends"),
    ("NETWORK", "normalisation = yes", "[NETWORK] needs histogram_ref_file"),
    ("NETWORK", "window_sampling = balanced", "needs a source to draw by; set sampler in [MULTITASK]"),
    ("NETWORK", "window_sampling = weighted", "needs a source to draw by; set sampler in [MULTITASK]"),
    ("NETWORK", "window_sampling = patch", "is not known; choose one of uniform, weighted, balanced, resize"),
    ("NETWORK", "activation_function = rellu", "is not known, did you mean 'relu'?"),
    ("NETWORK", "sharing = cross_stich", "is not known, did you mean 'cross_stitch'?"),
    ("NETWORK", "width = -1", "width = '-1' must be above 0"),
    ("SYSTEM", "strategy = multiworker", "is not known, did you mean 'multi_worker'?"),
    ("SYSTEM", "mixed_precision = yes", "is not known; choose one of none, float16, bfloat16"),
    ("SYSTEM", "cuda_devices = -1", "for the CPU write num_gpus = 0"),
    (
        "TRAINING",
        "balancing = uncertanty",
        "is not known, did you mean 'uncertainty'? choose one of fixed, uncertainty",
    ),
    ("TRAINING", "rotation_angle = 10, -10", "has its low end above its high end; write -10, 10"),
    ("TRAINING", "rotation_angle = 10", "has 1 of the two ends of a range"),
    ("TRAINING", "rotation_angle = (-10, 10", "opens a bracket and does not close it"),
    ("TRAINING", "rotation_angle = -10,, 10", "has nothing between two commas"),
    ("TRAINING", "rotation_angle = -10, ten", "has an element 'ten' that is not a number"),
    ("TRAINING", "scaling_percentage = -100, 10", "shrinks to nothing"),
    ("TRAINING", "random_flipping_axes = 0, 2", "flips axis 2, which has one voxel"),
    ("TRAINING", "random_flipping_axes = 3", "is not a choice of the axes 0, 1 and 2"),
    ("TRAINING", "patience = 5", "counts validations, and there is none; set validation_every_n"),
    ("TRAINING", "best_metric = ct_mae", "is measured in validation, and there is none"),
    ("TRAINING", "starting_iter = 200", "is above max_iter = 100"),
    ("TRAINING", "exclude_fraction_for_inference = 1", "must be below 1"),
    ("TRAINING", "loss_type = dice", "has no effect with [MULTITASK]; set loss in each [TASK name]"),
    ("TRAINING", "vars_to_freeze = conv_(1", "is not a regular expression"),
    ("TRAINING", "optimiser = adm", "is not known, did you mean 'adam'?"),
    ("TRAINING", "%s = 1", "[TRAINING] has no option '%s'"),
    ("TRAINING", "sample_per_volume = %(n)s", "refers to another key with %(...)s, which is not supported"),
    ("INFERENCE", "inference_iter = best", "is chosen by validation, and there is none"),
    ("INFERENCE", "inference_iter = last", "is neither an iteration nor 'best'"),
    ("INFERENCE", "inference_iter = -2", "is below -1; write -1 for the newest"),
    (
        "INFERENCE",
        "spatial_window_size = 1, 64, 64",
        "must have its axis of 1 where the window of training has it",
    ),
    ("INFERENCE", "spatial_window_size = -2, -1, -1", "has a size below -1; write 0 for the whole axis"),
    ("INFERENCE", "output_postfix = a/b", "is part of a file name"),
    (
        "INFERENCE",
        "dataset_to_infer = test",
        "is not known; choose one of inference, training, validation, all",
    ),
    ("EVALUATION", "intensity_bounds = bone 200 3000", "is not a list of NAME: LOW, HIGH"),
    ("EVALUATION", "intensity_bounds = bone: 3000, 200", "has its low end above its high end"),
    ("EVALUATION", "evaluation_units = cc", "does not exist in this version; use label"),
    ("EVALUATION", "intensity_bounds = a: 0, 1, A: 1, 2", "gives 'a' twice"),
    ("INFERENCE", "spatial_window_size = 1, 2, 3, 4", "has 4 of the three sizes"),
    ("NETWORK", "volume_padding_size = 1, 2, 3, 4", "is not one to three whole numbers from 0 up"),
    ("NETWORK", "histogram_ref_file = ~nobody_of_this_name/x", "names a home folder that cannot be found"),
    ("MULTITASK", "loss_border = -1", "must be at least 0"),
    (
        "MULTITASK",
        "init_categorical = 0.5, 0.5",
        "has 2 numbers for 3 groups; give one each for ct, organs, shared",
    ),
    ("MULTITASK", "init_categorical = 0.5, 0.5, 0.5", "sums to 1.5"),
    ("MULTITASK", "min_temp = 2", "is above tau = 1"),
    ("MULTITASK", "weight = WEIGHT", "names no input source (there is no such section); add [WEIGHT]"),
    (
        "MULTITASK",
        "sampler = ORGAN",
        "names no input source (there is no such section), did you mean 'ORGANS'?",
    ),
    ("MULTITASK", "layer_scale = 0", "must be above 0"),
    ("TASK ct", "loss = dice", "belongs to segmentation, not regression; choose one of rmse"),
    ("TASK ct", "loss = rsme", "is not known, did you mean 'rmse'? choose one of"),
    ("TASK ct", "metrics = mae, dice", "belongs to segmentation, not regression"),
    ("TASK ct", "num_classes = 4", "has no meaning for a regression"),
    ("TASK ct", "output_prob = yes", "has no meaning for a regression"),
    ("TASK ct", "attribute = age", "needs [CT] to give values; set loader = table or filename_attributes"),
    ("TASK ct", "scale = 0", "cannot be used; write a factor"),
    ("TASK organs", "scale = 2", "cannot be used; remove it"),
    ("TASK organs", "loss = rmse", "belongs to regression and depth and reconstruction, not segmentation"),
    ("TASK organs", "weight = -1", "[TASK organs] weight = '-1' must be at least 0"),
    ("MR", "interp_order = 4", "must be at most 3"),
    ("MR", "loader = skimage", "does not exist in this version; use pillow"),
    ("MR", "pixdim = 1.46", "is not three positive lengths in mm"),
    ("MR", "pixdim = 1, 1, 0", "is not three positive lengths in mm"),
    ("MR", "axcodes = R, L, S", "is not one each of L/R, P/A and I/S"),
    ("MR", "filename_removefromid = _(mr", "is not a regular expression"),
    ("CT", "spatial_window_size = 32, 32, 1", "differs from the image's window 64, 64, 1"),
    ("CT", "axcodes = R, A, S", "differs from [MR], whose grid all volumes take; write the file's own"),
    ("ORGANS", "interp_order = 3", "would mix labels; write 0"),
    ("ORGANS", "scaling = ct", "would change labels"),
    ("CT", "path_to_search", "[CT] 'path_to_search' has no value; write KEY = VALUE"),
    ("CT", "= 3", "has no value"),
    ("CT", "padding_value = air", "padding_value = 'air' is not a number"),
    ("TASK ct", "loss = huber\nhuber_delta = 0", "[TASK ct] huber_delta = '0' must be above 0"),
    ("TASK ct", "loss = huber\nhuber_delta = wide", "[TASK ct] huber_delta = 'wide' is not a number"),
    ("TASK ct", "loss = huber\nhuber_dleta = 1", "has no option 'huber_dleta', did you mean 'huber_delta'?"),
    ("TRAINING", "huber_delta = 1", "[TRAINING] has no option 'huber_delta'; it belongs in [TASK name]"),
    ("TRAINING", "adam_beta_1 = 1", "[TRAINING] adam_beta_1 = '1' must be below 1"),
    ("TRAINING", "beta_1 = 0.5", "has no option 'beta_1', did you mean 'adam_beta_1' in [TRAINING]?"),
    (
        "TASK organs",
        "loss = tversky\ntversky_false_positives = 0\ntversky_false_negatives = 0",
        "tversky_false_negatives = '0' is 0, and false_positives too; weigh one of them",
    ),
    ("TASK organs", "loss = wgdl\nwgdl_distances = 1, 0, 1", "has an element 0.0 that must be above 0"),
]


@pytest.mark.parametrize(("section", "line", "expected"), ONE_LINE, ids=[f"{s}-{x}" for s, x, _ in ONE_LINE])
def test_a_mistake_is_reported_once_with_its_line_and_remedy(section, line, expected, tmp_path):
    text = added(section, line)
    (message,) = messages(text, tmp_path)
    is_missing = "needs histogram_ref_file" in expected
    place = f"[{section}]" if is_missing else line.splitlines()[-1]
    assert message.startswith(f"run.ini:{line_of(text, place)}: ")
    assert expected in message


# What is not one added line: (text, every expected message in order).
WHOLE = {
    "empty file": ("", ["[SYSTEM] needs model_dir", "[NETWORK] needs name", "nothing says what is learned"]),
    "key outside sections": (
        "lr = 1\n" + GOOD,
        ["run.ini:1: 'lr' stands before the first section; put it below [TRAINING]"],
    ),
    "section twice": (
        GOOD + "[mr]\npath_to_search = x\n",
        ["run.ini:31: [mr] is there a second time, first in line 1; join the two sections"],
    ),
    "key twice": (
        changed("max_iter = 100", "max_iter = 100\nMax_Iter = 3"),
        ["run.ini:17: [TRAINING] max_iter is there a second time, first in line 16; remove one of them"],
    ),
    "section not closed": (GOOD + "[EXTRA\n", ["run.ini:31: '[EXTRA' is not a section; write [NAME]"]),
    "section without name": (GOOD + "[ ]\n", ["run.ini:31: '[ ]' is not a section"]),
    "text after a section": (GOOD + "[EXTRA] x\n", ["run.ini:31: '[EXTRA] x' is not a section"]),
    "misspelt section": (
        changed("[TRAINING]", "[TRAINNG]"),
        ["run.ini:15: [TRAINNG] is not a known section, did you mean [TRAINING]?"],
    ),
    "section known by its keys": (
        changed("[INFERENCE]", "[PREDICTION]"),
        ["run.ini:17: [PREDICTION] is not a known section, did you mean [INFERENCE]?"],
    ),
    "section of nothing": (
        GOOD + "[NOTES]\nauthor = me\n",
        ["run.ini:31: [NOTES] is not a known section; an input source needs path_to_search or csv_file"],
    ),
    "task with an underscore": (
        changed("[TASK ct]", "[TASK_ct]"),
        ["run.ini:23: [MULTITASK] tasks = 'ct, organs' names 'ct', which has no section", "[TASK name]?"],
    ),
    "NiftyNet's other applications": (
        GOOD + "[GAN]\nnoise_size = 3\n",
        ["run.ini:31: [GAN] does not exist in this version; use [REGRESSION]"],
    ),
    "preprocessing without steps, of a target": (
        GOOD + "[PREPROCESSING]\nsources = CT\nworkers = 0\n",
        [
            "run.ini:31: [PREPROCESSING] needs steps: steps in order",
            "run.ini:32: [PREPROCESSING] sources = 'CT' has 'CT', which the network does not see: results are compared "
            "with the originals of targets; use scaling = ct",
            "run.ini:33: [PREPROCESSING] workers = '0' must be at least 1",
        ],
    ),
    "model_dir missing": (
        changed("model_dir = ./models/run", "seed = 1"),
        ["run.ini:11: [SYSTEM] needs model_dir: folder of the run"],
    ),
    "model_dir empty": (
        changed("model_dir = ./models/run", "model_dir ="),
        ["run.ini:12: [SYSTEM] model_dir = '' is empty; give a path"],
    ),
    "network name misspelt": (
        changed("name = highresnet", "name = highrsnet"),
        ["run.ini:14: [NETWORK] name = 'highrsnet' is not known, did you mean 'highresnet'?"],
    ),
    "network that is not built": (
        changed("name = highresnet", "name = vnet"),
        ["run.ini:14: [NETWORK] name = 'vnet' does not exist in this version; use unet"],
    ),
    "network of the wrong kind": (
        changed("name = highresnet", "name = vgg11").replace("border = 4, 4, 0\n", ""),
        ["run.ini:14: [NETWORK] name = 'vgg11' gives one output per window, and task 'ct' has a volume; use"],
    ),
    "no image": (changed("image = MR", "weight ="), ["run.ini:21: [MULTITASK] needs image"]),
    "image that does not exist": (
        changed("image = MR", "image = MRI"),
        ["run.ini:22: [MULTITASK] image = 'MRI' names no input source (there is no such section), did you mean"],
    ),
    "image twice": (
        changed("image = MR", "image = MR, mr"),
        ["run.ini:22: [MULTITASK] image = 'MR, mr' names a"],
    ),
    "target that does not exist": (
        changed("target = CT", "target = CTT"),
        ["run.ini:26: [TASK ct] target = 'CTT' names no input source (there is no such section), did you mean 'CT'"],
    ),
    "target that is no source": (
        changed("target = CT", "target = SYSTEM"),
        ["run.ini:26: [TASK ct] target = 'SYSTEM' names no input source; add"],
    ),
    "task without type": (changed("type = regression", "weight = 1"), ["run.ini:24: [TASK ct] needs type"]),
    "task type that is not built": (
        changed("type = regression", "type = detection"),
        ["run.ini:25: [TASK ct] type = 'detection' is not known, did you mean 'reconstruction'? choose one of"],
    ),
    "task without section": (
        changed("tasks = ct, organs", "tasks = ct, organ"),
        ["run.ini:23: [MULTITASK] tasks = 'ct, organ' names 'organ', which has no section, did you mean 'organs'"],
    ),
    "task twice": (
        changed("tasks = ct, organs", "tasks = ct, CT"),
        ["run.ini:23: [MULTITASK] tasks = 'ct, CT' names a"],
    ),
    "task with the name of the shared group": (
        GOOD.replace("ct, organs", "shared, organs").replace("[TASK ct]", "[TASK shared]"),
        ["run.ini:24: [TASK shared] has a name that is reserved"],
    ),
    **{
        f"task with the name {name}, which logs and losses use": (
            GOOD.replace("ct, organs", f"{name}, organs").replace("[TASK ct]", f"[TASK {name}]"),
            [f"run.ini:24: [TASK {name}] has a name that is reserved"],
        )
        for name in ("regularisation", "seconds_per_iteration", "iteration", "count", "loss", "subject_id")
    },
    "task with an odd name": (
        GOOD.replace("ct, organs", "c-t, organs").replace("[TASK ct]", "[TASK c-t]"),
        ["run.ini:24: [TASK c-t] has a name that is not made of letters, digits and _"],
    ),
    "no tasks": (
        GOOD[: GOOD.index("tasks =")],
        ["run.ini:21: [MULTITASK] has no task; add a [TASK name] section"],
    ),
    "no application": (
        changed("[MULTITASK]\nimage = MR\ntasks = ct, organs", ""),
        ["run.ini:22: nothing says what is learned; add [MULTITASK]"],
    ),
    "two applications": (
        GOOD + "[SEGMENTATION]\nimage = MR\nlabel = ORGANS\nnum_classes = 2\n",
        ["run.ini:21: [MULTITASK] stands beside [SEGMENTATION]; keep one of them"],
    ),
    "segmentation without classes": (
        changed("num_classes = 6", "weight = 1"),
        ["run.ini:27: [TASK organs] needs num_classes"],
    ),
    "segmentation with one class": (
        changed("num_classes = 6", "num_classes = 1"),
        ["run.ini:30: [TASK organs] num_classes = '1' is too small"],
    ),
    "one logit for many classes": (
        changed("num_classes = 6", "num_classes = 6\nloss = binary_crossentropy"),
        [
            "run.ini:30: [TASK organs] num_classes = '6' does not fit the loss binary_crossentropy, whose one logit "
            "tells two classes apart; use crossentropy for more"
        ],
    ),
    "one logit for one class": (
        changed("num_classes = 6", "num_classes = 1\nloss = bce"),
        [
            "run.ini:30: [TASK organs] num_classes = '1' does not fit the loss binary_crossentropy, whose one logit "
            "tells two classes apart; write 2, or leave the line out"
        ],
    ),
    "one logit for a quantity": (
        changed("target = CT", "target = CT\nloss = binary_crossentropy"),
        [
            "run.ini:27: [TASK ct] loss = 'binary_crossentropy' belongs to segmentation and classification, not "
            "regression; choose one of"
        ],
    ),
    "misspelt classes are reported once": (
        changed("num_classes = 6", "num_clases = 6"),
        ["run.ini:30: [TASK organs] has no option 'num_clases', did you mean 'num_classes'?"],
    ),
    "classification of a volume": (
        changed("type = segmentation", "type = classification"),
        [
            "evaluations = 'mae, dice' has 'dice', which fits no task here",
            "run.ini:29: [TASK organs] target = 'ORGANS' gives volumes, and a classification needs one class",
        ],
    ),
    "source without files": (
        changed("path_to_search = ./data\nfilename_contains = _ct", "filename_contains = _ct"),
        ["run.ini:5: [CT] needs path_to_search"],
    ),
    "misspelt source key is reported once": (
        changed("path_to_search = ./data\nfilename_contains = _ct", "path_to_serach = ./data"),
        ["run.ini:6: [CT] has no option 'path_to_serach', did you mean 'path_to_search'?"],
    ),
    "no window": (
        changed("spatial_window_size = 64, 64, 1", "pixdim ="),
        ["run.ini:1: [MR] needs spatial_window_size, the window of training"],
    ),
    "window with two axes of 1": (
        changed("spatial_window_size = 64, 64, 1", "spatial_window_size = 64, 1, 1").replace("4, 4, 0", "0"),
        ["run.ini:4: [MR] spatial_window_size = '64, 1, 1' has more than one axis of 1"],
    ),
    "border as wide as the window": (
        changed("border = 4, 4, 0", "border = 32, 4, 0"),
        ["run.ini:18: [INFERENCE] border = '32, 4, 0' leaves nothing of the window 64, 64, 1; write e.g. 31, 4, 0"],
    ),
    "border across the slices": (
        changed("border = 4, 4, 0", "border = 4"),
        ["run.ini:18: [INFERENCE] border = '4' leaves nothing of the window 64, 64, 1; write e.g. 4, 4, 0"],
    ),
    "fractions": (
        added("TRAINING", "exclude_fraction_for_validation = 0.5\nexclude_fraction_for_inference = 0.5"),
        ["run.ini:17: [TRAINING] exclude_fraction_for_inference = '0.5' leaves no subject for training, 1 are"],
    ),
    "best metric of another task": (
        added("TRAINING", "validation_every_n = 5\nexclude_fraction_for_validation = 0.2\nbest_metric = ct_dice"),
        ["run.ini:18: [TRAINING] best_metric = 'ct_dice' is not a score"],
    ),
    "measure that does not exist": (
        changed("evaluations = mae, dice", "evaluations = mae, dise"),
        ["run.ini:20: [EVALUATION] evaluations = 'mae, dise' has 'dise', which is not known, did you mean 'dice'?"],
    ),
    "measure of no task": (
        changed("evaluations = mae, dice", "evaluations = mae, accuracy"),
        ["run.ini:20: [EVALUATION] evaluations = 'mae, accuracy' has 'accuracy', which fits no task here; choose"],
    ),
    "loss border with resizing": (
        added("NETWORK", "window_sampling = resize")
        .replace("border = 4, 4, 0", "border = 0")
        .replace("image = MR", "image = MR\nloss_border = 4"),
        ["[MULTITASK] loss_border = '4' cannot be used with window_sampling = resize; write 0"],
    ),
    "inference window with resizing": (
        added("NETWORK", "window_sampling = resize").replace("border = 4, 4, 0", "spatial_window_size = 32, 32, 1"),
        ["[INFERENCE] spatial_window_size = '32, 32, 1' must be 64, 64, 1 with window_sampling = resize"],
    ),
    "border with resizing": (
        added("NETWORK", "window_sampling = resize"),
        ["[INFERENCE] border = '4, 4, 0' has no meaning where each volume is one window; write 0, 0, 0"],
    ),
    "table as image": (
        changed("spatial_window_size = 64, 64, 1", "spatial_window_size = 64, 64, 1\nloader = table"),
        [
            "run.ini:1: [MR] needs csv_file, the table that loader = table reads",
            "run.ini:2: [MR] path_to_search = './data' has no use with loader = table; remove one of them",
            "run.ini:5: [MR] loader = 'table' reads numbers, and an image is needed",
        ],
    ),
    "bounds without a regression": (
        changed("evaluations = mae, dice", "intensity_bounds = bone: 200, 3000").replace("ct, organs", "organs"),
        ["[EVALUATION] intensity_bounds = 'bone: 200, 3000' needs a regression, and there is none"],
    ),
    "task beside a one-task section": (
        GOOD[: GOOD.index("[MULTITASK]")].replace("mae, dice", "dice")
        + "[SEGMENTATION]\nimage = MR\nlabel = ORGANS\nnum_classes = 2\n[TASK ct]\n",
        ["run.ini:25: [TASK ct] needs [MULTITASK]; [SEGMENTATION] has one task only"],
    ),
    "one task without target": (
        GOOD[: GOOD.index("[MULTITASK]")] + "[SEGMENTATION]\nimage = MR\nnum_classes = 2\n",
        ["run.ini:21: [SEGMENTATION] needs label, the input source of the reference"],
    ),
    "loss border without a map": (
        GOOD[: GOOD.index("[MULTITASK]")]
        .replace("highresnet", "vgg11")
        .replace("border = 4, 4, 0", "")
        .replace("mae, dice", "mae")
        .replace("[CT]\npath_to_search = ./data\nfilename_contains = _ct", "[CT]\nloader = table\ncsv_file = x")
        + "[REGRESSION]\nimage = MR\noutput = CT\nloss_border = 4\n",
        ["[REGRESSION] loss_border = '4' has no meaning for vgg11, which predicts no map; write 0"],
    ),
    "learning against sharing": (
        added("NETWORK", "sharing = hard_sharing").replace("image = MR", "image = MR\nlearn_categorical = yes"),
        ["[MULTITASK] learn_categorical = 'yes' contradicts [NETWORK] sharing = hard_sharing; use sharing = sfg"],
    ),
    "constant groups against sharing": (
        added("NETWORK", "sharing = sfg").replace("image = MR", "image = MR\nconstant_grouping = yes"),
        ["[MULTITASK] constant_grouping = 'yes' contradicts [NETWORK] sharing = sfg; use sharing = constant_mask"],
    ),
    "width against layer_scale": (
        added("NETWORK", "width = 2").replace("image = MR", "image = MR\nlayer_scale = 0.5"),
        ["[MULTITASK] layer_scale = '0.5' contradicts [NETWORK] width = 2; remove one of them"],
    ),
    "two initialisations": (
        changed("image = MR", "image = MR\nrandom_p_init = yes\ninit_categorical = 0.2, 0.2, 0.6"),
        ["run.ini:23: [MULTITASK] random_p_init = 'yes' contradicts init_categorical; keep one of them"],
    ),
    "convergence of nothing": (
        added("TRAINING", "stop_when_grouping_converges = yes").replace(
            "highresnet", "highresnet\nsharing = hard_sharing"
        ),
        ["[TRAINING] stop_when_grouping_converges = 'yes' never happens with [NETWORK] sharing = hard_sharing"],
    ),
    "notes of the grouping that are too rare to see it stand still": (
        added("TRAINING", "stop_when_grouping_converges = yes\ngrouping_every_n = 1001"),
        [
            "run.ini:17: [TRAINING] grouping_every_n = '1001' is too long for stop_when_grouping_converges, which "
            "looks at 10 notes in 10,000 iterations or more; write 1000 at most, or 0"
        ],
    ),
    "grids that differ": (
        GOOD.replace("filename_contains = _ct", "filename_contains = _ct\npixdim = 1, 1, 1").replace(
            "filename_contains = _mr", "filename_contains = _mr\npixdim = 2, 2, 2"
        ),
        ["run.ini:9: [CT] pixdim = '1, 1, 1' differs from [MR], whose grid all volumes take; write 2, 2, 2"],
    ),
    "a mistake in a task that is not chosen": (
        changed("tasks = ct, organs", "tasks = organs").replace("mae, dice", "dice").replace("= regression", "= x"),
        ["run.ini:25: [TASK ct] type = 'x' is not known; choose one of regression, segmentation"],
    ),
}


@pytest.mark.parametrize(("text", "expected"), WHOLE.values(), ids=WHOLE.keys())
def test_a_broken_file_is_refused_with_exactly_these_messages(text, expected, tmp_path):
    found = messages(text, tmp_path)
    assert len(found) == len(expected), "\n".join(found)
    for message, fragment in zip(found, expected, strict=True):
        assert fragment in message


def test_all_mistakes_come_at_once_in_the_order_of_the_file(tmp_path):
    text = (
        GOOD.replace("64, 64, 1", "64, 64, 1\ninterp_order = 9")
        .replace("name = highresnet", "name = highresnet\nmax_iter = 3")
        .replace("max_iter = 100", "max_iter = many\nlr = 0")
        .replace("num_classes = 6", "loss = rmse")
    )
    found = messages(text, tmp_path, [("TRAINING.patience", "soon")])
    assert [message.split(":")[1] for message in found[:-1]] == ["5", "16", "18", "19", "30", "33"]
    assert found[-1] == "--TRAINING.patience: [TRAINING] patience = 'soon' is not a whole number"


def test_mistakes_on_the_command_line_name_the_option(tmp_path):
    overrides = [
        ("TRAINING.max_iter", "2.5"),
        ("network.MAX_ITER", "3"),
        ("TASK.ct.loss", "dice"),
        ("FOO.bar", "1"),
        ("lr", "1"),
        ("TRAINING.lr", "1\n2"),
    ]
    found = "\n".join(messages(GOOD, tmp_path, overrides))
    assert "--TRAINING.max_iter: [TRAINING] max_iter = '2.5' is not a whole number" in found
    assert "--network.MAX_ITER: [NETWORK] has no option 'max_iter'; it belongs in [TRAINING]" in found
    assert "--TASK.ct.loss: [TASK ct] loss = 'dice' belongs to segmentation, not regression" in found
    assert "--FOO.bar: [FOO] is not a known section" in found
    assert "--lr names no section and key; write --SECTION.KEY VALUE" in found
    assert "--TRAINING.lr = '1\\n2' has more than one line" in found


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[MR]\npath = caf\xe9\n", "byte 15 is not UTF-8 text"),
        (b"\xff\xfe[\x00M\x00", "byte 0 is not UTF-8 text"),
    ],
)
def test_a_file_in_another_encoding_is_refused(content, expected, tmp_path):
    path = tmp_path / "run.ini"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=expected):
        read_config(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="there is no such file"):
        read_config(tmp_path / "none.ini")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("target = ORGANS", "target = ORGANS\nunit = mm", "unit = 'mm' has no meaning for a segmentation"),
        ("target = CT", "target = CT\nunit = um2/s", "contradicts scaling = ct of [CT], which gives HU"),
    ],
)
def test_a_unit_belongs_to_a_regression_that_has_none(tmp_path, old, new, message):
    text = changed(old, new).replace("filename_contains = _ct\n", "filename_contains = _ct\nscaling = ct\n")
    (line,) = messages(text, tmp_path)
    assert message in line


def with_training(keys, text=None):
    return (GOOD if text is None else text).replace("max_iter = 100\n", f"max_iter = 100\n{keys}\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            with_training("balancing = pcgrad\nmgda_normalisation = l2"),
            "mgda_normalisation = 'l2' is a setting of mgda, and balancing = pcgrad; write balancing = mgda, or remove",
        ),
        (with_training("balancing = cagrad\ncagrad_c = 1"), "cagrad_c = '1' must be below 1"),
        (with_training("balancing = gradnorm\ngradnorm_layer = ("), "gradnorm_layer = '(' is no regular expression"),
        (
            with_training("balancing = gradnorm", GOOD.replace("[NETWORK]\n", "[NETWORK]\nsharing = single_task\n")),
            "[TRAINING] balancing = 'gradnorm' compares gradients of what tasks share, and with [NETWORK] sharing = "
            "single_task they share nothing",
        ),
        (
            with_training("balancing = gradnorm", GOOD.replace("target = CT\n", "target = CT\nweight = 0\n")),
            "[TASK ct] weight = '0' is 0, and [TRAINING] balancing = gradnorm learns it from there",
        ),
        (
            with_training("balancing = mgda", GOOD.replace("target = CT\n", "target = CT\nlog_sigma = 1\n")),
            "[TASK ct] log_sigma = '1' has no meaning with [TRAINING] balancing = mgda",
        ),
        (
            with_training("early_stopping_mode = task_wise"),
            "[TRAINING] early_stopping_mode = 'task_wise' looks at validations, and there is none",
        ),
        (
            with_training("early_stopping_mode = task_wise\nvalidation_every_n = 5\npatience = 3"),
            "[TRAINING] patience = '3' has no meaning with early_stopping_mode = task_wise; remove it",
        ),
        (
            with_training("early_stopping_mode = task_wise\nvalidation_every_n = 5\ntask_wise_main = ctt"),
            "[TRAINING] task_wise_main = 'ctt' is no task, did you mean 'ct'",
        ),
        (
            GOOD.replace("target = CT\n", "target = CT\nimportance = 2\n"),
            "[TASK ct] importance = '2' has no meaning with [TRAINING] early_stopping_mode = mean; remove it, or use "
            "early_stopping_mode = task_wise",
        ),
    ],
)
def test_rules_of_balancing_and_stopping_are_asked_for_what_they_can_do(text, message, tmp_path):
    assert text != GOOD
    assert any(message in line for line in messages(text, tmp_path)), messages(text, tmp_path)


def test_a_loss_of_maps_is_refused_for_values(tmp_path):
    text = GOOD.replace("[CT]\npath_to_search = ./data\nfilename_contains = _ct", "[CT]\nloader = table\ncsv_file = x")
    text = text.replace("target = CT\n", "target = CT\nattribute = age\nloss = depth\n")
    expected = "[TASK ct] loss = 'depth' compares maps, and [CT] gives values; use another loss"
    assert any(expected in line for line in messages(text, tmp_path)), messages(text, tmp_path)


LEARNED = GOOD.replace("max_iter = 100\n", "max_iter = 100\nbalancing = uncertainty\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            LEARNED.replace("target = CT\n", "target = CT\nweight = 0.01\n"),
            "[TASK ct] weight = '0.01' has no meaning with [TRAINING] balancing = uncertainty; write "
            "log_sigma = 1.956, which begins with that weight",
        ),
        (
            LEARNED.replace("target = ORGANS\n", "target = ORGANS\nweight = 0.01\n"),
            "[TASK organs] weight = '0.01' has no meaning with [TRAINING] balancing = uncertainty; write "
            "log_sigma = 2.303, which begins with that weight",
        ),
        (
            LEARNED.replace("target = CT\n", "target = CT\nweight = 0\n"),
            "[TASK ct] weight = '0' has no meaning with [TRAINING] balancing = uncertainty; remove it, or use "
            "balancing = fixed",
        ),
        (
            GOOD.replace("target = CT\n", "target = CT\nlog_sigma = 4\n"),
            "[TASK ct] log_sigma = '4' has no meaning with [TRAINING] balancing = fixed; remove it, or use "
            "balancing = uncertainty",
        ),
        (
            changed("max_iter = 100", "max_iter = 100\nmax_epochs = 3"),
            "[TRAINING] max_iter = '100' stands beside max_epochs = 3; remove one of them, both say how long to train",
        ),
        (
            changed("max_iter = 100", "max_epochs = 3\nvalidation_every_n = 5\nvalidation_every_epochs = 1"),
            "[TRAINING] validation_every_epochs = '1' stands beside validation_every_n = 5; remove one of them",
        ),
        (
            changed("max_iter = 100", "max_epochs = 3\nrestore_best = yes"),
            "[TRAINING] restore_best = 'yes' takes what was best in validation, and there is none; set "
            "validation_every_n or validation_every_epochs in [TRAINING]",
        ),
        (
            changed("max_iter = 100", "max_iter = 100\nepochs = 3"),
            "max_epochs",
        ),
    ],
)  # fmt: skip
def test_balancing_and_epochs_are_said_once_and_where_they_mean_something(text, message, tmp_path):
    (found,) = messages(text, tmp_path)
    assert message in found


def test_what_is_left_out_follows_from_what_is_given(tmp_path):
    path = tmp_path / "run.ini"
    validated = "exclude_fraction_for_validation = 0.5\nvalidation_every_epochs = 1"
    for length, expected in (("max_iter = 7", (7, None)), ("max_epochs = 7", (None, 7)), ("", (10_000, None))):
        path.write_text(changed("max_iter = 100", f"{length}\n{validated}\nrestore_best = yes"))
        config = read_config(path)
        assert (config.training.max_iter, config.training.max_epochs) == expected
        assert config.inference.inference_iter == "best"
        assert read_config(path, [("INFERENCE.inference_iter", "-1")]).inference.inference_iter == -1
        (tmp_path / "again.ini").write_text(config.effective_text())
        assert read_config(tmp_path / "again.ini").training == config.training
    path.write_text(GOOD)
    assert read_config(path).inference.inference_iter == -1
