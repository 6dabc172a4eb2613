"""What good INI files mean: spelling, defaults, paths, tasks, overrides."""

from pathlib import Path

import pytest

from sfgkeras.config import read_config
from sfgkeras.errors import ConfigError

SMALL = """\
[MR]
path_to_search = ./data
spatial_window_size = 64, 64, 1
[CT]
path_to_search = ./data
[SYSTEM]
model_dir = models/run
[NETWORK]
name = highresnet
[MULTITASK]
image = MR
[TASK ct]
type = regression
target = CT
"""

AUTHORS = """\
[MODALITY1]
path_to_search = ./mr
spatial_window_size = (128, 128, 1)
interp_order = 3
[MODALITY2]
path_to_search = ./ct
[MODALITY3]
path_to_search = ./organs
[SYSTEM]
cuda_devices = ""
model_dir = ./models/authors
[NETWORK]
name = highresnet
cutoff = (0.01, 0.99)
volume_padding_size = (0, 0, 0)
foreground_type = otsu_plus
multimod_foreground_type = and
[TRAINING]
loss_type = CrossEntropy
rotation_angle = (-10.0, 10.0)
scaling_percentage =
[INFERENCE]
border = (8, 8, 0)
dataset_to_infer =
[MULTITASK]
image = MODALITY1
output_1 = MODALITY2
output_2 = MODALITY3
num_classes = 1, 6
loss_task_1 = RMSE
loss_task_2 = DicePlusXEnt
task_1_type = regression
task_2_type = segmentation
output_prob_task_2 = True
init_categorical = (0.2, 0.6, 0.2)
layer_scale = 0.5
use_hardcat = True
"""


def read(text: str, tmp_path: Path, overrides=(), name: str = "run.ini"):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return read_config(path, overrides)


def put(section: str, *lines: str, text: str = SMALL) -> str:
    if f"[{section}]\n" not in text:
        return text + "\n".join([f"[{section}]", *lines, ""])
    return text.replace(f"[{section}]\n", "\n".join([f"[{section}]", *lines, ""]))


def test_defaults_are_those_of_the_paper(tmp_path):
    config = read(SMALL, tmp_path)
    assert (config.network.sharing, config.network.batch_size, config.network.decay) == ("sfg", 10, 1e-6)
    assert (config.network.activation_function, config.network.width) == ("prelu", 1.0)
    assert (config.training.optimiser, config.training.lr) == ("adam", 1e-3)
    multitask = config.multitask
    assert (multitask.tau, multitask.min_temp, multitask.gs_anneal_r) == (1.0, 0.1, 1e-5)
    assert (multitask.entropy_decay, multitask.group_connection) == (1e-5, "mixed")
    assert multitask.init_categorical is None
    assert multitask.learn_categorical
    assert not multitask.use_hardcat
    task = config.tasks["ct"]
    assert (task.loss, task.weight, task.metrics) == ("rmse", 1.0, ("mae", "rmse"))
    assert config.preprocessing is None


def test_sections_keys_and_choices_are_read_in_any_case(tmp_path):
    text = SMALL.replace("[NETWORK]", "[network]").replace("name = highresnet", "NAME = HighResNet\nReg_Type=l1")
    text = text.replace("image = MR", "Image = mr").replace("[TASK ct]", "[task  CT]").replace("= CT", "= ct")
    config = read(text, tmp_path)
    assert (config.network.name, config.network.reg_type) == ("highresnet", "L1")
    assert config.image == ("MR",)
    assert config.tasks["ct"].target == "CT"


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_line_endings_and_byte_order_marks_change_nothing(ending, start, tmp_path):
    config = read(start + SMALL.replace("\n", ending), tmp_path)
    assert config == read(SMALL, tmp_path)
    with pytest.raises(ConfigError, match=r"run.ini:7: \[SYSTEM\] num_gpus"):
        read(start + put("SYSTEM", "num_gpus = x").replace("\n", ending), tmp_path)


def test_comments_continuations_and_both_delimiters_are_understood(tmp_path):
    text = put(
        "SYSTEM",
        "# a comment",
        "  ; another",
        "num_threads: 3   ; three",
        "seed = 5 # five",
        'dataset_split_file = "my split; #1.csv" # quotes keep both',
    )
    text = text.replace("path_to_search = ./data\nspatial", "path_to_search = ./a,\n    # between\n    ./b\nspatial", 1)
    config = read(text, tmp_path)
    assert (config.system.num_threads, config.system.seed) == (3, 5)
    assert config.system.dataset_split_file == Path("models/run/my split; #1.csv")
    assert config.sources["MR"].path_to_search == (Path("a"), Path("b"))


def test_indented_keys_are_keys_of_their_own(tmp_path):
    config = read(put("TRAINING", "lr = 0.1", "   max_iter = 20", "      save_every_n = 5"), tmp_path)
    assert (config.training.lr, config.training.max_iter, config.training.save_every_n) == (0.1, 20, 5)


def test_a_percent_sign_is_itself_and_doubled_as_in_niftynet(tmp_path):
    config = read(put("INFERENCE", "save_seg_dir = 50%", "output_postfix = _50%%"), tmp_path)
    assert config.inference.save_seg_dir == Path("models/run/50%")
    assert config.inference.output_postfix == "_50%"


@pytest.mark.parametrize("word", ["yes", "True", "1", "T", "y", "ON"])
def test_every_yes_is_yes(word, tmp_path):
    assert read(put("NETWORK", f"whitening = {word}"), tmp_path).network.whitening


@pytest.mark.parametrize("word", ["no", "False", "0", "f", "N", "off"])
def test_every_no_is_no(word, tmp_path):
    assert not read(put("TRAINING", f"antialiasing = {word}"), tmp_path).training.antialiasing


@pytest.mark.parametrize("text", ["A, R, S", "ARS", "(a, r, s)", "('A','R','S')", "A,R,S"])
def test_orientations_have_several_spellings(text, tmp_path):
    assert read(put("MR", f"axcodes = {text}"), tmp_path).sources["MR"].axcodes == ("A", "R", "S")


@pytest.mark.parametrize("text", ["(1.46, 1.46, 1.46)", "1.46, 1.46, 1.46", "[1.46,1.46,1.46,]", "'1.46, 1.46, 1.46'"])
def test_tuples_have_several_spellings(text, tmp_path):
    assert read(put("MR", f"pixdim = {text}"), tmp_path).sources["MR"].pixdim == (1.46, 1.46, 1.46)


def test_niftynets_short_forms_are_filled_up(tmp_path):
    text = put("NETWORK", "volume_padding_size = 4").replace("64, 64, 1", "(64, 64)")
    config = read(put("TRAINING", "random_flipping_axes = -1", text=text), tmp_path)
    assert config.window_size == (64, 64, 1)
    assert config.network.volume_padding_size == (4, 4, 4)
    assert config.training.random_flipping_axes == ()


def test_probabilities_may_be_fractions(tmp_path):
    config = read(put("MULTITASK", "init_categorical = 1/3, 2/3"), tmp_path)
    assert config.multitask.init_categorical == (1 / 3, 2 / 3)


def test_the_window_gives_the_rank(tmp_path):
    assert read(SMALL, tmp_path).spatial_rank == 2
    cube = read(SMALL.replace("64, 64, 1", "32, 32, 32"), tmp_path)
    assert (cube.spatial_rank, cube.window_size, cube.inference_window_size) == (
        3,
        (32, 32, 32),
        (32, 32, 32),
    )
    wide = read(put("INFERENCE", "spatial_window_size = 96, 80, 1"), tmp_path)
    assert wide.inference_window_size == (96, 80, 1)


def test_the_window_may_stand_in_any_image_source(tmp_path):
    text = SMALL.replace("image = MR", "image = T1, MR") + "[T1]\npath_to_search = ./data\n"
    config = read(text, tmp_path)
    assert (config.image, config.window_size) == (("T1", "MR"), (64, 64, 1))


def test_results_lie_below_model_dir_and_inputs_below_the_working_folder(tmp_path):
    text = put("SYSTEM", "dataset_split_file = /elsewhere/split.csv")
    text = put("NETWORK", "histogram_ref_file = sub/landmarks.json", text=text)
    config = read(text, tmp_path)
    assert config.system.model_dir == Path("models/run")
    assert config.system.dataset_split_file == Path("/elsewhere/split.csv")
    assert config.system.cache_dir == Path("models/run/cache")
    assert config.network.histogram_ref_file == Path("models/run/sub/landmarks.json")
    assert config.inference.save_seg_dir == Path("models/run/predictions")
    assert config.evaluation.save_csv_dir == Path("models/run/evaluation")
    assert config.sources["MR"].path_to_search == (Path("data"),)


def test_a_result_path_that_repeats_model_dir_is_warned_of(tmp_path):
    config = read(put("INFERENCE", "save_seg_dir = ./models/run/out"), tmp_path)
    assert config.inference.save_seg_dir == Path("models/run/models/run/out")
    (warning,) = config.warnings
    assert "becomes models/run/models/run/out; write out" in warning


def test_the_home_folder_expands(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = read(SMALL.replace("models/run", "~/run").replace("./data", "~/a, ~/b"), tmp_path)
    assert config.system.model_dir == tmp_path / "run"
    assert config.sources["MR"].path_to_search == (tmp_path / "a", tmp_path / "b")


def test_label_maps_are_not_interpolated_by_default(tmp_path):
    text = SMALL.replace("type = regression", "type = segmentation\nnum_classes = 2")
    config = read(text, tmp_path)
    assert config.sources["CT"].interp_order == 0
    assert config.sources["MR"].interp_order == 1
    assert config.target_kind("ct") == "labels"
    assert read(SMALL, tmp_path).sources["CT"].interp_order == 1


def test_a_balanced_sampler_reads_labels_and_is_in_the_configuration(tmp_path):
    text = put("MULTITASK", "sampler = organs", text=put("NETWORK", "window_sampling = balanced"))
    config = read(text + "[ORGANS]\npath_to_search = ./data\n", tmp_path)
    assert config.sampler == "ORGANS"
    assert config.sources["ORGANS"].interp_order == 0
    assert config.warnings == ()


def test_tasks_keep_the_order_of_the_list_and_leave_out_the_rest(tmp_path):
    text = put("MULTITASK", "tasks = B, ct")
    text += "[TASK a]\ntype = regression\ntarget = CT\n[TASK b]\ntype = regression\ntarget = CT\nloss = MAE\n"
    config = read(text, tmp_path)
    assert list(config.tasks) == ["b", "ct"]
    assert config.multitask.tasks == ("b", "ct")
    assert config.tasks["b"].loss == "mae"
    assert config.warnings == ("[TASK a] is not among [MULTITASK] tasks and is not learned",)


def test_unused_sources_are_warned_of(tmp_path):
    config = read(SMALL + "[PET]\npath_to_search = ./data\n", tmp_path)
    assert config.warnings == ("[PET] is an input source that no image, task, weight or sampler refers to",)


def test_options_without_effect_are_warned_of(tmp_path):
    config = read(put("TRAINING", "validation_every_n = 5", text=put("MULTITASK", "sampler = CT")), tmp_path)
    sampler, validation = config.warnings
    assert "sampler = CT has no effect with window_sampling = uniform; use weighted or balanced" in sampler
    assert "with exclude_fraction_for_validation = 0 a newly drawn split has none" in validation
    text = put("SYSTEM", "dataset_split_file = mine.csv", text=put("TRAINING", "validation_every_n = 5"))
    assert read(text, tmp_path).warnings == ()


def test_scalar_targets_come_from_tables_and_file_names(tmp_path):
    text = """\
[FACES]
path_to_search = ./faces
loader = pillow
filename_attributes = age, gender, race, date
spatial_window_size = 200, 200, 1
[CLINICAL]
loader = table
csv_file = table.csv
[SYSTEM]
model_dir = run
[NETWORK]
name = vgg11
window_sampling = resize
[MULTITASK]
image = FACES
[TASK age]
type = regression
target = FACES
scale = 0.01
[TASK gender]
type = classification
target = FACES
num_classes = 2
[TASK grade]
type = classification
target = CLINICAL
attribute = gleason
num_classes = 5
"""
    config = read(text, tmp_path)
    assert [task.attribute for task in config.tasks.values()] == ["age", "gender", "gleason"]
    assert [config.target_kind(name) for name in config.tasks] == ["value", "class", "class"]
    wrong = text.replace("[TASK age]", "[TASK years]")
    with pytest.raises(ConfigError, match=r"\[TASK years\] needs attribute, one of age, gender, race, date"):
        read(wrong, tmp_path)
    wrong = text.replace("attribute = gleason", "attribute = height").replace("target = CLINICAL", "target = FACES")
    with pytest.raises(ConfigError, match="attribute = 'height' is not among filename_attributes"):
        read(wrong, tmp_path)
    with pytest.raises(ConfigError, match=r"\[CLINICAL\] needs csv_file, the table"):
        read(text.replace("csv_file = table.csv", ""), tmp_path)
    with pytest.raises(ConfigError, match="a segmentation needs label maps"):
        read(text.replace("= classification\ntarget = CLIN", "= segmentation\ntarget = CLIN"), tmp_path)
    # A network of maps gives values too.
    assert read(text.replace("vgg11", "highresnet"), tmp_path).target_kind("age") == "value"


def test_the_authors_spelling_becomes_tasks_named_after_their_targets(tmp_path):
    config = read(AUTHORS, tmp_path)
    assert config.application == "multi_task"
    assert list(config.tasks) == ["modality2", "modality3"]
    regression, segmentation = config.tasks.values()
    assert (regression.type, regression.target, regression.loss) == ("regression", "MODALITY2", "rmse")
    assert regression.num_classes is None
    assert (segmentation.type, segmentation.loss, segmentation.num_classes) == (
        "segmentation",
        "dicecrossentropy",
        6,
    )
    assert segmentation.output_prob
    assert not regression.output_prob
    assert config.network.width == 0.5
    assert config.multitask.use_hardcat
    assert config.system.cuda_devices is None
    assert config.inference.dataset_to_infer == "inference"
    assert config.training.rotation_angle == (-10, 10)


def test_the_authors_order_of_groups_is_put_into_ours(tmp_path):
    config = read(AUTHORS.replace("(0.2, 0.6, 0.2)", "(0.1, 0.6, 0.3)"), tmp_path)
    assert config.multitask.init_categorical == (0.1, 0.3, 0.6)
    assert any("authors' order: task 1 0.1, shared 0.6, task 2 0.3" in warning for warning in config.warnings)
    assert any("loss_type has no effect" in warning for warning in config.warnings)


def test_the_authors_types_default_to_theirs_and_equal_targets_get_numbers(tmp_path):
    text = AUTHORS.replace("output_2 = MODALITY3", "output_2 = MODALITY2").replace("task_1_type = regression\n", "")
    text = text.replace("task_2_type = segmentation", "task_2_type = regression").replace("1, 6", "1, 1")
    text = text.replace("DicePlusXEnt", "MAE").replace("output_prob_task_2 = True\n", "")
    config = read(text, tmp_path)
    assert {name: task.type for name, task in config.tasks.items()} == {
        "modality2_1": "regression",
        "modality2_2": "regression",
    }


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("num_classes = 1, 6", "num_classes = 6", "has 1 numbers for 2 tasks; write one per task"),
        ("num_classes = 1, 6", "num_classes = 1", "has 1 numbers for 2 tasks; write one per task"),
        ("num_classes = 1, 6", "num_classes = 1,, 6", "has nothing between two commas"),
        ("num_classes = 1, 6", "num_classes = 1, x", "num_classes = '1, x' is not a whole number"),
        ("num_classes = 1, 6\n", "", "needs num_classes, the number of classes of the segmentation"),
        ("num_classes = 1, 6", "num_classes = 2, 6", "num_classes = '2, 6' has no meaning for a regression"),
        (
            "loss_task_1 = RMSE",
            "loss_task_1 = Dice",
            "loss_task_1 = 'Dice' belongs to segmentation, not regression",
        ),
        ("output_1 = MODALITY2\n", "", "needs output_1, the input source of task 1"),
        ("output_2 = MODALITY3", "output_2 = MODALITY9", "output_2 = 'MODALITY9' names no input source"),
        (
            "task_2_type = segmentation",
            "task_2_type = detection",
            "task_2_type = 'detection' is not known",
        ),
        ("output_prob_task_2 = True", "output_prob_task_2 = often", "is neither yes nor no"),
        ("layer_scale = 0.5", "tasks = a, b", "needs [TASK name] sections; remove it, or output_1"),
        ("layer_scale = 0.5", "loss_task_x = a", "has no option 'loss_task_x'"),
    ],
)
def test_mistakes_in_the_authors_spelling_name_the_authors_keys(old, new, expected, tmp_path):
    assert old in AUTHORS
    with pytest.raises(ConfigError) as caught:
        read(AUTHORS.replace(old, new), tmp_path)
    assert expected in str(caught.value)


def test_niftynets_one_task_sections_become_tasks(tmp_path):
    text = SMALL[: SMALL.index("[MULTITASK]")]
    text += "[SEGMENTATION]\nimage = MR\nlabel = CT\nnum_classes = 3\noutput_prob = yes\nloss_border = 2\n"
    config = read(put("TRAINING", "loss_type = DicePlusXEnt", text=text), tmp_path)
    assert config.application == "segmentation"
    task = config.tasks["segmentation"]
    assert (task.type, task.target, task.loss, task.num_classes) == (
        "segmentation",
        "CT",
        "dicecrossentropy",
        3,
    )
    assert task.output_prob
    assert config.network.sharing == "hard_sharing"
    assert config.multitask.loss_border == 2
    assert config.image == ("MR",)

    text = text[: text.index("[SEGMENTATION]")] + "[REGRESSION]\nimage = MR\noutput = CT\nscale = 2\n"
    config = read(text, tmp_path)
    assert (config.application, config.tasks["regression"].loss, config.tasks["regression"].scale) == (
        "regression",
        "rmse",
        2.0,
    )

    text = text[: text.index("[REGRESSION]")].replace("name = highresnet", "name = vgg11")
    text = text.replace("[CT]\npath_to_search = ./data", "[CT]\nloader = table\ncsv_file = t.csv")
    text += "[CLASSIFICATION]\nimage = MR\nlabel = CT\nnum_classes = 3\nattribute = grade\n"
    config = read(text, tmp_path)
    assert (config.application, config.tasks["classification"].attribute) == ("classification", "grade")
    assert config.target_kind("classification") == "class"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("label_normalisation = 2", "is neither yes nor no"),
        ("softmax = no", "is not supported; remove it"),
        ("evaluations = dice", "it belongs in [EVALUATION]"),
        ("loss = dice", "has no option 'loss'"),
        ("tau = 1", "has no option 'tau'"),
        ("label = MR2", "label = 'MR2' names no input source"),
    ],
)
def test_mistakes_in_a_one_task_section_name_its_keys(line, expected, tmp_path):
    text = SMALL[: SMALL.index("[MULTITASK]")] + "[SEGMENTATION]\nimage = MR\nnum_classes = 3\n"
    text += line if line.startswith("label =") else f"label = CT\n{line}\n"
    with pytest.raises(ConfigError) as caught:
        read(text, tmp_path)
    assert expected in str(caught.value)


def test_the_loss_of_a_one_task_application_is_reported_where_it_stands(tmp_path):
    text = SMALL[: SMALL.index("[MULTITASK]")] + "[REGRESSION]\nimage = MR\noutput = CT\n[TRAINING]\nloss_type = Dice\n"
    with pytest.raises(ConfigError, match=r"run.ini:14: \[TRAINING\] loss_type = 'Dice' belongs to segmentation"):
        read(text, tmp_path)


@pytest.mark.parametrize(
    ("lines", "sharing", "learned", "constant"),
    [
        ((), "sfg", True, False),
        (("constant_grouping = yes",), "constant_mask", False, True),
        (("learn_categorical = no",), "constant_p", False, False),
    ],
)
def test_the_authors_grouping_switches_are_ways_of_sharing(lines, sharing, learned, constant, tmp_path):
    config = read(put("MULTITASK", *lines), tmp_path)
    assert config.network.sharing == sharing
    assert config.multitask.learn_categorical == learned
    assert config.multitask.constant_grouping == constant


def test_overrides_replace_values_and_add_missing_ones(tmp_path):
    overrides = [
        ("training.MAX_ITER", "7"),
        ("TRAINING.max_iter", "8"),
        ("--SYSTEM.seed", "9"),
        ("TASK ct.weight", "2"),
        ("mr.pixdim", "(1, 2, 3)"),
        ("INFERENCE.output_postfix", "_50%; # as it is"),
    ]
    config = read(put("TRAINING", "max_iter = 3"), tmp_path, overrides)
    assert config.training.max_iter == 8
    assert config.system.seed == 9
    assert config.tasks["ct"].weight == 2
    assert config.sources["MR"].pixdim == (1, 2, 3)
    assert config.inference.output_postfix == "_50%; # as it is"
    assert "max_iter = 3" in config.text
    assert config.path == tmp_path / "run.ini"


def test_an_override_may_repair_a_value_and_add_a_source(tmp_path):
    text = SMALL.replace("image = MR", "image = MR, T1")
    config = read(
        put("TRAINING", "max_iter = many", text=text),
        tmp_path,
        [("TRAINING.max_iter", "5"), ("T1.path_to_search", "./t1")],
    )
    assert config.training.max_iter == 5
    assert config.image == ("MR", "T1")


def test_configurations_cannot_be_changed(tmp_path):
    config = read(SMALL, tmp_path)
    with pytest.raises(AttributeError):
        config.application = "x"
    with pytest.raises(ValueError, match="frozen"):
        config.training.lr = 3


def test_measures_have_niftynets_names_too(tmp_path):
    text = SMALL.replace("type = regression", "type = segmentation\nnum_classes = 2")
    text = put("EVALUATION", "evaluations = Dice, hausdorff95_distance, surface_distance", text=text)
    assert read(text, tmp_path).evaluation.evaluations == ("dice", "hausdorff95", "average_distance")


ONE_TASK = """\
[MR]
path_to_search = ./data
spatial_window_size = 64, 64, 1
[LABELS]
path_to_search = ./data
[SYSTEM]
model_dir = models/run
[NETWORK]
name = highresnet
[SEGMENTATION]
image = MR
label = LABELS
num_classes = 3
"""


def test_niftynets_measures_have_our_names_and_each_is_taken_once(tmp_path):
    text = put("EVALUATION", "evaluations = Dice, jaccard, intersection_over_union, accuracy, n_pos_ref", text=ONE_TASK)
    evaluations = read(text, tmp_path).evaluation.evaluations
    assert evaluations == ("dice", "jaccard", "voxel_accuracy", "voxels_in_truth")
    with pytest.raises(ConfigError, match="has 'roc_auc', which does not exist in this version; values.csv has"):
        read(put("EVALUATION", "evaluations = roc_auc", text=ONE_TASK), tmp_path)


@pytest.mark.parametrize(
    ("written", "meant"), [("Dice", "dice"), ("Dice_NS", "dice_ns"), ("Dice_Dense", "dice"), ("GDSC", "gdsc")]
)
def test_niftynets_losses_have_our_names(written, meant, tmp_path):
    config = read(put("TRAINING", f"loss_type = {written}", text=ONE_TASK), tmp_path)
    assert config.tasks["segmentation"].loss == config.training.loss_type == meant
    with pytest.raises(ConfigError, match="loss_type = 'VolEnforcement' does not exist in this version; use gdsc"):
        read(put("TRAINING", "loss_type = VolEnforcement", text=ONE_TASK), tmp_path)
