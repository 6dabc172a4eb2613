"""The script that changes the code in one place at a time: its verdicts, and that its table fits the code of today."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def test_the_table_fits_the_code_of_today_and_its_tests_exist(load_benchmark):
    mutations = load_benchmark("mutations")
    found = mutations.all_mutations()
    assert len(found) >= 500
    assert len(set(found)) == len(found)
    texts = {m.path: mutations.ROOT / m.path for m in found}
    texts = {name: path.read_text(encoding="utf-8") if path.is_file() else "" for name, path in texts.items()}
    applying = [m for m in found if mutations.mutated(texts[m.path], m)]
    # A few may lag behind a change of the code; the script names them.
    assert len(applying) >= 0.95 * len(found), sorted(
        {(m.path, m.old) for m in found} - {(m.path, m.old) for m in applying}
    )
    assert all((mutations.ROOT / test).is_file() for m in found for test in m.tests)


def test_words_choose_files(load_benchmark):
    mutations = load_benchmark("mutations")
    assert {m.path for m in mutations.all_mutations(["training/stopping"])} == {"applications/training/stopping.py"}


def run(tree, changes, longest=60):
    """Judges mutations of `thing.py` in a small tree; returns the exit code and the verdicts."""
    program = textwrap.dedent(
        f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(FOLDER)!r})
        import mutations
        mutations.ROOT, mutations.PRELOADED, mutations.LONGEST = Path({str(tree)!r}), (), {longest}
        mutations.TABLE = (("thing.py", ("test_thing.py",), {changes!r}),)
        sys.exit(mutations.main([], 1, False))
        """
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=200)
    return result.returncode, [line.split()[0] for line in result.stdout.splitlines()], result.stdout + result.stderr


def tree_of(folder, test="assert double(3) == 6"):
    (folder / "thing.py").write_text("def double(x):\n    return 2 * x\n")
    (folder / "test_thing.py").write_text(f"from thing import double\n\n\ndef test_it():\n    {test}\n")
    return folder


@pytest.mark.slow
def test_a_mutation_is_killed_survives_or_is_stale_and_the_tree_stays_as_it_is(tmp_path):
    tree = tree_of(tmp_path)
    changes = (
        ("2 * x", "3 * x"),
        ("2 * x", "x + x"),
        ("5 * x", "x"),
        ("return 2 * x", "__import__('time').sleep(999)"),
        ("2 * x", "2 *"),
    )
    code, verdicts, said = run(tree, changes, longest=12)
    assert verdicts[:5] == ["killed", "SURVIVED", "STALE", "killed", "killed"], said
    assert "3 of 4 killed (75.0%), 1 stale" in said
    assert code == 1
    assert (tree / "thing.py").read_text() == "def double(x):\n    return 2 * x\n"
    assert run(tree, (("2 * x", "3 * x"),))[0] == 0


def test_tests_that_fail_without_a_mutation_teach_nothing(tmp_path):
    code, _, said = run(tree_of(tmp_path, "assert double(3) == 7"), (("2 * x", "3 * x"),))
    assert code == 1
    assert "test_thing.py fails without a mutation" in said
