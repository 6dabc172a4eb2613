"""Results as DICOM, read back by SimpleITK, pydicom and highdicom; outlines are filled again by matplotlib."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from matplotlib.path import Path as Polygon

from sfgkeras.applications.dicom.contours import outlines
from sfgkeras.applications.dicom.ct_series import ct_slices
from sfgkeras.applications.dicom.segmentation import anatomy_code
from sfgkeras.applications.dicom.source import read_source
from sfgkeras.applications.dicom.structures import structure_set
from sfgkeras.applications.dicom.write import write_dicom
from sfgkeras.cli import main
from sfgkeras.data.nifti import write_image
from sfgkeras.errors import ConfigError, DataError

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")

SHAPE, SPACING, ORIGIN = (9, 12, 5), (1.5, 1.25, 3.0), (10.0, -20.0, 30.0)
ANGLE = 0.3
DIRECTION = np.array([[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1]])
NAMES = ("prostate", "left femoral head", "bladder")


def write_series(folder, leave_out=()):
    """Writes an MR series, its files named against the order of its slices."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    folder.mkdir()
    for number in range(SHAPE[2]):
        made = pydicom.Dataset()
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.SOPClassUID, made.SOPInstanceUID = MRImageStorage, f"1.2.3.4.{number + 1}"
        made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        made.PatientID, made.PatientName, made.PatientBirthDate, made.PatientSex = "P1", "Doe^Jo", "", "M"
        made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = "1.2.3.1", "1.2.3.2", "1.2.3.3"
        made.StudyID, made.AccessionNumber, made.StudyDate, made.StudyTime = "7", "", "20200101", "120000"
        made.ReferringPhysicianName, made.PositionReferenceIndicator = "", ""
        made.Modality, made.SeriesNumber, made.InstanceNumber, made.PatientPosition = "MR", 3, number + 1, "HFS"
        place = np.array(ORIGIN) + number * SPACING[2] * DIRECTION[:, 2]
        made.ImagePositionPatient = [f"{value:.8g}" for value in place]
        made.ImageOrientationPatient = [f"{value:.10g}" for value in [*DIRECTION[:, 0], *DIRECTION[:, 1]]]
        made.PixelSpacing, made.SliceThickness = [SPACING[1], SPACING[0]], SPACING[2]
        made.Columns, made.Rows = SHAPE[:2]
        made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, "MONOCHROME2", 0
        made.BitsAllocated, made.BitsStored, made.HighBit = 16, 16, 15
        made.PixelData = np.full((SHAPE[1], SHAPE[0]), number, "<u2").tobytes()
        for name in leave_out:
            delattr(made, name)
        made.save_as(folder / f"i{99 - number}.dcm", enforce_file_format=True)
    return folder


@pytest.fixture
def results(tmp_path):
    """A series, and a CT and organs on its grid as NIfTI; returns series, HU and labels."""
    source = read_source(write_series(tmp_path / "mr"))
    rng = np.random.default_rng(0)
    hu = rng.uniform(-1000, 2000, SHAPE).astype(np.float32)
    labels = rng.integers(0, 3, SHAPE).astype(np.uint8)  # of the third organ there is nothing
    write_image(tmp_path / "ct.nii.gz", hu, source.affine)
    write_image(tmp_path / "organs.nii.gz", labels, source.affine)
    return source, hu, labels


def write(folder, **options):
    given = {"ct": folder / "ct.nii.gz", "labels": folder / "organs.nii.gz", "names": NAMES, **options}
    return write_dicom(folder / "mr", folder / "out", **given)


def test_the_grid_is_the_one_that_itk_reads(results, tmp_path):
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "mr")))
    image, source = reader.Execute(), results[0]
    assert source.shape == image.GetSize()
    for voxel in ((0, 0, 0), (8, 11, 4), (3, 0, 2)):
        expected = np.diag([-1, -1, 1]) @ image.TransformIndexToPhysicalPoint(voxel)
        np.testing.assert_allclose((source.affine @ [*voxel, 1])[:3], expected, atol=1e-4)


def test_a_synthetic_ct_is_a_series_on_the_geometry_of_the_source(results, tmp_path):
    source, hu, _ = results
    first = [path.read_bytes() for path in write(tmp_path) if path.parent.name == "ct"]
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "out" / "ct")))
    image = reader.Execute()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image).T, np.rint(hu))
    np.testing.assert_allclose(image.GetSpacing(), SPACING, rtol=1e-6)
    np.testing.assert_allclose(np.reshape(image.GetDirection(), (3, 3)), DIRECTION, atol=1e-6)
    slices = [pydicom.dcmread(path) for path in sorted((tmp_path / "out" / "ct").iterdir())]
    assert {(each.PatientID, each.StudyInstanceUID, each.FrameOfReferenceUID) for each in slices} == {
        ("P1", "1.2.3.1", "1.2.3.3")
    }
    assert len({each.SOPInstanceUID for each in slices}) == SHAPE[2]
    assert slices[0].SeriesInstanceUID != "1.2.3.2"
    assert [each.SourceImageSequence[0].ReferencedSOPInstanceUID for each in slices] == [
        each.SOPInstanceUID for each in source.slices
    ]
    again = [path.read_bytes() for path in write(tmp_path, overwrite=True) if path.parent.name == "ct"]
    assert again == first


def test_organs_are_segments_that_name_their_anatomy(results, tmp_path):
    source, _, labels = results
    write(tmp_path)
    found = highdicom.seg.segread(tmp_path / "out" / "seg.dcm")
    instances = [each.SOPInstanceUID for each in source.slices]
    pixels = found.get_pixels_by_source_instance(instances, ignore_spatial_locations=False)
    for number in (1, 2, 3):
        np.testing.assert_array_equal(pixels[..., number - 1].transpose(2, 1, 0), labels == number)
    described = [found.get_segment_description(number) for number in (1, 2, 3)]
    assert [each.segment_label for each in described] == list(NAMES)
    assert [each.segmented_property_type.meaning for each in described] == ["Prostate", "Femoral head", "Bladder"]


def fill(polygons, shape):
    """Fills polygons by the even-odd rule, at the centres of the voxels."""
    centres = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 2)
    inside = np.zeros(len(centres), bool)
    for polygon in polygons:
        inside ^= Polygon(polygon).contains_points(centres)
    return inside.reshape(shape)


def test_structures_enclose_exactly_the_voxels_of_their_organs(results, tmp_path):
    _, _, labels = results
    write(tmp_path)
    found = pydicom.dcmread(tmp_path / "out" / "rtstruct.dcm")
    assert [each.ROIName for each in found.StructureSetROISequence] == list(NAMES)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "mr")))
    image = reader.Execute()
    for number, roi in enumerate(found.ROIContourSequence, start=1):
        by_slice = {place: [] for place in range(SHAPE[2])}
        for contour in roi.get("ContourSequence", ()):
            points = np.reshape(np.asarray(contour.ContourData, float), (-1, 3))
            voxels = np.array([image.TransformPhysicalPointToContinuousIndex(point) for point in points.tolist()])
            place = round(voxels[0, 2])
            np.testing.assert_allclose(voxels[:, 2], place, atol=1e-3)
            assert contour.ContourImageSequence[0].ReferencedSOPInstanceUID == f"1.2.3.4.{place + 1}"
            by_slice[place].append(voxels[:, :2])
        for place, polygons in by_slice.items():
            np.testing.assert_array_equal(fill(polygons, SHAPE[:2]), labels[:, :, place] == number)


@settings(max_examples=50, deadline=None)
@given(arrays.arrays(bool, st.tuples(st.integers(1, 6), st.integers(1, 6))))
def test_outlines_enclose_their_mask_whatever_it_is(mask):
    np.testing.assert_array_equal(fill(list(outlines(mask)), mask.shape), mask)


def test_a_result_on_another_grid_is_brought_onto_the_series(results, tmp_path):
    source, _, _ = results
    affine = source.affine @ np.diag([0.5, 0.5, 0.5, 1])
    affine[:3, 3] = (source.affine @ [-0.25, -0.25, -0.25, 1])[:3]  # the same box in voxels of half the size
    write_image(tmp_path / "fine.nii.gz", np.full([2 * size for size in SHAPE], 300, np.float32), affine)
    write(tmp_path, ct=tmp_path / "fine.nii.gz", labels=None)
    stored = pydicom.dcmread(tmp_path / "out" / "ct" / "0003.dcm")
    assert np.unique(stored.pixel_array.astype(int) + int(stored.RescaleIntercept)).tolist() == [300]


def test_beyond_a_ct_of_a_part_of_the_series_there_is_air(results, tmp_path):
    source, _, _ = results
    write_image(tmp_path / "part.nii.gz", np.full((*SHAPE[:2], 2), 300, np.float32), source.affine)
    write(tmp_path, ct=tmp_path / "part.nii.gz", labels=None)
    slices = [pydicom.dcmread(tmp_path / "out" / "ct" / f"{number:04d}.dcm") for number in range(1, SHAPE[2] + 1)]
    values = [np.unique(each.pixel_array.astype(int) + int(each.RescaleIntercept)).tolist() for each in slices]
    assert values == [[300], [300], [-1024], [-1024], [-1024]]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ct": None, "labels": None}, ConfigError, "give --ct FILE, --labels FILE, or both"),
        ({"elsewhere": True}, DataError, "does not show the place of the result"),
        ({"empty": True, "names": ()}, DataError, "has no label above 0, and no label has a name"),
        ({"again": True}, DataError, r"0001\.dcm: exists; add --overwrite"),
        ({"stranger": True}, DataError, "lies among the slices"),
    ],
)
def test_what_cannot_be_written_is_refused(results, tmp_path, options, error, message):
    source = results[0]
    if options.pop("elsewhere", False):
        far = source.affine.copy()
        far[0, 3] += 900
        write_image(tmp_path / "ct.nii.gz", np.zeros(SHAPE, np.float32), far)
    if options.pop("empty", False):
        write_image(tmp_path / "organs.nii.gz", np.zeros(SHAPE, np.uint8), source.affine)
    if options.pop("again", False):
        write(tmp_path)
    if options.pop("stranger", False):
        (tmp_path / "out" / "ct").mkdir(parents=True)
        (tmp_path / "out" / "ct" / "0099.dcm").write_text("of somebody else")
    with pytest.raises(error, match=message):
        write(tmp_path, **options)


def test_a_series_without_a_frame_of_reference_is_refused(tmp_path):
    write_series(tmp_path / "mr", leave_out=["FrameOfReferenceUID"])
    with pytest.raises(DataError, match=r"\.dcm: has no FrameOfReferenceUID, which results in DICOM refer to"):
        read_source(tmp_path / "mr")


def test_a_series_that_lacks_a_slice_is_refused_rather_than_measured_wrong(tmp_path):
    write_series(tmp_path / "mr")
    (tmp_path / "mr" / "i97.dcm").unlink()
    with pytest.raises(DataError, match=r"mr: its 4 slices are unevenly spaced \(6\.000 mm from slice 2 to 3"):
        read_source(tmp_path / "mr")


def test_one_slice_has_its_own_thickness(tmp_path):
    write_series(tmp_path / "mr")
    for path in sorted((tmp_path / "mr").iterdir())[1:]:
        path.unlink()
    affine = read_source(tmp_path / "mr").affine
    image = sitk.ReadImage(str(next((tmp_path / "mr").iterdir())))
    np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), SPACING, rtol=1e-6)
    expected = np.diag([-1, -1, 1]) @ image.TransformIndexToPhysicalPoint((8, 11, 0))
    np.testing.assert_allclose((affine @ [8, 11, 0, 1])[:3], expected, atol=1e-4)


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_a_ct_with_voxels_that_are_no_numbers_is_refused_before_anything_is_written(results, tmp_path, odd):
    source, hu, _ = results
    hu[0, :2, 0] = odd
    write_image(tmp_path / "ct.nii.gz", hu, source.affine)
    with pytest.raises(DataError, match=r"ct\.nii\.gz: 2 of its voxels are NaN or infinite"):
        write(tmp_path)
    assert not (tmp_path / "out").exists()


def test_values_beyond_what_is_stored_become_the_nearest_that_is(results, tmp_path):
    source, hu, _ = results
    hu[0, :4, 0] = -3000, -1024.6, -1023.4, 1e6
    slices = ct_slices(source, hu, "x")
    stored = np.frombuffer(slices[0].PixelData, "<u2").reshape(SHAPE[1], SHAPE[0]).T.astype(int) - 1024
    assert stored[0, :4].tolist() == [-1024, -1024, -1023, 65535 - 1024]


def test_the_same_results_have_the_same_uids_and_others_have_others(results):
    source, hu, labels = results
    names = {1: "prostate"}
    one, again = ct_slices(source, hu, "x"), ct_slices(source, hu.copy(), "another description")
    other = ct_slices(source, hu + 1, "x")
    assert [each.SOPInstanceUID for each in one] == [each.SOPInstanceUID for each in again]
    assert not {each.SOPInstanceUID for each in one} & {each.SOPInstanceUID for each in other}
    first = structure_set(source, labels, names, "x").SOPInstanceUID
    assert structure_set(source, labels, names, "x").SOPInstanceUID == first
    assert structure_set(source, labels, {1: "bladder"}, "x").SOPInstanceUID != first
    assert structure_set(source, labels[::-1], names, "x").SOPInstanceUID != first
    assert all(len(uid) <= 64 for uid in [first, *(each.SOPInstanceUID for each in one)])  # as DICOM has it


@pytest.mark.parametrize(
    ("name", "meaning"),
    [
        ("prostate", "Prostate"),
        ("left_femoral_head", "Femoral head"),
        ("Right Kidney", "Kidney"),
        ("label 3", "Organ"),
        ("Größe", "Organ"),
        ("", "Organ"),
        ("3rd", "Organ"),
        ("organ-at-risk", "Organ"),
    ],
)
def test_anatomy_is_coded_by_its_english_name_or_as_an_organ(name, meaning):
    assert anatomy_code(name).meaning == meaning


def test_labels_beyond_the_names_are_called_by_their_number_and_names_beyond_the_labels_stay(results, tmp_path):
    source, _, labels = results
    write_image(tmp_path / "organs.nii.gz", np.where(labels == 2, 7, labels), source.affine)
    write(tmp_path, ct=None, names=("prostate", "rectum"))
    found = pydicom.dcmread(tmp_path / "out" / "rtstruct.dcm")
    assert [each.ROIName for each in found.StructureSetROISequence] == ["prostate", "rectum", "label 7"]


def test_results_do_not_go_where_the_series_lies(results, tmp_path):
    before = {path: path.read_bytes() for path in (tmp_path / "mr").iterdir()}
    with pytest.raises(DataError, match="is where the series .* lies; choose another --output"):
        write_dicom(tmp_path / "mr", tmp_path / "mr", ct=tmp_path / "ct.nii.gz", overwrite=True)
    (tmp_path / "mr").rename(tmp_path / "ct")
    with pytest.raises(DataError, match="is where the series .* lies; choose another --output"):
        write_dicom(tmp_path / "ct", tmp_path, ct=tmp_path / "ct.nii.gz", overwrite=True)
    assert {tmp_path / "mr" / path.name: path.read_bytes() for path in (tmp_path / "ct").iterdir()} == before


def test_the_verb_says_what_it_wrote(results, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["dicom", "--series", "mr", "--ct", "ct.nii.gz", "--labels", "organs.nii.gz", "--output", "out"])
    assert "wrote out/ct (5 slices), out/seg.dcm, out/rtstruct.dcm" in capsys.readouterr().out
    found = pydicom.dcmread("out/rtstruct.dcm")
    assert [each.ROIName for each in found.StructureSetROISequence] == ["label 1", "label 2"]
