"""Several processes that train one network: the same network as one process, and nothing lost when one dies."""

import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import nibabel as nib
import numpy as np
import pytest

from sfgkeras.applications import run
from sfgkeras.applications.records.checkpoints import CheckpointFolder, TrainingState, read_state
from sfgkeras.applications.records.files import Provenance, prediction_path
from sfgkeras.applications.records.logs import read_log
from sfgkeras.applications.workers.address import Place, find_place
from sfgkeras.applications.workers.team import Team, reporter_of, settings_lines, wait_until_gone
from sfgkeras.errors import ConfigError, DataError, WorkerLost
from sfgkeras.reporter import SilentReporter

SPREAD = {"SYSTEM.strategy": "multi_worker"}
PHASES = ("training", "training", "validation", "inference")
TWO = {"cluster": {"worker": ["host_a:1", "host_b:2"]}, "task": {"type": "worker", "index": 1}}


@pytest.fixture
def place_of(make_config, monkeypatch):
    """Returns a function: TF_CONFIG, or variables of SLURM -> the place."""

    def find(tf_config=None, **variables):
        if tf_config is not None:
            monkeypatch.setenv("TF_CONFIG", tf_config if isinstance(tf_config, str) else json.dumps(tf_config))
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return find_place(make_config(SPREAD))

    return find


def test_the_place_follows_from_tf_config_and_a_chief_is_the_first_worker(place_of):
    assert place_of(TWO) == Place(1, ("host_a:1", "host_b:2"))
    cluster = {"chief": ["c:1"], "worker": ["a:1", "b:1"]}
    places = [
        place_of({"cluster": cluster, "task": {"type": kind, "index": index}})
        for kind, index in (("chief", 0), ("worker", 0), ("worker", 1))
    ]
    assert places == [Place(index, ("c:1", "a:1", "b:1")) for index in range(3)]


@pytest.mark.parametrize(
    ("tf_config", "words"),
    [
        ("{worker", "cannot be used"),
        ("[]", "cannot be used"),
        ('{"cluster": {}}', "cannot be used"),
        ({**TWO, "task": {"type": "worker", "index": 2}}, "the task is worker 2, and the cluster has 2"),
        ({**TWO, "task": {"type": "evaluator", "index": 0}}, "the task is evaluator 0, and the cluster has 0"),
        ({**TWO, "cluster": {"worker": ["a:1", "a:1"]}}, "two workers have the address 'a:1'"),
        ({**TWO, "cluster": {"worker": ["a:1"], "ps": ["b:1"]}}, "has 'ps', and workers are equal"),
    ],
)
def test_a_tf_config_that_cannot_be_used_is_refused(place_of, tf_config, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        place_of(tf_config)


def test_without_tf_config_and_slurm_training_is_refused_and_inference_is_one_process(make_config, monkeypatch):
    config = make_config(SPREAD)
    with pytest.raises(ConfigError, match=r"neither TF_CONFIG nor a SLURM step.*srun \(docs/distributed"):
        find_place(config)
    assert find_place(config, required=False) == Place()
    monkeypatch.setenv("TF_CONFIG", json.dumps(TWO))
    assert find_place(make_config()) == Place()


def test_the_place_follows_from_a_slurm_step_whose_nodes_count_as_numbers_do(place_of):
    step = {"SLURM_JOB_ID": "20003", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "5", "SLURM_PROCID": "3"}
    nodes = {"SLURM_STEP_NODELIST": "node[2,9-10]", "SLURM_STEP_TASKS_PER_NODE": "2(x2),1"}
    place = place_of(**step, **nodes, SLURMD_NODENAME="node9")
    addresses = [f"node{host}:{port}" for host in (2, 9) for port in (12003, 12004)]
    assert place == Place(3, (*addresses, "node10:12003"))
    with pytest.raises(ConfigError, match="task 3 runs on node10, and should on node9.*--distribution=block"):
        place_of(SLURMD_NODENAME="node10")


class ThreadTeam(Team):
    """A team of threads in place of processes; what they exchange lies in a common list."""

    def __init__(self, index, count, barrier, contents):
        super().__init__(Place(index, tuple(f"host:{i}" for i in range(count))))
        self._barrier, self._contents = barrier, contents

    def gather(self, content):
        self._contents[self.index] = content
        self._barrier.wait(10)
        found = list(self._contents)
        self._barrier.wait(10)
        return found


def play(count, part):
    """Runs `part(team)` as each of some workers at once; returns what each returned or raised."""
    barrier, contents, ends = threading.Barrier(count), [b""] * count, [None] * count

    def act(index):
        try:
            ends[index] = part(ThreadTeam(index, count, barrier, contents))
        except Exception as error:
            ends[index] = error

    threads = [threading.Thread(target=act, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return ends


def test_in_turn_lets_the_chief_end_before_the_others_begin():
    order = []

    def work(team):
        time.sleep(0.05 if team.is_chief else 0)
        order.append(team.index)
        return team.index

    assert play(3, lambda team: team.in_turn(lambda: work(team))) == [0, 1, 2]
    assert order[0] == 0


def test_a_failure_of_one_worker_ends_all_with_its_reason():
    def fail(team, error):
        if team.index == 1:
            raise error
        return "done"

    ends = play(3, lambda team: team.together(lambda: fail(team, DataError("a.nii: is damaged"))))
    assert [type(end) for end in ends] == [ConfigError, DataError, ConfigError]
    assert [str(end) for end in ends] == [
        "worker 1 of 3: a.nii: is damaged", "a.nii: is damaged", "worker 1 of 3: a.nii: is damaged",
    ]  # fmt: skip
    ends = play(2, lambda team: team.in_turn(lambda: fail(team, MemoryError())))
    assert [type(end) for end in ends] == [RuntimeError, MemoryError]
    assert str(ends[0]) == "worker 1 of 2: MemoryError()"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"TRAINING.lr": "0.002"}, "worker 1 has '[TRAINING] lr = 0.002', worker 0 '[TRAINING] lr = 0.001'"),
        ({"CT.padding_value": "0"}, "worker 1 has '[CT] padding_value = 0.0', worker 0 '[CT] padding_value = -1024.0'"),
        ({"SYSTEM.num_threads": "7", "SYSTEM.cuda_devices": "1"}, None),
    ],
)
def test_workers_agree_on_every_setting_that_could_change_the_result(make_config, changes, words):
    configs = [make_config(), make_config(changes)]
    ends = play(2, lambda team: team.agree(configuration=settings_lines(configs[team.index])))
    if words is None:
        assert ends == [None, None]
        return
    assert all(isinstance(end, ConfigError) for end in ends)
    for end in ends:
        assert f"have not the same configuration: {words}" in str(end)


def test_workers_with_a_file_less_or_in_another_order_are_refused():
    lists = [["a = 1", "b = 2"], ["a = 1"]]
    ends = play(2, lambda team: team.agree(training_data=lists[team.index]))
    assert all("have not the same training data: worker 1 has no 'b = 2'" in str(end) for end in ends)
    ends = play(2, lambda team: team.agree(training_data=lists[0][:: 1 - 2 * team.index]))
    assert all("in another order" in str(end) for end in ends)


def test_the_chief_stays_until_the_others_are_gone_but_not_for_ever():
    with socket.create_server(("localhost", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
        began = time.monotonic()
        wait_until_gone([address], longest=0.5)
        assert time.monotonic() - began >= 0.5
        threading.Timer(0.5, server.close).start()
        wait_until_gone([address], longest=60)
        assert 1.0 <= time.monotonic() - began < 30
    wait_until_gone([address, "localhost:1"], longest=60)
    assert time.monotonic() - began < 30


def test_a_team_of_one_has_everything_to_itself():
    team = Team()
    assert (team.is_chief, team.count, list(team.share([1, 2, 3]))) == (True, 1, [1, 2, 3])
    assert team.gather(b"x") == [b"x"]
    with pytest.raises(KeyError), team.watching(CheckpointFolder("nowhere")):
        team.in_turn(lambda: {}["x"])


def test_a_lost_worker_is_one_line_that_names_the_state_that_is_kept(tmp_path):
    import tensorflow as tf

    checkpoints = CheckpointFolder(tmp_path)
    team = Team(Place(1, ("a:1", "b:1")))
    lost = tf.errors.UnavailableError(None, None, "Collective ops is aborted by\nmany lines")
    with (
        pytest.raises(WorkerLost, match="another worker is gone .*worker 1 of 2.*no state was saved yet"),
        team.watching(checkpoints),
    ):
        raise lost
    checkpoints.write(TrainingState({}, {"iteration": 40}))
    with (
        pytest.raises(WorkerLost, match="states up to iteration 40 are kept; start all workers again"),
        team.watching(checkpoints),
    ):
        raise lost
    # Where nothing is trained there are no states to speak of.
    with pytest.raises(WorkerLost, match=r"worker 1 of 2\); start all workers again$"), team.watching():
        raise lost


def test_each_worker_makes_its_own_rows_and_gives_every_device_a_batch_of_its_own():
    import tensorflow as tf

    from sfgkeras.applications.training.build import _distribute

    class Strategy:
        num_replicas_in_sync = 4

        def distribute_datasets_from_function(self, build):
            context = tf.distribute.InputContext(num_input_pipelines=2, input_pipeline_id=1, num_replicas_in_sync=4)
            return build(context)

    def build(rows):
        worker, workers = rows
        return tf.data.Dataset.range(worker, 24, workers).batch(4)

    batches = _distribute(Strategy(), Team(Place(1, ("a:1", "b:1"))), build, batch_size=8, queue_length=2)
    assert [np.asarray(batch).tolist() for batch in batches] == [
        [1, 3], [5, 7], [9, 11], [13, 15], [17, 19], [21, 23],
    ]  # fmt: skip


def test_workers_note_their_results_without_losing_each_others(tmp_path):
    paths = [tmp_path / f"{name}.nii.gz" for name in "abc"]
    for path in paths:
        path.write_text("result")
    first, second = (Provenance(tmp_path, "settings", worker) for worker in (0, 1))
    first.record(paths[:2])
    second.record(paths[2:])
    assert Provenance(tmp_path, "settings", 2).is_done(paths)
    with pytest.raises(DataError, match=r"a\.nii\.gz exists and was made by another"):
        Provenance(tmp_path, "others").refuse_foreign(paths)
    later = Provenance(tmp_path, "others", 1)
    later.forget(paths)
    later.record(paths[:1])
    # The newer entry counts, whoever reads, although the older one still stands in another worker's file.
    for worker in range(3):
        assert Provenance(tmp_path, "others", worker).is_done(paths[:1])
        assert not Provenance(tmp_path, "settings", worker).is_done(paths[:1])
        assert Provenance(tmp_path, "settings", worker).is_done(paths[1:])


def test_provenance_of_earlier_versions_is_read_and_a_run_killed_while_writing_goes_on(tmp_path):
    done, begun = tmp_path / "done.nii.gz", tmp_path / "begun.nii.gz"
    for path in (done, begun):
        path.write_text("result")
    (tmp_path / "provenance.json").write_text('{"done.nii.gz": "settings"}')
    assert Provenance(tmp_path, "settings").is_done([done])
    Provenance(tmp_path, "settings").begin([begun])
    again = Provenance(tmp_path, "settings")
    assert not again.is_done([begun])
    again.refuse_foreign([done, begun])
    with pytest.raises(DataError, match=r"begun\.nii\.gz exists"):
        Provenance(tmp_path, "others").refuse_foreign([begun])


def test_workers_split_the_subjects_of_inference(make_config, reporter, monkeypatch):
    overrides = {"TRAINING.max_iter": 1, "TRAINING.validation_every_n": 0, "NETWORK.normalisation": "no"}
    overrides |= {"TRAINING.exclude_fraction_for_inference": 0.75, "TRAINING.exclude_fraction_for_validation": 0}
    run.train(make_config(overrides))
    whole = make_config({**overrides, "INFERENCE.save_seg_dir": "whole"})
    run.infer(whole)
    config = make_config({**overrides, **SPREAD})
    folder = config.inference.save_seg_dir
    counts = []
    for index in (1, 0):
        monkeypatch.setenv("TF_CONFIG", json.dumps({**TWO, "task": {"type": "worker", "index": index}}))
        run.infer(config, reporter)
        counts.append(len(list(folder.glob("*.nii.gz"))))
    assert counts == [2, 6]
    for path in whole.inference.save_seg_dir.glob("*.nii.gz"):
        np.testing.assert_array_equal(nib.load(path).get_fdata(), nib.load(folder / path.name).get_fdata())
    assert {path.name for path in folder.glob("provenance*")} == {"provenance.json", "provenance_1.json"}
    monkeypatch.delenv("TF_CONFIG")
    run.infer(config, reporter)
    assert reporter.messages[-1].startswith("nothing to infer: all 6 results")


@pytest.fixture
def predicted(make_config, cohort):
    """Returns a function: overrides -> configuration of a run whose predictions are the truth with mistakes."""

    def configure(overrides=None):
        config = make_config({"NETWORK.normalisation": "no", **(overrides or {})})
        folder = config.inference.save_seg_dir
        folder.mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(sorted(cohort.glob("*_ct.nii*"))):
            subject = path.name.split("_ct")[0]
            ct, organs = nib.load(path), nib.load(next(cohort.glob(f"{subject}_organs.nii*")))
            wrong = np.asarray(ct.dataobj, np.float32) * np.float32(1 + 0.1 * number) + np.float32(1 / 3)
            nib.save(nib.Nifti1Image(wrong, ct.affine), prediction_path(config, subject, "ct"))
            labels = np.asarray(organs.dataobj).astype(np.uint8)
            labels[labels == number + 1] = 0  # whose distance to the truth is infinite or undefined
            labels = np.roll(labels, number, 0)
            nib.save(nib.Nifti1Image(labels, organs.affine), prediction_path(config, subject, "organs"))
        return config

    return configure


def evaluate_by(config, reporters):
    """Evaluates all subjects by as many workers as there are reporters; returns what each returned or raised."""

    def part(team):
        return run._evaluate(config, team, reporter_of(team, reporters[team.index]), "all")

    return play(len(reporters), part)


def test_evaluation_by_workers_writes_the_bytes_that_one_process_writes(predicted, reporter):
    config = predicted({"EVALUATION.evaluations": "mae, psnr, dice, hausdorff95, average_distance"})
    folder = config.evaluation.save_csv_dir
    alone = run.evaluate(config, reporter, "all")
    expected = files_below(folder)
    assert sorted(path.name for path in expected) == [
        "ct_subjects.csv", "ct_summary.csv", "organs_subjects.csv", "organs_summary.csv",
    ]  # fmt: skip
    assert any(b",nan" in content or b",inf" in content for content in expected.values())
    for count in (3, 5):  # of four subjects: the shares differ, or one is empty
        shutil.rmtree(folder)
        reporters = [type(reporter)() for _ in range(count)]
        found = evaluate_by(config, reporters)
        assert files_below(folder) == expected
        assert repr(found) == repr([alone, *[{}] * (count - 1)])  # nan is not equal to itself
        assert [list(said.tables) for said in reporters] == [list(reporter.tables), *[[]] * (count - 1)]


def test_a_prediction_that_one_worker_misses_ends_the_evaluation_of_all(predicted, cohort):
    config = predicted()
    subjects = sorted(path.name.split("_ct")[0] for path in cohort.glob("*_ct.nii*"))
    prediction_path(config, subjects[1], "organs").unlink()
    found = evaluate_by(config, [SilentReporter()] * 3)
    assert [type(end) for end in found] == [ConfigError, DataError, ConfigError]
    for end in found:
        assert f"no prediction of subject '{subjects[1]}'; run inference first" in str(end)
    assert str(found[0]).startswith("worker 1 of 3: ")
    # The first task was complete, and the second has no half table.
    written = sorted(path.name for path in config.evaluation.save_csv_dir.iterdir())
    assert written == ["ct_subjects.csv", "ct_summary.csv"]


def test_workers_with_other_subjects_to_evaluate_are_refused(predicted, tmp_path):
    (tmp_path / "split.csv").write_text("".join(f"phantom_00{i},{phase}\n" for i, phase in enumerate(PHASES)))
    config = predicted({"SYSTEM.dataset_split_file": tmp_path / "split.csv"})
    found = play(2, lambda team: run._evaluate(config, team, SilentReporter(), ["inference", "all"][team.index]))
    for end in found:
        assert isinstance(end, ConfigError)
        assert "the workers have not the same subjects to evaluate: worker 1 has 'phantom_000'" in str(end)
    assert not list(config.evaluation.save_csv_dir.iterdir())


def test_a_comparison_is_not_spread_over_workers(make_config, tmp_path):
    from sfgkeras.applications.comparison.plan import PlannedRun
    from sfgkeras.applications.comparison.runs import compare

    planned = PlannedRun("sfg", 0, make_config(SPREAD))
    with pytest.raises(ConfigError, match="trains one network per process"):
        compare([planned], tmp_path / "comparison")
    assert not (tmp_path / "comparison").exists()


PROGRAM = """
import sys
import numpy as np
from sfgkeras import cli
from sfgkeras.applications import run
from sfgkeras.applications.records.checkpoints import collect_arrays

train = run.train

def train_and_dump(*arguments, **options):
    network = train(*arguments, **options)
    np.savez(sys.argv[1], **collect_arrays(network))

run.train = train_and_dump
cli.main(sys.argv[2:])
"""


@pytest.fixture
def start():
    """Returns a function that starts workers of a verb, which write `worker_<index>.txt`, and `.npz` if they train."""
    processes = []

    def start_workers(folder, config_path, *arguments, count=2, own=(), folders=None, verb="train"):
        folder.mkdir(exist_ok=True)
        held = [socket.socket() for _ in range(count)]
        for each in held:
            each.bind(("localhost", 0))
        addresses = [f"localhost:{each.getsockname()[1]}" for each in held]
        for each in held:
            each.close()
        started = []
        for index in range(count):
            task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "TF_CONFIG": json.dumps(task)}
            command = [sys.executable, "-c", PROGRAM, str(folder / f"worker_{index}.npz"), verb, "-c"]
            command += [str(config_path), f"--SYSTEM.model_dir={folder / 'model'}", *arguments]
            command += ["--SYSTEM.strategy=multi_worker"] if count > 1 else ["--SYSTEM.strategy=one_device"]
            command += own[index] if own else []
            with (folder / f"worker_{index}.txt").open("a") as log:
                started.append(
                    subprocess.Popen(
                        command, stdout=log, stderr=subprocess.STDOUT, env=environment,
                        cwd=folders[index] if folders else None,
                    )
                )  # fmt: skip
        processes.extend(started)
        return started

    yield start_workers
    for process in processes:
        process.kill()
        process.wait()


def ends(processes, seconds=600):
    """Waits for processes; returns their exit codes."""
    limit = time.monotonic() + seconds
    return [process.wait(max(1, limit - time.monotonic())) for process in processes]


def said(folder):
    return "\n".join(path.read_text()[-3000:] for path in sorted(folder.glob("worker_*.txt")))


def columns_of(path):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0] if name != "seconds_per_iteration"}


def distance(first, second, keys):
    """The Euclidean distance over some arrays; from the origin where the second has none."""
    return np.sqrt(sum(((first[key].astype(np.float64) - second.get(key, 0)) ** 2).sum() for key in keys))


@pytest.mark.slow
@pytest.mark.parametrize(
    "sharing", [pytest.param("hard_sharing", marks=pytest.mark.ci_sample), "sfg"]
)  # fmt: skip
def test_two_workers_train_the_network_that_one_process_trains(make_config, tmp_path, start, sharing):
    arguments = [f"--NETWORK.sharing={sharing}", "--NETWORK.decay=1e-3", "--MULTITASK.entropy_decay=1e-3"]
    arguments += ["--TRAINING.max_iter=3", "--TRAINING.validation_every_n=3"]
    if sharing == "sfg":
        arguments += ["--NETWORK.batch_norm=recalibrated"]
    path = make_config().path
    one, two = tmp_path / "one", tmp_path / "two"
    processes = start(one, path, *arguments, count=1) + start(two, path, *arguments)
    assert ends(processes) == [0, 0, 0], said(one) + said(two)
    for name in ("training", "validation"):
        first, second = (columns_of(folder / "model" / "logs" / f"{name}.csv") for folder in (one, two))
        assert first.keys() == second.keys()
        assert first["iteration"] == ([1, 2, 3] if name == "training" else [3])
        # Validation sees weights that rounding has moved, see below; a voxel or two change label.
        tolerances = {"rtol": 1e-4, "atol": 0} if name == "training" else {"rtol": 1e-3, "atol": 2e-3}
        for column, values in first.items():
            np.testing.assert_allclose(second[column], values, **tolerances, err_msg=f"{name} {column}")
    states = [CheckpointFolder(folder / "model" / "checkpoints") for folder in (one, two)]
    begun, alone, spread = states[0].read(0).arrays, states[0].read(3).arrays, states[1].read(3).arrays
    assert begun.keys() == alone.keys() == spread.keys()
    # Adam's first steps are nearly the sign of the gradient, whatever its size: where that is nearly 0, rounding
    # decides. Over all weights it makes a hundredth of the way; a gradient that is wrong anywhere makes far more.
    weights = [key for key in alone if key.startswith("network/") and not key.endswith(("mean", "variance"))]
    assert distance(spread, alone, weights) < 0.03 * distance(alone, begun, weights)
    assert all((alone[key] != begun[key]).any() for key in alone if key.endswith("kernel"))
    ended = [dict(np.load(folder / f"worker_{i}.npz")) for folder, i in ((one, 0), (two, 0), (two, 1))]
    assert ended[0].keys() == ended[1].keys() == ended[2].keys()
    for key, value in ended[1].items():
        np.testing.assert_array_equal(ended[2][key], value, err_msg=key)
    assert distance(ended[0], ended[1], ended[1]) < 0.03 * distance(ended[1], {}, ended[1])
    # The best state is the last one here: one file for both.
    assert len(list(states[1].folder.glob("recalibrated_*"))) == (sharing == "sfg")


@pytest.fixture
def small_run(tmp_path):
    """Four sound subjects of 16 x 16 x 4 voxels in `a`, the same in `b`; an INI file with relative paths."""
    rng = np.random.default_rng(0)
    arrays = {
        "mr": rng.normal(100, 20, (4, 16, 16, 4)).astype(np.float32),
        "ct": rng.integers(-1000, 1000, (4, 16, 16, 4)).astype(np.int16),
        "organs": rng.integers(0, 3, (4, 16, 16, 4)).astype(np.uint8),
    }
    for source, volumes in arrays.items():
        (tmp_path / "a" / "data" / source).mkdir(parents=True)
        for i, volume in enumerate(volumes):
            image = nib.Nifti1Image(volume, np.diag([3.0, 3.0, 4.0, 1.0]))
            nib.save(image, tmp_path / "a" / "data" / source / f"case_{i}_{source}.nii.gz")
    (tmp_path / "split.csv").write_text("".join(f"case_{i},{phase}\n" for i, phase in enumerate(PHASES)))
    (tmp_path / "run.ini").write_text(SMALL_INI.format(split=tmp_path / "split.csv"))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    return tmp_path


SMALL_INI = """
[MR]
path_to_search = data/mr
filename_contains = _mr
spatial_window_size = 8, 8, 1

[CT]
path_to_search = data/ct
filename_contains = _ct
scaling = ct

[ORGANS]
path_to_search = data/organs
filename_contains = _organs

[SYSTEM]
model_dir = model
dataset_split_file = {split}

[NETWORK]
name = highresnet
sharing = hard_sharing
width = 0.25
batch_size = 2
whitening = yes

[TRAINING]
max_iter = 40
save_every_n = 4
tensorboard_every_n = 1
validation_every_n = 10
max_checkpoints = 2

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


def files_below(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_workers_with_another_ini_or_other_data_are_refused_and_overwrite_nothing(small_run, start):
    folder, ini = small_run / "refused", small_run / "run.ini"
    checkpoints = CheckpointFolder(folder / "model" / "checkpoints")
    checkpoints.write(TrainingState({"x": np.zeros(3)}, {"iteration": 4}))
    (folder / "model" / "configuration.ini").write_text("[SYSTEM]\n")
    before = files_below(folder / "model")
    changed = small_run / "b" / "data" / "ct" / "case_1_ct.nii.gz"
    image = nib.load(changed)
    volume = np.asarray(image.dataobj).copy()
    volume[0, 0, 0] += 1
    nib.save(nib.Nifti1Image(volume, image.affine), changed)
    where = [small_run / "a", small_run / "b"]
    # Both at once: they have nothing to do with each other.
    other_ini = start(folder, ini, "--restart", own=[[], ["--TRAINING.lr=0.5"]], folders=where[:1] * 2)
    assert ends(other_ini) == [2, 2], said(folder)
    for index in (0, 1):
        text = (folder / f"worker_{index}.txt").read_text()
        assert "worker 1 has '[TRAINING] lr = 0.5', worker 0 '[TRAINING] lr = 0.001'" in text
    assert files_below(folder / "model") == before
    other_data = start(folder, ini, "--restart", folders=where)
    assert ends(other_data) == [2, 2], said(folder)
    for index in (0, 1):
        text = (folder / f"worker_{index}.txt").read_text()
        assert "have not the same training data: worker 1 has 'training case_1 [ct] = " in text.replace("[CT]", "[ct]")
    after = files_below(folder / "model")
    assert {path: after[path] for path in before} == before


@pytest.mark.slow
def test_when_a_worker_is_killed_the_other_ends_and_both_resume_to_the_same_network(small_run, start):
    ini, where = small_run / "run.ini", [small_run / "a"] * 2
    whole, killed = small_run / "whole", small_run / "killed"
    uninterrupted = start(whole, ini, folders=where)
    for victim, until in ((1, 6), (0, 18)):
        workers = start(killed, ini, folders=where)
        log, patience = killed / "model" / "logs" / "training.csv", time.monotonic() + 300
        while (len(read_log(log)) < until) and time.monotonic() < patience:
            assert [worker.poll() for worker in workers] == [None, None], said(killed)
            time.sleep(0.05)
        workers[victim].send_signal(signal.SIGKILL)
        began = time.monotonic()
        assert ends([workers[1 - victim]], 60) == [1], said(killed)
        assert time.monotonic() - began < 60
        text = (killed / f"worker_{1 - victim}.txt").read_text()
        kept = re.findall(r"sfgkeras: WorkerLost: another worker is gone .* states up to iteration (\d+) are", text)
        checkpoints = CheckpointFolder(killed / "model" / "checkpoints")
        assert int(kept[-1]) == checkpoints.iterations()[-1] >= until // 4 * 4
        for path in checkpoints.folder.glob("*.npz"):
            read_state(path)
    assert ends(start(killed, ini, folders=where)) == [0, 0], said(killed)
    assert ends(uninterrupted) == [0, 0], said(whole)
    assert len(re.findall("resumed from iteration", (killed / "worker_0.txt").read_text())) == 2
    first, second = (dict(np.load(folder / "worker_1.npz")) for folder in (whole, killed))
    assert first.keys() == second.keys()
    for key, value in first.items():
        np.testing.assert_array_equal(second[key], value, err_msg=key)
    for name in ("training", "validation"):
        logs = [columns_of(folder / "model" / "logs" / f"{name}.csv") for folder in (whole, killed)]
        assert logs[0] == logs[1]


@pytest.mark.slow
@pytest.mark.ci_sample
def test_two_processes_evaluate_as_one_does_and_end_together_at_a_damaged_prediction(predicted, start, cohort):
    config = predicted()
    folder = config.system.model_dir.parent
    one, two = folder / "one", folder / "two"
    for place in (one, two):
        place.mkdir()
        shutil.copytree(config.system.model_dir, place / "model")
    arguments = [config.path, "--dataset=all", "--NETWORK.normalisation=no"]
    begun = start(one, *arguments, count=1, verb="evaluate") + start(two, *arguments, verb="evaluate")
    assert ends(begun) == [0, 0, 0], said(one) + said(two)
    tables = [
        {path.name: path.read_bytes() for path in (place / "model" / "evaluation").iterdir()} for place in (one, two)
    ]
    assert len(tables[0]) == 4
    assert tables[0] == tables[1]
    damaged = sorted((two / "model" / "predictions").glob("*_organs_*"))[1]
    damaged.write_bytes(damaged.read_bytes()[:200])
    assert ends(start(two, *arguments, verb="evaluate")) == [2, 2], said(two)
    for index in (0, 1):
        assert damaged.name in (two / f"worker_{index}.txt").read_text()
    assert {path.name: path.read_bytes() for path in (two / "model" / "evaluation").iterdir()} == tables[1]
