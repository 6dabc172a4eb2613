"""Names of files are divided into subjects and kinds as a reader would."""

from pathlib import PurePath

import pytest

from sfgkeras.applications.planning.names import divide

FOLDERS = {
    "suffixes": (
        ["p1_mr", "p1_ct", "p2_mr", "p2_ct", "p3_mr", "p3_ct"],
        {"p1": {"_mr", "_ct"}, "p2": {"_mr", "_ct"}, "p3": {"_mr", "_ct"}},
    ),
    "prefixes": (["ct_001", "ct_002", "seg_001", "seg_002"], {"001": {"ct_", "seg_"}, "002": {"ct_", "seg_"}}),
    "numbers within words": (
        ["ilist1_T1", "ilist2_T1", "ilist7_T1", "slist1_tissue", "slist2_tissue", "slist7_tissue"],
        {n: {"ilist|_T1", "slist|_tissue"} for n in "127"},
    ),
    "a missing pair": (
        ["a1_t2", "a1_lesion", "a2_t2", "a2_lesion", "a3_t2"],
        {"a1": {"_t2", "_lesion"}, "a2": {"_t2", "_lesion"}, "a3": {"_t2"}},
    ),
    "photos of one kind": (["tom_cat_1", "tom_cat_2", "rex_3", "rex_4", "rex_5"], None),
    "one subject": (["t2", "adc", "lesion"], {"": {"t2", "adc", "lesion"}}),
    "channels of nnU-Net": (
        ["la_003_0000", "la_003_0001", "la_007_0000", "la_007_0001"],
        {"003": {"_0000", "_0001"}, "007": {"_0000", "_0001"}},
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_subjects_and_kinds_of_names(name):
    from sfgkeras.applications.planning.names import runs

    paths, expected = FOLDERS[name]
    division = divide([PurePath(path) for path in paths])
    found = {}
    for subject, words, kind in zip(division.subjects, division.names, division.kinds, strict=True):
        found.setdefault(subject, set()).add("|".join(runs(words, kind)))
    assert found == expected if expected else (len(found) == len(paths) and set(map(tuple, found.values())) == {("",)})


@pytest.mark.parametrize(
    "paths",
    [
        [f"{subject}/{kind}" for subject in ("1PA001", "1PA004", "1PB007") for kind in ("mr", "ct", "mask")],
        [f"{kind}/{subject}" for subject in ("1PA001", "1PA004", "1PB007") for kind in ("images", "organs", "depths")],
        [f"{s}/anat/{s}_{kind}" for s in ("sub-01", "sub-02", "sub-09") for kind in ("T1w", "FLAIR", "dseg")],
    ],
)
def test_folders_are_subjects_or_kinds_as_their_files_say(paths):
    division = divide([PurePath(path) for path in paths])
    assert len(set(division.subjects)) == 3
    assert len({tuple(word.text for word in kind) for kind in division.kinds}) == 3


def test_a_word_in_all_names_is_part_of_ids_where_a_table_says_so():
    paths = [PurePath(f"lesion_{number}") for number in range(4)]
    assert not any(divide(paths, [path.name for path in paths]).kinds)
    assert {tuple(word.text for word in kind) for kind in divide(paths).kinds} == {("lesion",)}


def test_few_masks_beside_many_images_are_theirs():
    paths = [PurePath(f"images/p{n}") for n in range(40)] + [PurePath(f"masks/p{n}") for n in range(5)]
    assert len(set(divide(paths).subjects)) == 40


def test_the_order_of_names_does_not_matter():
    paths = [PurePath(f"s{n}_{kind}") for n in range(5) for kind in ("t1", "flair", "seg")]
    one, other = divide(paths), divide(paths[::-1])
    assert one.subjects == other.subjects[::-1]
    assert one.cost == other.cost
