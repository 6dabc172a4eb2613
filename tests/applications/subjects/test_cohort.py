import pytest

from sfgkeras.applications.subjects.cohort import find_cohort, keep_split
from sfgkeras.applications.subjects.session import open_session
from sfgkeras.config import read_config
from sfgkeras.data.subjects import read_split
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.reporter import SilentReporter

INI = """
[MR]
path_to_search = {folder}
filename_contains = _mr
spatial_window_size = 8, 8, 1

[CT]
path_to_search = {folder}
filename_contains = _ct

[ORGANS]
path_to_search = {folder}
filename_contains = _organs

[SYSTEM]
model_dir = {folder}/model

[NETWORK]
name = highresnet

[TRAINING]
exclude_fraction_for_validation = 0.2
exclude_fraction_for_inference = 0.2

[MULTITASK]
image = MR
tasks = ct, organs

[TASK ct]
type = regression
target = CT

[TASK organs]
type = segmentation
target = ORGANS
num_classes = 3
"""


def add_files(folder, ids, sources=("mr", "ct", "organs")):
    """Makes empty files: who belongs to whom is told by names alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for subject_id in ids:
        for source in sources:
            (folder / f"{subject_id}_{source}.nii.gz").touch()


@pytest.fixture
def folder(tmp_path):
    add_files(tmp_path, [f"s{i:02d}" for i in range(10)])
    return tmp_path


def configure(folder, *overrides, text=INI):
    path = folder / "run.ini"
    path.write_text(text.format(folder=folder))
    return read_config(path, overrides)


def test_the_split_is_drawn_once_and_then_read(folder):
    config = configure(folder)
    cohort = find_cohort(config)
    assert not config.system.dataset_split_file.exists()
    keep_split(config, cohort)
    written = config.system.dataset_split_file.read_bytes()
    assert {phase: len(ids) for phase, ids in read_split(config.system.dataset_split_file).items()} == {
        "training": 6, "validation": 2, "inference": 2
    }  # fmt: skip
    other = configure(folder, ("SYSTEM.seed", "99"), ("TRAINING.exclude_fraction_for_validation", "0.5"))
    again = find_cohort(other)
    keep_split(other, again)
    assert again.split == cohort.split
    assert config.system.dataset_split_file.read_bytes() == written


def test_the_seed_decides_the_split(folder):
    splits = [find_cohort(configure(folder, ("SYSTEM.seed", str(seed)))).split for seed in (0, 0, 1)]
    assert splits[0] == splits[1]
    assert splits[0] != splits[2]
    assert sorted(sum(splits[0].values(), [])) == sorted(sum(splits[2].values(), []))


def test_an_edited_split_is_followed_in_its_own_order(folder):
    config = configure(folder)
    config.system.model_dir.mkdir()
    config.system.dataset_split_file.write_text("s03,training\ns01,training\ns07,validation\ns00,inference\n")
    cohort = find_cohort(config)
    assert [subject.subject_id for subject in cohort.phase("training")] == ["s03", "s01"]
    assert [subject.subject_id for subject in cohort.phase("validation", "inference")] == ["s07", "s00"]


def test_broken_files_leave_no_split_behind(folder):
    config = configure(folder)
    with pytest.raises(DataError, match="is empty"):
        open_session(config, SilentReporter(), training=True)
    assert not config.system.dataset_split_file.exists()


def test_ids_that_match_no_image_are_warned_about_with_a_file(folder):
    add_files(folder, ["s99", "s98"], ["ct"])
    cohort = find_cohort(configure(folder))
    (warning,) = cohort.warnings
    assert warning.startswith(f"{folder / 's98_ct.nii.gz'}: 2 of 12 ids of [CT] match no subject of [MR]")
    assert "'s98', 's99'" in warning
    assert not {"s98", "s99"} & set(cohort.subjects)


def test_an_image_of_two_sources_needs_both(folder):
    add_files(folder, ["s98"], ["mr"])
    add_files(folder, [f"s{i:02d}" for i in range(9)], ["pd"])
    text = INI + "\n[PD]\npath_to_search = {folder}\nfilename_contains = _pd\n"
    cohort = find_cohort(configure(folder, ("MULTITASK.image", "MR, PD"), text=text))
    assert sorted(cohort.subjects) == [f"s{i:02d}" for i in range(9)]
    (warning, _, _) = cohort.warnings
    assert "2 of 11 ids of [MR] match no subject of [MR] and [PD]" in warning
    assert "'s09', 's98'" in warning


def test_subjects_without_targets_serve_for_inference_only(folder):
    add_files(folder, ["new1", "new2"], ["mr"])
    (folder / "s04_organs.nii.gz").unlink()
    cohort = find_cohort(configure(folder))
    assert len(cohort.split["training"]) + len(cohort.split["validation"]) == 7
    assert set(cohort.split["inference"]) > {"new1", "new2", "s04"}
    assert len(cohort.split["inference"]) == 5
    (warning,) = cohort.warnings
    assert warning.startswith("3 of 12 subjects have no target in CT or ORGANS, for inference only")
    known = [subject for subject in cohort.phase("inference") if cohort.has_targets(subject, ["CT", "ORGANS"])]
    assert len(known) == 2


def test_ids_that_do_not_match_at_all_are_shown_with_the_remedy(folder, tmp_path):
    with pytest.raises(DataError, match=r"no subject has all of MR, CT, ORGANS.*filename_removefromid"):
        find_cohort(configure(folder, ("CT.filename_removefromid", "_c")))
    text = INI + "\n[PD]\npath_to_search = {folder}/pd\nfilename_contains = _pd\n"
    add_files(folder / "pd", ["patient1"], ["pd"])
    with pytest.raises(DataError, match=r"\[MR\] 's00', \[PD\] 'patient1'.*filename_removefromid"):
        find_cohort(configure(folder, ("MULTITASK.image", "MR, PD"), text=text))


def test_a_split_of_other_subjects_is_refused_with_an_example(folder):
    config = configure(folder)
    config.system.model_dir.mkdir()
    config.system.dataset_split_file.write_text("a,training\nb,inference\n")
    with pytest.raises(DataError, match=r"dataset_split\.csv: none of its 2 subjects.*'a' against 's00'"):
        find_cohort(config)
    config.system.dataset_split_file.write_text("s01,training\nb,inference\nc,inference\n")
    with pytest.raises(DataError, match=r"dataset_split\.csv: subject 'b' has no image in MR \(nor have 1 others\)"):
        find_cohort(config)


def test_inference_needs_no_targets_at_all(tmp_path):
    add_files(tmp_path, ["a", "b"], ["mr"])
    config = configure(tmp_path)
    with pytest.raises(DataError, match="_ct"):
        find_cohort(config)
    cohort = find_cohort(config, needs_targets=False)
    assert [subject.subject_id for subject in cohort.phase("inference")] == ["a", "b"]
    assert [warning.split("]")[0] for warning in cohort.warnings] == ["[CT", "[ORGANS"]
    assert not cohort.has_targets(cohort.subjects["a"], ["CT"])


TABLE = """
[FACES]
csv_file = {folder}/faces.csv
spatial_window_size = 8, 8, 1

[AGES]
csv_file = {folder}/ages.csv
loader = table

[SYSTEM]
model_dir = {folder}/model

[NETWORK]
name = vgg11

[REGRESSION]
image = FACES
output = AGES
attribute = age
"""


@pytest.fixture
def tables(tmp_path):
    (tmp_path / "faces.csv").write_text("".join(f"p{i},{tmp_path}/{i}.png\n" for i in range(4)))
    (tmp_path / "ages.csv").write_text("subject_id,age,city\np0,31,Rome\np1,old,Bern\np3,,\np9,4,Ulm\n")
    return tmp_path


def test_values_of_a_table_are_matched_by_id(tables):
    cohort = find_cohort(configure(tables, text=TABLE))
    assert cohort.split == {"training": ["p0", "p1", "p3"], "validation": [], "inference": ["p2"]}
    unmatched, without = cohort.warnings
    assert unmatched.startswith(f"{tables / 'ages.csv'}: 1 of 4 ids of [AGES] match no subject of [FACES]")
    assert "'p9'" in unmatched
    assert "1 of 4 subjects has no target in AGES" in without


def test_a_scalar_target_that_cannot_be_used_names_table_subject_and_value(tables):
    from sfgkeras.applications.tasks.table import build_tasks

    config = configure(tables, text=TABLE)
    cohort, task = find_cohort(config), build_tasks(config)["regression"]
    assert cohort.value(cohort.subjects["p0"], task, task.prepare_value).tolist() == [31.0]
    for subject_id, value in (("p1", "'old'"), ("p3", "''")):
        with pytest.raises(DataError, match=rf"ages\.csv: subject '{subject_id}': .*age = {value} is not a number"):
            cohort.value(cohort.subjects[subject_id], task, task.prepare_value)
    with pytest.raises(DataError, match=r"ages\.csv: \[AGES\] has no values for subject 'p2'"):
        cohort.value(cohort.subjects["p2"], task, task.prepare_value)
    other = configure(tables, ("REGRESSION.attribute", "height"), text=TABLE)
    with pytest.raises(DataError, match=r"ages\.csv: has no 'height' for subject 'p0', only age, city"):
        cohort.value(cohort.subjects["p0"], build_tasks(other)["regression"], float)


def test_a_folder_for_each_subject_is_a_source_of_an_ini_file(tmp_path):
    for name in ("P01", "P02"):
        add_files(tmp_path / "data" / name, [""])
    layout = [(f"{name}.layout", "subject_folders") for name in ("MR", "CT", "ORGANS")]
    places = [(f"{name}.path_to_search", str(tmp_path / "data")) for name in ("MR", "CT", "ORGANS")]
    cohort = find_cohort(configure(tmp_path, *places, *layout))
    assert list(cohort.subjects) == ["P01", "P02"]
    assert cohort.subjects["P02"].images["CT"].path == tmp_path / "data" / "P02" / "_ct.nii.gz"
    with pytest.raises(DataError, match="layout = subject_folders"):
        find_cohort(configure(tmp_path, *places))
    with pytest.raises(ConfigError, match="layout = 'tree' has no use with csv_file"):
        configure(tmp_path, ("MR.layout", "tree"), ("MR.csv_file", "x.csv"))
