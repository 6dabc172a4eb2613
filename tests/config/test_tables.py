"""The tables of names agree with the code behind them, and the reference with the tables."""

import subprocess
import sys
from pathlib import Path

import pytest

from sfgkeras.config import choices, configs_by_paper, find_config, list_configs, read_config
from sfgkeras.config.known import NOT_BUILT_SECTIONS, REFUSED_KEYS, SECTIONS
from sfgkeras.config.reference import reference_markdown
from sfgkeras.config.task_sections import InputSource, Task
from sfgkeras.errors import ConfigError
from sfgkeras.values import Reads

ROOT = Path(__file__).parents[2]
MODELS = {**SECTIONS, "TASK": Task, "SOURCE": InputSource}

FORBIDDEN = ["tensorflow", "keras", "pandas", "SimpleITK", "ants", "nibabel", "scipy", "torch", "matplotlib"]


def test_importing_and_reading_load_nothing_heavy():
    code = (
        "import sys\n"
        "import sfgkeras.config\n"
        "sfgkeras.config.read_config(sfgkeras.config.find_config('prostate')).effective_text()\n"
        f"print(*[name for name in {FORBIDDEN} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.split() == []


def test_the_reference_in_docs_is_up_to_date():
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == reference_markdown(), (
        "run python -m sfgkeras.config.reference"
    )


def test_every_key_is_documented_and_can_be_read_from_text():
    for name, model in MODELS.items():
        for key, info in model.model_fields.items():
            assert info.description, f"[{name}] {key}"
            assert sum(isinstance(item, Reads) for item in info.metadata) == 1, f"[{name}] {key}"


def test_the_settings_of_preprocessing_steps_are_kept_as_written(tmp_path):
    path = tmp_path / "run.ini"
    path.write_text(find_config("demo").read_text(encoding="utf-8"))
    assert read_config(path).preprocessing is None
    config = read_config(
        path,
        [
            ("PREPROCESSING.steps", "n4, nyul"), ("PREPROCESSING.workers", "2"), ("PREPROCESSING.sources", "mr"),
            ("PREPROCESSING.N4_shrink_factor", "3"), ("PREPROCESSING.nyul_ref_file", '"a # b"'),
        ],
    )  # fmt: skip
    assert config.preprocessing.steps == ("n4", "nyul")
    assert config.preprocessing.workers == 2
    assert config.preprocessing.sources == ("MR",)
    assert config.preprocessing.output == config.system.model_dir / "preprocessed"
    assert config.preprocessing.settings == {"n4_shrink_factor": "3", "nyul_ref_file": "a # b"}
    path.write_text(config.effective_text())
    assert read_config(path) == config


def test_checks_of_a_higher_layer_collect_their_mistakes_with_all_others(tmp_path):
    def check(draft):
        draft.ini.add("PREPROCESSING", "n4_shrink_factor", "is not to my taste; write 4")

    path = tmp_path / "run.ini"
    path.write_text(find_config("demo").read_text(encoding="utf-8"))
    overrides = [("PREPROCESSING.steps", "n4"), ("PREPROCESSING.n4_shrink_factor", "3"), ("TRAINING.lr", "fast")]
    read_config(path, overrides[:2])
    with pytest.raises(ConfigError) as refusal:
        read_config(path, overrides, checks=[check])
    assert sorted(str(refusal.value).splitlines()) == [
        "--PREPROCESSING.n4_shrink_factor: [PREPROCESSING] n4_shrink_factor = '3' is not to my taste; write 4",
        "--TRAINING.lr: [TRAINING] lr = 'fast' is not a number",
    ]


def test_no_key_is_both_known_and_refused():
    known = {key for model in MODELS.values() for key in model.model_fields}
    assert not known & set(REFUSED_KEYS)
    assert not set(SECTIONS) & set(NOT_BUILT_SECTIONS)


# The keys that the project promises, by section; more may be there.
PROMISED = {
    "SOURCE": """csv_file path_to_search filename_contains filename_not_contains filename_removefromid
        interp_order pixdim axcodes spatial_window_size loader""",
    "SYSTEM": """model_dir dataset_split_file num_threads num_gpus cuda_devices seed strategy mixed_precision
        jit_compile""",
    "NETWORK": """name activation_function batch_size decay reg_type volume_padding_size volume_padding_mode
        window_sampling histogram_ref_file norm_type cutoff normalisation whitening normalise_foreground_only
        foreground_type multimod_foreground_type weight_initializer bias_initializer keep_prob queue_length
        smaller_final_batch_mode sharing width batch_norm""",
    "TRAINING": """optimiser lr loss_type max_iter starting_iter save_every_n max_checkpoints
        tensorboard_every_n sample_per_volume rotation_angle scaling_percentage isotropic_scaling antialiasing
        bias_field_range bf_order random_flipping_axes do_elastic_deformation
        num_ctrl_points deformation_sigma proportion_to_deform
        validation_every_n validation_max_iter exclude_fraction_for_validation exclude_fraction_for_inference
        patience early_stopping_mode vars_to_restore vars_to_freeze best_metric stop_when_grouping_converges
        grouping_every_n
        balancing""",
    "INFERENCE": """spatial_window_size border inference_iter save_seg_dir output_postfix output_interp_order
        fill_constant dataset_to_infer masks blending""",
    "EVALUATION": "evaluations evaluation_units save_csv_dir",
    "MULTITASK": """image tasks weight sampler loss_border init_categorical learn_categorical use_hardcat
        constant_grouping batch_sampling group_connection tau use_tau_annealing gs_anneal_r min_temp
        entropy_decay random_p_init layer_scale""",
    "TASK": "type target loss weight num_classes output_prob metrics",
}


@pytest.mark.parametrize("section", PROMISED)
def test_the_keys_of_the_interface_are_there(section):
    assert set(PROMISED[section].split()) <= set(MODELS[section].model_fields)


def test_intensity_choices_have_code_behind_every_name():
    from sfgkeras.config.sections import Network
    from sfgkeras.preprocessing.foreground import FOREGROUND_RULES, MULTIMOD_FUSIONS
    from sfgkeras.preprocessing.histogram import NORM_TYPES

    assert set(choices.FOREGROUND_TYPES) == set(FOREGROUND_RULES)
    for fusion in MULTIMOD_FUSIONS:
        assert Network(name="highresnet", multimod_foreground_type=fusion).multimod_foreground_type == fusion
    assert set(choices.NORM_TYPES) == set(NORM_TYPES)


def test_shipped_files_are_the_papers_experiments():
    prostate = read_config(find_config("prostate"))
    assert prostate.warnings == ()
    assert {source.pixdim for source in prostate.sources.values()} == {(1.46, 1.46, 1.46)}
    assert prostate.sources["CT"].scaling == "ct"
    assert prostate.sources["CT"].padding_value == -1024
    network, training, multitask = prostate.network, prostate.training, prostate.multitask
    assert (network.sharing, network.batch_size, network.decay, network.width) == ("sfg", 10, 1e-6, 1.0)
    assert network.normalisation
    assert network.whitening
    assert network.cutoff == (0.01, 0.99)
    assert (training.optimiser, training.lr, training.max_iter) == ("adam", 1e-3, 200000)
    assert training.rotation_angle == training.scaling_percentage == (-10, 10)
    assert training.stop_when_grouping_converges
    assert prostate.window_size == (128, 128, 1)
    assert prostate.window_size[0] + 2 * multitask.loss_border == 136
    assert multitask.init_categorical == (0.2, 0.2, 0.6)
    assert {name: (task.type, task.loss) for name, task in prostate.tasks.items()} == {
        "ct": ("regression", "rmse"),
        "organs": ("segmentation", "dicecrossentropy"),
    }
    assert prostate.tasks["organs"].num_classes == 6
    assert prostate.evaluation.intensity_bounds == {"bone": (200, 3000)}
    faces = read_config(find_config("utkface"))
    assert faces.warnings == ()
    assert (faces.network.name, faces.window_size, faces.network.window_sampling) == (
        "vgg11",
        (200, 200, 1),
        "resize",
    )
    assert (faces.training.validation_every_n, faces.training.validation_max_iter) == (1000, 150)
    assert faces.training.rotation_angle is None
    assert faces.tasks["age"].scale == 0.01
    for name in ("demo", "segmentation", "pets"):
        assert read_config(find_config(name)).warnings == ()


def test_the_rows_of_pets_are_those_of_the_experiments():
    path = find_config("pets")
    plain = read_config(path)
    shape = plain.network.settings_of("name")
    assert (plain.network.name, shape["levels"], shape["decoder_start"]) == ("unet", 4, "decoder")
    assert plain.window_size == (256, 256, 1)
    training = plain.training
    assert (training.optimiser, training.lr, plain.network.batch_size, training.patience) == ("adam", 1e-4, 5, 5)
    assert (training.early_stopping_mode, plain.inference.inference_iter) == ("best", "best")
    rows = {name: read_config(path, row=name) for name in plain.rows}
    found = {
        name: (tuple(config.tasks), tuple(task.weight for task in config.tasks.values()))
        for name, config in rows.items()
    }
    boxes, kinds, photos = ("mask", "class", "box"), ("mask", "class"), ("mask", "class", "rec")
    assert found == {
        "base": (("mask",), (1,)),
        "mtl-even": (boxes, (1, 1, 1)),
        "mtl-light-box": (boxes, (1, 1, 1e-3)),
        "mtl": (boxes, (0.8, 0.2, 1e-3)),
        "mtl-lessdepth": (boxes, (1, 1, 1)),
        "mtl-class-even": (kinds, (1, 1)),
        "mtl-class": (kinds, (0.8, 0.2)),
        "mtl-bbox-even": (("mask", "box"), (1, 1)),
        "mtl-bbox": (("mask", "box"), (1, 1e-3)),
        "mtl-rec-even": (photos, (1, 1, 1e-5)),
        "mtl-rec": (photos, (0.8, 0.2, 1e-5)),
        "mtl-rec-learned": (photos, (1, 1, 1)),
    }
    shallow = {name for name, config in rows.items() if config.network.settings_of("name")["levels"] == 3}
    assert shallow == {"mtl-lessdepth"}
    assert {name for name, config in rows.items() if config.training.balancing == "uncertainty"} == {"mtl-rec-learned"}
    assert [task.log_sigma or 0 for task in rows["mtl-rec-learned"].tasks.values()] == [0, 0, 4]


def test_shipped_files_are_listed_by_the_paper_that_they_name():
    found = configs_by_paper()
    bragman = next(paper for paper in found if paper.startswith("Bragman"))
    assert {each.name for each in found[bragman]} == {"demo", "prostate", "prostate_duplicate", "utkface"}
    assert {each.name: each.description for group in found.values() for each in group} == list_configs()
    years = [group[0].year for paper, group in found.items() if paper]
    assert years == sorted(years)
    assert all(1990 < year < 2030 for year in years), "each line `# paper:` ends with the year"


def test_only_the_file_of_no_paper_names_none():
    found = configs_by_paper()
    assert [each.name for each in found.pop("")] == ["segmentation"]
    assert "" not in found


@pytest.mark.parametrize("name", ["prostate", "prostate.ini", "ini_configs/prostate.ini", "ini_configs/prostate"])
def test_a_shipped_file_is_found_by_several_names(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = find_config(name)
    assert found.name == "prostate.ini"
    assert found.is_absolute()
    assert found.read_text(encoding="utf-8").startswith("# CT synthesis")


def test_the_working_folder_goes_before_the_shipped_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prostate.ini").write_text("# mine")
    assert find_config("prostate.ini") == Path("prostate.ini")
    assert find_config("prostate") == Path("prostate.ini")
    assert find_config("ini_configs/prostate.ini").is_absolute()
    (tmp_path / "ini_configs").mkdir()
    (tmp_path / "ini_configs" / "prostate.ini").write_text("# mine")
    assert find_config("ini_configs/prostate.ini") == Path("ini_configs/prostate.ini")


@pytest.mark.parametrize("name", ["prostat", "elsewhere/prostate.ini", "none.ini"])
def test_a_name_that_finds_nothing_lists_what_is_shipped(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        find_config(name)
    assert ", ".join(list_configs()) in str(caught.value)


@pytest.mark.parametrize("name", ["", "."])
def test_a_folder_is_no_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="is a folder, not an INI file; give the path of the INI file itself"):
        find_config(name)


def test_a_close_name_is_suggested():
    with pytest.raises(ConfigError, match="prostat: there is no such file, did you mean 'prostate'"):
        find_config("prostat")


def test_the_rule_that_notes_must_be_frequent_knows_the_window_of_the_convergence():
    from sfgkeras.callbacks import GroupingConvergence
    from sfgkeras.config.checks.network import GROUPING_WINDOW

    assert GroupingConvergence().window == GROUPING_WINDOW
