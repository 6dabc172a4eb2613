"""The matrix of mechanisms, networks and tasks: what a cell finds out, how cells are shown, and some of them tried."""

import itertools
import random

import pytest

from sfgkeras.sharing import SHARING


@pytest.fixture
def matrix(load_benchmark):
    return load_benchmark("sharing_matrix")


def test_a_cell_passes_that_trains_and_hardens(matrix):
    assert matrix.try_cell("hard_sharing", "highresnet", 2, 2) == "passed"


def test_a_cell_that_is_not_trained_or_hardens_to_something_else_does_not_pass(matrix, monkeypatch):
    assert "variables have not moved: " in matrix.try_cell("hard_sharing", "vgg11", 1, 2, steps=0)

    def harden_another(network):
        return matrix.original_harden(matrix.build_cell("single_task", "vgg11", 1, 2))

    monkeypatch.setattr(matrix, "original_harden", matrix.harden, raising=False)
    monkeypatch.setattr(matrix, "harden", harden_another)
    assert matrix.try_cell("hard_sharing", "vgg11", 1, 2).startswith("hardening moves vector_0 by ")


def test_a_mechanism_that_refuses_says_why(matrix, monkeypatch):
    monkeypatch.setitem(matrix.SHAPES, "vgg11", {"width": 0.01})
    assert "refused: a layer has 1 filters for 3 tasks" in matrix.try_cell("single_task", "vgg11", 3, 2)


def test_cells_are_shown_as_numbers_of_tasks_with_what_is_wrong_below(matrix):
    outcomes = {1: "passed", 2: "passed", 3: "refused: too many", 4: "passed", 5: "refused: too many"}
    cells = {matrix.cell_key("tree", "unet", count, 2): outcome for count, outcome in outcomes.items()}
    cells[matrix.cell_key("sfg", "unet", 2, 3)] = "passed"
    assert matrix.matrix_table(cells, ["unet"], [2, 3]).splitlines() == [
        "| mechanism | unet, 2-D | unet, 3-D |",
        "|---|---|---|",
        "| `tree` | 1-2, 4; not 3, 5 (1) | not tried |",
        "| `sfg` | not tried | 2 |",
        "",
        "1. refused: too many",
    ]


def test_cells_that_are_done_are_not_tried_again(matrix, monkeypatch, tmp_path, capsys):
    tried = []
    monkeypatch.setattr(matrix, "try_cell", lambda *cell: tried.append(cell) or "passed")
    arguments = ["--output", str(tmp_path / "cells.json"), "--sharing", "sfg,tree", "--networks", "unet"]
    matrix.main([*arguments, "--tasks", "2", "--ranks", "2"])
    matrix.main([*arguments, "--tasks", "2,3", "--ranks", "2"])
    assert tried == [("sfg", "unet", 2, 2), ("tree", "unet", 2, 2), ("sfg", "unet", 3, 2), ("tree", "unet", 3, 2)]
    assert "| `sfg` | 2-3 |" in capsys.readouterr().out


CELLS = list(itertools.product(SHARING, ("highresnet", "vgg11", "unet"), (1, 2, 3, 4, 5), (2, 3)))


@pytest.mark.slow
@pytest.mark.parametrize("cell", random.Random(0).sample(CELLS, 15), ids=lambda cell: "-".join(map(str, cell)))
def test_some_cells_of_the_matrix_pass(matrix, cell):
    outcome = matrix.try_cell(*cell)
    assert outcome == "passed" or outcome.startswith("refused: "), outcome
