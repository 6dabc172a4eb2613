"""The modalities: each shows its own labels and no others, in intensities that tell the organs apart."""

import numpy as np
import pytest
from scipy.ndimage import label

from sfgkeras.data.nifti import read_image, read_label_map
from sfgkeras.phantom.modalities import (
    LABELS,
    SIDES,
    bent,
    build_slice,
    draw_brain,
    draw_breast,
    draw_heart,
    labels_of,
    modality_of,
    write_modalities,
)


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


def places(side=128):
    steps = (2 * np.arange(side) + 1) / side - 1
    return np.meshgrid(steps, steps, indexing="ij")


def test_modalities_take_turns_in_the_order_of_their_labels():
    assert [modality_of(number) for number in range(5)] == ["brain", "breast", "heart", "brain", "breast"]
    assert [list(labels_of(name)) for name in LABELS] == [[1, 2, 3], [4], [5]]
    with pytest.raises(ValueError, match="liver"):
        labels_of("liver")


@pytest.mark.parametrize("amount", [0.05, 2.0])
def test_a_field_that_bends_has_its_amount_for_spread_and_is_smooth(amount):
    x, y = places(64)
    field = bent(np.random.default_rng(0), x, y, amount)
    assert field.std() == pytest.approx(amount)
    assert np.abs(np.diff(field, axis=0)).max() < 0.4 * amount
    np.testing.assert_allclose(bent(np.random.default_rng(0), x, y, 2 * amount), 2 * field)


def test_a_brain_has_white_matter_within_grey_within_fluid_and_ventricles_in_the_middle():
    x, y = places()
    for seed in range(10):
        image, organs = draw_brain(np.random.default_rng(seed), x, y)
        assert set(np.unique(organs)) == {0, 1, 2, 3}
        radius = np.hypot(x / 0.67, y / 0.81)
        means = [radius[(organs == number) & (radius > 0.45)].mean() for number in (1, 2, 3)]
        assert means == sorted(means)
        # In the row of the middle, x = 0.0 at 64: white matter between two ventricles at 0.12 to either side.
        assert (organs[[64 - 8, 64, 64 + 8], 64] == [3, 1, 3]).all()
        for number in range(1, 4):
            assert np.ptp(image[organs == number]) == 0, "each has one value before noise"
        shell = image > 645
        assert not (shell & (organs > 0) & (organs != 1)).any(), "the skull lies outside"


def test_the_muscle_lies_behind_the_breasts_and_before_the_ribs():
    x, y = places()
    for seed in range(10):
        image, organs = draw_breast(np.random.default_rng(seed), x, y)
        muscle = organs == 1
        columns = np.flatnonzero(muscle.any(axis=1))
        assert np.abs(x[columns, 0]).max() < 0.92
        thick = muscle[columns].sum(axis=1) * 2 / 128
        assert (thick > 0.08).all()
        assert (thick < 0.18).all()
        for column in columns[::10]:
            rows = np.flatnonzero(muscle[column])
            assert (np.diff(rows) == 1).all(), "one band"
            assert 420 <= image[column, rows[0] - 2] <= 500, "fat and ribs behind it"
        values = np.unique(image[muscle])
        assert len(values) == 1
        assert 170 <= values[0] <= 220


def test_three_arteries_lie_on_the_heart_and_are_as_bright_as_its_chambers():
    x, y = places()
    for seed in range(10):
        image, organs = draw_heart(np.random.default_rng(seed), x, y)
        pieces, count = label(organs)
        assert 1 <= count <= 3
        radius = np.sqrt((organs == 1).sum() * (2 / 128) ** 2 / np.pi / 3)
        assert 0.045 < radius < 0.08
        value = np.unique(image[organs == 1])
        assert len(value) == 1
        assert 330 <= value[0] <= 400
        others = (image >= 330) & (organs == 0)
        assert others.sum() > (organs == 1).sum(), "chamber and aorta are as bright, and have no label"
        assert (image[np.hypot(x / 0.92, y / 0.72) >= 1.02] == -1000).all()
        middle = np.argwhere(organs == 1).mean(axis=0) * 2 / 128 - 1
        assert np.hypot(*middle) < 0.5


@pytest.mark.parametrize(("size", "spacing"), [("small", 4.0), ("full", 1.0)])
def test_pixels_are_as_large_as_the_field_asks(size, spacing, tmp_path):
    files = write_modalities(tmp_path, 1, size)
    for path in files:
        found = read_image(path)
        assert found.array.shape == (SIDES[size], SIDES[size], 1)
        np.testing.assert_allclose(np.diag(found.affine), [spacing, spacing, 1, 1])


def test_noise_is_a_part_of_the_range_of_the_modality():
    for subject in range(3):
        image, labels = build_slice(5, subject, "full")
        air = image[:6, :6] if modality_of(subject) != "breast" else image[:6, -6:]
        assert not labels[:6, :6].any()
        assert 0.015 < air.std() / np.ptp(image) < 0.045
