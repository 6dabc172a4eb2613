"""The modalities: each shows its own labels and no others, in intensities that tell the organs apart."""

import numpy as np
import pytest

from sfgkeras.data.nifti import read_image, read_label_map
from sfgkeras.phantom.modalities import LABELS, build_slice, labels_of, modality_of, write_modalities


def test_labels_of_all_modalities_are_different_and_count_from_one():
    found = [number for modality in LABELS for number in labels_of(modality)]
    assert found == list(range(1, 1 + sum(map(len, LABELS.values()))))


@pytest.mark.parametrize("subject", range(9))
def test_a_slice_shows_all_labels_of_its_modality_and_no_other(subject):
    _, labels = build_slice(2, subject)
    assert set(np.unique(labels)) == {0, *labels_of(modality_of(subject))}
    counts = np.bincount(labels.ravel())
    assert all(counts[number] > 15 for number in labels_of(modality_of(subject)))


def test_intensities_tell_organs_apart_in_the_unit_of_the_modality():
    for subject in range(12):
        image, labels = build_slice(2, subject)
        mean = {number: image[labels == number].mean() for number in np.unique(labels)}
        if modality_of(subject) == "brain":
            assert mean[1] > mean[2] > mean[3]
        elif modality_of(subject) == "heart":
            assert image.min() < -900, "air, in HU"
            assert 150 < mean[5] < 450
        else:
            assert 120 < mean[4] < 300


def test_files_hold_the_subjects_of_their_seed(tmp_path):
    files = write_modalities(tmp_path, 4, seed=7)
    assert [path.name for path in files[:3]] == [
        "brain_000_image.nii.gz", "brain_000_labels.nii.gz", "breast_001_image.nii.gz"
    ]  # fmt: skip
    image, labels = build_slice(7, 1)
    np.testing.assert_array_equal(read_image(files[2]).array[..., 0], image)
    np.testing.assert_array_equal(read_label_map(files[3]).array[..., 0], labels)
