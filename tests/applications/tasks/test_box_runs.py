"""A mask, a class, a box and the image itself learned by one network on photographs, from files to the report."""

import csv

import numpy as np
import pytest
from PIL import Image

from sfgkeras.applications import run
from sfgkeras.applications.check import check_run
from sfgkeras.applications.inference.trained_run import read_trained_run
from sfgkeras.applications.predict import predict
from sfgkeras.applications.report.places import drawn_places
from sfgkeras.applications.report.slices import show_subjects
from sfgkeras.applications.report.volumes import RunData, inferred_subjects
from sfgkeras.applications.subjects.session import open_session
from sfgkeras.applications.tasks.bounding_box import box_mask
from sfgkeras.config import read_config
from sfgkeras.data.points import from_fractions
from sfgkeras.errors import DataError
from sfgkeras.reporter import SilentReporter

INI = """
[PHOTOS]
path_to_search = {data}/photos
loader = pillow
spatial_window_size = 16, 16, 1
[MASKS]
path_to_search = {data}/masks
loader = pillow
[TABLE]
csv_file = {data}/table.csv
loader = table
[SYSTEM]
model_dir = {model}
seed = 1
[NETWORK]
name = unet
unet_levels = 2
width = 0.125
sharing = hard_sharing
batch_size = 8
batch_norm = recalibrated
window_sampling = resize
whitening = yes
[TRAINING]
lr = 5e-3
max_iter = 150
save_every_n = 150
tensorboard_every_n = 20
validation_every_n = 150
random_flipping_axes = 0, 1
exclude_fraction_for_validation = 0.2
exclude_fraction_for_inference = 0.2
[EVALUATION]
evaluations = box_iou, centre_distance, dice, accuracy, rmse
[MULTITASK]
image = PHOTOS
tasks = mask, kind, box, rec
[TASK mask]
type = segmentation
target = MASKS
loss = binary_crossentropy
[TASK kind]
type = classification
target = TABLE
loss = binary_crossentropy
[TASK box]
type = bounding_box
target = TABLE
weight = 50
head_layers = 64
head_pooling = flatten
[TASK rec]
type = reconstruction
weight = 0.1
"""
COUNT = 60
ROWS, COLUMNS = 24, 32


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Photographs of a red or a green rectangle, wider than high, with masks, and a table of colours and boxes."""
    folder = tmp_path_factory.mktemp("boxes")
    for name in ("photos", "masks"):
        (folder / name).mkdir()
    rng = np.random.default_rng(0)
    lines = ["subject_id,kind,x_min,y_min,x_max,y_max"]
    for number in range(COUNT):
        height, width = rng.integers(6, 12), rng.integers(10, 18)
        top, left = rng.integers(0, ROWS - height + 1), rng.integers(0, COLUMNS - width + 1)
        mask = np.zeros((ROWS, COLUMNS), np.uint8)
        mask[top : top + height, left : left + width] = 1
        photo = rng.integers(20, 60, (ROWS, COLUMNS, 3))
        photo[..., number % 2] += 150 * mask
        Image.fromarray(photo.astype(np.uint8)).save(folder / "photos" / f"p{number:02d}.png")
        Image.fromarray(mask).save(folder / "masks" / f"p{number:02d}.png")
        lines.append(f"p{number:02d},{number % 2},{left},{top},{left + width},{top + height}")
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return folder


def configure(data, folder, overrides=()):
    path = folder / "boxes.ini"
    path.write_text(INI.format(data=data, model=folder / "model"))
    return read_config(path, [(name, str(value)) for name, value in dict(overrides).items()])


def scores(summary, task):
    return {row["measure"]: row["mean"] for row in summary[task]}


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """The configuration, and the summaries of its evaluation."""
    config = configure(data, tmp_path_factory.mktemp("run"))
    run.train(config)
    run.infer(config, dataset="all")
    return config, run.evaluate(config, dataset="all")


def rows_of(path):
    with path.open(newline="") as file:
        return {row["subject_id"]: row for row in csv.DictReader(file)}


def session_and_network(config):
    """Opens a trained run and loads its network."""
    from sfgkeras.applications.inference.restored_network import load_network
    from sfgkeras.applications.records.checkpoints import CheckpointFolder
    from sfgkeras.applications.records.files import RunFolder

    session = open_session(config, SilentReporter(), training=False)
    checkpoints = CheckpointFolder(RunFolder(config.system.model_dir).checkpoints)
    return session, load_network(session, checkpoints, checkpoints.read(-1), 3, SilentReporter())


def test_a_box_is_learned_beside_a_mask_a_class_and_the_image(trained):
    from sfgkeras.applications.training.batches import build_window_source
    from sfgkeras.applications.training.network import build_network
    from sfgkeras.metrics import BoxOverlap

    config, summary = trained
    session, network = session_and_network(config)
    subjects = [session.preparation.subject(subject) for subject in session.cohort.subjects.values()]
    source = build_window_source(config, session.tasks, subjects, augment=False)
    images, targets, weights = source.batch(range(COUNT))
    overlaps = []
    for each in (build_network(config, session.tasks, 3), network):
        metric = BoxOverlap()
        metric.update_state(targets["box"], each(images, training=False)["box"], weights["box"])
        overlaps.append(float(metric.result()))
    assert overlaps[1] > max(0.45, overlaps[0] + 0.25)
    assert scores(summary, "box")["box_iou"] == pytest.approx(overlaps[1], abs=0.02)
    assert scores(summary, "box")["centre_distance"] < 4
    assert scores(summary, "mask")["dice"] > 0.85
    assert scores(summary, "kind")["accuracy"] > 0.9
    # Of the whitened colours one is a rectangle, and two are noise, which nothing can reconstruct.
    assert scores(summary, "rec")["rmse"] < 0.95


def test_results_are_in_pixels_of_the_photo_and_measured_as_such(data, trained):
    config, summary = trained
    values = rows_of(config.inference.save_seg_dir / "values.csv")
    truth = rows_of(data / "table.csv")
    measured = rows_of(config.evaluation.save_csv_dir / "box_subjects.csv")
    assert set(measured) == set(truth)
    expected = []
    for subject_id, row in truth.items():
        boxes = [np.array([float(table[f"{start}{end}"]) for end in ("x_min", "y_min", "x_max", "y_max")])
                 for table, start in ((row, ""), (values[subject_id], "box_"))]  # fmt: skip
        # Drawn on a grid 20 times as fine, and counted.
        fine = [np.zeros((20 * (ROWS + 20), 20 * (COLUMNS + 20)), bool) for _ in boxes]
        for drawn, box in zip(fine, boxes, strict=True):
            left, top, right, bottom = np.rint((box + 10) * 20).astype(int)
            drawn[top:bottom, left:right] = True
        expected.append((fine[0] & fine[1]).sum() / (fine[0] | fine[1]).sum())
        assert float(measured[subject_id]["box_iou"]) == pytest.approx(expected[-1], abs=0.02)
    assert scores(summary, "box")["box_iou"] == pytest.approx(np.mean(expected), abs=0.01)
    (row,) = [row for row in summary["box"] if row["measure"] == "centre_distance"]
    assert (row["unit"], row["n"]) == ("pixels", COUNT)


def test_the_box_of_a_subject_is_that_of_its_outputs(trained):
    from sfgkeras.data.interpolation import resize_linear

    config, _ = trained
    session, network = session_and_network(config)
    subject = session.cohort.subjects["p03"]
    image = np.asarray(session.preparation.image(subject))[:, :, 0]
    outputs = np.asarray(network(resize_linear(image, (16, 16))[None], training=False)["box"])[0]
    # Fractions along rows, then columns.
    low, high = from_fractions(outputs.reshape(2, 2), (ROWS, COLUMNS)) + 0.5
    row = rows_of(config.inference.save_seg_dir / "values.csv")["p03"]
    found = [float(row[f"box_{name}"]) for name in ("x_min", "y_min", "x_max", "y_max")]
    np.testing.assert_allclose(found, [low[1], low[0], high[1], high[0]], atol=1e-3)


def test_true_and_predicted_boxes_are_drawn_where_the_mask_is(data, trained):
    config, _ = trained
    session = open_session(config, SilentReporter(), training=False)
    subject, task = session.cohort.subjects["p04"], session.tasks["box"]
    drawn = dict(drawn_places(config, session.cohort, task, subject, (ROWS, COLUMNS, 1)))
    mask = np.asarray(Image.open(data / "masks" / "p04.png"))[..., None]
    np.testing.assert_array_equal(drawn["truth"], mask)
    assert drawn["prediction"].shape == mask.shape
    data_of_run = RunData(config, {"box": task}, session.cohort)
    assert subject in inferred_subjects(data_of_run)
    shown = show_subjects(data_of_run, [subject], SilentReporter())
    (panel,) = [panel for panel in shown.viewers[0].panels if panel.outlines]
    assert (panel.title, set(panel.outlines)) == ("box: outlines", {"truth", "prediction"})
    ((colour, path),) = panel.outlines["truth"][0]
    corners = np.array([point.split() for point in path.strip("MZ").split("L")], float)
    found = np.argwhere(mask[..., 0])
    np.testing.assert_array_equal(corners.min(axis=0), found.min(axis=0)[::-1])
    np.testing.assert_array_equal(corners.max(axis=0), found.max(axis=0)[::-1] + 1)
    assert shown.legend == {"box": colour}


def test_a_mask_of_a_box_holds_the_voxels_whose_centres_it_holds():
    box = np.array([0.6, -3.0, -0.5, 2.4, 0.2, 0.5])
    assert np.argwhere(box_mask(box, (4, 4, 1))).tolist() == [[1, 0, 0], [2, 0, 0]]
    assert np.argwhere(box_mask(np.array([0.6, 0.5, -0.5, 0.9, 1.5, 0.5]), (4, 4, 1))).tolist() == [[1, 1, 0]]
    assert not box_mask(np.array([5.0, 0, -0.5, 9.0, 1, 0.5]), (4, 4, 1)).any()
    assert not box_mask(np.array([-5.0, 0, -0.5, -4.9, 1, 0.5]), (4, 4, 1)).any()


def test_new_photos_get_the_boxes_that_inference_gave_them(data, trained, tmp_path):
    config, _ = trained
    predict(read_trained_run(str(config.system.model_dir)), [str(data / "photos")], tmp_path)
    found, known = rows_of(tmp_path / "values.csv"), rows_of(config.inference.save_seg_dir / "values.csv")
    assert found.keys() == known.keys()
    for subject_id, row in found.items():
        assert {key: float(value) for key, value in row.items() if key != "subject_id"} == pytest.approx(
            {key: float(value) for key, value in known[subject_id].items() if key != "subject_id"}, abs=1e-3
        )


def test_boxes_of_an_hdf5_file_need_no_names(tmp_path):
    import h5py

    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["images"] = np.random.default_rng(0).integers(0, 255, (3, ROWS, COLUMNS, 3), np.uint8)
        file["bboxes"] = np.array([[2, 3, 12, 9], [0, 0, 32, 24], [5, 6, 7, 9]], np.float32)
    (tmp_path / "run.ini").write_text(
        f"[P]\nloader = hdf5\nhdf5_file = {tmp_path}/all.h5\nhdf5_dataset = images\nspatial_window_size = 12, 16, 1\n"
        f"[B]\nloader = hdf5\nhdf5_file = {tmp_path}/all.h5\nhdf5_dataset = bboxes\n"
        f"[SYSTEM]\nmodel_dir = {tmp_path}/model\n[NETWORK]\nname = vgg11\nwindow_sampling = resize\n[TRAINING]\n"
        "max_iter = 1\n[MULTITASK]\nimage = P\n[TASK box]\ntype = bounding_box\ntarget = B\n"
    )
    from sfgkeras.applications.training.batches import build_window_source

    config = read_config(tmp_path / "run.ini")
    session = open_session(config, SilentReporter(), training=False)
    subjects = [session.preparation.subject(session.cohort.subjects[f"{n:06d}"]) for n in range(3)]
    source = build_window_source(config, session.tasks, subjects, augment=False)
    learned = {source.subject_of(n).subject_id: source.window(n)[1]["box"] for n in range(3)}
    np.testing.assert_allclose(learned["000000"], [3 / 24, 2 / 32, 9 / 24, 12 / 32], rtol=1e-6)
    np.testing.assert_allclose(learned["000001"], [0, 0, 1, 1])


def test_a_box_in_3d_follows_the_mask_through_turning_resampling_flips_and_resizing(tmp_path):
    import nibabel

    from sfgkeras.applications.inference.values import finish_row
    from sfgkeras.applications.training.batches import build_window_source

    rng = np.random.default_rng(3)
    # Left, front and feet at the ends of the axes, which the network wants to run right, front and head.
    affine = np.array([[0, -2.0, 0, 50], [3.0, 0, 0, -40], [0, 0, -4.0, 10], [0, 0, 0, 1]])
    lines = ["subject_id,x_min,y_min,z_min,x_max,y_max,z_max"]
    for number in range(4):
        low = rng.integers(0, 6, 3)
        high = low + rng.integers(4, 7, 3)
        mask = np.zeros((14, 18, 13), np.uint8)
        mask[tuple(slice(*ends) for ends in zip(low, high, strict=True))] = 1
        for kind, array in (("mr", mask * 90.0), ("mask", mask)):
            image = nibabel.Nifti1Image(array.astype(np.float32 if kind == "mr" else np.uint8), affine)
            nibabel.save(image, tmp_path / f"v{number}_{kind}.nii.gz")
        lines.append(",".join([f"v{number}", *map(str, (*low, *high))]))
    (tmp_path / "boxes.csv").write_text("\n".join(lines) + "\n")
    turned = "axcodes = R, A, S\npixdim = 1, 1, 1\n"
    (tmp_path / "run.ini").write_text(
        f"[MR]\npath_to_search = {tmp_path}\nfilename_contains = _mr\nspatial_window_size = 32, 40, 48\n{turned}"
        f"[MASK]\npath_to_search = {tmp_path}\nfilename_contains = _mask\n{turned}"
        f"[BOXES]\ncsv_file = {tmp_path}/boxes.csv\nloader = table\n[SYSTEM]\nmodel_dir = {tmp_path}/model\n"
        "[NETWORK]\nname = highresnet\nwindow_sampling = resize\n"
        "[TRAINING]\nmax_iter = 1\nrandom_flipping_axes = 0, 2\n"
        "[MULTITASK]\nimage = MR\n[TASK box]\ntype = bounding_box\ntarget = BOXES\n[TASK mask]\n"
        "type = segmentation\ntarget = MASK\nloss = bce\n"
    )
    config = read_config(tmp_path / "run.ini")
    session = open_session(config, SilentReporter(), training=False)
    subjects = list(session.cohort.subjects.values())
    source = build_window_source(
        config, session.tasks, [session.preparation.subject(s) for s in subjects], augment=True
    )
    for number in range(8):
        _, targets, _ = source.window(number)
        found = np.argwhere(targets["mask"])
        expected = np.concatenate([found.min(axis=0), found.max(axis=0) + 1]) / np.tile(targets["mask"].shape, 2)
        # Labels are those of the nearest voxels, so that an edge may be off by one and a half.
        np.testing.assert_allclose(targets["box"], expected, atol=1.5 / 32)
    plain = build_window_source(config, session.tasks, [session.preparation.subject(subjects[1])], augment=False)
    row = finish_row(session, session.tasks["box"], subjects[1], plain.window(0)[1]["box"], {})
    np.testing.assert_allclose(list(row.values()), [float(n) for n in lines[2].split(",")[1:]], atol=1e-4)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("p00,0,20,1,10,5", "subject 'p00': [TABLE] x_min = 20 is not below x_max = 10"),
        ("p00,0,32,1,40,5", "subject 'p00': [TABLE] the box 32, 1, 40, 5 lies outside of the image of 32 x 24 pixels"),
        ("p00,0,0.1,0.1,0.5,0.5", "write units = fractions in [TASK box]"),
        ("p00,0,,1,40,5", "subject 'p00': [TABLE] x_min = '' is not a number"),
    ],
)
def test_check_and_training_name_a_box_that_cannot_be(data, tmp_path, reporter, line, message):
    lines = (data / "table.csv").read_text().splitlines()
    (tmp_path / "table.csv").write_text("\n".join([lines[0], line, *lines[2:]]) + "\n")
    split = tmp_path / "split.csv"
    split.write_text("".join(f"p{n:02d},{'training' if n < 20 else 'inference'}\n" for n in range(COUNT)))
    config = configure(data, tmp_path, {"TABLE.csv_file": tmp_path / "table.csv", "SYSTEM.dataset_split_file": split})
    assert not check_run(config, reporter)
    assert any(
        message in text for text in [*reporter.messages, *reporter.warnings, *map(str, reporter.tables.values())]
    )
    with pytest.raises(DataError) as refused:
        open_session(config, reporter, training=True).preparation.subject(
            open_session(config, reporter, training=False).cohort.subjects["p00"]
        )
    assert message in str(refused.value)
