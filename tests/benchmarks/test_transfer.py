"""The families of tasks on which mechanisms of sharing are compared, and the tables of what came out."""

import numpy as np
import pytest


@pytest.fixture
def transfer(load_benchmark):
    pytest.importorskip("sklearn")
    return load_benchmark("transfer")


def runs_of(values, seeds=4):
    """Runs in which each mechanism has the scores that `values` says, with small differences between seeds."""
    return [
        {
            "family": family,
            "mechanism": mechanism,
            "seed": str(seed),
            "steps": "5",
            "score_1": str(first + 0.01 * seed + 0.002 * (len(mechanism) * seed % 3)),
            "score_2": str(second + 0.01 * seed + 0.001 * (len(mechanism) * seed % 2)),
            "parameters": "10",
            "multiplies": "20",
            "seconds": "1.5",
        }
        for (family, mechanism), (first, second) in values.items()
        for seed in range(seeds)
    ]


RUNS = runs_of(
    {
        ("conflict", "single_task"): (0.6, 0.5),
        ("conflict", "hard_sharing"): (0.2, 1.5),
        ("conflict", "sfg"): (0.58, 0.6),
        ("help", "single_task"): (0.2, 0.3),
        ("help", "hard_sharing"): (0.4, 0.5),
        ("help", "sfg"): (0.3, 0.52),
    }
)


def test_holms_correction_by_hand(transfer):
    # Smallest first: 4 x 0.01, 3 x 0.02, 2 x 0.03, 1 x 0.04, none below the one before, none above 1.
    np.testing.assert_allclose(transfer.holm([0.03, 0.01, 0.04, 0.02]), [0.06, 0.04, 0.06, 0.06])
    assert transfer.holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize("name", ["conflict", "help"])
def test_a_cohort_repeats_and_tests_on_digits_that_training_never_saw(transfer, name):
    family = transfer.FAMILIES[name]
    (training, held_out, test), again = transfer.cohort(family, 3), transfer.cohort(family, 3)
    np.testing.assert_array_equal(training.images, again[0].images)
    assert not np.array_equal(training.images, transfer.cohort(family, 4)[0].images)
    assert (len(training.images), len(held_out.images), len(test.images)) == (1000, 300, 1000)
    assert set(family.tasks) == set(family.losses) == set(family.loss_weights) == set(test.truth)


def test_places_are_told_with_noise_of_two_pixels_and_without_a_shift(transfer):
    training, *_ = transfer.cohort(transfer.FAMILIES["conflict"], 0)
    noise = training.targets["place"] - training.truth["place"]
    assert abs(noise.mean()) < 0.2
    assert noise.std() == pytest.approx(2, abs=0.15)


def test_where_tasks_help_one_digit_in_ten_is_known_and_two_readings_in_three_are_right(transfer):
    training, *_ = transfer.cohort(transfer.FAMILIES["help"], 0)
    assert training.weights["digit"].mean() == pytest.approx(0.1, abs=0.03)
    assert (training.weights["reading"] == 1).all()
    assert (training.targets["reading"] == training.truth["reading"]).mean() == pytest.approx(0.64, abs=0.05)


def test_the_better_one_is_named_also_where_less_is_better(transfer):
    rows = [line.split(" | ") for line in transfer.transfer_table(RUNS)[2:]]
    assert [(row[0].strip("| "), row[1], row[-1].strip("| ")) for row in rows] == [
        ("conflict", "digit", "single_task"),
        ("conflict", "place", "single_task"),
        ("help", "digit", "hard_sharing"),
        ("help", "reading", "hard_sharing"),
    ]


def test_a_candidate_is_better_worse_or_level_against_each_baseline(transfer):
    lines = transfer.tests_table(RUNS, "sfg", ["single_task", "hard_sharing"])[2:]
    verdicts = {tuple(line.strip("| ").split(" | ")[:3]): line.strip("| ").split(" | ")[-1] for line in lines}
    assert verdicts["conflict", "digit", "hard_sharing"] == "better"
    assert verdicts["conflict", "place", "single_task"] == "worse"
    assert verdicts["help", "digit", "hard_sharing"] == "worse"
    assert verdicts["help", "reading", "single_task"] == "better"


def test_ranks_are_means_over_all_tasks_the_best_first(transfer):
    lines = transfer.mechanisms_table(RUNS, ["single_task", "hard_sharing", "sfg"])[2:]
    ranks = {line.split(" | ")[0].strip("| "): float(line.split(" | ")[5]) for line in lines}
    # conflict: 1, 3, 2 for either task; help: 3, 1, 2 and 3, 2, 1.
    assert ranks == {"single_task": 2.0, "hard_sharing": 2.2, "sfg": 1.8}
