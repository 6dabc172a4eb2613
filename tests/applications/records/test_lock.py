import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from sfgkeras.applications import run
from sfgkeras.applications.records import lock
from sfgkeras.applications.records.lock import LOCK, holding
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.reporter import SilentReporter

HOLDER = """
import sys, time
from pathlib import Path
from sfgkeras.applications.records.lock import holding
from sfgkeras.reporter import SilentReporter
with holding(Path(sys.argv[1]), "train", SilentReporter()):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds `tmp_path`."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def of_another_host(folder, age):
    """Writes a lock as another machine would have left it `age` seconds ago."""
    with holding(folder, "train", SilentReporter()):
        held = json.loads((folder / LOCK).read_text())
    (folder / LOCK).write_text(json.dumps({**held, "host": "elsewhere", "place": "x", "token": "theirs"}))
    then = time.time() - age
    os.utime(folder / LOCK, (then, then))


def test_a_second_process_is_told_who_holds_the_folder(holder, tmp_path, reporter):
    who = rf"is held by `sfgkeras train`, process {holder.pid} on \S+, since 20..-"
    with pytest.raises(ConfigError, match=who), holding(tmp_path, "train", reporter):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]


def test_a_killed_process_holds_nothing_and_that_is_said(holder, tmp_path, reporter):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with holding(tmp_path, "train", reporter) as held:
        held.confirm()
    assert len(reporter.warnings) == 1
    assert f"process {holder.pid} on" in reporter.warnings[0]
    assert "taken over" in reporter.warnings[0]
    assert not list(tmp_path.iterdir())


def test_a_process_that_has_ended_holds_nothing_though_its_parent_has_not_asked_for_its_end(tmp_path, reporter):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with holding(tmp_path, "train", SilentReporter()):
        held = json.loads((tmp_path / LOCK).read_text())
    began = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
    theirs = {**held, "pid": child.pid, "began": began, "token": "theirs"}
    (tmp_path / LOCK).write_text(json.dumps(theirs))
    with pytest.raises(ConfigError, match=f"process {child.pid}"), holding(tmp_path, "train", reporter):
        pass
    child.kill()
    while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)
    with holding(tmp_path, "train", reporter):
        pass
    child.wait()
    assert len(reporter.warnings) == 1


def test_a_process_number_that_was_given_again_holds_nothing(tmp_path, reporter):
    with holding(tmp_path, "train", SilentReporter()):
        held = json.loads((tmp_path / LOCK).read_text())
    # This process lives and has the number, and began at another time.
    (tmp_path / LOCK).write_text(json.dumps({**held, "began": "1", "token": "theirs"}))
    with holding(tmp_path, "train", reporter):
        pass
    assert len(reporter.warnings) == 1


def test_a_lock_of_another_host_counts_until_its_signs_of_life_stop(tmp_path, reporter, monkeypatch):
    of_another_host(tmp_path, age=lock.STALE + 1)
    began = time.monotonic()
    with holding(tmp_path, "train", reporter):
        pass
    assert time.monotonic() - began < 5
    assert "on elsewhere" in reporter.warnings[0]
    monkeypatch.setattr(lock, "STALE", 1.5)
    of_another_host(tmp_path, age=0)
    began = time.monotonic()
    with holding(tmp_path, "train", reporter):
        pass
    assert 1 < time.monotonic() - began < 20
    assert "waiting up to 2 s for a sign of life" in reporter.messages[0]


def test_a_sign_of_life_from_another_host_is_heard(tmp_path, reporter, monkeypatch):
    monkeypatch.setattr(lock, "STALE", 30.0)
    of_another_host(tmp_path, age=5)
    timer = threading.Timer(0.5, lambda: os.utime(tmp_path / LOCK))
    timer.start()
    with pytest.raises(ConfigError, match="on elsewhere"), holding(tmp_path, "train", reporter):
        pass
    timer.join()


def test_the_holder_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.05)
    with holding(tmp_path, "train", SilentReporter()):
        os.utime(tmp_path / LOCK, (0, 0))
        deadline = time.monotonic() + 20
        while (tmp_path / LOCK).stat().st_mtime < 1e9 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (tmp_path / LOCK).stat().st_mtime > 1e9


def test_who_was_taken_for_dead_writes_nothing_more_and_leaves_the_new_lock(tmp_path):
    with holding(tmp_path, "train", SilentReporter()) as held:
        of_another = {**json.loads((tmp_path / LOCK).read_text()), "host": "elsewhere", "token": "theirs"}
        (tmp_path / LOCK).write_text(json.dumps(of_another))
        with pytest.raises(DataError, match="on elsewhere, .* took this process for dead"):
            held.confirm()
    assert json.loads((tmp_path / LOCK).read_text()) == of_another


def test_of_many_who_find_a_lock_left_behind_one_gets_it(tmp_path):
    of_another_host(tmp_path, age=lock.STALE + 1)
    together, inside, most = threading.Barrier(8), [], []

    def attempt():
        together.wait()
        try:
            with holding(tmp_path, "train", SilentReporter()):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.2)
                inside.pop()
        except ConfigError:
            pass

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1


def test_who_comes_late_to_a_lock_left_behind_does_not_touch_the_lock_of_who_took_it(tmp_path):
    of_another_host(tmp_path, age=lock.STALE + 1)
    path = tmp_path / LOCK
    left_behind = lock._read(path)
    with holding(tmp_path, "train", SilentReporter()) as held:
        before = path.stat()
        lock._take_away(path, left_behind, lock._this_process("train"))
        after = path.stat()
        # A rename or a second name, even one given back at once, would show in the time of change.
        assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)
        held.confirm()
    assert not list(tmp_path.iterdir())


def test_a_take_over_that_was_killed_half_way_is_taken_over_itself(tmp_path, reporter):
    of_another_host(tmp_path, age=lock.STALE + 1)
    killed = {**json.loads((tmp_path / LOCK).read_text()), "token": "alsotheirs"}
    claim = tmp_path / f"{LOCK}.theirs.taken"
    claim.write_text(json.dumps(killed))
    os.utime(claim, (time.time() - lock.STALE - 1,) * 2)
    with holding(tmp_path, "train", reporter) as held:
        held.confirm()
    assert len(reporter.warnings) == 1
    assert not list(tmp_path.iterdir())


def test_a_lock_that_cannot_be_read_is_taken_over_when_it_is_old(tmp_path, reporter):
    (tmp_path / LOCK).write_text("{")
    os.utime(tmp_path / LOCK, (time.time() - lock.STALE - 1,) * 2)
    with holding(tmp_path, "train", reporter):
        pass
    assert "an unknown host" in reporter.warnings[0]
    assert not list(tmp_path.iterdir())


def test_without_hard_links_there_is_a_lock_too(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(1, "not permitted")))
    silent, refused = SilentReporter(), pytest.raises(ConfigError, match=f"process {os.getpid()} on")
    with holding(tmp_path, "train", silent), refused, holding(tmp_path, "x", silent):
        pass
    assert not list(tmp_path.iterdir())


def test_a_second_training_is_refused_and_disturbs_nothing(make_started, holder, tmp_path):
    config = make_started({"SYSTEM.model_dir": tmp_path})
    (tmp_path / "checkpoints").mkdir(exist_ok=True)
    of_the_first = tmp_path / "checkpoints" / ".iteration_000000002.npz.1-ab.tmp"
    of_the_first.write_bytes(b"half")
    with pytest.raises(ConfigError, match=f"is held by `sfgkeras train`, process {holder.pid}"):
        run.train(config)
    assert of_the_first.exists()
    assert not (tmp_path / "configuration.ini").exists()


def test_a_second_inference_into_one_folder_is_refused(make_started, tmp_path):
    config = make_started({"NETWORK.normalisation": "no"})
    folder = Path(config.inference.save_seg_dir)
    folder.mkdir(parents=True)
    refused = pytest.raises(ConfigError, match="is held by `sfgkeras inference`")
    with holding(folder, "inference", SilentReporter(), ".lock_0.json"), refused:
        run.infer(config, dataset="all")
