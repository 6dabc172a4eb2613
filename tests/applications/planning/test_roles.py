"""Who is seen and who is learned, of sources whose content is given: each rule by itself, and what is said of it."""

import numpy as np
import pytest

from sfgkeras.applications.planning.contents import Content
from sfgkeras.applications.planning.roles import add_values, assign, refuse_unknown
from sfgkeras.applications.planning.rows import ValueTask
from sfgkeras.errors import DataError

from .conftest import drawn

BOX = np.zeros((6, 5, 4))
IMAGE, CT, QUANTITY = (Content(kind, f"a {kind}") for kind in ("image", "ct", "quantity"))
LABELS = Content("labels", "whole numbers", labels=(0, 1), shares={0: 0.5, 1: 0.5})


def source(name, number=10, **more):
    return drawn(name, [BOX] * number, tuple(name.lower().split("_")), **more)


def names(sources):
    return [each.name for each in sources]


@pytest.mark.parametrize(
    ("contents", "seen"),
    [
        ([("CT", CT), ("MR", IMAGE)], "MR"),
        ([("ADC", QUANTITY), ("SCAN", CT)], "SCAN"),
        ([("ADC", QUANTITY), ("MR", IMAGE)], "MR"),
        ([("CT", IMAGE), ("X", QUANTITY)], "CT"),  # called a CT, in other units: one none the less
        ([("CT", IMAGE), ("Z", IMAGE)], "Z"),
    ],
)
def test_intensities_are_seen_before_a_ct_and_a_ct_before_a_quantity(contents, seen):
    roles = assign({source(name): content for name, content in contents} | {source("SEG"): LABELS})
    assert names(roles.images) == [seen]


def test_what_labels_lie_on_is_seen_before_others_of_its_kind():
    roles = assign({source("A", origin=(1, 0, 0)): IMAGE, source("B"): IMAGE, source("SEG"): LABELS})
    assert names(roles.images) == ["B"]
    assert roles.why_images == "intensities without a unit, 10 subjects; 1 label map lies on its grid"
    assert not any("could as well" in doubt for doubt in roles.doubts)


def test_the_image_of_most_subjects_is_seen_but_for_one_with_its_labels():
    assert names(assign({source("A", 8): IMAGE, source("B", 10): IMAGE, source("SEG", 10): LABELS}).images)[0] == "B"
    # Few labels, and these on an image of few subjects: of the others nothing could be learned.
    few = assign({source("A", 3): IMAGE, source("B", 10, origin=(1, 0, 0)): IMAGE, source("SEG", 3): LABELS})
    assert names(few.images) == ["A"]


@pytest.mark.parametrize(("number", "channels"), [(10, ["A", "B"]), (9, ["A", "B"]), (8, ["A"])])
def test_a_further_contrast_is_seen_too_where_nine_subjects_of_ten_have_it(number, channels):
    roles = assign({source("A"): IMAGE, source("B", number): IMAGE, source("SEG"): LABELS})
    assert names(roles.images) == channels
    if len(channels) == 2:
        assert "A, B lie on one grid" in roles.why_images
    else:
        assert roles.left_out["B"].startswith("only 80% of the subjects of A have it")


def test_why_a_contrast_is_not_seen():
    elsewhere = drawn("C", {"another": BOX})
    roles = assign(
        {source("A"): IMAGE, source("B", 9, origin=(1, 0, 0)): IMAGE, elsewhere: IMAGE, source("SEG"): LABELS}
    )
    assert roles.left_out["B"].startswith("lies on another grid than A; register it first")
    assert roles.left_out["C"] == "none of its subjects has A"


def test_two_that_could_be_seen_are_a_doubt():
    roles = assign({source("A"): IMAGE, source("B", origin=(1, 0, 0)): IMAGE})
    assert "the network could as well see B as A; --image chooses" in roles.doubts


def test_a_label_map_is_the_targets_of_the_image_it_is_called_after():
    contents = {source(name): IMAGE for name in ("A", "B")} | {source(name): LABELS for name in ("B_SEG", "B_X", "SEG")}
    roles = assign(contents, images=["A"])
    assert roles.left_out["B_SEG"] == "belongs to B, which is not what the network sees"
    # X is no word of labels, so that the name of B_X says nothing.
    assert [task.name for task in roles.tasks if task.type == "segmentation"] == ["b_x", "seg"]


def test_tasks_stand_in_the_order_of_maps_then_labels_by_name():
    roles = assign({source("MR"): IMAGE, source("SEG"): LABELS, source("CT"): CT, source("ADC"): QUANTITY})
    assert [(task.name, task.type) for task in roles.tasks] == [
        ("adc", "regression"),
        ("ct", "regression"),
        ("seg", "segmentation"),
    ]


@pytest.mark.parametrize(("name", "kind"), [("DEPTH", "depth"), ("SURFACE_NORMALS", "normals"), ("DEEP", "regression")])
def test_surfaces_have_types_of_their_own_by_name(name, kind):
    (task,) = assign({source("PHOTO"): IMAGE, source(name): QUANTITY}).tasks
    assert task.type == kind


def test_left_out_is_what_is_broken_constant_apart_or_on_a_worse_grid():
    far, other = source("FAR", origin=(999, 0, 0)), source("OTHER_SEG", origin=(1, 0, 0))
    contents = {
        source("MR"): IMAGE,
        source("SEG"): LABELS,
        source("BROKEN"): Content("broken", "no image"),
        source("SAME"): Content("constant", "every voxel is 3"),
        far: LABELS,
        other: LABELS,
    }
    roles = assign(contents)
    assert roles.left_out == {
        "BROKEN": "no image",
        "SAME": "every voxel is 3",
        "FAR": "lies outside MR in space; correct the origin in its headers",
        "OTHER_SEG": "lies on another grid than MR, on which there is another labels",
    }
    # On another grid is better than nothing, and what --target names is learned wherever it lies.
    assert names(task.source for task in assign({source("MR"): IMAGE, other: LABELS}).tasks) == ["OTHER_SEG"]
    assert names(task.source for task in assign(contents, targets=["other_seg"]).tasks) == ["OTHER_SEG"]


def test_from_one_ct_no_other_is_told_unless_it_is_asked_for():
    contents = {source("CT"): CT, source("CBCT", 9): CT, source("SEG"): LABELS}
    assert assign(contents).left_out["CBCT"] == "is a CT, as CT is, and nothing is told from one CT to another"
    asked = assign(contents, images=["CBCT"], targets=["CT"])
    assert [task.name for task in asked.tasks] == ["ct"]
    assert asked.left_out["SEG"] == "not among --target"


@pytest.mark.parametrize(
    ("foreground", "labels", "beside", "is_mask"),
    [
        (0.5, (0, 1), CT, True),
        (0.15, (0, 1), CT, True),
        (0.1, (0, 1), CT, False),  # too small for a body
        (0.5, (0, 1, 2), CT, False),
        (0.5, (0, 1), QUANTITY, False),  # no CT to be measured in it
    ],
)
def test_the_outline_of_a_body_is_a_region_beside_a_ct(foreground, labels, beside, is_mask):
    mask = Content("labels", "x", labels=labels, shares={0: 1 - foreground, 1: foreground})
    contents = {source("MR"): IMAGE, source("TARGET"): beside, source("BODY"): mask}
    roles = assign(contents)
    assert (roles.mask is not None) == is_mask
    assert ("body" in [task.name for task in roles.tasks]) != is_mask
    assert [each.name for each in roles.used].count("BODY") == 1
    assert assign(contents, targets=["BODY"]).mask is None


def test_a_description_of_a_data_set_is_believed():
    contents = {source("ADC", role="image"): QUANTITY, source("T2"): IMAGE, source("LABELS", role="labels"): LABELS}
    roles = assign(contents)
    assert names(roles.images) == ["ADC"]
    assert roles.why_images == "the description of the data set says so"


def test_what_cannot_be_seen_is_refused_with_the_reason():
    broken = {source("BAD"): Content("broken", "no image"), source("MR"): IMAGE}
    with pytest.raises(DataError, match=r"--image BAD cannot be used: \{'BAD': 'no image'\}"):
        assign(broken, images=["bad"])
    with pytest.raises(DataError, match=r"SEG: 10 files, labels; add label maps"):
        assign({source("SEG"): LABELS})


def test_what_is_wanted_and_not_there_is_refused_with_what_is():
    known = {source("MR"): IMAGE}
    values = [(source("TABLE_X"), ValueTask("age", "regression", ("age",)))]
    refuse_unknown(["mr", "Age"], known, values)
    with pytest.raises(DataError, match=r"'agee' is no source that was found; did you mean 'AGE'"):
        refuse_unknown(["agee"], known, values)
    with pytest.raises(DataError, match=r"'zzz' .*; there are MR, AGE"):
        refuse_unknown(["zzz"], known, values)


def rows(name, type_, subjects=("s0",), task=None):
    return drawn(name, dict.fromkeys(subjects, BOX)), ValueTask(task or name.lower(), type_, (name.lower(),))


def test_values_become_tasks_with_names_that_no_other_has():
    contents = {source("MR"): IMAGE, source("LESION"): LABELS}
    roles = assign(contents)
    told = [
        rows("A", "classification", task="lesion"),
        rows("B", "regression", task="lesion"),
        rows("C", "classification", task="lesion"),
        rows("D", "regression", task="Größe (cm)"),
    ]
    add_values(roles, contents, told)
    assert [task.name for task in roles.tasks] == ["lesion", "has_lesion", "lesion_value", "has_lesion_2", "größe__cm_"]


def test_values_of_other_ids_are_left_out_with_an_example():
    contents = {source("MR"): IMAGE, source("SEG"): LABELS}
    roles = assign(contents)
    add_values(roles, contents, [rows("TABLE", "regression", ("P-1",), "age")])
    assert roles.left_out["TABLE age"] == "its ids are none of the images', e.g. 'P-1' against 's0'"
    assert [task.name for task in roles.tasks] == ["seg"]


def test_values_are_chosen_by_column_or_by_table_and_nothing_to_learn_is_refused():
    contents = {source("MR"): IMAGE}
    told = [rows("TABLE", "regression", task="age"), rows("TABLE", "regression", task="dose")]
    for targets, expected in ((["Age"], ["age"]), (["table"], ["age", "dose"]), ([], ["age", "dose"])):
        roles = assign(contents)
        add_values(roles, contents, told, targets)
        assert [task.name for task in roles.tasks] == expected
    with pytest.raises(DataError, match="nothing was found that could be learned"):
        add_values(assign(contents), contents, told, ["other"])
