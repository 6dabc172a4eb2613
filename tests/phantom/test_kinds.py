"""The contract of all cohorts: what the table of kinds promises is kept by each of its writers."""

import configparser
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

from sfgkeras.config import find_config
from sfgkeras.errors import DataError
from sfgkeras.phantom.kinds import KINDS, SIZES, Layout, PhantomKind, Writer

LAYOUTS = [(kind, layout) for kind, each in KINDS.items() for layout in each.layouts]
QUICK = [pair for pair in LAYOUTS if pair[0] != "pelvis"]  # that of pelves takes a second a subject, and has its tests
IDS = "-".join


def writer_of(kind, layout):
    return KINDS[kind].layouts[layout].load()


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("kind", "layout"), LAYOUTS, ids=map(IDS, LAYOUTS))
def test_writers_take_the_arguments_of_the_protocol_with_its_defaults(kind, layout):
    """The verb `phantom` calls all of them in the same way."""
    wanted = list(inspect.signature(Writer.__call__).parameters.values())[1:]
    found = list(inspect.signature(writer_of(kind, layout)).parameters.values())
    for parameter, given in zip(wanted, found[: len(wanted)], strict=True):
        assert (given.name, given.default) == (parameter.name, parameter.default)
    assert all(extra.default is not inspect.Parameter.empty for extra in found[len(wanted) :])


@pytest.mark.parametrize(("kind", "layout"), QUICK, ids=map(IDS, QUICK))
def test_a_writer_tells_its_files_and_its_progress_and_draws_the_same_first_subjects(kind, layout, tmp_path):
    """A cohort of more subjects begins with those of a smaller one; only what is of all of them may differ."""
    write, seen = writer_of(kind, layout), []
    files = write(str(tmp_path / "two"), 2, seed=9, progress=lambda *at: seen.append(at))
    assert seen == [(1, 2), (2, 2)]
    assert {path.relative_to(tmp_path / "two").as_posix() for path in files} == set(contents(tmp_path / "two"))
    write(tmp_path / "again", 2, seed=9)
    assert contents(tmp_path / "again") == contents(tmp_path / "two")
    if layout != "hdf5":
        write(tmp_path / "one", 1, seed=9)
        two = contents(tmp_path / "two")
        of_one = {name: bytes_ for name, bytes_ in contents(tmp_path / "one").items() if not name.endswith(".csv")}
        assert of_one
        assert of_one.items() <= two.items()
    write(tmp_path / "other", 2, seed=10)
    assert contents(tmp_path / "other").keys() == contents(tmp_path / "two").keys()
    assert contents(tmp_path / "other") != contents(tmp_path / "two")


@pytest.mark.parametrize(("kind", "layout"), QUICK, ids=map(IDS, QUICK))
def test_a_writer_refuses_what_cannot_be_and_replaces_nothing_unasked(kind, layout, tmp_path):
    write = writer_of(kind, layout)
    for number in (0, -2):
        with pytest.raises(ValueError, match="num_subjects = .* must be 1 or more"):
            write(tmp_path, number)
    with pytest.raises(ValueError, match="size = 'giant' is not one of"):
        write(tmp_path, 1, size="giant")
    assert not contents(tmp_path)
    files = write(tmp_path, 1, seed=1)
    before = contents(tmp_path)
    with pytest.raises(DataError, match="exists already.*choose another folder or allow overwriting"):
        write(tmp_path, 1, seed=2)
    assert contents(tmp_path) == before
    write(tmp_path, 1, seed=2, overwrite=True)
    after = contents(tmp_path)
    assert after.keys() == before.keys() == {path.relative_to(tmp_path).as_posix() for path in files}
    assert after != before


@pytest.mark.parametrize("kind", KINDS)
def test_the_sizes_of_the_verb_are_known_to_every_kind_and_its_config_is_shipped(kind):
    write = writer_of(kind, next(iter(KINDS[kind].layouts)))
    module = sys.modules[write.__module__]
    if not hasattr(module, "SIDES") and not hasattr(module, "SIZES"):
        module = sys.modules[module.__name__.removesuffix("_files")]
    sizes = getattr(module, "SIZES", None) or module.SIDES
    assert set(SIZES) <= set(sizes)
    assert find_config(KINDS[kind].config).is_file()


@pytest.mark.parametrize(("kind", "layout"), LAYOUTS, ids=map(IDS, LAYOUTS))
def test_the_settings_of_a_layout_stand_in_sections_of_the_config(kind, layout):
    """`--SECTION.KEY PLACE` for a section that the file does not have would be refused, or be about nothing."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(find_config(KINDS[kind].config), encoding="utf-8")
    for key in KINDS[kind].layouts[layout].settings or ():
        section, option = key.split(".")
        assert section in parser.sections()
        assert option in ("path_to_search", "csv_file")
        # A source is found by its folder or by its table; the file says which.
        assert parser.has_option(section, option)


def test_arguments_of_a_check_lead_every_source_below_the_folder():
    assert KINDS["faces"].check_arguments("folder", Path("my data")) == [
        "check", "-c", "hyperface",
        "--PHOTOS.path_to_search", str(Path("my data/images")),
        "--FACES.csv_file", str(Path("my data/subjects.csv")),
    ]  # fmt: skip
    found = KINDS["rooms"].check_arguments("hdf5", Path("r"))
    assert found[:3] == ["check", "-c", "eigen"]
    assert found[3::2] == [f"--{name}.path_to_search" for name in ("PHOTOS", "DEPTH", "NORMALS", "SURFACES")]
    assert set(found[4::2]) == {"r"}


def test_a_layout_that_the_config_does_not_read_gives_no_arguments():
    def never():
        raise AssertionError("loaded")

    kind = PhantomKind("", "demo", {"a": Layout("", never, {}), "b": Layout("", never, None)})
    assert kind.check_arguments("a", Path("x")) == ["check", "-c", "demo"]
    assert kind.check_arguments("b", Path("x")) == []
    with pytest.raises(KeyError, match="c"):
        kind.check_arguments("c", Path("x"))


def test_the_table_of_kinds_imports_no_writer():
    """`sfgkeras --help` reads the table; SciPy and the shapes are loaded with the kind that is drawn."""
    code = (
        "import sys, sfgkeras.phantom.kinds as kinds\n"
        "assert not {'scipy', 'numpy', 'h5py'} & set(sys.modules), 'before'\n"
        "kinds.KINDS['breasts'].layouts['nifti'].load()\n"
        "assert 'sfgkeras.phantom.breasts' in sys.modules\n"
        "assert 'sfgkeras.phantom.shapes' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
