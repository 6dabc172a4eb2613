"""Whatever stands in the header of a NIfTI file: an image, or one `DataError` that names the file."""

import struct

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfgkeras.data.nifti import read_header, read_image, read_label_map
from sfgkeras.errors import DataError

HEADER = 352
BOUNDED = settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# Where the fields that decide most stand: sizes, type, bits, spacings, offset, slope, intercept, units, codes, affine.
FIELDS = {
    40: "h", 42: "h", 44: "h", 46: "h", 48: "h", 70: "h", 72: "h", 76: "f", 80: "f", 84: "f", 88: "f", 108: "f",
    112: "f", 116: "f", 123: "b", 252: "h", 254: "h", 280: "f", 292: "f", 312: "f", 344: "i",
}  # fmt: skip
numbers = {
    "b": st.integers(-128, 127),
    "h": st.integers(-32768, 32767),
    "i": st.integers(-(2**31), 2**31 - 1),
    "f": st.floats(width=32),
}
changes = st.sampled_from(sorted(FIELDS)).flatmap(
    lambda offset: st.tuples(st.just(offset), numbers[FIELDS[offset]].map(lambda value: (FIELDS[offset], value)))
)


@pytest.fixture(scope="module")
def whole():
    """The bytes of a small image."""
    voxels = np.arange(60, dtype="int16").reshape(3, 4, 5)
    return nib.Nifti1Image(voxels, np.diag([1.0, 2.0, 3.0, 1.0])).to_bytes()


def read(path, content):
    path.write_bytes(content)
    for function in (read_header, read_image, read_label_map):
        message = path.name
        try:
            function(path)
        except DataError as error:
            message = str(error)
        assert path.name in message


@BOUNDED
@given(fields=st.lists(changes, min_size=1, max_size=3))
def test_fields_of_any_value(fields, whole, tmp_path):
    content = bytearray(whole)
    for offset, (kind, value) in fields:
        struct.pack_into(f"<{kind}", content, offset, value)
    read(tmp_path / "any.nii", bytes(content))


@BOUNDED
@given(places=st.lists(st.tuples(st.integers(0, HEADER - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_any_bytes_of_the_header_changed(places, whole, tmp_path):
    content = bytearray(whole)
    for place, value in places:
        content[place] = value
    read(tmp_path / "any.nii", bytes(content))


@BOUNDED
@given(length=st.integers(0, 480), ending=st.sampled_from(["any.nii", "any.nii.gz"]))
def test_any_length(length, ending, whole, tmp_path):
    read(tmp_path / ending, whole[:length])
