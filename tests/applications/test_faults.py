"""Broken data, full disks and killed processes: clear errors before long work, and nothing lost or overwritten."""

import contextlib
import gzip
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest

from sfgkeras import cli
from sfgkeras.applications import run
from sfgkeras.applications.records.checkpoints import CheckpointFolder, TrainingState, read_state
from sfgkeras.applications.records.logs import CsvLog, TensorBoardLog, read_log
from sfgkeras.config import read_config
from sfgkeras.errors import DataError

QUICK = (
    "--TRAINING.max_iter=4", "--TRAINING.save_every_n=2", "--TRAINING.validation_every_n=0",
    "--NETWORK.batch_norm=population",
)  # fmt: skip
IDS = [f"case_{i}" for i in range(4)]
SHAPE = (16, 16, 4)
AFFINE = np.diag([3.0, 3.0, 4.0, 1.0])

INI = """
[MR]
path_to_search = {data}/mr
filename_contains = _mr
spatial_window_size = 8, 8, 1

[CT]
path_to_search = {data}/ct
filename_contains = _ct
scaling = ct

[ORGANS]
path_to_search = {data}/organs
filename_contains = _organs

[SYSTEM]
model_dir = {model_dir}
dataset_split_file = {split}

[NETWORK]
name = highresnet
sharing = hard_sharing
width = 0.25
batch_size = 2
whitening = yes

[TRAINING]
max_iter = 1
validation_every_n = 1

[MULTITASK]
image = MR
tasks = ct, organs

[TASK ct]
type = regression
target = CT
loss = rmse

[TASK organs]
type = segmentation
target = ORGANS
num_classes = 3
"""


def write_volume(path, array, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def path_of(data, subject_id, source):
    return data / source / f"{subject_id}_{source}.nii.gz"


def write_cohort(folder):
    """Writes four sound subjects and a split: two train, one validates, one is to be inferred."""
    rng = np.random.default_rng(0)
    data = folder / "data"
    for subject_id in IDS:
        write_volume(path_of(data, subject_id, "mr"), rng.normal(100, 20, SHAPE).astype(np.float32))
        write_volume(path_of(data, subject_id, "ct"), rng.integers(-1000, 1000, SHAPE).astype(np.int16))
        write_volume(path_of(data, subject_id, "organs"), rng.integers(0, 3, SHAPE).astype(np.uint8))
    phases = ["training", "training", "validation", "inference"]
    lines = [f"{subject_id},{phase}\n" for subject_id, phase in zip(IDS, phases, strict=True)]
    (folder / "split.csv").write_text("".join(lines))
    return data


def write_ini(folder):
    path = folder / "run.ini"
    path.write_text(INI.format(data=folder / "data", model_dir=folder / "model", split=folder / "split.csv"))
    return path


@pytest.fixture
def data(tmp_path):
    return write_cohort(tmp_path)


def train(tmp_path, capsys, *arguments):
    """Runs `sfgkeras train` in this process; returns the exit code and what it wrote to stderr."""
    code = 0
    try:
        cli.main(["train", "-c", str(write_ini(tmp_path)), *arguments])
    except SystemExit as stop:
        code = stop.code
    return code, capsys.readouterr().err


def files_below(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def with_voxel(value):
    def damage(data):
        path = path_of(data, "case_1", "mr")
        array = np.array(nib.load(path).dataobj)
        array[3, 4, 1] = value
        write_volume(path, array)
        return path

    return damage


def truncated(data):
    path = path_of(data, "case_1", "ct")
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[: len(content) // 2]))
    return path


def cut_off(data):
    path = path_of(data, "case_2", "mr")
    path.write_bytes(path.read_bytes()[:-200])
    return path


def label_of_another_grid(data):
    path = path_of(data, "case_0", "organs")
    write_volume(path, np.zeros((16, 16, 5), np.uint8))
    return path


def label_elsewhere(data):
    path = path_of(data, "case_0", "organs")
    moved = AFFINE.copy()
    moved[:3, 3] = 5
    write_volume(path, np.array(nib.load(path).dataobj), moved)
    return path


def missing_target(data):
    path_of(data, "case_2", "ct").unlink()
    return path_of(data, "case_2", "mr")


def empty_folder(data):
    for path in (data / "organs").iterdir():
        path.unlink()
    return data / "organs"


def four_dimensions(data):
    path = path_of(data, "case_1", "mr")
    write_volume(path, np.ones((*SHAPE, 3), np.float32))
    return path


def text_file(data):
    path = path_of(data, "case_1", "mr")
    path.write_text("subject,age\nA,41\n" * 40)
    return path


def zero_bytes(data):
    path = path_of(data, "case_0", "ct")
    path.write_bytes(b"")
    return path


def duplicate_ids(data):
    path = path_of(data, "case_1", "mr").with_name("case_1_mr_mr.nii.gz")
    write_volume(path, np.ones(SHAPE, np.float32))
    return path


def label_outside(data):
    path = path_of(data, "case_2", "organs")
    array = np.array(nib.load(path).dataobj)
    array[0, 0, 0] = 7
    write_volume(path, array)
    return path


def fractional_labels(data):
    path = path_of(data, "case_2", "organs")
    write_volume(path, np.full(SHAPE, 0.5, np.float32))
    return path


def small_volume(data):
    for source, dtype in (("mr", np.float32), ("ct", np.int16), ("organs", np.uint8)):
        path = path_of(data, "case_1", source)
        write_volume(path, np.arange(7 * 16 * 4).reshape(7, 16, 4).astype(dtype) % 3)
    return path_of(data, "case_1", "mr")


def unknown_subject(data):
    path = data.parent / "split.csv"
    path.write_text(path.read_text() + "case_9,inference\n")
    return path


def unknown_phase(data):
    path = data.parent / "split.csv"
    path.write_text(path.read_text().replace("case_3,inference", "case_3,testing"))
    return path


BROKEN = {
    "voxels cut off": (truncated, "truncated.* 1024 voxels"),
    "compressed stream cut off": (cut_off, "compressed data are truncated"),
    "NaN": (with_voxel(np.nan), "1 voxels? (is|are) NaN or infinite"),
    "infinity": (with_voxel(np.inf), "1 voxels? (is|are) NaN or infinite"),
    "label of another size": (label_of_another_grid, "16 x 16 x 5.*pixdim"),
    "label at another place": (label_elsewhere, "grid.*pixdim"),
    "missing target": (missing_target, r"'case_2' has no file in \[CT\]"),
    "empty folder": (empty_folder, "holds no image"),
    "4-D": (four_dimensions, "is 4-D"),
    "text named .nii.gz": (text_file, "is not compressed"),
    "zero bytes": (zero_bytes, "is empty"),
    "two files of one id": (duplicate_ids, "has the subject id 'case_1', as has .*case_1_mr.nii.gz"),
    "label outside num_classes": (label_outside, "label 7 .*num_classes = 3"),
    "labels that are no integers": (fractional_labels, "no integers.*0\\.5"),
    "window larger than the volume": (small_volume, "7 x 16 x 4.*window 8 x 8 x 1"),
    "unknown subject in the split": (unknown_subject, "'case_9'"),
    "unknown phase in the split": (unknown_phase, ":4: unknown phase 'testing'"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_data_folder_stops_training_before_it_starts_and_the_message_names_the_file(
    name, data, tmp_path, capsys
):
    damage, words = BROKEN[name]
    path = damage(data)
    before = files_below(data) | {tmp_path / "split.csv": (tmp_path / "split.csv").read_bytes()}
    code, said = train(tmp_path, capsys)
    assert code == 2, said
    assert said.startswith("sfgkeras: ")
    assert len(said.splitlines()) == 1
    assert str(path) in said
    assert re.search(words, said), said
    assert not (tmp_path / "model" / "checkpoints").exists()
    after = files_below(data) | {tmp_path / "split.csv": (tmp_path / "split.csv").read_bytes()}
    assert after == before


def test_every_problem_that_headers_show_is_named_at_once(data, tmp_path, capsys):
    paths = [four_dimensions(data), zero_bytes(data), label_of_another_grid(data)]
    code, said = train(tmp_path, capsys)
    assert code == 2
    assert all(str(path) in said for path in paths)


def test_an_error_in_the_midst_of_making_windows_names_the_subject(data, tmp_path, capsys):
    for subject_id in IDS:
        write_volume(data / "weights" / f"{subject_id}_w.nii.gz", np.zeros(SHAPE, np.float32))
    code, said = train(
        tmp_path, capsys, "--NETWORK.window_sampling=weighted", "--MULTITASK.sampler=WEIGHTS",
        f"--WEIGHTS.path_to_search={data / 'weights'}", "--WEIGHTS.filename_contains=_w",
    )  # fmt: skip
    assert code == 2, said
    assert len(said.splitlines()) == 1
    assert re.search("case_[01]", said)


def test_a_file_in_place_of_the_model_folder_is_refused_before_any_work(data, tmp_path, capsys):
    (tmp_path / "model").write_text("not a folder")
    code, said = train(tmp_path, capsys, "--SYSTEM.model_dir", str(tmp_path / "model" / "x"))
    assert code == 2
    assert len(said.splitlines()) == 1
    assert f"{tmp_path / 'model' / 'x'}: cannot be written" in said
    assert (tmp_path / "model").read_text() == "not a folder"
    code, said = train(tmp_path, capsys, "--SYSTEM.model_dir", str(tmp_path / "model"))
    assert code == 2
    assert str(tmp_path / "model") in said


@pytest.mark.parametrize("option", ["SYSTEM.cache_dir", "NETWORK.histogram_ref_file", "SYSTEM.dataset_split_file"])
def test_other_places_that_cannot_be_written_are_named(option, data, tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    code, said = train(
        tmp_path, capsys, f"--{option}", str(tmp_path / "file" / "x"), "--NETWORK.normalisation", "yes",
        *([] if "histogram" in option else ["--NETWORK.histogram_ref_file", str(tmp_path / "landmarks.json")]),
    )  # fmt: skip
    assert code == 2
    assert str(tmp_path / "file") in said
    assert re.search("is no folder|is a file", said)
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "model" / "checkpoints").exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of four iterations with a checkpoint at each second one; tests copy it."""
    folder = tmp_path_factory.mktemp("trained")
    write_cohort(folder)
    ini = write_ini(folder)
    cli.main(["train", "-c", str(ini), *QUICK])
    return folder


@pytest.fixture
def run_folder(trained, tmp_path):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


@contextlib.contextmanager
def largest_file(size):
    """Lets this process write no file larger than `size` bytes: what a full disk or a quota does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_a_clear_error_and_leaves_the_older_checkpoints(run_folder, capsys):
    checkpoints = run_folder / "model" / "checkpoints"
    before = files_below(checkpoints)
    needed = (checkpoints / "iteration_000000004.npz").stat().st_size
    with largest_file(needed // 2):
        code, said = train(run_folder, capsys, *QUICK, "--TRAINING.max_iter", "6")
    assert code == 2
    assert len(said.splitlines()) == 1
    assert "iteration_000000006.npz: cannot be written" in said
    assert re.search("File too large|No space", said)
    assert "free some space" in said
    assert files_below(checkpoints) == before
    assert CheckpointFolder(checkpoints).read_newest()[0].record["iteration"] == 4


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_state_that_does_not_fit_on_the_disk_leaves_the_older_one_and_the_room_it_had(small_disk):
    folder = CheckpointFolder(small_disk)
    folder.write(TrainingState({"x": np.arange(30_000)}, {"iteration": 1}))
    with pytest.raises(
        DataError, match=r"iteration_000000002\.npz: cannot be written, No space left.*\d+ bytes are needed"
    ):
        folder.write(TrainingState({"x": np.arange(40_000)}, {"iteration": 2}))
    assert [path.name for path in small_disk.iterdir()] == ["iteration_000000001.npz"]
    assert folder.read_newest()[0].record["iteration"] == 1
    folder.write(TrainingState({"x": np.arange(10_000)}, {"iteration": 2}))
    assert folder.iterations() == [1, 2]


def failing(error):
    def fail(*arguments, **options):
        raise error

    return fail


def test_an_unforeseen_failure_is_one_line_and_exit_code_one(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run, "train", failing(RuntimeError("the device is lost\nat 0x1234\nat 0x5678")))
    code, said = train(tmp_path, capsys)
    assert code == 1
    assert said == "sfgkeras: RuntimeError: the device is lost (--debug shows where)\n"
    with pytest.raises(RuntimeError, match="0x5678"):
        train(tmp_path, capsys, "--debug")


def test_an_interrupt_says_that_the_same_command_goes_on(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run, "train", failing(KeyboardInterrupt()))
    code, said = train(tmp_path, capsys)
    assert code == 1
    assert said.strip() == "sfgkeras: stopped; saved states are kept, the same command resumes"


def test_a_disk_that_fills_up_while_logging_is_a_clear_error_too(tmp_path):
    log = CsvLog(tmp_path / "training.csv", ["loss"])
    log.write(1, {"loss": 0.5})
    board = TensorBoardLog(tmp_path / "tensorboard")

    def log_on():
        for iteration in range(2, 9):
            log.write(iteration, {"loss": 0.5})

    def board_on():
        for iteration in range(99):
            board.write(iteration, {"loss": 0.5}, "training")
        board.flush()

    with largest_file(40):
        with pytest.raises(DataError, match=r"training\.csv: cannot be written, File too large.*free some space"):
            log_on()
        with pytest.raises(DataError, match=r"tensorboard: events cannot be written .*; free some space"):
            board_on()
    iterations = [int(row["iteration"]) for row in read_log(tmp_path / "training.csv")]
    assert iterations == list(range(1, len(iterations) + 1))
    again = CsvLog(tmp_path / "training.csv", ["loss"], resume_at=1)
    again.write(2, {"loss": 0.25})
    assert [row["loss"] for row in read_log(tmp_path / "training.csv")] == ["0.5", "0.25"]


def test_new_subjects_without_any_target_can_be_inferred(run_folder, reporter):
    rng = np.random.default_rng(5)
    for subject_id in ("new_1", "new_2"):
        write_volume(run_folder / "new" / f"{subject_id}_mr.nii.gz", rng.normal(90, 20, SHAPE).astype(np.float32))
    places = [("MR.path_to_search", str(run_folder / "new"))]
    places += [("SYSTEM.dataset_split_file", str(run_folder / "none.csv"))]
    places += [(f"{name}.path_to_search", str(run_folder / "nowhere")) for name in ("CT", "ORGANS")]
    config = read_config(write_ini(run_folder), [*cli.parse_overrides(QUICK), *places])
    run.infer(config, reporter)
    written = sorted(path.name for path in config.inference.save_seg_dir.glob("*.nii.gz"))
    assert written == [f"new_{i}_{task}_predicted.nii.gz" for i in (1, 2) for task in ("ct", "organs")]
    assert [text[:5] for text in reporter.warnings] == ["[CT] ", "[ORGA"]
    assert not (run_folder / "none.csv").exists()
    with pytest.raises(DataError, match=r"none of 2 subjects has a target in \[CT\]"):
        run.evaluate(config, reporter)


def test_a_restart_that_cannot_train_removes_nothing(run_folder, capsys):
    checkpoints = run_folder / "model" / "checkpoints"
    before = files_below(checkpoints)
    path = with_voxel(np.nan)(run_folder / "data")
    code, said = train(run_folder, capsys, *QUICK, "--restart")
    assert code == 2
    assert str(path) in said
    code, _ = train(run_folder, capsys, *QUICK, "--restart", "--MR.path_to_search=nowhere")
    assert code == 2
    assert files_below(checkpoints) == before


def test_a_truncated_newest_checkpoint_is_passed_over_with_a_warning(run_folder, trained, reporter):
    newest = run_folder / "model" / "checkpoints" / "iteration_000000004.npz"
    newest.write_bytes(newest.read_bytes()[:-1000])
    config = read_config(write_ini(run_folder), cli.parse_overrides(QUICK))
    run.train(config, reporter)
    assert any(str(newest) in text and "damaged" in text for text in reporter.warnings)
    assert any("resumed from iteration 2" in text for text in reporter.messages)
    whole = read_state(trained / "model" / "checkpoints" / newest.name).arrays
    again = read_state(newest).arrays
    assert whole.keys() == again.keys()
    for key, value in whole.items():
        np.testing.assert_array_equal(value, again[key], err_msg=key)


@pytest.fixture
def start_training():
    """Returns a function that starts `sfgkeras train` on a folder as a process of its own."""
    processes = []

    def start(folder, *arguments):
        code = "from sfgkeras.cli import main; main()"
        command = [sys.executable, "-c", code, "train", "-c", str(write_ini(folder)), *arguments]
        with (folder / "output.txt").open("a") as log:
            processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def last_logged(folder):
    rows = read_log(folder / "model" / "logs" / "training.csv")
    return int(rows[-1]["iteration"]) if rows else 0


def check_checkpoints(folder):
    """Reads every state that is there; one that is pruned in the meantime is no fault."""
    for path in (folder / "model" / "checkpoints").glob("*.npz"):
        try:
            read_state(path)
        except DataError as error:
            if "no such checkpoint" not in str(error):
                raise


@pytest.mark.slow
@pytest.mark.ci_sample
def test_a_training_killed_at_random_moments_ends_as_if_it_had_never_been(tmp_path, start_training):
    chance = random.Random(0)
    save_every_n, max_iter = 4, 100
    arguments = [
        "--TRAINING.max_iter", str(max_iter), "--TRAINING.save_every_n", str(save_every_n),
        "--TRAINING.tensorboard_every_n", "1", "--TRAINING.validation_every_n", "10",
        "--TRAINING.max_checkpoints", "2",
    ]  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        write_cohort(folder)
    uninterrupted = start_training(whole, *arguments)
    resumed = 0
    for _ in range(3):
        process = start_training(killed, *arguments)
        patience = time.monotonic() + 120
        until = resumed + chance.randint(1, 25)
        while last_logged(killed) < until and process.poll() is None and time.monotonic() < patience:
            check_checkpoints(killed)
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, (killed / "output.txt").read_text()
        state, warnings = CheckpointFolder(killed / "model" / "checkpoints").read_newest()
        check_checkpoints(killed)
        assert warnings == []
        assert last_logged(killed) - state.record["iteration"] <= save_every_n
        assert f"resumed from iteration {resumed} " in (killed / "output.txt").read_text() or not resumed
        resumed = state.record["iteration"]
    assert start_training(killed, *arguments).wait() == 0, (killed / "output.txt").read_text()
    assert uninterrupted.wait() == 0, (whole / "output.txt").read_text()
    first, second = (
        CheckpointFolder(folder / "model" / "checkpoints").read(max_iter).arrays for folder in (whole, killed)
    )
    assert first.keys() == second.keys()
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key], err_msg=key)
    for name in ("training", "validation"):
        rows = [read_log(folder / "model" / "logs" / f"{name}.csv") for folder in (whole, killed)]
        for row in (*rows[0], *rows[1]):
            row.pop("seconds_per_iteration", None)
        assert rows[0] == rows[1]
    assert not list((killed / "model" / "checkpoints").glob(".*"))


WRITER = """
import sys
import numpy as np
from pathlib import Path
from sfgkeras.applications.records.checkpoints import CheckpointFolder, TrainingState
folder = CheckpointFolder(Path(sys.argv[1]), 2)
folder.remove_leftovers()
iteration = (folder.iterations() or [0])[-1]
first = True
while True:
    iteration += 1
    folder.write(TrainingState({"x": np.full(200_000, iteration)}, {"iteration": iteration}))
    folder.write(TrainingState({"x": np.full(200_000, iteration)}, {"iteration": iteration}), best=True)
    if first:
        print("ready", flush=True)  # not before something was written, however slow the disk
    first = False
"""


@pytest.mark.slow
@pytest.mark.ci_sample
def test_a_writer_killed_in_the_midst_of_writing_leaves_only_whole_states(tmp_path):
    chance = random.Random(1)
    folder, newest = CheckpointFolder(tmp_path, 2), 0
    for _ in range(12):
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0.01, 0.15))
            process.kill()
        for path in tmp_path.glob("*.npz"):
            state = read_state(path)
            assert set(state.arrays["x"]) == {state.record["iteration"]}
        state, warnings = folder.read_newest()
        assert warnings == []
        assert state.record["iteration"] >= newest
        newest = state.record["iteration"]
        assert len(folder.iterations()) <= 3
    assert newest >= 12
    folder.remove_leftovers()
    assert not list(tmp_path.glob(".*"))
