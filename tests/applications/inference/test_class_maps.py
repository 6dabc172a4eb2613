"""Maps of classes that inference writes: on the image's grid, of the class that was told, and in the report."""

import csv

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import distance_transform_edt

from sfgkeras.applications import run
from sfgkeras.applications.inference.restored_network import restore_network
from sfgkeras.applications.records.checkpoints import CheckpointFolder
from sfgkeras.applications.report.page import write_report
from sfgkeras.applications.subjects.session import open_session
from sfgkeras.config import read_config
from sfgkeras.config.shipped import find_config
from sfgkeras.data.interpolation import resize_linear
from sfgkeras.errors import ConfigError
from sfgkeras.networks.class_maps import class_maps
from sfgkeras.phantom.lesions import write_lesions
from sfgkeras.reporter import SilentReporter


@pytest.fixture(scope="module")
def configure(tmp_path_factory):
    """Reads cam.ini on a small cohort, with a training of one step."""
    folder = tmp_path_factory.mktemp("lesions")
    write_lesions(folder / "data", 12)
    usual = {
        "ULTRASOUND.path_to_search": folder / "data/images",
        "ULTRASOUND.spatial_window_size": "48, 48, 1",
        "SIGNS.csv_file": folder / "data/subjects.csv",
        "SYSTEM.model_dir": folder / "model",
        "NETWORK.width": 0.1,
        "TRAINING.max_iter": 1,
        "TRAINING.validation_every_n": 0,
    }

    def configure(results="cam", **overrides):
        given = usual | {"INFERENCE.save_seg_dir": folder / results}
        given |= {name.replace("__", "."): value for name, value in overrides.items()}
        return read_config(find_config("cam"), [(name, str(value)) for name, value in given.items()])

    run.train(configure())
    return configure


@pytest.fixture(scope="module")
def inferred(configure):
    run.infer(configure())
    return configure()


def rows_of(config):
    with (config.inference.save_seg_dir / "values.csv").open(encoding="utf-8") as stream:
        return {row["subject_id"]: row for row in csv.DictReader(stream)}


def network_of(config):
    session = open_session(config, SilentReporter(), training=False)
    checkpoints = CheckpointFolder(config.system.model_dir / "checkpoints")
    network = restore_network(session, checkpoints, checkpoints.read(-1), 3, SilentReporter())
    return session, network


def test_the_map_is_that_of_the_class_that_is_told_on_the_pixels_of_the_image(inferred):
    session, network = network_of(inferred)
    rows = rows_of(inferred)
    for subject_id, row in rows.items():
        image = np.asarray(session.preparation.image(session.cohort.subjects[subject_id]))[:, :, 0]
        window = resize_linear(image, (48, 48))[None]
        for task in ("echo", "margin"):
            written = nib.load(inferred.inference.save_seg_dir / f"{subject_id}_{task}_predicted_cam.nii.gz")
            assert written.shape == (64, 64, 1)
            maps = np.asarray(class_maps(network, window, task))[0][..., int(row[task])]
            expected = resize_linear(maps[..., None], (64, 64))[..., 0]
            np.testing.assert_allclose(
                np.asarray(written.dataobj)[..., 0], expected, atol=1e-4 * np.abs(expected).max()
            )


@pytest.mark.parametrize("wanted", [0, 1])
def test_the_map_of_a_class_of_ones_own_and_grad_cam(configure, wanted):
    settings = {"INFERENCE__class_activation_maps": "grad_cam", "INFERENCE__class_activation_of": wanted}
    config = configure(f"of_{wanted}", **settings)
    run.infer(config)
    session, network = network_of(config)
    subject_id = next(iter(rows_of(config)))
    image = np.asarray(session.preparation.image(session.cohort.subjects[subject_id]))[:, :, 0]
    maps = np.asarray(class_maps(network, resize_linear(image, (48, 48))[None], "echo", "grad_cam"))[0][..., [wanted]]
    written = nib.load(config.inference.save_seg_dir / f"{subject_id}_echo_predicted_grad_cam.nii.gz")
    expected = resize_linear(maps, (64, 64))[..., 0]
    np.testing.assert_allclose(np.asarray(written.dataobj)[..., 0], expected, atol=1e-4 * max(expected.max(), 1e-3))


def test_maps_that_are_there_are_left_and_one_that_is_gone_is_made_again(inferred):
    paths = sorted(inferred.inference.save_seg_dir.glob("*_cam.nii.gz"))
    times = {path: path.stat().st_mtime_ns for path in paths}
    paths[0].unlink()
    run.infer(inferred)
    made = [path for path in paths if path.stat().st_mtime_ns != times[path]]
    # All maps of the one subject.
    assert paths[0] in made
    assert len(made) == 2


def test_the_report_shows_maps_and_what_was_told(inferred, tmp_path):
    page = write_report(inferred, output=tmp_path / "page").read_text(encoding="utf-8")
    assert "Where images speak for a class" in page
    assert "Class activation maps of the predicted class" in page
    assert (tmp_path / "page/figures/class_maps.png").is_file()


def test_without_maps_the_report_says_how_to_have_them(configure, tmp_path):
    config = configure("none", INFERENCE__class_activation_maps="none")
    page = write_report(config, output=tmp_path / "page").read_text(encoding="utf-8")
    assert "has not been asked for maps of classes" in page
    assert "--INFERENCE.class_activation_maps grad_cam" in page


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"TASK echo__head_layers": "8"}, r"\[INFERENCE\] class_activation_maps.* task 'echo' has head_layers"),
        ({"INFERENCE__class_activation_maps": "none", "INFERENCE__class_activation_of": 1}, "writes no map"),
        ({"INFERENCE__class_activation_maps": "scorecam"}, "cam, grad_cam"),
    ],
)
def test_what_has_no_map_is_refused_before_anything_is_read(configure, settings, message):
    with pytest.raises(ConfigError, match=message):
        configure(**settings)


def test_a_class_that_there_is_not_is_refused(configure):
    with pytest.raises(ConfigError, match="class_activation_of = 2 is no class of task 'echo'; its classes are 0, 1"):
        run.infer(configure("third", INFERENCE__class_activation_of=2))


def test_windows_are_blended_to_one_map_whose_mean_is_the_told_logit(configure, tmp_path):
    """With `per = window` and windows of the whole image, there is one window: its map is the network's."""
    settings = {
        "NETWORK__window_sampling": "uniform", "TASK echo__per": "window", "TASK margin__per": "window",
        "ULTRASOUND__spatial_window_size": "32, 32, 1", "SYSTEM__model_dir": tmp_path / "model",
    }  # fmt: skip
    config = configure("windows", **settings)
    run.train(config)
    run.infer(config)
    paths = list(config.inference.save_seg_dir.glob("*_echo_predicted_cam.nii.gz"))
    assert paths
    for path in paths:
        written = np.asarray(nib.load(path).dataobj)
        assert written.shape == (64, 64, 1)
        assert np.isfinite(written).all()
        assert written.std() > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cam", "grad_cam"])
def test_the_highest_place_lies_inside_the_lesion_of_more_than_four_fifths_of_new_images(trained_cam, kind):
    """And at most 4 pixels, one voxel of the maps, beside it in nearly all (Liu et al. 2018)."""
    folder, configure = trained_cam
    config = configure(kind, INFERENCE__class_activation_maps=kind)
    run.infer(config)
    distances, right = [], []
    truth = {row["subject_id"]: row for row in csv.DictReader((folder / "data/subjects.csv").read_text().splitlines())}
    for subject_id, row in rows_of(config).items():
        mask = np.asarray(Image.open(folder / f"data/masks/{subject_id}.png")) == 1
        path = config.inference.save_seg_dir / f"{subject_id}_echo_predicted_{kind}.nii.gz"
        found = np.asarray(nib.load(path).dataobj)[..., 0]
        assert found.shape == mask.shape
        distances.append(distance_transform_edt(~mask)[np.unravel_index(np.argmax(found), found.shape)])
        right.append(row["echo"] == truth[subject_id]["echo"])
    assert len(distances) >= 100
    assert np.mean(right) > 0.9
    assert np.mean(np.equal(distances, 0)) > 0.8
    assert np.mean(np.less_equal(distances, 4)) > 0.95


@pytest.fixture(scope="module")
def trained_cam(tmp_path_factory):
    """cam.ini as it is shipped, trained on its cohort."""
    folder = tmp_path_factory.mktemp("trained")
    write_lesions(folder / "data", 600)
    usual = {
        "ULTRASOUND.path_to_search": folder / "data/images",
        "SIGNS.csv_file": folder / "data/subjects.csv",
        "SYSTEM.model_dir": folder / "model",
    }

    def configure(results="cam", **overrides):
        given = usual | {"INFERENCE.save_seg_dir": folder / results}
        given |= {name.replace("__", "."): value for name, value in overrides.items()}
        return read_config(find_config("cam"), [(name, str(value)) for name, value in given.items()])

    run.train(configure())
    return folder, configure
