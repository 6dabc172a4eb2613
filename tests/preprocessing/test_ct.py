import numpy as np
import pytest

from sfgkeras.data.nifti import read_image
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.preprocessing.ct import describe_ct, is_hounsfield, padding_value, scale_ct, unscale_ct


def test_air_water_and_the_upper_limit_land_where_the_formula_says():
    scaled = scale_ct(np.array([-1024.0, 0.0, 2500.0]))
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, [0, 1, 3.44140625], atol=0)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_the_inverse_of_every_whole_unit_is_exact(dtype):
    hu = np.arange(-1024, 2501).astype(dtype)
    assert np.array_equal(unscale_ct(scale_ct(hu)), hu.astype(np.float32))


def test_padding_and_metal_are_clipped_by_default_and_kept_on_request():
    hu = np.array([-3024, -2000, -1024, 0, 2500, 8000])
    assert unscale_ct(scale_ct(hu)).tolist() == [-1024, -1024, -1024, 0, 2500, 2500]
    assert unscale_ct(scale_ct(hu, clip=None)).tolist() == hu.tolist()
    assert unscale_ct(scale_ct(hu, clip=(-200, 300))).tolist() == [-200, -200, -200, 0, 300, 300]


def test_the_log_names_padding_and_metal_with_their_values():
    hu = np.full((10, 10, 10), 40)
    hu[0] = -3024
    hu[5, 5, :4] = 4000
    padding, metal = describe_ct(hu)
    assert "padding" in padding
    assert "10 % of the voxels are below -1024 HU (lowest -3024)" in padding
    assert metal == "metal: 4 voxels are above 2500 HU (highest 4000) and become 2500"
    assert describe_ct(np.full((3, 3, 3), 40)) == []


def test_padding_fills_a_thousandth_and_half_of_what_lies_below_air():
    hu = np.full((10, 10, 20), 40)
    hu[0, 0, :2] = -3024  # a thousandth
    assert padding_value(hu) == -3024
    hu[0, 0, 0] = 40
    assert padding_value(hu) is None
    hu[0, 0, :4] = [-3024, -3024, -2000, -2000]
    assert padding_value(hu) == -3024
    hu[0, 0, 4] = -2000
    assert padding_value(hu) is None
    assert padding_value(np.full((3, 3), -1024)) is None


def test_nan_and_an_empty_range_are_refused():
    with pytest.raises(DataError, match="1 of 2 values are not finite"):
        scale_ct(np.array([np.nan, 1.0]))
    with pytest.raises(ConfigError, match="clip = 100, -100 is empty"):
        scale_ct(np.zeros(3), clip=(100, -100))


@pytest.mark.real_data
def test_a_real_ct_with_a_metal_implant_is_recognised_and_described(real_data):
    hu = read_image(real_data / "ct_pelvis" / "ts_example_ct.nii.gz").array
    notes = describe_ct(hu)
    assert is_hounsfield(hu)
    assert any("overshoot" in note for note in notes)
    assert any("metal" in note for note in notes)
    assert not is_hounsfield(read_image(real_data / "ct_head" / "scct_cormack.nii").array)
