"""Maps that a run keeps: which filters are shown, and that whatever happened to a file's bytes, nothing is raised."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfgkeras.analysis.activation_maps import ActivationMaps, FilterMap, choose_maps, read_maps, write_maps
from sfgkeras.analysis.feature_maps import FeatureMaps, read_feature_maps, write_feature_maps
from sfgkeras.analysis.grouping_record import entropies

RNG = np.random.default_rng(0)
ACTIVATIONS = ActivationMaps(
    7,
    ("s1 axial 3",),
    RNG.random((1, 4, 5), np.float32),
    (FilterMap("sfg_1", 2, "lowest", 3, 0.25, RNG.random((1, 4, 5), np.float32)),),
    {"sfg_1": [0, 2]},
    {"sfg_1": 4},
    ("ct", "organs", "shared"),
)
FEATURES = FeatureMaps(
    ("sfg", "größer"),
    ("a", "b"),
    tuple(RNG.random((3, 2), np.float32) for _ in range(2)),
    {"sfg": {"stage_1": tuple(RNG.random((3, 2), np.float32) for _ in range(2))}, "größer": {}},
)
KINDS = {
    "activations": (write_maps, read_maps, ACTIVATIONS),
    "features": (write_feature_maps, read_feature_maps, FEATURES),
}


def arrays_of(maps):
    """Returns all that was kept, as plain values."""
    if isinstance(maps, FeatureMaps):
        return [maps.runs, maps.slices, [a.tolist() for a in maps.images], [
            (run, stage, [a.tolist() for a in images]) for run in maps.runs for stage, images in maps.maps[run].items()
        ]]  # fmt: skip
    filters = [(f.layer, f.group, f.kind, f.filter, f.entropy, f.maps.tolist()) for f in maps.filters]
    return [maps.iteration, maps.slices, maps.images.tolist(), filters, maps.dead, maps.num_filters, maps.group_names]


@pytest.fixture(scope="module", params=KINDS)
def kept(request, tmp_path_factory):
    """What reads a kind of maps, the bytes of a file of them, and what they are."""
    write, read, maps = KINDS[request.param]
    path = tmp_path_factory.mktemp("maps") / "maps.npz"
    write(path, maps)
    return read, path.read_bytes(), arrays_of(maps)


def test_maps_are_read_back_with_all_that_belongs_to_them(kept, tmp_path):
    read, content, expected = kept
    (tmp_path / "maps.npz").write_bytes(content)
    assert arrays_of(read(tmp_path / "maps.npz")) == expected


@settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_maps_are_none_or_what_was_kept(kept, tmp_path, data):
    read, whole, expected = kept
    content = bytearray(whole)
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=3)):
        content[place] = data.draw(st.integers(0, 255))
    (tmp_path / "maps.npz").write_bytes(bytes(content[: data.draw(st.sampled_from([len(whole), len(whole) // 2]))]))
    found = read(tmp_path / "maps.npz")
    assert found is None or arrays_of(found) == expected


@pytest.mark.parametrize("record", ["[]", "3", '{"iteration": 1}', '{"filters": [[1]], "runs": [], "slices": 3}'])
def test_an_archive_of_something_else_is_none(tmp_path, record):
    np.savez(tmp_path / "maps.npz", record=np.asarray(record), images=np.zeros(1))
    assert read_maps(tmp_path / "maps.npz") is None
    assert read_feature_maps(tmp_path / "maps.npz") is None


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 999), st.integers(1, 8), st.integers(0, 8))
def test_the_surest_and_the_least_sure_live_filter_of_every_group_are_shown(seed, filters, num_dead):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet([0.5] * 3, filters)
    values = rng.normal(size=(2, 3, 3, filters))
    dead = sorted(rng.permutation(filters)[:num_dead].tolist())
    values[..., dead] = 0
    found = choose_maps(
        {"layer": values}, {"layer": probabilities}, values[..., 0], ("a", "b"), ("x", "y", "shared"), 5
    )
    assert (found.dead, found.num_filters) == ({"layer": dead}, {"layer": filters})
    groups, uncertainty = probabilities.argmax(axis=1), entropies(probabilities)
    for group in range(3):
        own = {entry.kind: entry.filter for entry in found.filters if entry.group == group}
        members = set(np.flatnonzero(groups == group).tolist())
        usable = sorted((members - set(dead)) or members, key=lambda number: uncertainty[number])
        expected = {"lowest": usable[0]} if usable else {}
        assert own == (expected | {"highest": usable[-1]} if len(usable) > 1 else expected)
    for entry in found.filters:
        np.testing.assert_array_equal(entry.maps, values[..., entry.filter].astype(np.float32))
        assert entry.entropy == pytest.approx(uncertainty[entry.filter])
