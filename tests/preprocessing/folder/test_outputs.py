"""Files of an output folder: whose they are, one run at a time, and sentences with their time."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from sfgkeras.errors import ConfigError, DataError
from sfgkeras.files import replacing
from sfgkeras.preprocessing.folder.inputs import MANIFEST
from sfgkeras.preprocessing.folder.job import run_job
from sfgkeras.preprocessing.folder.lock import LOCK, alone
from sfgkeras.preprocessing.folder.log import Log
from sfgkeras.preprocessing.folder.manifest import Manifest, Record
from sfgkeras.preprocessing.folder.outputs import CLAIMS, OutputFolder, refuse_foreign, refuse_other_steps
from sfgkeras.preprocessing.folder.plan import Order
from sfgkeras.preprocessing.folder.subjects import FolderSubjects
from sfgkeras.preprocessing.pipeline import build_pipeline
from sfgkeras.protection import ReadFiles

from .conftest import write_small


def output_folder(folder):
    folder.mkdir(exist_ok=True)
    return OutputFolder(folder, Manifest(folder / MANIFEST), ("overview.html", MANIFEST))


def names(folder, paths):
    return [path.relative_to(folder).as_posix() for path in paths]


def test_files_of_a_job_are_planned_with_what_lies_beside_them(job_of):
    job = job_of(picture=True, labels={"labels": None}, label_outputs={"labels": "labels/s1.nii.gz"})
    planned = output_folder(job.folder).planned([job])
    assert names(job.folder, planned) == [
        "overview.html", MANIFEST, "s1.nii.gz", "labels/s1.nii.gz", "provenance/s1.json", "pictures/s1.png",
        "bias_field/s1.nii.gz", "transforms/s1_0GenericAffine.mat", "transforms/s1_1Warp.nii.gz",
        "transforms/s1_1InverseWarp.nii.gz",
    ]  # fmt: skip
    assert "pictures/s1.png" not in names(job.folder, output_folder(job.folder).planned([replace(job, picture=False)]))


def test_in_a_folder_of_somebody_else_every_file_of_a_name_is_foreign(job_of):
    job = job_of()
    folder = output_folder(job.folder)
    assert folder.foreign([job]) == []
    for name in ("overview.html", "s1.nii.gz", "other.nii.gz"):
        (job.folder / name).write_text("mine")
    assert names(job.folder, folder.foreign([job])) == ["overview.html", "s1.nii.gz"]


@pytest.mark.parametrize("name", ["bias_field/s1.nii.gz", "transforms/s1_0GenericAffine.mat"])
def test_what_steps_save_besides_replaces_nothing_of_somebody_else(name, job_of):
    job = job_of()
    folder = output_folder(job.folder)
    (job.folder / name).parent.mkdir()
    (job.folder / name).write_text("mine")
    assert names(job.folder, folder.foreign([job])) == [name]
    folder.claim([job])
    assert output_folder(job.folder).foreign([job]) == []


def test_what_was_claimed_is_own_in_later_runs_and_what_came_since_is_not(job_of):
    one, two = job_of("s1"), job_of("s2")
    first = output_folder(one.folder)
    first.claim([one])
    for name in ("overview.html", "s1.nii.gz", "s2.nii.gz"):
        (one.folder / name).write_text("x")
    assert first.foreign([one]) == [], "what a run claims it may write"
    later = output_folder(one.folder)
    assert names(one.folder, later.foreign([one, two])) == ["s2.nii.gz"]
    later.claim([two])
    assert later.foreign([one, two]) == []
    claimed = json.loads((one.folder / CLAIMS).read_text())
    assert claimed == sorted(claimed)
    assert {"s1.nii.gz", "s2.nii.gz", "provenance/s1.json"} <= set(claimed)


@pytest.mark.parametrize("text", ["", "{", "3", "null"])
def test_damaged_claims_are_none_and_the_manifest_knows_what_is_done(text, job_of):
    job = job_of()
    output_folder(job.folder)
    (job.folder / CLAIMS).write_text(text)
    Manifest(job.folder / MANIFEST).add(Record("s1", "done", output="s1.nii.gz"))
    for name in ("s1.nii.gz", "s2.nii.gz"):
        (job.folder / name).write_text("x")
    assert names(job.folder, output_folder(job.folder).foreign([job, job_of("s2")])) == ["s2.nii.gz"]


def test_foreign_files_are_refused_by_name_and_number(tmp_path):
    refuse_foreign(tmp_path, [])
    with pytest.raises(ConfigError, match=r"would replace \(.*a\.nii.*\); choose another output folder, or add --over"):
        refuse_foreign(tmp_path, [tmp_path / "a.nii"])


def test_results_of_the_same_steps_or_of_unknown_ones_may_be_replaced_and_others_not(job_of):
    job = job_of(steps="whiten")
    recorded = replace(job, recorded=run_job(job).record)
    refuse_other_steps(job.folder, [])
    refuse_other_steps(job.folder, [recorded])
    other = replace(recorded, pipeline=build_pipeline("reorient, whiten"))
    with pytest.raises(ConfigError, match=r"other steps \(whiten\) of 1 subjects, e\.g\. 's1', than these \(reor"):
        refuse_other_steps(job.folder, [other])
    refuse_other_steps(job.folder, [replace(other, recorded=None)])
    (job.folder / "provenance" / "s1.json").write_text("{}")
    refuse_other_steps(job.folder, [other])
    run_job(job)
    (job.folder / job.output).unlink()
    refuse_other_steps(job.folder, [other])


def order_of(tmp_path, **options):
    image = write_small(tmp_path / "in" / "s1.nii.gz")
    subjects = FolderSubjects({"s1": image}, {}, (), (), ())
    wanted = {"picture": False, "loader": None, "restart": False, "overwrite": False, "reads": ReadFiles([image])}
    output = tmp_path / "out"
    output.mkdir(exist_ok=True)
    return Order(output, subjects, **{"pipeline": build_pipeline("histogram, whiten"), **wanted, **options})


def test_a_plan_writes_nothing_and_knows_what_was_done(tmp_path):
    order = order_of(tmp_path)
    Manifest(order.output / MANIFEST).add(Record("s1", "done", output="s1.nii.gz"))
    before = sorted(order.output.iterdir())
    plan = order.plan()
    assert sorted(order.output.iterdir()) == before
    (job,) = plan.jobs
    assert (job.subject_id, job.output, job.recorded.status) == ("s1", "s1.nii.gz", "done")
    assert plan.foreign == ()


def test_a_restart_forgets_what_was_done_and_removes_what_was_fitted_here_but_no_file_that_was_named(tmp_path):
    order = order_of(tmp_path, restart=True)
    Manifest(order.output / MANIFEST).add(Record("s1", "done", output="s1.nii.gz"))
    (order.output / "landmarks.json").write_text("{}")
    plan = order.begin(print)
    assert plan.jobs[0].recorded is None
    assert plan.manifest.records == {}
    assert not (order.output / "landmarks.json").exists()
    named = tmp_path / "named.json"
    named.write_text("{}")
    order_of(tmp_path, restart=True, pipeline=build_pipeline("histogram", {"histogram_ref_file": str(named)})).begin(
        print
    )
    assert named.exists()


def test_landmarks_of_somebody_else_are_not_removed_by_a_restart(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "landmarks.json").write_text("mine")
    with pytest.raises(ConfigError, match=r"landmarks\.json"):
        order_of(tmp_path, restart=True).begin(print)
    assert (tmp_path / "out" / "landmarks.json").read_text() == "mine"


def test_replaced_files_are_told_and_an_input_is_never_replaced(tmp_path):
    sentences = []
    order = order_of(tmp_path, overwrite=True)
    write_small(order.output / "s1.nii.gz")
    order.begin(sentences.append)
    assert sentences == [f"replaced, made by something else: {order.output / 's1.nii.gz'}"]
    read = order_of(tmp_path, overwrite=True, reads=ReadFiles([order.output / "s1.nii.gz"]))
    with pytest.raises(DataError, match=r"s1\.nii\.gz: would be written over, and it is read here"):
        read.plan()


def test_a_second_run_is_refused_until_the_first_has_ended(tmp_path):
    with alone(tmp_path, wait=False):
        assert str(os.getpid()) in (tmp_path / LOCK).read_text()
        second = alone(tmp_path, wait=False)
        with pytest.raises(ConfigError, match=rf"another run is writing there \(process {os.getpid()} on"):
            second.__enter__()
    with alone(tmp_path, wait=False):
        assert (tmp_path / LOCK).read_text().count("process") == 1, "the note of the first is gone"


def test_a_lock_goes_with_its_process_however_that_ended(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from sfgkeras.preprocessing.folder.lock import alone\n"
        "with alone(Path(sys.argv[1]), False): os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == 9
    with alone(tmp_path, wait=False):
        pass


def test_sentences_go_to_the_file_with_their_time_and_to_who_listens(tmp_path):
    heard = []
    with Log(tmp_path / "a.log", heard.append):
        pass
    assert not (tmp_path / "a.log").exists(), "it is made with the first sentence"
    for number in range(2):
        with Log(tmp_path / "a.log", heard.append) as write:
            write(f"é {number}")
            assert (tmp_path / "a.log").read_text(encoding="utf-8").endswith(f"é {number}\n"), "at once"
    with Log(tmp_path / "a.log", None) as write:
        write("unheard")
    lines = (tmp_path / "a.log").read_text(encoding="utf-8").splitlines()
    assert [re.sub(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d ", "", line) for line in lines] == ["é 0", "é 1", "unheard"]
    assert heard == ["é 0", "é 1"]


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path):
    order = order_of(tmp_path)
    image = order.subjects.images["s1"]
    strange = replace(order, subjects=replace(order.subjects, images={"../s1": image}))
    with pytest.raises((ConfigError, DataError)):
        strange.plan()
    with replacing(tmp_path / "x") as stream:
        stream.write(b"")
