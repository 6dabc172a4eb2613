import csv
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from sfgkeras.applications import run
from sfgkeras.applications.training import build as assembly
from sfgkeras.callbacks import read_grouping_history
from sfgkeras.data.subjects import read_split
from sfgkeras.errors import ConfigError, DataError


def assert_same_arrays(first, second):
    # The names of Keras' seed generators count up within a process; their place among the variables does not.
    first, second = (
        {key.split("/seed_generator")[0]: value for key, value in each.items()} for each in (first, second)
    )
    assert first.keys() == second.keys()
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key], err_msg=key)


def test_a_run_trains_infers_and_evaluates_and_results_lie_on_each_subjects_own_grid(make_config, cohort, reporter):
    config = make_config({"NETWORK.sharing": "sfg", "NETWORK.batch_norm": "recalibrated"})
    run.train(config, reporter)
    run.infer(config, reporter, dataset="all")
    run.evaluate(config, reporter, dataset="all")
    for i in range(4):
        mr = nib.load(cohort / f"phantom_{i:03d}_mr.nii.gz")
        for task in ("ct", "organs"):
            result = nib.load(config.inference.save_seg_dir / f"phantom_{i:03d}_{task}_predicted.nii.gz")
            assert result.shape == mr.shape
            np.testing.assert_allclose(result.affine, mr.affine, atol=1e-4)
            assert result.header.get_xyzt_units() == mr.header.get_xyzt_units()
        labels = np.asarray(result.dataobj)
        assert labels.dtype == np.uint8
        assert labels.max() < 6
    ct = nib.load(config.inference.save_seg_dir / "phantom_000_ct_predicted.nii.gz").get_fdata()
    assert ct.std() > 10
    columns, _ = reporter.tables["ct (regression)"]
    assert columns[:2] == ["region", "mae [HU]"]
    assert "psnr [dB]" in columns
    assert {"dice", "hausdorff95 [mm]"} <= set(reporter.tables["organs (segmentation)"][0])
    with (config.evaluation.save_csv_dir / "organs_summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["unit"] for row in rows if row["measure"] == "hausdorff95"} == {"mm"}
    # An organ that was not found is missed; one that is in neither volume is undefined.
    assert all(int(row["n"]) + int(row["n_missing"]) == 4 for row in rows)
    assert all(int(row["n_missed"]) <= int(row["n_missing"]) for row in rows)
    (said,) = (text for text in reporter.messages if text.startswith("validation at iteration 4:"))
    assert re.search(r"ct_mae [0-9.]+ HU, ct_rmse [0-9.]+ HU, organs_dice [0-9.]+, ", said)
    score = float(re.search(r"ct_mae ([0-9.]+)", said)[1])
    assert score > 20  # in the units that the network learns it is about 1


def test_two_runs_with_one_seed_give_the_same_numbers(make_config, tmp_path, network_arrays):
    for name in ("a", "b"):
        run.train(make_config(model_dir=tmp_path / name))
    assert_same_arrays(network_arrays(tmp_path / "a", 4), network_arrays(tmp_path / "b", 4))


SHARINGS = {
    "sfg": {},
    "soft_sharing": {"SHARING.strength": "0.5", "SHARING.distance": "trace_norm"},
    "sluice": {"SHARING.orthogonality": "0.1"},
}


@pytest.mark.slow
@pytest.mark.parametrize("sharing", [*SHARINGS])
def test_a_resumed_run_is_bitwise_equal_to_an_uninterrupted_one(sharing, make_config, tmp_path, network_arrays):
    chosen = {"NETWORK.sharing": sharing, **SHARINGS[sharing]}
    run.train(make_config(chosen, tmp_path / "whole"))
    run.train(make_config({**chosen, "TRAINING.max_iter": 2}, tmp_path / "parts"))
    run.train(make_config(chosen, tmp_path / "parts"))
    assert_same_arrays(network_arrays(tmp_path / "whole", 4), network_arrays(tmp_path / "parts", 4))
    logs = [(tmp_path / name / "logs" / "validation.csv").read_text() for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    shared = [read_grouping_history(tmp_path / name / "logs" / "sharing.npz") for name in ("whole", "parts")]
    assert shared[0]["iterations"].tolist() == [0, 1, 2, 3, 4]
    assert_same_arrays(*shared)
    assert max(np.ptp(values[:, 0, 1]) for stage, values in shared[0].items() if stage.startswith("stage")) > 0


def test_a_finished_run_is_not_trained_again(make_config, reporter):
    run.train(make_config())
    run.train(make_config(), reporter)
    assert any("nothing to train" in text for text in reporter.messages)


def test_a_training_of_no_iteration_saves_the_network_as_it_begins(make_config, reporter):
    config = make_config({"TRAINING.max_iter": 0})
    run.train(config, reporter)
    (saved,) = [text for text in reporter.messages if text.startswith("saved the network as it begins: ")]
    assert Path(saved.removeprefix("saved the network as it begins: ")).is_file()
    run.infer(config)
    assert list(config.inference.save_seg_dir.glob("*.nii.gz"))


def test_the_compilation_of_the_training_step_is_announced_before_it(make_config, reporter):
    run.train(make_config({"TRAINING.max_iter": 1}), reporter)
    compiling = reporter.messages.index("compiling the training step ...")
    assert any(text.startswith("network: ") for text in reporter.messages[:compiling])
    run.train(make_config({"TRAINING.max_iter": 1}), reporter)
    assert reporter.messages.count("compiling the training step ...") == 1


@pytest.mark.slow
def test_restart_begins_anew(make_config, reporter):
    run.train(make_config())
    run.train(make_config(), reporter, restart=True)
    assert not any("resumed" in text for text in reporter.messages)


def test_another_network_does_not_resume_and_the_message_names_the_setting(make_config):
    run.train(make_config({"TRAINING.max_iter": 1}))
    with pytest.raises(ConfigError, match="width"):
        run.train(make_config({"NETWORK.width": 0.5}))


def test_existing_results_are_neither_redone_nor_overwritten_unasked(make_config, reporter):
    config = make_config({"TRAINING.max_iter": 2})
    run.train(config)
    run.infer(config)
    files = sorted(config.inference.save_seg_dir.glob("*.nii.gz"))
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}
    run.infer(config, reporter)
    assert any("nothing to infer" in text for text in reporter.messages)
    longer = make_config()
    run.train(longer)
    with pytest.raises(DataError, match="--overwrite"):
        run.infer(longer)
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files} == before
    run.infer(longer, overwrite=True)
    assert files[0].read_bytes() != before[files[0]][1]


def test_results_are_those_of_the_images_wherever_these_lie(make_config, cohort, tmp_path, reporter):
    """The same images under other paths are the same work; another image under the same name is not."""
    config = make_config({"TRAINING.max_iter": 1})
    run.train(config)
    run.infer(config)
    moved = shutil.copytree(cohort, tmp_path / "moved")
    ids = sorted(path.name.removesuffix("_mr.nii.gz") for path in moved.glob("*_mr.nii.gz"))
    table = tmp_path / "mr.csv"
    table.write_text("".join(f"{name},moved/{name}_mr.nii.gz\n" for name in ids))
    elsewhere = make_config({"TRAINING.max_iter": 1, "MR.path_to_search": "", "MR.csv_file": table})
    run.infer(elsewhere, reporter)
    assert any("nothing to infer" in text for text in reporter.messages)
    (name,) = read_split(config.system.dataset_split_file)["inference"]
    other = next(other for other in ids if other != name)
    shutil.copy(moved / f"{other}_mr.nii.gz", moved / f"{name}_mr.nii.gz")
    with pytest.raises(DataError, match=rf"{name}_ct_predicted.* made from other images .*--overwrite"):
        run.infer(elsewhere)


def test_inference_without_landmarks_or_checkpoint_says_what_to_do(make_config):
    config = make_config({"TRAINING.max_iter": 1})
    with pytest.raises(DataError, match="train first"):
        run.infer(config)
    run.train(config)
    config.network.histogram_ref_file.unlink()
    with pytest.raises(DataError, match=r"landmarks\.json"):
        run.infer(config)


def test_stale_landmarks_are_refused_not_refitted(make_config):
    config = make_config({"TRAINING.max_iter": 1})
    run.train(config)
    before = config.network.histogram_ref_file.read_bytes()
    with pytest.raises(DataError, match="stale"):
        run.train(make_config({"NETWORK.cutoff": "0.02, 0.98"}))
    assert config.network.histogram_ref_file.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("sharing", ["single_task", "constant_mask", "constant_p"])
def test_every_mask_source_trains_and_infers(make_config, sharing):
    config = make_config({"NETWORK.sharing": sharing, "TRAINING.max_iter": 2})
    run.train(config)
    run.infer(config)
    assert len(list(config.inference.save_seg_dir.glob("*.nii.gz"))) == 2


def test_three_dimensional_windows_work_the_same_way(make_config):
    config = make_config({"MR.spatial_window_size": "16, 16, 8", "TRAINING.max_iter": 1, "NETWORK.batch_size": 2})
    run.train(config)
    run.infer(config)
    assert len(list(config.inference.save_seg_dir.glob("*.nii.gz"))) == 2


@pytest.mark.parametrize("sampling", ["weighted", "balanced"])
def test_samplers_that_need_a_section_work(make_config, sampling):
    run.train(make_config({"NETWORK.window_sampling": sampling, "MULTITASK.sampler": "ORGANS", "TRAINING.max_iter": 1}))


def test_where_the_weight_map_is_zero_nothing_is_learned(make_config, cohort, tmp_path, network_arrays):
    """With a weight of 0 everywhere only the regularisation moves the kernels; a head's bias, which has none, stays."""
    folder = tmp_path / "weights"
    folder.mkdir()
    for path in cohort.glob("*_mr.nii.gz"):
        image = nib.load(path)
        zeros = nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine)
        zeros.to_filename(folder / path.name.replace("_mr", "_weight"))
    weights = (
        f"\n[WEIGHT]\npath_to_search = {folder}\nfilename_contains = _weight\nfilename_removefromid = _weight$\n"
        "pixdim = 8, 8, 8\naxcodes = R, A, S\n"
    )
    run.train(make_config({"MULTITASK.weight": "WEIGHT", "TRAINING.max_iter": 2}, extra=weights))
    biases = {key: value for key, value in network_arrays(tmp_path / "model", 2).items() if key.endswith("/bias")}
    assert biases
    assert all(not value.any() for key, value in biases.items() if "head" in key)


def test_padding_is_cut_off_again(make_config, cohort):
    config = make_config({"NETWORK.volume_padding_size": "4, 4, 2", "TRAINING.max_iter": 1})
    run.train(config)
    run.infer(config, dataset="all")
    result = nib.load(config.inference.save_seg_dir / "phantom_000_ct_predicted.nii.gz")
    assert result.shape == nib.load(cohort / "phantom_000_mr.nii.gz").shape


def test_training_without_validation_subjects_names_the_split_file(make_config):
    config = make_config({"TRAINING.exclude_fraction_for_validation": 0})
    with pytest.raises(DataError, match=r"dataset_split\.csv.*validation"):
        run.train(config)


def test_a_batch_that_two_devices_cannot_share_or_one_device_alone_is_refused(make_config):
    with pytest.raises(ConfigError, match="mirrored"):
        run.train(make_config({"SYSTEM.strategy": "mirrored"}))


def test_the_best_checkpoint_is_the_one_with_the_best_validation_score(make_config):
    from sfgkeras.applications.records.checkpoints import CheckpointFolder

    config = make_config({"TRAINING.validation_every_n": 1, "TRAINING.best_metric": "ct_mae"})
    run.train(config)
    with (config.system.model_dir / "logs" / "validation.csv").open() as file:
        scores = {int(row["iteration"]): float(row["ct_mae"]) for row in csv.DictReader(file)}
    best = CheckpointFolder(config.system.model_dir / "checkpoints").read("best")
    assert best.record["iteration"] == min(scores, key=scores.__getitem__)


def test_patience_stops_a_run_whose_validation_loss_does_not_fall(make_config, reporter):
    overrides = {
        "TRAINING.lr": 1e-30, "TRAINING.max_iter": 30, "TRAINING.validation_every_n": 1, "TRAINING.patience": 2,
        "TRAINING.early_stopping_mode": "best", "NETWORK.batch_norm": "batch",
    }  # fmt: skip
    run.train(make_config(overrides), reporter)
    assert any("stopped at iteration" in text for text in reporter.messages)


@pytest.mark.parametrize(
    ("max_iter", "every_n", "expected"), [(4, 0, 1), (5000, 0, 50), (200_000, 0, 100), (200_000, 7, 7), (0, 0, 1)]
)
def test_p_is_noted_a_hundred_times_or_every_hundred_iterations(make_config, max_iter, every_n, expected):
    config = make_config({"TRAINING.grouping_every_n": every_n})
    assert assembly.grouping_interval(config, max_iter) == expected
