"""NiftyNet's files and those of the paper's authors, as they are: what each spelling of theirs leads to."""

import pytest

from sfgkeras.config import read_config
from sfgkeras.config.foreign import FOREIGN_WORDS, WITHOUT_KEY
from sfgkeras.config.known import SECTIONS, keys_of
from sfgkeras.config.niftynet import EFFECTLESS_KEYS, MOVED_KEYS, NETWORK_ALIASES
from sfgkeras.config.task_sections import InputSource, Task
from sfgkeras.errors import ConfigError

ONE_TASK = """\
[T1]
path_to_search = ./data
spatial_window_size = (32, 32, 32)
[parcellation]
path_to_search = ./data
spatial_window_size = (32, 32, 32)
[SYSTEM]
model_dir = ./models/run
[NETWORK]
name = highres3dnet
[TRAINING]
max_iter = 10
[INFERENCE]
border = (5, 5, 5)
[SEGMENTATION]
image = T1
label = parcellation
num_classes = 3
"""

FACES = """\
[PHOTOS]
path_to_search = ./faces
spatial_window_size = (200, 200)
[GENDER]
path_to_search = ./gender
spatial_window_size = (1, 1, 1)
interp_order = -1
[AGE]
path_to_search = ./age
spatial_window_size = (1, 1, 1)
[SYSTEM]
model_dir = ./models/faces
[NETWORK]
name = vgg_learned_mt
window_sampling = resize
[INFERENCE]
spatial_window_size = (-1, -1, -1)
[MULTITASK]
image = PHOTOS
output_1 = GENDER
output_2 = AGE
num_classes = 2, 1
loss_task_1 = CrossEntropy
loss_task_2 = RMSE
task_1_type = classification
task_2_type = regression
"""


def read(tmp_path, text=ONE_TASK, **added):
    for section, lines in added.items():
        header = f"[{section}]\n"
        text = text.replace(header, f"{header}{lines}\n") if header in text else f"{text}{header}{lines}\n"
    path = tmp_path / "old.ini"
    path.write_text(text)
    return read_config(path)


def line_of(tmp_path, start):
    lines = (tmp_path / "old.ini").read_text().splitlines()
    return next(number for number, line in enumerate(lines, start=1) if line.startswith(start))


@pytest.mark.parametrize("name", NETWORK_ALIASES)
def test_every_name_of_niftynet_and_of_the_authors_leads_to_a_network_and_its_sharing(name, tmp_path):
    alias = NETWORK_ALIASES[name]
    text = (FACES if alias.name == "vgg11" else ONE_TASK).replace("vgg_learned_mt", name).replace("highres3dnet", name)
    config = read(tmp_path, text)
    usual = "sfg" if alias.name == "vgg11" else "hard_sharing"
    assert (config.network.name, config.network.sharing) == (alias.name, alias.sharing or usual)
    said = [text for text in config.warnings if f"name = {name!r} is {alias.name}" in text]
    assert bool(said) == bool(alias.remark)


def test_classes_of_niftynet_are_known_by_their_modules(tmp_path):
    text = ONE_TASK.replace("highres3dnet", "niftynet.network.highres3dnet.HighRes3DNet")
    assert read(tmp_path, text).network.name == "highresnet"
    with pytest.raises(ConfigError, match="name = 'vnet' does not exist in this version; use unet"):
        read(tmp_path, ONE_TASK.replace("highres3dnet", "niftynet.network.vnet.VNet"))


def test_sharing_that_contradicts_the_network_s_name_is_refused(tmp_path):
    with pytest.raises(
        ConfigError, match="sharing = 'sfg' contradicts name = vgg_mt_baseline_1, which is hard_sharing"
    ):
        read(tmp_path, FACES.replace("vgg_learned_mt", "vgg_mt_baseline_1"), NETWORK="sharing = sfg")


@pytest.mark.parametrize("key", ["enable_cross_stich", "enable_cross_stitch"])
def test_the_authors_switch_of_cross_stitch_units_decides_the_sharing(key, tmp_path):
    stitched = FACES.replace("vgg_learned_mt", "vgg_cross_stitch")
    assert read(tmp_path, stitched, MULTITASK=f"{key} = True").network.sharing == "cross_stitch"
    off = read(tmp_path, stitched, MULTITASK=f"{key} = False")
    assert off.network.sharing == "single_task"
    assert any(f"{key} = 'False' is [NETWORK] sharing = single_task" in text for text in off.warnings)
    with pytest.raises(ConfigError, match=f"{key} = 'maybe' is neither yes nor no"):
        read(tmp_path, stitched, MULTITASK=f"{key} = maybe")


@pytest.mark.parametrize("section", ["SYSTEM", "TRAINING"])
def test_a_key_in_another_of_its_sections_is_taken_and_told_with_its_line(section, tmp_path):
    config = read(tmp_path, **{section: "queue_length = 7"})
    assert config.network.queue_length == 7
    where = f"{tmp_path}/old.ini:{line_of(tmp_path, 'queue_length')}: [{section}] queue_length = '7' is taken"
    assert any(text.startswith(where) and "belongs in [NETWORK]" in text for text in config.warnings)


def test_a_key_that_stands_in_no_section_of_niftynet_is_still_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"\[NETWORK\] has no option 'max_iter'; it belongs in \[TRAINING\]"):
        read(tmp_path, NETWORK="max_iter = 7")


def test_a_key_in_two_sections_must_say_one_thing(tmp_path):
    same = read(tmp_path, INFERENCE="output_prob = yes", SEGMENTATION="output_prob = yes")
    assert same.tasks["segmentation"].output_prob
    assert any("output_prob = 'yes' repeats [SEGMENTATION] output_prob" in text for text in same.warnings)
    with pytest.raises(ConfigError, match=r"\[INFERENCE\] output_prob = 'no' contradicts \[SEGMENTATION\]"):
        read(tmp_path, INFERENCE="output_prob = no", SEGMENTATION="output_prob = yes")
    assert read(tmp_path, SEGMENTATION="evaluation_units = foreground").evaluation.evaluation_units == "foreground"
    text = ONE_TASK.replace("(5, 5, 5)", "0")
    assert read(tmp_path, text, TRAINING="window_sampling = resize").network.window_sampling == "resize"


@pytest.mark.parametrize("key", EFFECTLESS_KEYS)
def test_a_key_without_effect_is_told_and_changes_nothing(key, tmp_path):
    plain = read(tmp_path)
    kind = EFFECTLESS_KEYS[key].yes_no
    value = "3" if kind is None else "True" if kind else "False"
    config = read(tmp_path, TRAINING=f"{key} = {value}")
    assert config == plain
    where = f"{tmp_path}/old.ini:{line_of(tmp_path, key)}: [TRAINING] {key} = {value!r} has no effect"
    assert any(text.startswith(where) for text in config.warnings)
    if kind is not None:
        with pytest.raises(ConfigError, match=f"{key} = {'no' if kind else 'yes'!r} is not supported|has no option"):
            read(tmp_path, TRAINING=f"{key} = {'no' if kind else 'yes'}")


def test_every_moved_key_is_one_of_ours():
    for key, home in MOVED_KEYS.items():
        assert key in SECTIONS[home or "SEGMENTATION"].model_fields
    assert not {*EFFECTLESS_KEYS} & {key for model in SECTIONS.values() for key in model.model_fields}


@pytest.mark.parametrize("written", ["0, 0, 3", "(-1, 0, 3)", "'(0, -1, 3)'"])
def test_a_window_of_whole_axes_keeps_a_border_that_leaves_something(written, tmp_path):
    config = read(tmp_path, INFERENCE=f"spatial_window_size = {written}")
    assert config.inference_window_size == (0, 0, 3)
    assert config.inference.border == (5, 5, 1)
    assert any("border = 5, 5, 5 is taken as 5, 5, 1" in text for text in config.warnings)
    path = tmp_path / "again.ini"
    path.write_text(config.effective_text())
    assert read_config(path) == config


def test_a_network_of_slices_or_of_whole_images_keeps_its_own_size_along_such_axes(tmp_path):
    text = ONE_TASK.replace("(32, 32, 32)", "(32, 32, 1)").replace("(5, 5, 5)", "(5, 5, 0)")
    assert read(tmp_path, text, INFERENCE="spatial_window_size = 0, 0, 0").inference_window_size == (0, 0, 1)
    assert read(tmp_path, FACES).inference_window_size == (200, 200, 1)


def test_labels_may_have_a_window_of_their_own_where_niftynet_s_sections_are_used(tmp_path):
    text = ONE_TASK.replace("[parcellation]\npath_to_search = ./data\nspatial_window_size = (32, 32, 32)",
                            "[parcellation]\npath_to_search = ./data\nspatial_window_size = (9, 9, 9)")  # fmt: skip
    config = read(tmp_path, text)
    assert config.window_size == (32, 32, 32)
    assert any("[parcellation] spatial_window_size = 9, 9, 9 has no effect" in text for text in config.warnings)


def test_images_of_one_voxel_are_values_and_classes(tmp_path):
    config = read(tmp_path, FACES)
    assert {config.sources[name].loader for name in ("GENDER", "AGE")} == {"voxel"}
    assert (config.target_kind("gender"), config.target_kind("age")) == ("class", "value")
    assert any("interp_order = '-1' is 0 here" in text for text in config.warnings)
    volumes = FACES.replace(
        "[AGE]\npath_to_search = ./age\nspatial_window_size = (1, 1, 1)", "[AGE]\npath_to_search = ."
    )
    with pytest.raises(
        ConfigError, match=r"task 'age' has a volume; use highresnet or unet or .*, or loader = voxel in \[AGE\]"
    ):
        read(tmp_path, volumes)
    assert read(tmp_path, volumes, AGE="loader = voxel").target_kind("age") == "value"


def test_a_file_for_evaluation_alone_measures_the_inferred_source(tmp_path):
    text = ONE_TASK.replace("image = T1", "inferred = T1\nweight = NONE")
    config = read(tmp_path, text)
    assert (config.image, config.tasks["segmentation"].inferred, config.multitask.weight) == (("T1",), "T1", None)
    assert any("has no image: [T1], the source of inferred, stands for it" in text for text in config.warnings)
    with pytest.raises(ConfigError, match="inferred = 'T2' names no input source"):
        read(tmp_path, ONE_TASK, SEGMENTATION="inferred = T2")


def test_selective_sampling_is_refused_with_what_to_use(tmp_path):
    with pytest.raises(ConfigError, match="window_sampling = 'selective' does not exist in this version; use balanced"):
        read(tmp_path, NETWORK="window_sampling = selective")


def test_distances_between_labels_are_those_of_the_wasserstein_dice_loss(tmp_path):
    config = read(tmp_path, TRAINING="loss_type = WGDL", SEGMENTATION="wgdl_distances = (1, 1, 0.5)")
    assert config.tasks["segmentation"].settings_of("loss") == {"distances": (1, 1, 0.5)}
    assert any("equally far apart" in text for text in read(tmp_path, TRAINING="loss_type = WGDL").warnings)
    with pytest.raises(ConfigError, match="has 2 distances for the 3 pairs of num_classes = 3"):
        read(tmp_path, TRAINING="loss_type = WGDL", SEGMENTATION="wgdl_distances = 1, 1")
    with pytest.raises(ConfigError, match=r"setting of wgdl, and \[TRAINING\] loss_type = dicecrossentropy; write"):
        read(tmp_path, SEGMENTATION="wgdl_distances = 1, 1, 1")


def test_the_loss_is_built_with_the_distances(tmp_path):
    from sfgkeras.applications.tasks.table import build_tasks

    config = read(tmp_path, TRAINING="loss_type = WGDL", SEGMENTATION="wgdl_distances = 1, 1, 0.5")
    loss = build_tasks(config)["segmentation"].build_loss()
    assert loss.distances == [[0, 1, 1], [1, 0, 0.5], [1, 0.5, 0]]


def test_losses_are_built_with_their_settings(tmp_path):
    from sfgkeras.applications.tasks.table import build_tasks

    config = read(tmp_path, TRAINING="loss_type = tversky", SEGMENTATION="tversky_false_positives = 0.25")
    loss = build_tasks(config)["segmentation"].build_loss()
    assert (loss.false_positives, loss.false_negatives) == (0.25, 0.5)


@pytest.mark.parametrize("word", FOREIGN_WORDS)
def test_words_of_other_toolkits_lead_to_ours_in_every_section(word, tmp_path):
    section, key = FOREIGN_WORDS[word]
    model = {"": InputSource, "TASK name": Task}.get(section) or SECTIONS[section]
    assert key in keys_of(model)
    place = f"[{section}]" if section else "an input source"
    for where in ("TRAINING", "NETWORK", "SYSTEM", "INFERENCE", "SEGMENTATION", "T1"):
        with pytest.raises(ConfigError) as refusal:
            read(tmp_path, **{where: f"{word} = 1"})
        message = str(refusal.value)
        assert f"[{where}] has no option {word!r}, did you mean {key!r}" in message
        assert place in message or key in keys_of(SECTIONS.get(where, InputSource))


@pytest.mark.parametrize("word", WITHOUT_KEY)
def test_words_without_a_key_say_how_to_go_on(word, tmp_path):
    with pytest.raises(ConfigError) as refusal:
        read(tmp_path, TRAINING=f"{word} = 1")
    assert f"[TRAINING] has no option {word!r}; {WITHOUT_KEY[word]}" in str(refusal.value)


def test_an_application_that_does_not_exist_is_told_without_noise(tmp_path):
    text = ONE_TASK[: ONE_TASK.index("[SEGMENTATION]")]
    with pytest.raises(ConfigError) as refusal:
        read(tmp_path, text, GAN="image = T1", TRAINING="loss_type = CrossEntropy")
    assert str(refusal.value).splitlines() == [
        f"{tmp_path}/old.ini:{line_of(tmp_path, '[GAN]')}: [GAN] does not exist in this version; use [REGRESSION] to "
        "make one image from another"
    ]
