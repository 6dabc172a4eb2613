"""A plan finds what is there, says why, reads back without a mistake, and `check` finds nothing wrong with it."""

import json
import subprocess
import sys
from collections import Counter

import h5py
import numpy as np
import pytest

from sfgkeras.applications.check import check_run
from sfgkeras.applications.planning.machine import Machine
from sfgkeras.applications.planning.plan import write_plan
from sfgkeras.applications.subjects.cohort import find_cohort
from sfgkeras.applications.subjects.preprocessing_settings import read_run
from sfgkeras.errors import DataError
from sfgkeras.reporter import SilentReporter

from .conftest import GIB, ct, intensities, labels

SHAPE = (40, 36, 20)
SUBJECTS = ("p01", "p02", "p03", "p04", "p05")


@pytest.fixture
def pairs(tmp_path, write):
    """Five subjects with MR, CT and organs, in one folder; the last one lacks the organs."""
    folder = tmp_path / "pairs"
    for number, subject in enumerate(SUBJECTS):
        write(folder / f"{subject}_mr.nii.gz", intensities(SHAPE, number))
        write(folder / f"{subject}_ct.nii.gz", ct(SHAPE, number))
        if number < 4:
            write(folder / f"{subject}_organs.nii.gz", labels(SHAPE, (0, 1, 2)))
    return folder


def checked(planned, output):
    """Writes a plan, and returns the configuration that is read from it once nothing is wrong with it."""
    write_plan(planned, output)
    config = read_run(output)
    assert check_run(config, SilentReporter())
    return config


def test_pairs_in_one_folder(pairs, plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    planned = plan(pairs)
    config = checked(planned, tmp_path / "run.ini")
    assert config.image == ("MR",)
    assert {name: task.type for name, task in config.tasks.items()} == {"ct": "regression", "organs": "segmentation"}
    assert config.sources["CT"].scaling == "ct"
    assert config.tasks["organs"].num_classes == 3
    assert config.network.sharing == "sfg"
    assert set(find_cohort(config).subjects) == set(SUBJECTS)
    assert any("lack a target" in doubt for doubt in planned.doubts)
    assert "p05" in planned.lines.heads["ORGANS"]
    assert config.multitask.missing_targets == "allow"
    assert config.inference.dataset_to_infer == "inference"


def test_every_choice_has_a_reason_or_follows_the_line_before(pairs, plan):
    planned = plan(pairs)
    for section, lines in planned.lines.sections.items():
        assert lines[0].why or section in planned.lines.heads or section == "PREPROCESSING", section
    for line in planned.text.splitlines():
        assert len(line) <= 120


def test_nothing_is_written_by_planning_and_nothing_replaced_unasked(pairs, plan, tmp_path):
    before = sorted(pairs.rglob("*"))
    planned = plan(pairs)
    assert sorted(pairs.rglob("*")) == before
    assert [path.name for path in tmp_path.iterdir()] == ["pairs"]
    output = tmp_path / "run.ini"
    output.write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="--overwrite"):
        write_plan(planned, output)
    assert output.read_text(encoding="utf-8") == "mine"
    write_plan(planned, output, overwrite=True)
    assert output.read_text(encoding="utf-8") == planned.text


@pytest.mark.parametrize("layout", ["subject_folders", "kinds", "bids", "one_subject"])
def test_layouts(layout, plan, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    names = {
        "subject_folders": "{s}/{k}.nii.gz",
        "kinds": "{k}/{s}.nii.gz",
        "bids": "{s}/anat/{s}_{k}.nii.gz",
        "one_subject": "{k}.nii.gz",
    }
    subjects = {"bids": ("sub-1", "sub-2", "sub-3"), "one_subject": ("data",)}.get(layout, ("x1", "x2", "x3"))
    for subject in subjects:
        write(folder / names[layout].format(s=subject, k="T1w"), intensities(SHAPE))
        write(folder / names[layout].format(s=subject, k="dseg"), labels(SHAPE))
    config = checked(plan(folder), tmp_path / "run.ini")
    assert set(find_cohort(config).subjects) == set(subjects)
    assert config.image == ("T1W",)
    assert list(config.tasks) == ["dseg"]


@pytest.mark.parametrize("style", ["nnunet", "decathlon"])
def test_described_data_sets_have_the_names_of_their_labels(style, plan, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "Dataset042_Prostate"
    is_new = style == "nnunet"
    for subject in ("pr_01", "pr_02", "pr_03"):
        for channel in ("_0000", "_0001") if is_new else ("",):
            write(folder / "imagesTr" / f"{subject}{channel}.nii.gz", intensities(SHAPE))
        write(folder / "labelsTr" / f"{subject}.nii.gz", labels(SHAPE, (0, 1, 2)))
    described = {"channel_names": {"0": "T2", "1": "ADC"}, "labels": {"background": 0, "PZ": 1, "TZ": 2}}
    if not is_new:
        described = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "PZ", "2": "TZ"}}
    (folder / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
    config = checked(plan(folder), tmp_path / "run.ini")
    assert config.image == (("T2", "ADC") if is_new else ("MRI",))
    assert config.tasks["labels"].class_names == ("background", "PZ", "TZ")
    assert set(find_cohort(config).subjects) == {"pr_01", "pr_02", "pr_03"}


def test_a_table_beside_images_becomes_tasks(plan, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    rows = ["subject_id,age,grade,remark"]
    for number in range(8):
        write(folder / f"c{number}_flair.nii.gz", intensities(SHAPE, number))
        write(folder / f"c{number}_mask.nii.gz", labels(SHAPE))
        rows.append(f"c{number},{40.5 + number},{number % 2},none")
    (folder / "patients.csv").write_text("\n".join(rows), encoding="utf-8")
    planned = plan(folder)
    config = checked(planned, tmp_path / "run.ini")
    types = {name: task.type for name, task in config.tasks.items()}
    assert types == {"mask": "segmentation", "age": "regression", "grade": "classification"}
    assert config.tasks["grade"].num_classes == 2
    assert config.tasks["age"].scale == 0.01
    assert any("'remark'" in doubt for doubt in planned.doubts)


def test_points_of_a_table_are_landmarks_and_empty_cells_no_target(plan, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = ["subject_id,tip_x,tip_y,tip_z,base_x,base_y,base_z,age"]
    for number in range(6):
        write(tmp_path / "data" / f"c{number}_t1.nii.gz", intensities((24, 24, 24), number))
        rows.append(f"c{number},4,5,6,10,11,12,{'' if number == 2 else 50.5 + number}")
    (tmp_path / "data" / "patients.csv").write_text("\n".join(rows), encoding="utf-8")
    config = checked(plan(tmp_path / "data"), tmp_path / "run.ini")
    assert {name: task.type for name, task in config.tasks.items()} == {"landmarks": "landmarks", "age": "regression"}
    assert config.tasks["landmarks"].attribute == "tip, base"
    assert config.multitask.missing_targets == "allow"
    assert config.network.window_sampling == "resize"


def test_a_class_beside_a_label_map_of_its_name_has_another_name(plan, write, tmp_path):
    rows = ["subject_id,lesion"]
    for number in range(6):
        write(tmp_path / "data" / f"c{number}_t1.nii.gz", intensities(SHAPE, number))
        write(tmp_path / "data" / f"c{number}_lesion.nii.gz", labels(SHAPE))
        rows.append(f"c{number},{number % 2}")
    (tmp_path / "data" / "patients.csv").write_text("\n".join(rows), encoding="utf-8")
    assert [task.name for task in plan(tmp_path / "data").facts.roles.tasks] == ["lesion", "has_lesion"]


def test_labels_that_do_not_count_from_0_are_numbered(plan, write, tmp_path):
    for number in range(3):
        write(tmp_path / "data" / f"s{number}_t2.nii.gz", intensities(SHAPE, number))
        write(tmp_path / "data" / f"s{number}_seg.nii.gz", labels(SHAPE, (0, 20, 41)))
    planned = plan(tmp_path / "data")
    assert planned.lines.value("TASK seg", "label_normalisation") == "yes"
    assert planned.lines.value("TASK seg", "num_classes") == "3"


def test_what_cannot_be_used_is_left_out_and_said(plan, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    for number in range(3):
        write(folder / f"s{number}_t1.nii.gz", intensities(SHAPE, number))
        write(folder / f"s{number}_seg.nii.gz", labels(SHAPE))
        write(folder / f"s{number}_t2.nii.gz", intensities(SHAPE, number), origin=(500, 0, 0))
    write(folder / "s0_dwi.nii.gz", np.zeros((4, 4, 4, 5), np.int16))
    (folder / "s1_pd.nii.gz").write_bytes(b"no image")
    planned = plan(folder)
    told = " ".join(planned.doubts)
    assert "T2 is left out" in told
    assert "s0_dwi.nii.gz: is 4-D" in told
    assert "s1_pd.nii.gz" in told
    config = checked(planned, tmp_path / "run.ini")
    assert config.image == ("T1",)


def test_a_folder_without_a_target_is_refused_with_what_was_found(plan, write, tmp_path):
    for number in range(3):
        write(tmp_path / "data" / f"s{number}.nii.gz", intensities(SHAPE, number))
    with pytest.raises(DataError, match=r"IMAGE: 3 files, image.*add label maps"):
        plan(tmp_path / "data")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds nothing to learn from"):
        plan(tmp_path / "empty")


def test_the_user_chooses_what_is_seen_and_learned(pairs, plan):
    planned = plan(pairs, images=["ct"], targets=["organs"])
    assert planned.lines.value("MULTITASK", "image") == "CT"
    assert planned.lines.value("MULTITASK", "tasks") == "organs"
    assert planned.lines.value("PREPROCESSING", "steps") == "clip"
    with pytest.raises(DataError, match="there are"):
        plan(pairs, images=["pet"])


def test_a_ct_in_other_units_is_no_ct(plan, write, tmp_path):
    for number in range(3):
        write(tmp_path / "data" / f"s{number}_mr.nii.gz", intensities(SHAPE, number))
        write(tmp_path / "data" / f"s{number}_ct.nii.gz", (ct(SHAPE, number) + 1024).astype(np.int16))
    planned = plan(tmp_path / "data")
    assert planned.lines.value("TASK ct", "type") == "regression"
    assert planned.lines.value("CT", "scaling") == ""
    assert "not in Hounsfield units" in planned.text


def test_the_mask_of_a_body_is_a_region_and_no_task(pairs, plan, write):
    for subject in SUBJECTS:
        write(pairs / f"{subject}_mask.nii.gz", labels(SHAPE))
    planned = plan(pairs)
    assert planned.lines.value("EVALUATION", "mask") == "MASK"
    assert "mask" not in planned.lines.value("MULTITASK", "tasks")
    assert any("--target MASK" in doubt for doubt in planned.doubts)


def test_a_rare_label_is_sampled_more_often(plan, write, tmp_path):
    for number in range(3):
        write(tmp_path / "data" / f"s{number}_t2.nii.gz", intensities(SHAPE, number))
        lesion = np.zeros(SHAPE, np.uint8)
        lesion[18:21, 16:19, 9:11] = 1
        write(tmp_path / "data" / f"s{number}_lesion.nii.gz", lesion)
    planned = plan(tmp_path / "data")
    assert planned.lines.value("NETWORK", "window_sampling") == "balanced"
    assert planned.lines.value("MULTITASK", "sampler") == "LESION"


def test_mixed_voxels_are_brought_to_their_median_and_windows_to_the_smallest_volume(plan, write, tmp_path):
    sides = (1.0, 1.5, 2.0)
    for number, side in enumerate(sides):
        write(tmp_path / "data" / f"s{number}_t1.nii.gz", intensities(SHAPE, number), (side, side, 4.0))
        write(tmp_path / "data" / f"s{number}_seg.nii.gz", labels(SHAPE), (side, side, 4.0))
    planned = plan(tmp_path / "data")
    assert planned.lines.value("T1", "pixdim") == planned.lines.value("SEG", "pixdim") == "1.5, 1.5, 4"
    window = [int(size) for size in planned.lines.value("T1", "spatial_window_size").split(",")]
    assert window[2] == 1
    assert np.all(np.array(window[:2]) <= np.array(SHAPE[:2]) * 1.0 / 1.5)  # the smallest volume, resampled


def test_a_batch_shrinks_with_the_memory_and_a_gpu_gets_a_3d_network(plan, write, tmp_path):
    shape = (48, 48, 40)
    for number in range(4):
        write(tmp_path / "data" / f"s{number}_t1.nii.gz", intensities(shape, number))
        write(tmp_path / "data" / f"s{number}_seg.nii.gz", labels(shape))
    large = plan(tmp_path / "data", Machine(64 * GIB, False)).lines
    small = plan(tmp_path / "data", Machine(GIB // 256, False)).lines
    assert int(small.value("NETWORK", "batch_size")) < int(large.value("NETWORK", "batch_size"))
    assert "1" in large.value("T1", "spatial_window_size").split(", ")
    on_gpu = plan(tmp_path / "data", Machine(24 * GIB, True)).lines
    assert "1" not in on_gpu.value("T1", "spatial_window_size").split(", ")


@pytest.mark.parametrize(("number", "folds"), [(6, ""), (12, "5")])
def test_subjects_are_held_out_in_turn_where_they_are_neither_few_nor_many(
    number, folds, plan, write, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for subject in range(number):
        write(tmp_path / "data" / f"s{subject:02d}_t1.nii.gz", intensities((24, 24, 12), subject))
        write(tmp_path / "data" / f"s{subject:02d}_seg.nii.gz", labels((24, 24, 12)))
    planned = plan(tmp_path / "data")
    assert planned.lines.value("TRAINING", "folds") == folds
    assert (planned.lines.value("TRAINING", "exclude_fraction_for_validation") == "") == bool(folds)
    assert planned.lines.value("INFERENCE", "dataset_to_infer") == ("validation" if folds else "inference")
    checked(planned, tmp_path / "run.ini")


def test_phases_are_those_of_the_folders_that_the_loader_reads(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for phase, number in (("train", 4), ("test", 2)):
        (tmp_path / "data" / phase).mkdir(parents=True)
        with h5py.File(tmp_path / "data" / phase / "all.h5", "w") as file:
            file["network"] = np.random.default_rng(0).integers(0, 255, (number, 32, 32, 3)).astype(np.uint8)
            file["grade"] = np.arange(number) % 2
    planned = plan(tmp_path / "data")
    assert Counter(planned.facts.phase_of.values()) == {"training": 4, "inference": 2}
    config = checked(planned, tmp_path / "run.ini")  # also: nobody is there to validate on
    assert config.image == ("IMAGES_NETWORK",)
    assert config.inference.dataset_to_infer == "inference"


def test_the_verb_explains_itself_without_tensorflow(pairs, tmp_path):
    code = (
        "import sys\n"
        "from sfgkeras.cli import main\n"
        f"main(['plan', '--input', {str(pairs)!r}, '--output', {str(tmp_path / 'run.ini')!r}, '--explain'])\n"
        "print('HEAVY', *[name for name in ('tensorflow', 'keras') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    ).stdout
    assert "HEAVY\n" in found
    assert "[NETWORK] sharing = sfg: " in found
    assert "next: sfgkeras check -c" in found
    assert (tmp_path / "run.ini").is_file()


def test_a_u_net_has_the_levels_of_the_window_that_fits_into_the_memory(plan, tmp_path):
    from PIL import Image

    data = tmp_path / "data"
    for kind in ("images", "masks"):
        (data / kind).mkdir(parents=True)
    for number in range(4):
        seen = intensities((128, 128), number) / 1000 * 255
        Image.fromarray(np.stack([seen] * 3, axis=-1).clip(0, 255).astype(np.uint8)).save(
            data / f"images/p{number}.jpg"
        )
        Image.fromarray(labels((128, 128))).save(data / f"masks/p{number}.png")

    def lines_at(memory):
        lines = plan(data, Machine(memory, False)).lines
        why = next(why for _, key, _, why in lines.rows() if key == "unet_levels")
        side = int(lines.value("IMAGES", "spatial_window_size").split(", ")[0])
        return side, lines.value("NETWORK", "unet_levels"), why

    assert lines_at(64 * GIB) == (128, "4", "the shortest side, 128, is halved 4 times")
    side, levels, why = lines_at(GIB // 400)
    assert (side, levels) == (32, "3")
    assert why == "the shortest side, 32, is halved 3 times; a window that memory does not cut would have 4"
