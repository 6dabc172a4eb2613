"""Who made what in a folder, tables of a search, statistics by their names: each rule by itself, without a network."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfgkeras.applications.records.candidates_file import Candidate, read_candidates, write_candidates
from sfgkeras.applications.records.files import (
    BEGUN,
    FROM,
    Provenance,
    digest,
    make_writable,
    prediction_path,
    write_text,
)
from sfgkeras.applications.records.settled import Settled, settled_of
from sfgkeras.applications.records.statistics_files import statistics_names, statistics_path
from sfgkeras.errors import DataError


@pytest.fixture
def result(tmp_path):
    """A result that is there."""
    path = tmp_path / "Jörg_ct.nii.gz"
    path.write_bytes(b"a volume")
    return path


def test_a_result_is_done_if_it_is_there_and_was_made_as_now(tmp_path, result):
    other = tmp_path / "other.nii.gz"
    Provenance(tmp_path, "a").record([result, other])
    again = Provenance(tmp_path, "a")
    assert again.is_done([result])
    assert not again.is_done([result, other])  # noted, and removed since
    assert again.is_done([])
    assert not Provenance(tmp_path, "b").is_done([result])
    assert not Provenance(tmp_path, "").is_done([result])


@pytest.mark.parametrize(("made", "now"), [("ab", "a"), ("a", "ab")])
def test_a_digest_that_begins_like_another_is_another(tmp_path, result, made, now):
    Provenance(tmp_path, made).record([result])
    assert not Provenance(tmp_path, now).is_done([result])
    with pytest.raises(DataError, match="by another checkpoint or other settings"):
        Provenance(tmp_path, now).refuse_foreign([result])


def test_results_of_something_else_are_refused_by_name_number_and_remedy(tmp_path, result):
    second = tmp_path / "second.nii.gz"
    second.touch()
    wanted = [result, second, tmp_path / "absent.nii.gz"]
    pattern = (
        rf"Jörg_ct\.nii\.gz exists and was made by another .* \(2 such files\); add --overwrite, or .* than {tmp_path}"
    )
    with pytest.raises(DataError, match=pattern):
        Provenance(tmp_path, "a").refuse_foreign(wanted)
    Provenance(tmp_path, "a").record([second])
    with pytest.raises(DataError, match=r"\(1 such file\)"):
        Provenance(tmp_path, "a").refuse_foreign(wanted)
    Provenance(tmp_path, "a").record([result])
    Provenance(tmp_path, "a").refuse_foreign(wanted)


def test_what_was_begun_and_killed_may_be_gone_on_with_by_the_same_run_only(tmp_path, result):
    Provenance(tmp_path, "a").begin([result])
    same, other = Provenance(tmp_path, "a"), Provenance(tmp_path, "b")
    same.refuse_foreign([result])
    assert not same.is_done([result])
    assert same.settings_of(result) == ""
    with pytest.raises(DataError, match="by another checkpoint"):
        other.refuse_foreign([result])


def test_other_images_are_told_from_other_settings_and_asked_for_only_where_the_rest_fits(tmp_path, result):
    asked = []

    def content(path):
        asked.append(path)
        return "images of old"

    Provenance(tmp_path, "a", content=content).record([result])
    assert Provenance(tmp_path, "a", content=content).is_done([result])
    asked.clear()
    assert not Provenance(tmp_path, "b", content=content).is_done([result])
    assert not asked
    changed = Provenance(tmp_path, "a", content=lambda _: "new images")
    assert changed.is_outdated(result)
    with pytest.raises(DataError, match="was made from other images"):
        changed.refuse_foreign([result])
    assert changed.settings_of(result) == "a"


def test_of_two_workers_the_later_note_counts_whoever_reads(tmp_path, result):
    first, second = (Provenance(tmp_path, "a", worker) for worker in (0, 1))
    first.record([result])
    Provenance(tmp_path, "b", 1).record([result])  # read the first one's note, and went over it
    for worker in (0, 1, 2):
        assert Provenance(tmp_path, "b", worker).is_done([result])
    Provenance(tmp_path, "a", 0).record([result])
    assert not Provenance(tmp_path, "b", 1).is_done([result])
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["provenance.json", "provenance_1.json"]
    second.record([])
    assert first.is_done([result])


def test_what_is_forgotten_is_made_again_and_what_nobody_noted_is_unknown(tmp_path, result):
    stranger = tmp_path / "stranger.nii.gz"
    stranger.touch()
    Provenance(tmp_path, "a").record([result])
    notes = Provenance(tmp_path, "a")
    assert notes.unknown([result, stranger, tmp_path / "absent"]) == [stranger]
    assert not notes.is_outdated(stranger)
    assert not notes.is_outdated(result)
    notes.forget([result, stranger])
    assert not notes.is_done([result])
    assert Provenance(tmp_path, "a").is_done([result])  # on the disk nothing was changed
    notes.record([result])
    assert Provenance(tmp_path, "a").is_done([result])


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '{"Jörg_ct.nii.gz": 3}', '{"Jörg_ct.nii.gz": ["a", "x"]}', '{"Jörg_ct.nii.gz": ["a"]}']
)
def test_a_damaged_note_makes_its_results_anew(tmp_path, result, text):
    (tmp_path / "provenance.json").write_text(text, encoding="utf-8")
    assert not Provenance(tmp_path, "a").is_done([result])
    Provenance(tmp_path, "a").record([result])
    assert Provenance(tmp_path, "a").is_done([result])


def test_a_note_without_a_number_is_the_first_one(tmp_path, result):
    (tmp_path / "provenance.json").write_text(json.dumps({result.name: "a"}), encoding="utf-8")
    assert Provenance(tmp_path, "a").is_done([result])
    (tmp_path / "provenance_1.json").write_text(json.dumps({result.name: ["b", 1]}), encoding="utf-8")
    assert Provenance(tmp_path, "b").is_done([result])


def test_notes_hold_no_more_than_name_maker_and_number(tmp_path, result):
    notes = Provenance(tmp_path, "a", content=lambda path: path.name[:2])
    notes.begin([result])
    notes.record([result])
    assert json.loads((tmp_path / "provenance.json").read_text(encoding="utf-8")) == {result.name: [f"a{FROM}Jö", 1]}
    assert BEGUN not in (tmp_path / "provenance.json").read_text(encoding="utf-8")


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from("abcü"), st.one_of(st.integers(), st.booleans(), st.text(max_size=2))))
def test_a_digest_does_not_depend_on_the_order_of_keys_and_on_nothing_less(values):
    assert digest(values) == digest(dict(reversed(values.items())))
    assert digest(values) != digest({**values, "another": 1})
    assert len(digest(values)) == 16


def test_digests_tell_paths_and_places_in_lists_apart():
    assert digest([1, 2]) != digest([2, 1])
    assert digest({"x": Path("a")}) != digest({"x": Path("b")})


def test_an_id_does_not_lead_out_of_the_folder_of_results(tmp_path):
    config = SimpleNamespace(inference=SimpleNamespace(save_seg_dir=tmp_path, output_postfix="_niftynet_out"))
    assert prediction_path(config, "p1", "ct", "_std").name == "p1_ct_niftynet_out_std.nii.gz"
    with pytest.raises(DataError, match=r"\.\."):
        prediction_path(config, "../p1", "ct")


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    make_writable(tmp_path / "new" / "deep")
    assert not list((tmp_path / "new" / "deep").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=rf"{tmp_path / 'file'}: is a file; choose another folder"):
        make_writable(tmp_path / "file")
    with pytest.raises(DataError, match=r"file.deeper: cannot be written \(Not a directory\); choose another folder"):
        make_writable(tmp_path / "file" / "deeper")


def test_texts_of_names_that_are_no_utf8_are_written_with_escapes(tmp_path):
    write_text(tmp_path / "deep" / "x.txt", "ü\udcff")
    assert (tmp_path / "deep" / "x.txt").read_bytes() == "ü\\udcff".encode()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["x.txt"]


LOSSES = st.dictionaries(st.sampled_from(["ct", "organs", "loss_x", "Größe"]), st.floats(1e-6, 1e6), min_size=1)
CANDIDATES = st.builds(
    Candidate,
    rung=st.integers(1, 9),
    name=st.sampled_from(["learned", "shared", 'own "name", mine']),
    iterations=st.integers(0, 10**7),
    losses=LOSSES,
    untrained=st.one_of(st.just({}), LOSSES),
    multiplies=st.integers(0, 10**12),
    seconds=st.floats(0, 1e5).map(lambda value: round(value, 1)),
    score=st.one_of(st.none(), st.floats(0, 10)),
    chosen=st.booleans(),
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(CANDIDATES, max_size=3))
def test_a_table_of_candidates_is_read_back_as_it_was(tmp_path_factory, candidates):
    path = tmp_path_factory.mktemp("explore") / "explore.csv"
    # A task that is untrained only would have no column: the same tasks are measured before and after.
    candidates = [
        Candidate(**{**vars(each), "untrained": {task: 2 * loss for task, loss in each.losses.items()}})
        if each.untrained
        else each
        for each in candidates
    ]
    write_candidates(path, candidates)
    found = read_candidates(path)
    assert len(found) == len(candidates)
    for one, other in zip(found, candidates, strict=True):
        plain = ("rung", "name", "iterations", "multiplies", "seconds", "chosen")
        assert [getattr(one, name) for name in plain] == [getattr(other, name) for name in plain]
        assert one.losses == pytest.approx(other.losses, rel=1e-6)
        assert one.untrained == pytest.approx(other.untrained, rel=1e-6)
        assert one.score == (other.score if other.score is None else pytest.approx(other.score, rel=1e-5))


def test_a_diverged_candidate_keeps_its_infinite_loss(tmp_path):
    write_candidates(tmp_path / "x.csv", [Candidate(1, "a", 5, {"ct": float("inf")}, {}, 1, 1.0, float("inf"))])
    (found,) = read_candidates(tmp_path / "x.csv")
    assert found.losses == {"ct": float("inf")}
    assert found.score == float("inf")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rung,candidate\n1,a\n",
        "rung,candidate,chosen,score,iterations,multiplies,seconds\n1,a,yes,0,5\n",  # cut short by a kill
        "rung,candidate,chosen,score,iterations,multiplies,seconds\n1,a,yes,0,5,6,7,8,9\n",
        "rung,candidate,chosen,score,iterations,multiplies,seconds\nx,a,yes,0,5,6,7\n",
        "rung,candidate,chosen,score,iterations,multiplies,seconds\n1,a,yes,bad,5,6,7\n",
    ],
)
def test_a_damaged_table_of_candidates_counts_as_none(tmp_path, text):
    assert read_candidates(tmp_path / "none.csv") == []
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    assert read_candidates(tmp_path / "x.csv") == []
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe")
    assert read_candidates(tmp_path / "x.csv") == []


def test_what_was_settled_is_part_of_a_record_and_read_from_it_as_json():
    settled = Settled("tapered", 250, [[0, 2, 1], [2]])
    record = json.loads(json.dumps({"iteration": 500, **settled.values()}))
    assert settled_of(record) == settled
    assert settled_of({"iteration": 500}) is None
    assert settled_of(None) is None


def statistics_config(masks="mode", batch_size=4):
    return SimpleNamespace(inference=SimpleNamespace(masks=masks), network=SimpleNamespace(batch_size=batch_size))


def test_statistics_are_of_one_state_masks_batch_and_images(tmp_path):
    config, record = statistics_config(), {"iteration": 4, "best_score": 0.5}
    own = statistics_path(config, tmp_path, record, ["images"])
    others = [
        statistics_path(statistics_config(masks="sampled"), tmp_path, record, ["images"]),
        statistics_path(statistics_config(batch_size=8), tmp_path, record, ["images"]),
        statistics_path(config, tmp_path, {**record, "iteration": 5}, ["images"]),
        statistics_path(config, tmp_path, record, ["other images"]),
    ]
    assert len({own, *others}) == 5
    assert statistics_path(config, tmp_path, dict(record), ["images"]) == own
    pattern = statistics_names(config, record)
    assert [path.match(pattern) for path in (own, *others)] == [True, False, False, False, True]


def test_without_images_what_was_measured_last_is_taken(tmp_path):
    config, record = statistics_config(), {"iteration": 4}
    assert not statistics_path(config, tmp_path, record, []).exists()
    old, new = (statistics_path(config, tmp_path, record, [name]) for name in ("old", "new"))
    other = statistics_path(config, tmp_path, {"iteration": 5}, ["newest"])
    for age, path in enumerate((other, new, old)):
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))
    assert statistics_path(config, tmp_path, record, []) == new
