"""The teacher: what it picks of scripted students, and what it remembers."""

import numpy as np
import pytest

from sfgkeras.applications.training.curriculum import StudentRecord, pick_tasks

TASKS = ["a", "b", "c"]


def record_of(**losses):
    record = StudentRecord()
    for task, values in losses.items():
        for loss in values:
            record.note(task, loss, memory=3)
    return record


def test_a_reward_is_how_far_a_loss_fell_and_old_ones_are_forgotten():
    record = record_of(a=[1.0, 0.7, 0.8, 0.6, 0.1])
    assert record.rewards["a"] == pytest.approx([-0.1, 0.2, 0.5])
    assert (record.last["a"], record.picked) == (0.1, {"a": 5})


def test_the_teacher_picks_what_changes_most_up_or_down():
    rng = np.random.default_rng(0)
    learned = record_of(a=[1.0, 0.9], b=[1.0, 0.2], c=[1.0, 1.0])
    assert pick_tasks(TASKS, learned, 1, rng, random_share=0.0) == ["b"]
    forgotten = record_of(a=[1.0, 0.9], b=[1.0, 0.95], c=[1.0, 1.5])
    assert pick_tasks(TASKS, forgotten, 3, rng, random_share=0.0) == ["c", "a", "b"]


def test_what_is_not_known_yet_comes_first():
    record = record_of(a=[1.0, 0.1], b=[1.0])
    assert pick_tasks(TASKS, record, 3, np.random.default_rng(0), random_share=0.0) == ["c", "b", "a"]


def test_uniform_and_random_picks_take_all_tasks_alike():
    record = record_of(a=[1.0, 0.1], b=[1.0, 1.0], c=[1.0, 1.0])
    rng = np.random.default_rng(1)
    for chosen in ({"curriculum": "uniform"}, {"random_share": 1.0}):
        counts = [sum(pick_tasks(TASKS, record, 1, rng, **chosen) == [task] for _ in range(900)) for task in TASKS]
        assert min(counts) > 230
    alone = [pick_tasks(TASKS, record, 1, rng, random_share=0.3) == ["a"] for _ in range(900)]
    assert sum(alone) / 900 == pytest.approx(0.7 + 0.3 / 3, abs=0.05)


def test_picks_are_different_tasks_and_as_many_as_there_are():
    for count in (1, 2, 3, 5):
        picked = pick_tasks(TASKS, StudentRecord(), count, np.random.default_rng(count))
        assert len(picked) == len(set(picked)) == min(count, 3)


def test_a_record_comes_back_from_plain_values():
    record = record_of(a=[1.0, 0.5], b=[0.3])
    assert StudentRecord.from_values(vars(record)) == record
    assert StudentRecord.from_values({}) == StudentRecord()
