"""New images must be like those of training, in what the INI file does not bring to one form."""

import h5py
import numpy as np
import pytest

from sfgkeras.applications.records.files import RunFolder
from sfgkeras.applications.subjects.image_record import (
    ImageRecord,
    read_image_record,
    refuse_unlike,
    write_image_record,
)
from sfgkeras.applications.subjects.session import open_session
from sfgkeras.data.hdf5.rows import open_rows
from sfgkeras.data.hdf5.source import Hdf5Row
from sfgkeras.data.nifti import read_image, reorient, write_image
from sfgkeras.data.references import references
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import DataError
from sfgkeras.reporter import SilentReporter

PLAIN = {f"{name}.{key}": "" for name in ("MR", "CT", "ORGANS") for key in ("axcodes", "pixdim")}
RECORD = ImageRecord(1, False, {"RAS": 3, "LAS": 1}, ((4.2, 4.2, 5.8), (4.2, 4.2, 5.8)))


@pytest.fixture
def subject(cohort, tmp_path):
    """Returns a function: axis codes, factor on the voxel size -> a subject with such an image."""
    image = read_image(cohort / "phantom_000_mr.nii.gz")

    def make(codes="RAS", factor=1.0):
        array, affine = reorient(image.array, image.affine, tuple(codes))
        write_image(tmp_path / "new.nii.gz", array, affine @ np.diag([factor, factor, factor, 1]))
        return Subject("new", references({"MR": tmp_path / "new.nii.gz"}))

    return make


def test_training_keeps_what_its_images_are_like(make_config):
    config = make_config({"NETWORK.normalisation": "no"})
    write_image_record(open_session(config, SilentReporter(), training=True), 1)
    record = read_image_record(RunFolder(config.system.model_dir))
    assert record.orientations == {"RAS": 2}
    assert (record.channels, record.photos) == (1, False)
    np.testing.assert_allclose(record.spacing, RECORD.spacing, rtol=1e-6)


def test_a_run_of_an_earlier_version_has_no_record_and_refuses_nothing(make_config, subject, reporter, tmp_path):
    assert read_image_record(RunFolder(tmp_path)) is None
    refuse_unlike(make_config(PLAIN), [subject("PIL", 3)], None, reporter)
    assert reporter.warnings == []


def test_another_orientation_is_refused_unless_axcodes_turn_it(make_config, subject, reporter):
    refuse_unlike(make_config(), [subject("PIL")], RECORD, reporter)
    refuse_unlike(make_config(PLAIN), [subject("LAS")], RECORD, reporter)
    with pytest.raises(DataError, match=r"new\.nii\.gz: its axes are PIL, .* RAS or LAS.*--reorient_axcodes R,A,S"):
        refuse_unlike(make_config(PLAIN), [subject("PIL")], RECORD, reporter)
    turned = make_config({**PLAIN, "PREPROCESSING.steps": "reorient"})
    refuse_unlike(turned, [subject("PIL")], RECORD, reporter)


def test_another_voxel_size_is_warned_of_unless_pixdim_resamples_it(make_config, subject, reporter):
    refuse_unlike(make_config(), [subject(factor=2)], RECORD, reporter)
    refuse_unlike(make_config(PLAIN), [subject(factor=1.2)], RECORD, reporter)
    assert reporter.warnings == []
    refuse_unlike(make_config(PLAIN), [subject("LAS", 2)], RECORD, reporter)
    assert len(reporter.warnings) == 1
    assert "voxels are 8.4 x 8.4 x 11.6 mm" in reporter.warnings[0]
    assert "those of training were 4.2 x 4.2 x 5.8 mm" in reporter.warnings[0]


def test_more_or_fewer_channels_are_refused(make_config, subject, reporter):
    with pytest.raises(DataError, match=r"gives 1 channel, and the network was trained with 3: photos are needed"):
        refuse_unlike(make_config(), [subject()], ImageRecord(3, True, {}, ()), reporter)


@pytest.mark.parametrize(("trained", "given"), [(3, 1), (1, 3), (1, 1), (3, 3)])
def test_rows_of_another_number_of_channels_are_refused(make_config, reporter, tmp_path, trained, given):
    with h5py.File(tmp_path / "new.h5", "w") as file:
        file["photos"] = np.zeros((1, 5, 4, given), np.uint8)
    row = Hdf5Row(open_rows(tmp_path / "new.h5"), 0)
    subject, record = Subject("new", {"MR": row}), ImageRecord(trained, True, {}, ())
    if trained == given:
        refuse_unlike(make_config(PLAIN), [subject], record, reporter)
        return
    message = (
        rf"photos\[0\]: gives {given} channels?, and the network was trained with {trained}: photos of as many are"
    )
    with pytest.raises(DataError, match=message):
        refuse_unlike(make_config(PLAIN), [subject], record, reporter)
