"""Broken data folders: each is found in one line that names the file and the remedy; nothing is touched."""

import gzip
import hashlib
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from sfgkeras.data.checks import SourceInfo, check_subjects
from sfgkeras.data.file_search import find_files
from sfgkeras.data.references import references
from sfgkeras.data.subjects import Subject, match_subjects

SHAPE = (12, 11, 10)
AFFINE = np.array([[-0.5, 0, 0, 30.0], [0, -0.5, 0, 20.0], [0, 0, 3, -10.0], [0, 0, 0, 1]])
SOURCES = {"t2": SourceInfo("image"), "ct": SourceInfo("map"), "organs": SourceInfo("labels", num_classes=3)}
SEARCHES = {
    "t2": {"filename_contains": ["_t2"]},
    "ct": {"filename_contains": ["_ct"]},
    "organs": {"filename_contains": ["_organs"]},
}


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    nib.save(nib.Nifti1Image(array, affine, dtype=array.dtype), path)


def noise(shape=SHAPE) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def labels(shape=SHAPE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)


def build_cohort(folder: Path, number: int = 3) -> Path:
    folder.mkdir()
    for index in range(number):
        save(folder / f"s{index}_t2.nii.gz", noise())
        save(folder / f"s{index}_ct.nii.gz", noise())
        save(folder / f"s{index}_organs.nii.gz", labels())
    return folder


def of_files(subject_id: str, files: dict[str, Path]) -> Subject:
    return Subject(subject_id, references(files))


def check(folder: Path, sources=SOURCES, **options):
    searches = {name: {"path_to_search": [folder], **search} for name, search in SEARCHES.items()}
    tables = {name: references(find_files(**search)) for name, search in searches.items()}
    common = set.intersection(*map(set, tables.values()))
    subjects = match_subjects(tables) if common else []
    return check_subjects(subjects, sources, tables=tables, **options)


def content_of(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def cohort(tmp_path) -> Path:
    return build_cohort(tmp_path / "cohort")


def test_a_sound_folder_has_no_problems(cohort):
    assert check(cohort, window_size=(12, 11, 1)) == []


# ---------------------------------------------------------------- the table of broken folders


def _cut(path):
    path.write_bytes(path.read_bytes()[:-400])


def _with_voxel(value):
    def damage(path):
        array = noise()
        array[1:3, 2, 2] = value
        save(path, array)

    return damage


def _with_label(value, dtype=np.float32):
    def damage(path):
        array = labels().astype(dtype)
        array[0, 0, :4] = value
        save(path, array)

    return damage


def _shifted(path):
    affine = AFFINE.copy()
    affine[2, 3] += 3
    save(path, labels(), affine)


def _stored_the_other_way(path):
    array, affine = labels()[::-1], AFFINE.copy()
    affine[:3, 3] += (SHAPE[0] - 1) * affine[:3, 0]
    affine[:3, 0] *= -1
    save(path, array, affine)


def _links_in_a_ring(path):
    path.unlink()
    path.symlink_to(path)


def _dead_link(path):
    path.unlink()
    path.symlink_to("nowhere")


def _no_geometry(path):
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[280:296] = np.full(4, np.nan, "<f4").tobytes()  # srow_x
    path.write_bytes(gzip.compress(content))


def _smaller_subject(path):
    for name, build in (("t2", noise), ("ct", noise), ("organs", labels)):
        save(path.with_name(f"s1_{name}.nii.gz"), build((12, 9, 10)))


def _header_alone(path):
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:300]))


def _array(array):
    return lambda path: save(path, array)


BROKEN = {
    # which file, what is done to it, and what the line says
    "truncated NIfTI": ("t2", _cut, "truncated or damaged"),
    "truncated header": ("t2", _header_alone, "truncated within its header"),
    "NaN voxels": ("t2", _with_voxel(np.nan), "2 of its 1320 voxels are NaN and 0 are infinite; replace"),
    "infinite voxels": ("ct", _with_voxel(-np.inf), "0 of its 1320 voxels are NaN and 2 are infinite"),
    "constant image": ("t2", _array(np.full(SHAPE, 7.0)), "holds the value 7 only"),
    "label map of one label": ("organs", _array(np.zeros(SHAPE, "u1")), "holds the label 0 only"),
    "label of another size": ("organs", _array(labels((12, 11, 9))), "its grid (12 x 11 x 9 voxels of 0.5"),
    "label in another place": ("organs", _shifted, "from (30.0, 20.0, -7.0)) is not that of its image"),
    "label stored the other way": ("organs", _stored_the_other_way, "is stored as RPS but its image"),
    "label above num_classes": ("organs", _with_label(5), "(5) outside 0 to 2; set num_classes = 6"),
    "label below zero": ("organs", _with_label(-1), "holds 1 label (-1) outside 0 to 2; renumber"),
    "label not an integer": ("organs", _with_label(0.5), "4 of its 1320 voxels are no integers (e.g. 0.5)"),
    "label NaN": ("organs", _with_label(np.nan), "4 of its 1320 voxels are no integers (e.g. nan)"),
    "missing file of a subject": ("organs", Path.unlink, "subject 's1' has no file in [organs]; add it"),
    "4-D image": ("t2", _array(noise((12, 11, 10, 4))), "is 4-D (12 x 11 x 10 x 4)"),
    "text named .nii.gz": ("ct", lambda path: path.write_text("hello"), "is not compressed (it starts with"),
    "zero bytes": ("t2", lambda path: path.write_bytes(b""), "is empty (0 bytes); copy"),
    "unreadable": ("t2", _links_in_a_ring, "cannot be read (Too many levels of symbolic links)"),
    "dead link": ("t2", _dead_link, "does not exist"),
    "NaN in the affine": ("t2", _no_geometry, "is not 4 x 4 finite numbers"),
    "window larger than a volume": (
        "t2",
        _smaller_subject,
        "is 12 x 9 x 10, smaller than the window 12 x 11 x 1; set volume_padding_size = 0, 1, 0",
    ),
}
WARNINGS = {"constant image", "label map of one label"}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder_gives_one_line_with_the_file_and_the_remedy_and_stays_as_it_is(cohort, case):
    name, breaks, message = BROKEN[case]
    breaks(cohort / f"s1_{name}.nii.gz")
    before = content_of(cohort)
    problems = check(cohort, window_size=(12, 11, 1))
    assert [(problem.level, problem.message) for problem in problems if message not in problem.message] == []
    (problem,) = problems
    assert problem.level == ("warning" if case in WARNINGS else "error")
    named = "s1_t2" if case == "missing file of a subject" else f"s1_{name}"
    assert str(cohort / named) in problem.message
    assert problem.path.is_relative_to(cohort)
    assert "\n" not in problem.message
    assert ";" in problem.message, "states no remedy"
    assert content_of(cohort) == before


def test_that_there_is_no_subject_is_a_problem():
    (problem,) = check_subjects([], SOURCES, tables={name: {} for name in SOURCES})
    assert problem.level == "error"
    assert "there are no subjects" in problem.message


def test_all_problems_are_told_at_once_matching_first_then_by_subject(cohort):
    _with_voxel(np.nan)(cohort / "s2_ct.nii.gz")
    _with_label(7)(cohort / "s0_organs.nii.gz")
    _cut(cohort / "s0_t2.nii.gz")
    save(cohort / "s9_t2.nii.gz", noise())
    told = [problem.path.name.removesuffix(".nii.gz") for problem in check(cohort)]
    assert told == ["s9_t2", "s9_t2", "s0_t2", "s0_organs", "s2_ct"]


def test_headers_alone_find_what_headers_tell(cohort):
    _with_voxel(np.nan)(cohort / "s2_ct.nii.gz")
    save(cohort / "s1_organs.nii.gz", labels((12, 11, 9)))
    (problem,) = check(cohort, read_voxels=False)
    assert problem.path.name == "s1_organs.nii.gz"


def test_ids_that_never_meet_are_told_once_and_not_for_each_subject(tmp_path):
    folder = build_cohort(tmp_path / "cohort")
    for path in folder.glob("*_organs.nii.gz"):
        path.rename(path.with_name(f"x{path.name}"))
    (problem,) = check(folder)
    assert "no subject id occurs in every source" in problem.message
    assert "[organs] 'xs0' of" in problem.message


def test_a_subject_id_given_twice_is_an_error(cohort):
    subject = of_files("s0", {"t2": cohort / "s0_t2.nii.gz"})
    (problem,) = check_subjects([subject, of_files("s0", {"t2": cohort / "s1_t2.nii.gz"})], SOURCES)
    assert "its subject id 's0' occurs 2 times" in problem.message


# ---------------------------------------------------------------- grids


def write_pair(folder: Path, label_shape, label_affine) -> list[Subject]:
    save(folder / "image.nii", noise())
    save(folder / "organs.nii", labels(label_shape), label_affine)
    return [of_files("s", {"t2": folder / "image.nii", "organs": folder / "organs.nii"})]


def test_another_grid_is_no_error_where_labels_are_resampled_unless_it_lies_elsewhere(tmp_path):
    coarse = AFFINE.copy()
    coarse[:3, :3] *= 2
    subjects = write_pair(tmp_path, (6, 6, 5), coarse)
    assert len(check_subjects(subjects, SOURCES)) == 1
    assert check_subjects(subjects, SOURCES, resampled=True) == []
    coarse[0, 3] += 100
    (problem,) = check_subjects(write_pair(tmp_path, (6, 6, 5), coarse), SOURCES, resampled=True)
    assert "organs.nii: lies outside its image" in problem.message


@pytest.mark.parametrize(("shift", "found"), [(5e-4, 0), (2e-2, 0), (3e-2, 1)])
def test_grids_may_differ_by_a_thousandth_of_a_millimetre_or_a_twentieth_of_a_voxel(tmp_path, shift, found):
    moved = AFFINE.copy()
    moved[0, 3] += shift
    assert len(check_subjects(write_pair(tmp_path, SHAPE, moved), SOURCES)) == found


def test_a_small_turn_is_found_by_its_far_corner(tmp_path):
    turned = AFFINE.copy()
    turned[1, 0] = 3e-3  # 0.033 mm after eleven voxels
    assert len(check_subjects(write_pair(tmp_path, SHAPE, turned), SOURCES)) == 1


def test_another_orientation_is_no_error_where_both_are_turned(cohort):
    _stored_the_other_way(cohort / "s1_organs.nii.gz")
    turned = {name: SourceInfo(info.role, info.num_classes, axcodes=("R", "A", "S")) for name, info in SOURCES.items()}
    assert check(cohort, turned) == []
    half = {**turned, "organs": SOURCES["organs"]}
    assert len(check(cohort, half)) == 3, "turned images and unturned labels share no grid"


def test_sources_resampled_to_different_voxels_do_not_fit(cohort):
    sources = {**SOURCES, "t2": SourceInfo("image", pixdim=(1, 1, 1))}
    problems = check(cohort, sources)
    assert len(problems) == 6
    assert "give [ct] and [t2] the same pixdim" in problems[0].message


# ---------------------------------------------------------------- windows


@pytest.mark.parametrize(
    ("window", "padding", "info", "fits"),
    [
        ((12, 11, 10), (0, 0, 0), SourceInfo("image"), True),
        ((13, 11, 10), (0, 0, 0), SourceInfo("image"), False),
        ((14, 11, 1), (1, 0, 0), SourceInfo("image"), True),
        ((0, 0, 1), (0, 0, 0), SourceInfo("image"), True),
        ((6, 5, 30), (0, 0, 0), SourceInfo("image", pixdim=(1, 1, 1)), True),
        ((7, 5, 30), (0, 0, 0), SourceInfo("image", pixdim=(1, 1, 1)), False),
        ((10, 12, 11), (0, 0, 0), SourceInfo("image", axcodes=("S", "L", "P")), True),
        ((12, 11, 10), (0, 0, 0), SourceInfo("image", axcodes=("S", "L", "P")), False),
    ],
)
def test_windows_are_compared_with_the_prepared_volume(cohort, window, padding, info, fits):
    subject = of_files("s0", {"t2": cohort / "s0_t2.nii.gz"})
    problems = check_subjects([subject], {"t2": info}, window_size=window, volume_padding=padding)
    assert (problems == []) is fits


def test_the_padding_that_the_message_asks_for_is_enough_and_no_less_is(cohort):
    subject, info = of_files("s0", {"t2": cohort / "s0_t2.nii.gz"}), {"t2": SourceInfo("image")}
    (problem,) = check_subjects([subject], info, window_size=(15, 16, 1))
    assert "volume_padding_size = 2, 3, 0" in problem.message
    assert check_subjects([subject], info, window_size=(15, 16, 1), volume_padding=(2, 3, 0)) == []
    for too_little in [(1, 3, 0), (2, 2, 0)]:
        assert check_subjects([subject], info, window_size=(15, 16, 1), volume_padding=too_little)


# ---------------------------------------------------------------- progress, threads


@pytest.mark.parametrize("num_threads", [1, 4])
def test_progress_counts_every_file_in_both_passes(cohort, num_threads):
    _with_voxel(np.nan)(cohort / "s0_t2.nii.gz")
    (cohort / "s1_t2.nii.gz").write_text("hello")
    seen = []
    problems = check(cohort, num_threads=num_threads, progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == list(range(1, 18)), "9 headers, and the voxels of 8 sound ones"
    assert seen[-1] == (17, 17)
    assert [problem.path.name for problem in problems] == ["s0_t2.nii.gz", "s1_t2.nii.gz"]


def test_an_error_in_the_progress_callback_ends_the_check(cohort):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check(cohort, progress=stop)


def test_a_file_that_is_not_there_is_reported_with_what_may_name_it():
    (missing,) = check_subjects([of_files("s0", {"t2": Path("nowhere.nii")})], SOURCES)
    assert "nowhere.nii: does not exist; check path_to_search or the csv_file" in missing.message


# ---------------------------------------------------------------- real images


@pytest.mark.real_data
def test_the_known_faults_of_real_images_are_found_and_no_others(real_data):
    pelvis, cord = real_data / "mr_pelvis", real_data / "mr_cord"
    cases = {
        "good": of_files("good", {"t2": cord / "t1w.nii.gz", "organs": cord / "t1w_seg-manual.nii.gz"}),
        "bad geometry": of_files("bad geometry", {
            "t2": pelvis / "nnunet_ProstateX-0000_0000.nii.gz",
            "organs": pelvis / "nnunet_ProstateX-0000_label_BADGEOM.nii.gz",
        }),
        "flipped": of_files("flipped", {
            "t2": pelvis / "ProstateX-0000_t2tra.nii.gz",
            "organs": pelvis / "ProstateX-0000_lesion_src.nii.gz",
        }),
        "infinite": of_files("infinite", {"t2": cord / "mt0.nii.gz", "ct": cord / "mtr.nii.gz"}),
        "nan": of_files("nan", {"t2": cord / "fmri_tsnr.nii.gz"}),
        "4-D": of_files("4-D", {"t2": cord / "dmri.nii.gz"}),
        "many labels": of_files("many labels", {
            "t2": real_data / "ct_pelvis" / "ts_example_ct.nii.gz",
            "organs": real_data / "ct_pelvis" / "ts_example_seg_v1_104.nii.gz",
        }),
    }  # fmt: skip
    expected = {
        "bad geometry": "0.5 x 0.5 x 3.6 mm",
        "flipped": "is stored as LAS but its image",
        "infinite": "0 of its 8000 voxels are NaN and 633 are infinite",
        "nan": "408 of its 27744 voxels are NaN",
        "4-D": "write one of its 7 volumes",
        "many labels": "outside 0 to 2; set num_classes = 105",
    }
    found = check_subjects(list(cases.values()), SOURCES)
    assert len(found) == len(expected)
    for problem, message in zip(found, expected.values(), strict=True):
        assert message in problem.message


@pytest.mark.real_data
def test_a_real_cohort_and_a_folder_of_photos_are_sound(real_data):
    folder = real_data / "mr_brain_multi"
    searches = {"t2": ["ilist", "_T1"], "organs": ["slist", "_tissue"]}
    tables = {name: references(find_files([folder], words)) for name, words in searches.items()}
    sources = {"t2": SourceInfo("image"), "organs": SourceInfo("labels", num_classes=5)}
    problems = check_subjects(match_subjects(tables), sources, tables=tables, window_size=(128, 1, 128))
    pets = real_data / "pets"
    photos = {path.stem: path for path in sorted((pets / "images").glob("*.jpg"))[:10]}
    pairs = [
        of_files(name, {"photo": path, "pet": pets / "annotations" / "trimaps" / f"{name}.png"})
        for name, path in photos.items()
    ]
    sources = {"photo": SourceInfo("image"), "pet": SourceInfo("labels", num_classes=4)}
    problems += check_subjects(pairs, sources, window_size=(100, 100, 1))
    assert problems == []


def test_checking_needs_neither_tensorflow_nor_keras():
    code = (
        "import sys\n"
        "sys.modules['pydicom'] = None\n"  # nibabel loads it where it is installed, and it loads PIL
        "import sfgkeras.data.checks, sfgkeras.data.volumes, sfgkeras.data.image_folder\n"
        "sys.exit(bool({'tensorflow', 'keras', 'pandas', 'SimpleITK', 'PIL'} & set(sys.modules)))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
