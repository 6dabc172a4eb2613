"""A disk that is full while a report or an export is written: one line, and nothing is left behind."""

import contextlib
import os
import resource

import numpy as np
import pytest

from sfgkeras.analysis.pictures import save_figure, save_text
from sfgkeras.applications.export.formats import FORMATS, replacing_path
from sfgkeras.applications.records.files import write_text
from sfgkeras.errors import DataError


@contextlib.contextmanager
def largest_file(size):
    """Lets this process write no file larger than `size` bytes: what a full disk or a quota does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture(scope="module")
def network():
    import keras

    image = keras.Input((None, None, 1), name="image")
    wide = keras.layers.Conv2D(128, 3, padding="same", name="a")(image)
    return keras.Model(image, {"ct": keras.layers.Conv2D(64, 3, padding="same", name="ct")(wide)})


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("size", [100, 100_000])
def test_an_export_to_a_full_disk_is_one_line_and_leaves_what_was_there(network, tmp_path, name, size):
    form = FORMATS[name]
    path = tmp_path / f"network{form.ending}"
    if not form.is_folder:
        path.write_text("an earlier export")

    def write():
        with replacing_path(path) as temporary:
            form.write(network, temporary)

    assert_one_line(path, write, size)
    assert os.listdir(tmp_path) == ([] if form.is_folder else [path.name])
    if not form.is_folder:
        assert path.read_text() == "an earlier export"


def assert_one_line(path, write, size):
    """Checks that writing into files of at most `size` bytes is refused by the file's name, with the remedy."""
    with pytest.raises(DataError, match=f"^{path}: cannot be written.*free some space") as refused, largest_file(size):
        write()
    assert len(str(refused.value).splitlines()) == 1


def noise():
    from matplotlib.figure import Figure

    figure = Figure()
    figure.add_subplot().imshow(np.random.default_rng(0).normal(size=(64, 64)))
    return figure


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("figure.png", lambda path: save_figure(noise(), path, 100)),
        ("figure.pdf", lambda path: save_figure(noise(), path, 100)),
        ("figure.html", lambda path: save_text(path, "page" * 1000)),
        ("report.html", lambda path: write_text(path, "page" * 1000)),
    ],
)
def test_a_report_on_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path, name, write):
    path = tmp_path / name
    path.write_text("an earlier report")
    assert_one_line(path, lambda: write(path), 300)
    assert os.listdir(tmp_path) == [name]
    assert path.read_text() == "an earlier report"


def test_a_folder_of_a_figure_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "figures").write_text("a file")
    with pytest.raises(DataError, match="cannot be written .File exists"):
        save_text(tmp_path / "figures" / "a.html", "text")
