"""Learned weights, epochs and rules from outside the package, through an INI file."""

import csv
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from sfgkeras.applications import run
from sfgkeras.applications.records.checkpoints import CheckpointFolder
from sfgkeras.applications.training.stopping import Decision, StoppingRule
from sfgkeras.balancing import Balancing
from sfgkeras.errors import ConfigError
from sfgkeras.settings import setting
from sfgkeras.tables.balancing import BALANCING, BalancingEntry
from sfgkeras.tables.stopping import STOPPING, StoppingEntry

SMALL = {"NETWORK.width": 0.0625, "NETWORK.normalisation": "no", "TRAINING.tensorboard_every_n": 1}
# Two training subjects, two windows of each in an epoch, batches of two: an epoch is two iterations.
EPOCHS = SMALL | {
    "NETWORK.batch_size": 2, "TRAINING.sample_per_volume": 2, "TRAINING.max_iter": "", "TRAINING.max_epochs": 3,
    "TRAINING.validation_every_n": 0, "TRAINING.validation_every_epochs": 1, "TRAINING.save_every_n": 0,
    "TRAINING.balancing": "uncertainty", "TASK organs.log_sigma": 1.0, "TRAINING.warm_up": 4,
}  # fmt: skip


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def losses(row):
    return {name: float(value) for name, value in row.items() if name != "seconds_per_iteration"}


@pytest.mark.slow
def test_a_run_of_epochs_with_learned_weights_resumes_bit_for_bit_and_ends_as_its_best(
    make_config, tmp_path, network_arrays, reporter
):
    whole, parts = make_config(EPOCHS, tmp_path / "whole"), tmp_path / "parts"
    network = run.train(whole, reporter)
    run.train(make_config(EPOCHS | {"TRAINING.max_epochs": 1}, parts))
    (rate,) = (value for key, value in network_arrays(parts, 2).items() if key.endswith("learning_rate"))
    assert rate == pytest.approx(0.0005)  # half of the way up, after two of four iterations
    run.train(make_config(EPOCHS | {"TRAINING.max_epochs": 2, "TRAINING.restore_best": "yes"}, parts))
    last = make_config(EPOCHS | {"TRAINING.restore_best": "yes", "TRAINING.lr": 0.001}, parts)
    best = run.train(last, reporter)

    arrays, resumed = (network_arrays(folder, 6) for folder in (tmp_path / "whole", parts))
    assert [key for key in arrays if key.startswith("balancing/")] == [
        "balancing/0000/log_sigma_0_ct", "balancing/0001/log_sigma_1_organs",
    ]  # fmt: skip
    assert sum("log_sigma" in key for key in arrays) == 2 + 2 * 2  # and two moments of Adam for each
    assert arrays.keys() == resumed.keys()
    for key, value in arrays.items():
        np.testing.assert_array_equal(resumed[key], value, err_msg=key)
    logs = [read(folder / "logs" / "training.csv") for folder in (tmp_path / "whole", parts)]
    assert [losses(row) for row in logs[0] if row["iteration"] in "136"] == [
        losses(row) for row in logs[1] if row["iteration"] in "136"
    ]
    assert [row["epoch"] for row in logs[0]] == ["0.5", "1", "1.5", "2", "2.5", "3"]
    first = losses(logs[0][0])
    assert (first["weight_ct"], first["weight_organs"]) == pytest.approx((0.5, np.exp(-2.0)), rel=1e-6)
    by_hand = 0.5 * first["ct"] + np.exp(-2.0) * first["organs"] + 1.0 + first["regularisation"]
    assert first["loss"] == pytest.approx(by_hand, rel=1e-5)
    assert losses(logs[0][-1])["weight_ct"] != 0.5

    validations = read(parts / "logs" / "validation.csv")
    assert [(row["iteration"], row["epoch"]) for row in validations] == [("2", "1"), ("4", "2"), ("6", "3")]
    chosen = min(validations, key=lambda row: float(row["loss"]))["iteration"]
    assert any(
        f"the network is that of iteration {chosen}, the best in validation" in text for text in reporter.messages
    )
    assert any("uncertainty, weights, to be learned: ct 0.5, organs 0.1353" in text for text in reporter.messages)
    saved = CheckpointFolder(parts / "checkpoints").read("best").arrays
    kernels = [key for key in saved if key.startswith("network/") and key.endswith("kernel")]
    for end, source in ((best, saved), (network, arrays)):
        found = {f"network/{i:04d}": variable for i, variable in enumerate(end.predicting_variables)}
        for key in kernels:
            np.testing.assert_array_equal(found[key[:12]].numpy(), source[key], err_msg=key)
    assert last.inference.inference_iter == "best"


@dataclass(frozen=True)
class Sharpest(Balancing):
    """A toy: the task with the larger loss counts `sharpness` times as much."""

    name: ClassVar[str] = "sharpest"

    sharpness: float = setting(2.0, "Factor of the larger loss.", gt=0)

    def build(self, tasks):
        from keras import ops

        from sfgkeras.balancing.balancer import Balancer

        class SharpestBalancer(Balancer):
            def __init__(self, sharpness):
                super().__init__(tasks, name="sharpest")
                self.sharpness = sharpness

            def task_weights(self):
                return dict.fromkeys(self.tasks, ops.ones(()))

            def terms(self, losses, presence=None):
                largest = ops.max(ops.stack(list(losses.values())))
                return {task: ops.where(loss >= largest, self.sharpness * loss, loss) for task, loss in losses.items()}

        return SharpestBalancer(self.sharpness)


@dataclass(frozen=True)
class TaskWise(StoppingRule):
    """A toy: after `after` validations a task stops; one validation later the next."""

    after: int = setting(1, "Validations before the first task stops.", ge=1)

    def observe(self, record):
        seen = len(record.validation.get("ct", ()))
        assert all(len(history) == seen for history in (*record.validation.values(), *record.training.values()))
        return Decision(stop_tasks=frozenset(record.tasks[: max(seen - self.after + 1, 0)]))


@pytest.mark.slow
def test_rules_of_ones_own_are_a_class_and_a_line_of_a_table(make_config, reporter, monkeypatch, tmp_path):
    """Neither file of the package knows them; their settings are keys of the INI file beside what chooses them."""
    monkeypatch.setitem(BALANCING, "sharpest", BalancingEntry(lambda: Sharpest, "the larger loss counts more"))
    monkeypatch.setitem(STOPPING, "task_wise", StoppingEntry(lambda: TaskWise, "one task after the other"))
    rules = SMALL | {
        "TRAINING.balancing": "sharpest", "TRAINING.sharpest_sharpness": 10, "TRAINING.max_iter": 8,
        "TRAINING.early_stopping_mode": "task_wise", "TRAINING.task_wise_after": 2, "TRAINING.validation_every_n": 1,
        "TRAINING.save_every_n": 1,
    }  # fmt: skip
    run.train(make_config(rules), reporter)
    rows = read(tmp_path / "model" / "logs" / "training.csv")
    assert [row["iteration"] for row in rows] == ["1", "2", "3"]
    first, last = losses(rows[0]), losses(rows[-1])
    larger, smaller = sorted((first["ct"], first["organs"]), reverse=True)
    assert first["loss"] == pytest.approx(10 * larger + smaller + first["regularisation"], rel=1e-5)
    # From the second validation on only the organs are trained, whose loss is the larger one.
    assert last["organs"] > last["ct"]
    assert last["loss"] == pytest.approx(10 * last["organs"] + last["regularisation"], rel=1e-5)
    assert [text for text in reporter.messages if "trained no longer" in text] == [
        "iteration 2: ct is trained no longer", "iteration 3: organs is trained no longer",
    ]  # fmt: skip
    assert any("stopped at iteration 3: every task has been stopped" in text for text in reporter.messages)
    record = CheckpointFolder(tmp_path / "model" / "checkpoints").read(2).record["progress"]
    assert record["stopped_tasks"] == ["ct"]
    # Resumed from the state of iteration 2, the ct stays stopped.
    (tmp_path / "model" / "checkpoints" / "iteration_000000003.npz").unlink()
    run.train(make_config(rules))
    assert losses(read(tmp_path / "model" / "logs" / "training.csv")[-1]) == last


@pytest.mark.slow
@pytest.mark.parametrize("rule", [
    {"balancing": "gradnorm", "gradnorm_lr": 0.2}, {"balancing": "mgda", "mgda_normalisation": "loss+"},
    {"balancing": "cagrad", "cagrad_c": 0.4}, {"balancing": "random"}, {"balancing": "sum_of_gradients"},
    {"balancing": "dynamic_average", "dynamic_average_interval": 2, "dynamic_average_temperature": 0.1},
], ids=lambda rule: rule["balancing"])  # fmt: skip
def test_every_rule_trains_from_an_ini_file_logs_its_weights_and_resumes_bit_for_bit(
    make_config, tmp_path, network_arrays, rule, reporter
):
    settings = SMALL | {f"TRAINING.{key}": value for key, value in rule.items()} | {
        "TRAINING.max_iter": 7, "TRAINING.save_every_n": 1, "TASK ct.weight": 0.5,
    }  # fmt: skip
    run.train(make_config(settings, tmp_path / "whole"), reporter)
    for iterations in (3, 7):
        run.train(make_config(settings | {"TRAINING.max_iter": iterations}, tmp_path / "parts"))
    arrays, resumed = (network_arrays(tmp_path / folder, 7) for folder in ("whole", "parts"))
    assert arrays.keys() == resumed.keys()
    for key, value in arrays.items():
        np.testing.assert_array_equal(resumed[key], value, err_msg=key)
    rows = [read(tmp_path / folder / "logs" / "training.csv") for folder in ("whole", "parts")]
    assert [losses(row) for row in rows[0]] == [losses(row) for row in rows[1]]
    assert any(f"balancing: {rule['balancing']}, weights" in text for text in reporter.messages)
    if rule["balancing"] == "sum_of_gradients":
        assert "weight_ct" not in rows[0][0]
        return
    weights = {(row["weight_ct"], row["weight_organs"]) for row in rows[0]}
    assert len(weights) > 1
    assert ("gradient_cosine" in rows[0][0]) == (rule["balancing"] in ("mgda", "cagrad"))
    other = {key: value for key, value in settings.items() if rule["balancing"] not in key}
    with pytest.raises(ConfigError, match=f"balancing = '{rule['balancing']}'.* the configuration now says 'fixed'"):
        run.train(make_config(other | {"TRAINING.balancing": "fixed"}, tmp_path / "whole"))
