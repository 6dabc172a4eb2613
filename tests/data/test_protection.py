import os
import threading
from pathlib import Path

import pytest

from sfgkeras.errors import DataError
from sfgkeras.files import replacing
from sfgkeras.protection import ReadFiles, inside, protecting


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "data" / "p1.nii"
    path.parent.mkdir()
    path.write_bytes(b"voxels")
    return path


def write(path):
    with replacing(path) as stream:
        stream.write(b"result")


def test_a_file_that_is_read_is_found_under_every_spelling_of_its_path(image, tmp_path, monkeypatch):
    files = ReadFiles([image])
    (tmp_path / "link").symlink_to(image.parent)
    os.link(image, tmp_path / "hard.nii")
    monkeypatch.chdir(tmp_path)
    spellings = [image, tmp_path / "link" / "p1.nii", tmp_path / "hard.nii", Path("data/../data/p1.nii")]
    assert [files.find(path) for path in spellings] == [image] * 4
    assert files.find(tmp_path / "data" / "p2.nii") is None


def test_everything_directly_in_a_folder_that_is_read_counts(image):
    files = ReadFiles([image.parent])
    assert files.find(image.parent / "new.dcm") == image.parent
    assert files.find(image.parent / "below" / "new.dcm") is None


def test_what_is_read_cannot_be_replaced_in_any_thread_while_it_is_read(image):
    errors = []

    def attempt():
        try:
            write(image)
        except DataError as error:
            errors.append(str(error))

    with protecting(ReadFiles([image])):
        write(image.with_name("other.nii"))
        worker = threading.Thread(target=attempt)
        worker.start()
        worker.join()
    assert image.read_bytes() == b"voxels"
    assert len(errors) == 1
    assert f"{image}: would be written over" in errors[0]
    assert sorted(path.name for path in image.parent.iterdir()) == ["other.nii", "p1.nii"]
    write(image)
    assert image.read_bytes() == b"result"


@pytest.mark.parametrize("name", ["../evil.nii", "/etc/evil.nii", "a/../../evil.nii", "below/../p.nii"])
def test_names_that_lead_out_of_their_folder_are_refused(tmp_path, name):
    with pytest.raises(DataError, match="leads out of"):
        inside(tmp_path, name)


def test_names_below_their_folder_are_theirs(tmp_path):
    assert inside(tmp_path, "site/p1.nii") == tmp_path / "site" / "p1.nii"
    (tmp_path / "out").symlink_to("/tmp")
    with pytest.raises(DataError, match="leads out of"):
        inside(tmp_path, "out/p1.nii")


def test_a_name_of_every_length_that_a_file_system_takes_can_be_written(tmp_path):
    path = tmp_path / ("ä" * 125 + ".json")
    write(path)
    assert path.read_bytes() == b"result"
