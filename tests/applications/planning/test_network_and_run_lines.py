"""Lines of network, training and tasks by the numbers they rest on, worked out by hand for each rule."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfgkeras.applications.planning.contents import Content
from sfgkeras.applications.planning.data_sections import add_preprocessing, add_sources, choose_spacing, describe
from sfgkeras.applications.planning.lines import Lines
from sfgkeras.applications.planning.network_section import (
    Window,
    add_network,
    choose_network,
    choose_window,
    rarest_labels,
)
from sfgkeras.applications.planning.rows import ValueTask
from sfgkeras.applications.planning.run_sections import add_inference, add_system, add_training, held_out
from sfgkeras.applications.planning.task_lines import add_tasks

from .conftest import drawn, facts_of

BOX = np.zeros((6, 5, 4))
GRADE = ValueTask("grade", "classification", ("grade",), 2, "two of them")
AGE = ValueTask("age", "regression", ("age",), span=(20.0, 80.0))


def volumes(number=6, name="MR", **more):
    return drawn(name, [BOX] * number, **more)


def photos(number=6, shape=(100, 80, 1, 3)):
    return drawn("PHOTO", [np.zeros(shape, np.uint8)] * number, photo=True)


def organs(image, name="organs"):
    return name, "segmentation", drawn(name.upper(), dict.fromkeys(image.images, BOX))


def value(image, told=GRADE, subjects=None):
    source = drawn("TABLE", dict.fromkeys(subjects or image.images, BOX), keys={"loader": "table"})
    return told.name, told.type, source, told


def shares(foreground, labels=(0, 1)):
    return Content("labels", labels=labels, shares={0: 1 - foreground, labels[-1]: foreground})


@given(st.integers(1, 400))
def test_every_phase_gets_a_subject_and_training_the_most(number):
    validation, inference, why = held_out(number)
    # As `exclude_fraction_for_...` counts: a part is rounded up.
    parts = [math.ceil(round(part * number, 9)) for part in (validation, inference)]
    training = number - sum(parts)
    assert training >= max(1, *parts) if number != 3 else training == 1
    assert parts == [0, 0] if number == 1 else parts == [0, 1] if number == 2 else min(parts) >= 1
    assert why.startswith(("one subject", "two subjects") if number < 3 else f"{number} subjects: ")
    if 5 <= number < 20:
        assert parts[0] == parts[1]
        assert f": {parts[0]} to validate on, as many to test on" in why
    if number >= 20:
        assert (validation, inference) == (0.1, 0.2)


@pytest.mark.parametrize(("number", "parts"), [(4, (1, 1)), (9, (1, 1)), (10, (2, 2)), (19, (3, 3)), (20, (2, 4))])
def test_more_are_held_out_of_more_subjects(number, parts):
    assert tuple(math.ceil(round(part * number, 9)) for part in held_out(number)[:2]) == parts


def training(facts, slices=1.0, batch=4):
    lines = Lines()
    add_training(lines, facts, Window((16, 16, 1), "", slices), batch)
    add_inference(lines, facts)
    return lines


@pytest.mark.parametrize(
    ("number", "slices", "batch", "on_gpu", "expected"),
    [
        (6, 100, 8, False, 5000),  # 4 train: 400 windows, 100 times, in batches of 8
        (6, 1, 8, False, 2000),  # no fewer
        (6, 2000, 8, False, 20_000),  # no more
        (6, 2000, 8, True, 100_000),
        (6, 1, 8, True, 5000),
        (12, 100, 8, False, 12_500),  # folds: 10 of 12 train
        (6, 101, 8, False, 5000),  # 5050, to the hundred
        (101, 10, 8, False, 8600),  # 11 and 21 are held out: 690 windows, 8625 batches
    ],
)
def test_iterations_show_every_window_a_hundred_times_within_bounds(number, slices, batch, on_gpu, expected):
    image = volumes(number)
    lines = training(facts_of([image], [organs(image)], on_gpu=on_gpu), slices, batch)
    assert int(lines.value("TRAINING", "max_iter")) == expected
    assert int(lines.value("TRAINING", "save_every_n")) == expected // 20
    assert lines.value("TRAINING", "validation_every_n") == lines.value("TRAINING", "save_every_n")


@pytest.mark.parametrize(("number", "folds"), [(9, ""), (10, "5"), (100, "5"), (101, "")])
def test_folds_are_for_ten_to_a_hundred_subjects(number, folds):
    image = volumes(number)
    lines = training(facts_of([image], [organs(image)]))
    assert lines.value("TRAINING", "folds") == folds
    assert bool(lines.value("TRAINING", "exclude_fraction_for_inference")) != bool(folds)
    assert lines.value("INFERENCE", "dataset_to_infer") == ("validation" if folds else "inference")


def phased(number, *phases, **more):
    """Returns what is known of subjects that folders, or a file of the split, give these phases in turn."""
    image = volumes(number)
    phase_of = {subject: phases[index % len(phases)] for index, subject in enumerate(image.images)}
    return facts_of([image], [organs(image)], phase_of=phase_of, **more)


def test_given_phases_leave_nobody_to_be_held_out_and_count_who_trains():
    lines = training(phased(20, "training", "validation", "training", "inference"))
    assert not lines.value("TRAINING", "folds")
    assert not lines.value("TRAINING", "exclude_fraction_for_validation")
    assert lines.sections["TRAINING"][0].why.startswith("10 training subjects with 1 windows each")


@pytest.mark.parametrize(
    ("phases", "expected"),
    [(("training", "inference"), "inference"), (("training", "validation"), "validation"), (("training",), "training")],
)
def test_results_are_of_the_phase_that_there_is_and_only_who_is_there_is_validated_on(phases, expected):
    lines = training(phased(6, *phases))
    assert lines.value("INFERENCE", "dataset_to_infer") == expected
    assert bool(lines.value("TRAINING", "validation_every_n")) == ("validation" in phases)


def test_one_subject_is_trained_on_and_told():
    image = volumes(1)
    lines = training(facts_of([image], [organs(image)]))
    assert lines.value("INFERENCE", "dataset_to_infer") == "training"
    assert not lines.value("TRAINING", "validation_every_n")


def test_a_schedule_is_searched_for_several_tasks_only():
    image = volumes()
    assert not training(facts_of([image], [organs(image)])).value("TRAINING", "schedule")
    assert training(facts_of([image], [organs(image), organs(image, "more")])).value("TRAINING", "schedule") == "auto"


def test_errors_in_bone_are_told_of_a_ct_that_has_any():
    image, target = volumes(), volumes(name="CT")
    for high, expected in ((1500, "bone: 200, 3000"), (3071, "bone: 200, 3071"), (200, "")):
        ct = Content("ct", low=-1000, high=high)
        lines = training(facts_of([image], [("ct", "regression", target)], {target: ct}))
        assert lines.value("EVALUATION", "intensity_bounds") == expected


def test_the_split_is_named_by_a_path_from_the_root():
    lines, image = Lines(), volumes()
    add_system(lines, facts_of([image], [organs(image)], split=Path("a/../split.csv")))
    assert lines.value("SYSTEM", "dataset_split_file") == str(Path("split.csv").absolute())


@pytest.mark.parametrize(
    ("image", "with_map", "with_row", "expected"),
    [
        (volumes(), True, False, "highresnet"),
        (volumes(), True, True, "highresnet"),
        (volumes(), False, True, "vgg11"),
        (photos(), True, False, "unet"),
        (photos(), True, True, "unet"),
        (photos(), False, True, "vgg11"),
    ],
)
def test_networks_by_what_is_told(image, with_map, with_row, expected):
    tasks = [organs(image)] * with_map + [value(image)] * with_row
    assert choose_network(facts_of([image], tasks))[0] == expected


@pytest.mark.parametrize(
    ("shape", "sides", "on_gpu", "network", "expected"),
    [
        ((200, 200, 100), (1, 1, 1), False, "highresnet", (96, 96, 1)),
        ((200, 200, 100), (1, 1, 1), True, "highresnet", (96, 96, 96)),
        ((200, 200, 100), (1, 1, 2), True, "highresnet", (192, 192, 1)),  # thick slices
        ((200, 200, 100), (1, 1, 1.9), True, "highresnet", (96, 96, 96)),
        ((200, 200, 31), (1, 1, 1), True, "highresnet", (192, 192, 1)),  # too few for 3-D
        ((200, 200, 32), (1, 1, 1), True, "highresnet", (96, 96, 32)),
        ((60, 100, 100), (2, 1, 1), False, "highresnet", (1, 96, 96)),
        ((61, 50, 40), (1, 1, 1), False, "highresnet", (56, 48, 1)),  # multiples of 8
        ((61, 15, 40), (1, 1, 1), False, "highresnet", (56, 1, 40)),
        ((61, 61, 40), (1, 1, 1), False, "unet", (48, 48, 1)),
        ((63, 61, 40), (1, 1, 1), False, "vgg11", (63, 61, 1)),  # less than two of 32: as they are
    ],
)
def test_windows_of_volumes(shape, sides, on_gpu, network, expected):
    image = volumes(3)
    facts = facts_of([image], [organs(image)], on_gpu=on_gpu, shapes=[shape] * 3, spacings=[sides] * 3)
    window = choose_window(facts, network, None)
    assert window.size == expected
    assert window.rank == (2 if 1 in expected else 3)
    whole = shape[expected.index(1)] if 1 in expected else math.prod(shape) / math.prod(expected)
    assert window.slices == pytest.approx(whole)
    assert ("on a GPU" in window.why) == on_gpu


def test_the_smallest_volume_limits_the_window_at_the_voxels_that_it_is_brought_to():
    image = volumes(3)
    facts = facts_of(
        [image], [organs(image)], shapes=[(100, 100, 60), (40, 90, 60), (90, 50, 60)], spacings=[(1, 1, 1)] * 3
    )
    assert choose_window(facts, "highresnet", None).size == (40, 48, 1)
    assert choose_window(facts, "highresnet", (0.5, 0.5, 1)).size == (80, 96, 1)


def test_places_are_told_from_volumes_not_from_slices():
    image = volumes(3)
    tasks = [value(image, ValueTask("box", "bounding_box", ("x_min",)))]
    facts = facts_of([image], tasks, shapes=[(100, 100, 20)] * 3, spacings=[(1, 1, 5)] * 3)
    assert choose_window(facts, "vgg11", None).rank == 3
    lines = Lines()
    add_network(lines, facts, ("vgg11", "x"), Window((32, 32, 16), ""))
    assert lines.value("NETWORK", "window_sampling") == "resize"


@pytest.mark.parametrize(
    ("shape", "on_gpu", "network", "expected"),
    [
        ((500, 400), False, "unet", (128, 96, 1)),  # 128 by 102.4
        ((500, 400), True, "unet", (256, 208, 1)),  # 256 by 204.8
        ((64, 48), False, "unet", (64, 48, 1)),
        ((30, 22), False, "unet", (32, 24, 1)),  # too small for multiples of 16: of 4
        ((20, 10), False, "vgg11", (32, 32, 1)),  # never less than it halves
        ((200, 400), False, "vgg11", (64, 128, 1)),
    ],
)
def test_windows_of_photos_keep_their_proportions(shape, on_gpu, network, expected):
    image = photos(4, (*shape, 1, 3))
    assert choose_window(facts_of([image], [organs(image)], on_gpu=on_gpu), network, None).size == expected


def network_lines(facts, network="highresnet", size=(48, 48, 1)):
    lines = Lines()
    add_network(lines, facts, (network, "because"), Window(size, ""))
    return lines


@pytest.mark.parametrize(
    ("network", "size", "on_gpu", "batch", "width"),
    [
        ("highresnet", (48, 48, 1), False, "8", "0.5"),
        ("highresnet", (48, 48, 48), False, "2", "0.5"),
        ("highresnet", (48, 48, 48), True, "4", "1"),
        ("unet", (48, 48, 1), True, "16", "1"),
        ("unet", (48, 48, 1), False, "8", "0.25"),
        ("vgg11", (48, 48, 1), False, "8", "0.25"),
    ],
)
def test_batches_and_widths(network, size, on_gpu, batch, width):
    image = volumes()
    lines = network_lines(facts_of([image], [organs(image)], on_gpu=on_gpu), network, size)
    assert (lines.value("NETWORK", "batch_size"), lines.value("NETWORK", "width")) == (batch, width)
    assert lines.value("NETWORK", "sharing") == "hard_sharing"  # of one task


@pytest.mark.parametrize(
    ("side", "levels"), [(128, "4"), (64, "4"), (63, "3"), (32, "3"), (16, "2"), (8, "1"), (4, "1")]
)
def test_a_u_net_is_halved_down_to_four_pixels_and_four_times_at_most(side, levels):
    image = photos()
    tasks = [organs(image), organs(image, "more")]
    lines = network_lines(facts_of([image], tasks), "unet", (128, side, 1))
    assert lines.value("NETWORK", "unet_levels") == levels
    assert lines.value("NETWORK", "unet_decoder_start") == "decoder"
    assert not network_lines(facts_of([image], tasks[:1]), "unet", (128, side, 1)).value(
        "NETWORK", "unet_decoder_start"
    )
    assert lines.value("NETWORK", "sharing") == "sfg"


@pytest.mark.parametrize(
    ("foreground", "sampling"), [((0.019, 0.5), "balanced"), ((0.02, 0.5), "uniform"), ((0.0, 0.5), "uniform")]
)
def test_windows_are_drawn_by_the_rarest_labels_that_there_are(foreground, sampling):
    image = volumes()
    tasks = [organs(image, "few"), organs(image, "many")]
    contents = {task[2]: shares(part) for task, part in zip(tasks, foreground, strict=True)}
    facts = facts_of([image], tasks, contents)
    lines = network_lines(facts)
    assert lines.value("NETWORK", "window_sampling") == sampling
    task, share = rarest_labels(facts)
    assert (task.name, share) == (("few", pytest.approx(0.019)) if foreground[0] == 0.019 else (task.name, share))
    add_tasks(lines, facts)
    assert lines.value("MULTITASK", "sampler") == ("FEW" if sampling == "balanced" else "")


@pytest.mark.parametrize(
    ("tops", "number", "kind", "expected"),
    [
        ({"a": 150.0, "b": 100.0}, 5, "image", True),
        ({"a": 149.0, "b": 100.0}, 5, "image", False),
        ({"a": 150.0, "b": 100.0}, 4, "image", False),  # too few for one scale
        ({"a": 150.0, "b": 100.0}, 5, "ct", False),  # Hounsfield units are one scale
        ({"a": 150.0, "b": 100.0, "c": 0.0, "d": -1.0}, 5, "image", True),  # no factor lies between 0 and others
        ({"a": 150.0, "c": 0.0}, 5, "image", False),
        ({}, 5, "image", False),
    ],
)
def test_one_scale_is_learned_where_bright_ends_differ(tops, number, kind, expected):
    image = volumes(number)
    lines = network_lines(facts_of([image], [organs(image)], {image: Content(kind, tops=tops)}))
    assert lines.value("NETWORK", "normalisation") == ("yes" if expected else "")
    assert lines.value("NETWORK", "cutoff") == ("0.01, 0.99" if expected else "")
    assert ("differ by a factor of 1.5" in "".join(line.why for line in lines.sections["NETWORK"])) == expected


def test_voxels_stay_as_they_are_where_all_are_alike_and_on_one_grid():
    image = volumes(3)
    same, shifted = organs(image), ("far", "segmentation", volumes(3, name="FAR", origin=(1, 0, 0)))
    assert choose_spacing(facts_of([image], [same]))[0] is None
    spacing, why = choose_spacing(facts_of([image], [same, shifted]))
    assert spacing == (2, 2, 2)
    assert why.endswith("are brought onto that of MR")
    mixed = facts_of([image], [same], spacings=[(1, 1, 1), (2, 2, 2), (2, 2, 2)])
    assert choose_spacing(mixed)[0] == (2, 2, 2)
    assert choose_spacing(facts_of([photos()], [organs(photos())])) == (None, "")


def test_sections_of_sources_say_units_orders_and_who_is_missing():
    image = volumes(8)
    few = dict.fromkeys(list(image.images)[:2], BOX)
    seg, ct = drawn("SEG", few), drawn("CT", dict.fromkeys(image.images, BOX))
    contents = {ct: Content("ct", "air", low=-1000, high=900, num_read=8), seg: shares(0.25, (0, 1, 2))}
    facts = facts_of([image], [("seg", "segmentation", seg), ("ct", "regression", ct)], contents)
    lines = Lines()
    add_sources(lines, facts, (1.0, 1.0, 3.5), "why")
    assert [lines.value(name, "pixdim") for name in ("MR", "SEG", "CT")] == ["1, 1, 3.5"] * 3
    assert [lines.value(name, "interp_order") for name in ("MR", "SEG", "CT")] == ["1", "0", ""]
    assert [lines.value(name, "scaling") for name in ("MR", "SEG", "CT")] == ["", "", "ct"]
    assert lines.heads["SEG"].endswith("6 subjects of 8 lack it: s2, s3, s4, s5, s6, ....")
    assert lines.heads["SEG"].startswith(
        "the target of seg: 2 files; labels 0, 1, 2; 25.00% of the voxels are not 0 (0 of 2"
    )
    assert lines.heads["CT"] == "the target of ct: 8 files; CT in Hounsfield units from -1000 to 900 (all read)."


def test_many_labels_are_not_all_shown():
    text = describe(Content("labels", labels=tuple(range(13)), shares={0: 1.0}, num_read=1), 1)
    assert text.startswith("labels 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ...;")


def preprocessing(*images):
    found = facts_of([source for source, _ in images], [organs(images[0][0])], dict(images))
    lines = Lines()
    add_preprocessing(lines, found)
    return lines


def test_n4_is_for_images_with_a_strong_field_and_a_ct_is_clipped():
    a, b = volumes(name="A"), volumes(name="B")
    lines = preprocessing((a, Content("image", bias=2.0)), (b, Content("image", bias=1.9)))
    assert (lines.value("PREPROCESSING", "steps"), lines.value("PREPROCESSING", "sources")) == ("n4", "A")
    lines = preprocessing((a, Content("ct", clip=(-120.0, 1340.0), bias=9.0)))
    assert (lines.value("PREPROCESSING", "steps"), lines.value("PREPROCESSING", "clip_limits")) == (
        "clip",
        "-120, 1340",
    )
    assert not preprocessing((a, Content("image", bias=1.9))).sections


def tasks(facts, sampling="uniform"):
    lines = Lines()
    lines.add("NETWORK", "name", "highresnet")
    lines.add("NETWORK", "window_sampling", sampling)
    add_tasks(lines, facts)
    return lines


@pytest.mark.parametrize(
    ("labels", "names", "classes", "normalised", "written"),
    [
        ((0, 1, 2), (), "3", "", ""),
        ((0, 1, 2), ("a", "b", "c"), "3", "", "a, b, c"),
        ((0, 1, 2), ("a", "b", "c", "d"), "4", "", "a, b, c, d"),  # a label that no file has
        ((0, 1, 3), (), "4", "", ""),
        ((0, 1, 2), ("a", "b"), "3", "", ""),  # names that do not fit
        ((0, 20, 41), ("a", "b", "c"), "3", "yes", ""),  # numbered anew: whose name is whose is not known
        ((1, 2), (), "2", "yes", ""),
    ],
)
def test_classes_of_label_maps(labels, names, classes, normalised, written):
    image = volumes()
    seg = drawn("SEG", dict.fromkeys(image.images, BOX), class_names=names)
    lines = tasks(facts_of([image], [("seg", "segmentation", seg)], {seg: Content("labels", labels=labels)}))
    found = [lines.value("TASK seg", key) for key in ("num_classes", "label_normalisation", "class_names")]
    assert found == [classes, normalised, written]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_quantities_are_learned_between_a_tenth_and_one(low, width):
    image, target = volumes(2), volumes(2, name="DOSE")
    content = Content("quantity", low=low, high=low + width)
    facts = facts_of([image], [("dose", "regression", target)], {target: content})
    scale = float(tasks(facts).value("TASK dose", "scale") or 1)
    largest = max(abs(content.low), abs(content.high))
    assert 0.0999999 < largest * scale < 1.0000001
    assert math.log10(scale) == pytest.approx(round(math.log10(scale)), abs=1e-9)


def test_a_map_that_is_mostly_its_lowest_value_is_a_doubt_and_a_ct_has_no_scale():
    image, target = volumes(), volumes(name="ADC")
    for filled, doubts in ((0.2, 1), (0.19, 0)):
        facts = facts_of(
            [image], [("adc", "regression", target)], {target: Content("quantity", low=0, high=3000, filled=filled)}
        )
        assert tasks(facts).value("TASK adc", "scale") == "0.0001"
        assert len(facts.roles.doubts) == doubts
        assert not doubts or "write outside = 0 in [ADC]" in facts.roles.doubts[0]
    facts = facts_of([image], [("ct", "regression", target)], {target: Content("ct", low=-1000, high=3000, filled=0.9)})
    assert not tasks(facts).value("TASK ct", "scale")
    assert not facts.roles.doubts


def test_rows_have_columns_classes_scale_and_windows_or_the_whole():
    image = volumes()
    facts = facts_of([image], [value(image), value(image, AGE)])
    for sampling, per in (("uniform", "window"), ("resize", "")):
        lines = tasks(facts, sampling)
        assert [lines.value("TASK grade", key) for key in ("attribute", "num_classes", "per")] == ["grade", "2", per]
        assert [lines.value("TASK age", key) for key in ("attribute", "scale", "per")] == ["age", "0.01", per]


def test_subjects_that_lack_targets_teach_other_tasks_where_there_are_any():
    image = volumes(4)
    seg = ("seg", "segmentation", drawn("SEG", {"s0": BOX, "s1": BOX}))
    alone = facts_of([image], [seg])
    assert (alone.may_lack, alone.teaching, alone.complete) == (False, ["s0", "s1"], ["s0", "s1"])
    two = facts_of([image], [seg, value(image, subjects=["s1", "s2"])])
    assert (two.may_lack, two.teaching, two.complete) == (True, ["s0", "s1", "s2"], ["s1"])
    assert tasks(two).value("MULTITASK", "missing_targets") == "allow"
    gap = ValueTask("age", "regression", ("age",), num_missing=1, span=(1, 2))
    assert facts_of([image], [organs(image), value(image, gap)]).may_lack
    assert not facts_of([image], [value(image, gap)]).may_lack  # the only task: who has no value teaches nothing
    assert not tasks(facts_of([image], [organs(image)])).value("MULTITASK", "missing_targets")


def test_several_images_are_needed_of_every_subject():
    a, b = volumes(4, "A"), drawn("B", {"s1": BOX, "s2": BOX, "x": BOX})
    facts = facts_of([a, b], [organs(a)])
    assert facts.subjects == ["s1", "s2"]
    assert facts.teaching == ["s1", "s2"]
