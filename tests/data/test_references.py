"""A reference to an image reads its header once, whoever asks for it, and its voxels as its kind does."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sfgkeras.data import references
from sfgkeras.data.nifti import write_image
from sfgkeras.data.references import ImageFile
from sfgkeras.data.volumes import file_fingerprint
from sfgkeras.errors import DataError


@pytest.fixture
def path(tmp_path):
    labels = np.random.default_rng(0).integers(0, 5, (4, 5, 6)).astype(np.uint8)
    write_image(tmp_path / "p_mr.nii.gz", labels, np.diag([1.0, 2.0, 3.0, 1.0]))
    return tmp_path / "p_mr.nii.gz"


@pytest.fixture
def reads(monkeypatch):
    """The paths whose headers were read."""
    found, read = [], references.read_header
    monkeypatch.setattr(references, "read_header", lambda path, loader: found.append(path) or read(path, loader))
    return found


def test_the_header_is_read_once_by_whoever_asks_first(path, reads):
    image = ImageFile(path)
    with ThreadPoolExecutor(8) as pool:
        headers = list(pool.map(lambda _: image.header(), range(32)))
    assert reads == [path]
    assert {id(header) for header in headers} == {id(image.header())}
    assert headers[0].shape == (4, 5, 6)
    assert headers[0].spacing == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("read", ["read", "read_labels"])
def test_voxels_bring_their_header(path, reads, read):
    image = ImageFile(path)
    header = getattr(image, read)().header
    assert image.header() is header
    assert reads == []


def test_a_header_that_cannot_be_read_is_asked_for_again(tmp_path, path):
    late = ImageFile(tmp_path / "late.nii.gz")
    assert not late.is_there()
    with pytest.raises(DataError, match=r"late\.nii\.gz: does not exist"):
        late.header()
    with pytest.raises(DataError, match=r"late\.nii\.gz"):
        late.stamp()
    late.path.write_bytes(path.read_bytes())
    assert late.is_there()
    assert late.header().shape == (4, 5, 6)


def test_a_reference_goes_to_another_process_and_equals_itself(path):
    image = ImageFile(path)
    image.header()
    other = pickle.loads(pickle.dumps(image))
    assert other == image
    assert other != ImageFile(path, "simpleitk")
    assert np.array_equal(other.read_labels().array, image.read().array)
    assert other.fingerprint() == file_fingerprint(path)
    assert str(other) == other.name == str(path)
    assert other.stamp() == (path.stat().st_size, path.stat().st_mtime_ns)


def test_a_link_lies_in_the_place_of_its_image(tmp_path, path):
    (tmp_path / "link.nii.gz").symlink_to(path)
    assert ImageFile(tmp_path / "link.nii.gz").place == ImageFile(path).place
