import numpy as np
import pytest

from sfgkeras.data.nifti import read_image, read_label_map, write_image
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.preprocessing.bias_field import BiasFieldSettings, bias_field_step, correct_bias_field, shrink_factors
from sfgkeras.preprocessing.volume import StepContext, Volume


def known_field(shape, strength=1.0):
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    return np.exp(strength * (0.3 * x - 0.25 * y**2 + 0.15 * z * x)).astype(np.float32)


def variations(image, tissues, labels):
    return np.array([image[tissues == k].std() / image[tissues == k].mean() for k in labels])


@pytest.fixture(scope="module")
def phantom():
    """Three nested tissues with 4 % noise in an ellipsoid of 56 x 60 x 40 voxels of 3 mm."""
    shape = (56, 60, 40)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    tissues = np.digitize(-radius, [-0.85, -0.65, -0.4])
    levels = np.array([0, 300, 600, 900])
    rng = np.random.default_rng(0)
    image = levels[tissues] * (1 + 0.04 * rng.normal(size=shape)) + 3 * np.abs(rng.normal(size=shape))
    return image.astype(np.float32), tissues, (3.0, 3.0, 3.0)


@pytest.fixture(scope="module")
def corrected(phantom):
    image, _, spacing = phantom
    return correct_bias_field(image * known_field(image.shape), spacing, shrink_factor=3)


def test_every_tissue_varies_again_as_before_the_field(phantom, corrected):
    image, tissues, _ = phantom
    before = variations(image, tissues, (1, 2, 3))
    biased = variations(image * known_field(image.shape), tissues, (1, 2, 3))
    after = variations(corrected[0], tissues, (1, 2, 3))
    assert np.all(biased > 1.5 * before)
    assert np.all(after < 1.1 * before)


def test_the_field_is_the_known_one_and_the_image_times_it_the_input(phantom, corrected):
    image, tissues, _ = phantom
    biased = image * known_field(image.shape)
    result, field = corrected
    assert result.dtype == field.dtype == np.float32
    np.testing.assert_allclose(result * field, biased, rtol=1e-5, atol=1e-4)
    inside = tissues > 0
    assert np.corrcoef(np.log(field[inside]), np.log(known_field(image.shape)[inside]))[0, 1] > 0.98


def test_the_level_of_intensities_is_kept(phantom, corrected):
    _, tissues, _ = phantom
    assert np.exp(np.log(corrected[1][tissues > 0]).mean()) == pytest.approx(1, abs=0.01)


def test_both_engines_find_the_same_field(phantom, corrected):
    image, tissues, spacing = phantom
    _, field = correct_bias_field(image * known_field(image.shape), spacing, engine="antspyx", shrink_factor=3)
    inside = tissues > 0
    assert np.corrcoef(field[inside], corrected[1][inside])[0, 1] > 0.95


def test_a_gain_of_the_image_changes_nothing_but_its_gain(phantom):
    image, _, spacing = phantom
    options = {"iterations": (5,), "shrink_factor": 4}
    one, field = correct_bias_field(image, spacing, **options)
    ten, same_field = correct_bias_field(10 * image, spacing, **options)
    np.testing.assert_allclose(same_field, field, rtol=1e-3)
    np.testing.assert_allclose(ten, 10 * one, rtol=1e-3, atol=1e-2)


def test_the_field_of_a_shrunk_image_lies_on_the_voxels_of_the_full_one(phantom):
    image, tissues, spacing = phantom
    biased = image * known_field(image.shape)
    options = {"iterations": (20, 20)}
    _, fine = correct_bias_field(biased, spacing, shrink_factor=1, **options)
    _, coarse = correct_bias_field(biased, spacing, shrink_factor=2, **options)
    inside = tissues > 0
    np.testing.assert_allclose(coarse[inside], fine[inside], rtol=0.03)


def test_a_dense_spline_bends_more_than_a_wide_one(phantom):
    image, _, spacing = phantom
    biased = image * known_field(image.shape)
    fields = [
        correct_bias_field(biased, spacing, iterations=(10,), spline_distance=distance)[1] for distance in (400.0, 40.0)
    ]
    roughness = [np.abs(np.diff(np.log(field), 3, axis=0)).mean() for field in fields]
    assert roughness[1] > 2 * roughness[0]


def test_weights_guide_the_antspyx_engine(phantom):
    image, tissues, spacing = phantom
    biased = image * known_field(image.shape)
    ramp = np.broadcast_to(np.linspace(0.01, 1, image.shape[0])[:, None, None], image.shape)
    options = {"engine": "antspyx", "iterations": (10,), "shrink_factor": 4}
    _, plain = correct_bias_field(biased, spacing, **options)
    _, weighted = correct_bias_field(biased, spacing, weights=ramp, **options)
    assert np.abs(weighted - plain)[tissues > 0].max() > 1e-3
    with pytest.raises(ConfigError, match="SimpleITK's N4 takes no weights"):
        correct_bias_field(biased, spacing, weights=ramp)


@pytest.mark.parametrize("slices", [1, 2])
def test_thin_volumes_are_corrected_as_well(phantom, slices):
    image, _, spacing = phantom
    thin = (image * known_field(image.shape))[:, :, 20 : 20 + slices]
    result, field = correct_bias_field(thin, spacing)
    inside = thin > 100
    known = known_field(image.shape)[:, :, 20 : 20 + slices]
    assert result.shape == thin.shape
    assert np.corrcoef(np.log(field[inside]), np.log(known[inside]))[0, 1] > 0.9


def test_short_axes_are_shrunk_less():
    assert shrink_factors((288, 288, 62), 4, 3_000_000) == (4, 4, 4)
    assert shrink_factors((288, 288, 19), 4, 1_000_000) == (4, 4, 1)
    assert shrink_factors((288, 288, 1), 4, 80_000) == (4, 4, 1)


def test_small_foregrounds_are_shrunk_less():
    assert shrink_factors((64, 64, 64), 4, 50_000) == (2, 2, 2)
    assert shrink_factors((64, 64, 64), 4, 900) == (1, 1, 1)


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"engine": "spm"}, ConfigError, "unknown N4 engine 'spm'"),
        ({"iterations": ()}, ConfigError, "iterations"),
        ({"shrink_factor": 0}, ConfigError, "shrink_factor = 0"),
        ({"spline_distance": -1.0}, ConfigError, "spline_distance = -1"),
        ({"engine": "antspyx", "wiener_noise": 0.1}, ConfigError, "wiener_noise = 0.1 cannot be passed"),
        ({"foreground_mask": np.ones((2, 2, 2), bool)}, DataError, r"mask of shape \(2, 2, 2\)"),
        ({"image": np.zeros((9, 9, 9))}, DataError, "no foreground: every voxel is 0"),
        ({"image": np.full((9, 9, 9), np.nan)}, DataError, "not finite"),
        ({"image": np.ones((9, 9))}, DataError, r"got shape \(9, 9\)"),
    ],
)
def test_what_n4_cannot_use_is_refused(phantom, change, error, reason):
    image, _, spacing = phantom
    with pytest.raises(error, match=reason):
        correct_bias_field(**({"image": image, "spacing": spacing} | change))


def test_whitened_images_are_refused_with_a_remedy(phantom):
    image, tissues, spacing = phantom
    white = (image - image[tissues > 0].mean()) / image[tissues > 0].std()
    with pytest.raises(DataError, match="not positive; run it before whitening"):
        correct_bias_field(white, spacing, foreground_mask=tissues > 0)


@pytest.mark.real_data
@pytest.mark.slow
def test_real_tissues_vary_no_more_than_before_a_known_field(real_data):
    for image_name, tissue_name, labels in (
        ("pairs_template_mr_ct/mr.nii.gz", "pairs_template_mr_ct/tissue.nii.gz", (2, 3)),
        ("mr_brain_multi/ilist1_T1.nii.gz", "mr_brain_multi/slist1_tissue.nii.gz", (2, 3)),
        ("mr_brain_multi/ilist4_T1.nii.gz", "mr_brain_multi/slist4_tissue.nii.gz", (2, 3)),
    ):
        image = read_image(real_data / image_name)
        tissues = read_label_map(real_data / tissue_name).array
        biased = image.array * known_field(image.array.shape)
        corrected, field = correct_bias_field(biased, image.header.spacing)
        before = variations(image.array, tissues, labels)
        assert np.all(variations(corrected, tissues, labels) < 1.1 * before)
        _, other = correct_bias_field(biased, image.header.spacing, engine="antspyx")
        assert np.corrcoef(field[tissues > 0], other[tissues > 0])[0, 1] > 0.95


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iterations": (50, 0)}, "iterations"),
        ({"convergence": -1.0}, "convergence"),
        ({"spline_distance": 0.0}, "spline_distance"),
        ({"histogram_bins": 1}, "histogram_bins"),
        ({"engine": "spm"}, "engine"),
        ({"weights": "folder"}, "weights cannot be used: SimpleITK's N4 takes no weights; use engine = antspyx"),
        ({"engine": "antspyx", "histogram_bins": 100}, "histogram_bins = 100 cannot be passed to antspyx's N4"),
    ],
)
def test_settings_that_n4_cannot_use_are_refused_before_any_image_is_read(options, message):
    with pytest.raises(ConfigError, match=message):
        BiasFieldSettings(**options)


def test_a_foreground_of_a_few_voxels_is_too_small_for_n4():
    image = np.full((12, 12, 12), 5.0)
    mask = np.zeros(image.shape, bool)
    mask[:4, :4, :4] = True
    with pytest.raises(DataError, match="only 64 foreground voxels are too few for N4; use another rule"):
        correct_bias_field(image, (1, 1, 1), mask)
    image[mask] = -1
    with pytest.raises(DataError, match="but 64 of 64 foreground voxels are not positive"):
        correct_bias_field(image, (1, 1, 1), mask)
    with pytest.raises(DataError, match="but 0 of 0 foreground voxels"):
        correct_bias_field(image, (1, 1, 1), np.zeros(image.shape, bool))


def test_weights_on_another_grid_are_refused_by_the_step(tmp_path):
    write_image(tmp_path / "s1.nii.gz", np.ones((4, 4, 4), np.float32), np.eye(4))
    volume = Volume(np.ones((5, 4, 4), np.float32), np.eye(4))
    settings = BiasFieldSettings(engine="antspyx", weights=tmp_path)
    with pytest.raises(DataError, match=r"weights of shape \(4, 4, 4\) for an image of shape \(5, 4, 4\); give them"):
        bias_field_step(volume, settings, StepContext("s1"))


@pytest.mark.parametrize("save", [False, True])
def test_the_step_tells_the_range_of_the_field_and_saves_it_where_it_is_asked_to(save):
    ramp = np.broadcast_to(np.linspace(0.7, 1.3, 14)[:, None, None], (14, 13, 12))
    volume = Volume((100 * ramp).astype(np.float32), np.eye(4))
    settings = BiasFieldSettings(iterations=(5,), foreground="all", save_field=save)
    found = bias_field_step(volume, settings, StepContext("s1"))
    assert found.array.std() < volume.array.std()
    field = volume.array / found.array
    assert found.notes == (f"bias field from {field.min():.3g} to {field.max():.3g}",)
    assert len(found.side_results) == save
    if save:
        (side,) = found.side_results
        assert (side.folder, side.suffix) == ("bias_field", ".nii.gz")
        np.testing.assert_allclose(side.array, field, rtol=1e-5)
