"""Depth and normals through the whole line: holes count nowhere, and results are in the frame of their own files."""

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from sfgkeras.applications import run
from sfgkeras.applications.check import check_run
from sfgkeras.applications.evaluation import read_pair
from sfgkeras.applications.inference.restored_network import restore_network
from sfgkeras.applications.inference.result_maps import MapFinisher
from sfgkeras.applications.records.checkpoints import CheckpointFolder
from sfgkeras.applications.records.files import RunFolder, prediction_path
from sfgkeras.applications.report.page import write_report
from sfgkeras.applications.subjects.session import open_session, prepare_phase
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.config import find_config, read_config
from sfgkeras.data.directions import unit_vectors
from sfgkeras.data.grids import Grid
from sfgkeras.data.nifti import read_channels
from sfgkeras.data.scratch import Scratch
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.phantom.rooms import build_room
from sfgkeras.phantom.rooms_files import write_rooms
from sfgkeras.reporter import SilentReporter


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rooms")
    write_rooms(folder, 7, seed=2)
    return folder


def configure(rooms, folder, *overrides):
    sources = [(f"{name}.path_to_search", str(rooms)) for name in ("PHOTOS", "DEPTH", "NORMALS", "SURFACES")]
    small = [
        ("NETWORK.unet_levels", "1"), ("NETWORK.width", "0.05"), ("NETWORK.batch_size", "2"),
        ("TRAINING.max_iter", "2"), ("TRAINING.validation_every_n", "2"), ("TRAINING.validation_max_iter", "1"),
        ("SYSTEM.model_dir", str(folder)),
        ("MULTITASK.tasks", "depth, normals"), ("EVALUATION.evaluations", ""),
    ]  # fmt: skip
    return read_config(find_config("ini_configs/eigen"), [*sources, *small, *overrides])


def test_a_subject_is_prepared_with_its_holes_and_along_the_axes_of_the_array(rooms, tmp_path):
    session = open_session(configure(rooms, tmp_path), SilentReporter(), training=True)
    subject = prepare_phase(session, "training", SilentReporter())[2]
    room = build_room(2, 2)
    hole = room.depth == 0
    for task in ("depth", "normals"):
        np.testing.assert_array_equal(subject.known[task][..., 0], ~hole)
    np.testing.assert_allclose(np.exp(subject.targets["depth"][..., 0, 0])[~hole], room.depth[~hole], rtol=1e-5)
    # The first axis of the array runs down the rows: y.
    np.testing.assert_allclose(subject.targets["normals"][..., 0, :], room.normals[..., [1, 0, 2]], atol=1e-6)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SRA"])
def test_vectors_are_written_along_the_axes_of_the_subjects_own_array(codes, rooms, tmp_path):
    # The network sees the image turned to other axes; what it says is one direction in space.
    task = build_tasks(configure(rooms, tmp_path))["normals"]
    grid = Grid((3, 4, 5), np.eye(4))
    native = nib.orientations.inv_ornt_aff(nib.orientations.axcodes2ornt(codes), grid.shape)
    direction = unit_vectors(np.array([0.2, -0.7, 0.4]))
    finisher = MapFinisher(task, grid, Grid(grid.shape, native), 1, 0.0, Scratch(tmp_path))
    finisher.add((slice(None),) * 3, np.broadcast_to(direction, (*grid.shape, 3)).copy(), {})
    found = finisher.results()[""]
    in_space = found[1, 1, 1] @ native[:3, :3].T
    np.testing.assert_allclose(in_space, direction, atol=1e-6)


def test_what_has_no_meaning_is_refused_by_name(rooms, tmp_path):
    for key, value, message in (
        ("TASK depth.scale", "2", "cannot be used; remove it; only a regression is scaled"),
        ("TASK normals.unit", "m", "has no meaning for a normals"),
        ("TASK depth.output_activation", "relu", "has no meaning for a depth"),
        ("TASK depth.loss", "tversky", "belongs to segmentation"),
    ):
        with pytest.raises(ConfigError, match=message):
            configure(rooms, tmp_path, (key, value))


def test_three_channels_are_asked_of_normals(rooms, tmp_path):
    config = configure(rooms, tmp_path, ("NORMALS.hdf5_file", "depth.h5"), ("MULTITASK.tasks", "normals"))
    with pytest.raises(DataError, match="normals have three channels: x, y and z"):
        prepare_phase(open_session(config, SilentReporter(), training=True), "training", SilentReporter())


def test_colours_of_pictures_are_not_taken_for_normals(rooms, tmp_path):
    (tmp_path / "pictures").mkdir()
    for phase, count in (("train", 5), ("val", 1), ("test", 1)):
        for number in range(count):
            picture = Image.fromarray(np.full((64, 64, 3), 128, np.uint8))
            picture.save(tmp_path / "pictures" / f"{phase}_{number:06d}.png")
    own = ("NORMALS.loader", "pillow"), ("NORMALS.path_to_search", str(tmp_path / "pictures"))
    text = find_config("ini_configs/eigen").read_text().replace("hdf5_file = normals.h5\n", "")
    (tmp_path / "eigen.ini").write_text(text)
    sources = [(f"{name}.path_to_search", str(rooms)) for name in ("PHOTOS", "DEPTH", "SURFACES")]
    config = read_config(
        tmp_path / "eigen.ini",
        [
            *sources,
            *own,
            ("MULTITASK.tasks", "normals"),
            ("SYSTEM.model_dir", str(tmp_path)),
            ("EVALUATION.evaluations", ""),
        ],
    )
    with pytest.raises(DataError, match="is a picture, whose colours from 0 to 255 are no components from -1 to 1"):
        prepare_phase(open_session(config, SilentReporter(), training=True), "training", SilentReporter())


@pytest.mark.slow
def test_a_run_writes_what_the_network_says_and_measures_it_without_the_holes(rooms, tmp_path):
    config = configure(rooms, tmp_path)
    assert check_run(config, SilentReporter())
    run.train(config)
    run.infer(config, dataset="inference")
    summary = run.evaluate(config, dataset="inference")
    session = open_session(config, SilentReporter(), training=False)
    (subject,) = session.cohort.phase("inference")
    checkpoints = CheckpointFolder(RunFolder(config.system.model_dir).checkpoints)
    network = restore_network(session, checkpoints, checkpoints.read(-1), 3, SilentReporter())
    image = np.asarray(session.preparation.image(subject))[:, :, 0][None].astype(np.float32)
    says = {name: np.asarray(output)[0] for name, output in network(image, training=False).items()}
    path = {name: prediction_path(config, subject.subject_id, name) for name in session.tasks}
    depth, normals = (read_channels(path[name]).array for name in ("depth", "normals"))
    np.testing.assert_allclose(depth[..., 0], np.exp(says["depth"][..., 0]), rtol=1e-4)
    np.testing.assert_allclose(normals[..., 0, :], unit_vectors(says["normals"])[..., [1, 0, 2]], atol=1e-4)
    room = build_room(2, 6)
    known = room.depth > 0
    by_hand = np.abs(depth[..., 0] - room.depth)[known] / room.depth[known]
    measured = {row["measure"]: row["mean"] for rows in summary.values() for row in rows}
    assert measured["abs_rel"] == pytest.approx(by_hand.mean(), rel=1e-4)
    cosines = (normals[..., 0, :] * room.normals).sum(axis=-1)[known]
    assert measured["mean_angle"] == pytest.approx(np.degrees(np.arccos(np.clip(cosines, -1, 1))).mean(), rel=1e-3)
    truth, *_ = read_pair(config, session.tasks["normals"], subject)
    np.testing.assert_allclose(truth[..., 0, :], room.normals, atol=1e-6)
    page = write_report(config).read_text()
    assert "normals: angle between them" in page
    assert "depth: prediction - truth" in page
