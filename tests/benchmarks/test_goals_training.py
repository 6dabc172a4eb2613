"""The rows of the goals table about training: a broken run of two workers is a problem, not a time."""

import numpy as np
import pytest


@pytest.fixture
def rows(load_benchmark):
    return load_benchmark("goals_training")


@pytest.fixture
def variables():
    """What a network and Adam hold before and after one step: `(before, after)`."""
    random_generator = np.random.default_rng(0)
    kernel, gradient = random_generator.normal(size=(2, 50)).astype(np.float32)
    before = {"network/0/kernel": kernel, "network/1/iteration": np.int64(0)}
    after = {
        "network/0/kernel": kernel - np.float32(1e-3) * np.sign(gradient),
        "network/1/iteration": np.int64(1),
        "optimizer_0/2/kernel_momentum": np.float32(0.1) * gradient,
    }
    return before, after


def changed(arrays, name, value):
    return {**arrays, name: np.asarray(value)}


def test_workers_that_end_with_other_bits_are_refused_and_the_variable_is_named(rows, variables):
    _, after = variables
    rows._refuse_unequal(after, dict(after))
    kernel = after["network/0/kernel"]
    for other in (np.nextafter(kernel, np.float32(9)), kernel.astype(np.float64)):
        with pytest.raises(RuntimeError, match="1 of 3 variables of the two workers differ, e.g. network/0/kernel"):
            rows._refuse_unequal(after, changed(after, "network/0/kernel", other))
    with pytest.raises(RuntimeError, match="1 of 3 variables"):
        rows._refuse_unequal(after, {name: value for name, value in after.items() if "kernel" not in name} | {
            "network/0/kernel": kernel
        })  # fmt: skip


def test_rounding_is_told_from_a_gradient_of_half_of_the_batch(rows, variables):
    before, after = variables
    name = "optimizer_0/2/kernel_momentum"
    rounded = changed(after, name, after[name] * np.float32(1.001))
    found = rows._compare(before, after, rounded, rounded)
    assert found == {"gradient_difference": pytest.approx(1e-3, rel=1e-2), "weight_difference": 0.0}
    halved = changed(after, name, after[name] / 2)
    with pytest.raises(RuntimeError, match=r"gradient of two workers .* by 0\.5 of its norm, more than 0\.02, in opt"):
        rows._compare(before, after, halved, halved)


def test_weights_that_went_elsewhere_than_those_of_one_process_are_refused(rows, variables):
    before, after = variables
    elsewhere = changed(after, "network/0/kernel", before["network/0/kernel"])
    with pytest.raises(RuntimeError, match=r"lie 1 of their first step apart, more than 0\.05"):
        rows._compare(before, after, elsewhere, elsewhere)
    with pytest.raises(RuntimeError, match="variables of the two workers differ"):
        rows._compare(before, after, after, elsewhere)


def test_a_process_that_ends_is_an_error_with_its_last_words(rows, tmp_path, monkeypatch):
    from dataclasses import replace

    settings = replace(rows.Settings(), quick=True)
    script = tmp_path / "ends.py"
    script.write_text("raise SystemExit('no such device')")
    monkeypatch.setattr(rows, "__file__", str(script))
    with (
        pytest.raises(RuntimeError, match="alone ended, or said nothing .* last words: .*no such device"),
        rows._processes(tmp_path, settings),
    ):
        pass
