"""Tries bad inputs and odd ones, each in a folder of its own: does every one end as a user would want it to?

    python benchmarks/bad_inputs.py [--only GROUP,GROUP] [--markdown FILE]

The tries stand in benchmarks/bad_inputs_table.py: settings, INI files, headers, voxels, labels, subjects, photos, HDF5,
tables, DICOM series, splits, folders of results, states, the command line. A try changes a small working set-up and
runs a verb. It holds if the verb ends in time and

- `refused`: with exit code 2, the user's mistake, in worded lines that say what the table expects;
- `warned`: with exit code 0 and a line that begins with `warning:` and says what the table expects;
- `works`: with exit code 0, without such a warning.

Never may a traceback or the name of a Python error be seen, nor may a file that was there before have changed. A verb
runs in a process forked from this one, which has loaded the package but neither TensorFlow nor a thread: a third of a
second each.
"""

import argparse
import hashlib
import os
import re
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).parent))

PATIENCE = 60.0
"""Seconds that a verb may take."""
RAW = re.compile(r"Traceback|--debug shows where|\b[A-Z][a-z]+Error: |Segmentation fault|core dumped|Errno")

INI = """[MR]
path_to_search = data
filename_contains = _mr
filename_removefromid = _(mr|ct|organs)$
pixdim = 8, 8, 8
axcodes = R, A, S
spatial_window_size = 24, 24, 1

[CT]
path_to_search = data
filename_contains = _ct
filename_removefromid = _(mr|ct|organs)$
pixdim = 8, 8, 8
axcodes = R, A, S
scaling = ct
padding_value = -1024

[ORGANS]
path_to_search = data
filename_contains = _organs
filename_removefromid = _(mr|ct|organs)$
pixdim = 8, 8, 8
axcodes = R, A, S

[SYSTEM]
model_dir = model

[NETWORK]
name = highresnet
sharing = hard_sharing
width = 0.25
batch_size = 4
whitening = yes

[TRAINING]
max_iter = 400
lr = 0.001
validation_every_n = 100
save_every_n = 100
exclude_fraction_for_validation = 0.34
exclude_fraction_for_inference = 0.34

[INFERENCE]
border = 4, 4, 0

[EVALUATION]
evaluations = mae, dice

[MULTITASK]
image = MR
tasks = ct, organs
loss_border = 2

[TASK ct]
type = regression
target = CT
loss = rmse

[TASK organs]
type = segmentation
target = ORGANS
loss = dicecrossentropy
num_classes = 6
"""


SPLIT = "p0,training\np1,training\np2,validation\np3,validation\np4,inference\np5,inference\n"


class Place:
    """A folder with `run.ini` over the images in `data`, p0 to p5, all of which a try may change.

    Attributes:
        folder: The folder, which the verb is run in.
        ini: The INI file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ini = folder / "run.ini"

    def path(self, subject: int, modality: str) -> Path:
        """Returns the file of a subject's image."""
        return self.folder / "data" / f"p{subject}_{modality}.nii.gz"

    def set(self, section: str, key: str, value: str | None) -> None:
        """Sets a key, in its own line or behind the section's header; None removes its line."""
        text = self.ini.read_text("utf-8")
        head, title, rest = text.partition(f"[{section}]\n")
        if not title:
            head, title, rest = text + "\n", f"[{section}]\n", ""
        own, following, others = rest.partition("\n[")
        lines = [line for line in own.splitlines() if not re.match(rf"{re.escape(key)}\s*=", line)]
        if value is not None:
            lines.insert(0, f"{key} = {value}")
        self.ini.write_text(head + title + "\n".join(lines) + "\n" + following + others, "utf-8")

    def remove_section(self, section: str) -> None:
        """Removes a section."""
        text = self.ini.read_text("utf-8")
        self.ini.write_text(re.sub(rf"\[{re.escape(section)}\]\n(?:(?!\[).*\n?)*", "", text), "utf-8")


@dataclass(frozen=True)
class Try:
    """One input and how a verb should end on it.

    Attributes:
        group: What kind of input it is.
        name: What was done, in a few words.
        change: Changes the place.
        ends: `refused`, `warned` or `works`.
        says: Regular expression that the verb's lines have to match.
        verb: The verb and its arguments.
        environment: Variables of the process.
    """

    group: str
    name: str
    change: Callable[[Place], object]
    ends: str = "refused"
    says: str = ""
    verb: tuple[str, ...] = ("check", "-c", "run.ini")
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How a verb ended: its exit code (negative: the signal; None: it had to be stopped), and what it said."""

    code: int | None
    said: str
    seconds: float


def digests(folder: Path) -> dict[str, str]:
    """Returns a digest of every regular file in a folder, by name."""
    found = {}
    for name in sorted(folder.rglob("*")):
        if name.is_file() and not name.is_symlink():
            found[str(name.relative_to(folder))] = hashlib.sha256(name.read_bytes()).hexdigest()
    return found


def _in_child(place: Place, attempt: Try, writing: int) -> None:
    """Runs the verb in this process, which it ends."""
    os.setsid()
    os.chdir(place.folder)
    os.environ.update(attempt.environment)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (writing, 1), (writing, 2)):
        os.dup2(source, target)
    from sfgkeras.cli import main

    code: object = 0
    try:
        main(attempt.verb)
    except SystemExit as end:
        code = end.code
    except BaseException as error:
        os.write(2, f"Traceback: {type(error).__name__}: {error}\n".encode())
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def run_verb(place: Place, attempt: Try, patience: float = PATIENCE) -> Ended:
    """Runs a try's verb in a forked process and returns how it ended."""
    reading, writing = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        _in_child(place, attempt, writing)
    os.close(writing)
    said, in_time = b"", True
    while True:
        left = started + patience - time.monotonic()
        ready, _, _ = select.select([reading], [], [], max(left, 0))
        if not ready:
            in_time = False
            os.killpg(child, signal.SIGKILL)
            break
        piece = os.read(reading, 65536)
        if not piece:
            break
        said += piece
    os.close(reading)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return Ended(status if in_time else None, said.decode("utf-8", "replace"), time.monotonic() - started)


def complaints(attempt: Try, ended: Ended, before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Returns what is wrong with the end of a try; nothing if it holds."""
    found = []
    if ended.code is None:
        return ["did not end in time"]
    warnings = "\n".join(line for line in ended.said.splitlines() if line.startswith("warning: "))
    way = {2: "refused", 0: "warned" if warnings else "works"}.get(ended.code, f"exit code {ended.code}")
    if way not in attempt.ends.split("|"):
        found.append(f"{way}, for {attempt.ends}")
    if RAW.search(ended.said):
        found.append("a raw error is seen")
    if way != "works" and not re.search(attempt.says, warnings if way == "warned" else ended.said, re.DOTALL):
        found.append(f"does not say {attempt.says!r}")
    lost = sorted(name for name, digest in before.items() if after.get(name) != digest)
    if lost:
        found.append(f"changed or lost: {', '.join(lost[:3])}")
    return found


def make_template(folder: Path) -> None:
    """Writes the set-up that every try begins with a copy of."""
    from sfgkeras.phantom.pelvis import write_phantom_cohort

    write_phantom_cohort(folder / "data", 6, size="small", seed=5)
    for path in sorted((folder / "data").glob("phantom_*")):
        path.rename(path.with_name(path.name.replace("phantom_00", "p")))
    (folder / "run.ini").write_text(INI, "utf-8")
    (folder / "model").mkdir()
    (folder / "model" / "dataset_split.csv").write_text(SPLIT, "utf-8")


def run_try(attempt: Try, template: Path, folder: Path) -> tuple[Ended, list[str]]:
    """Runs one try in a fresh copy of the template and returns how it ended and what is wrong with that."""
    shutil.copytree(template, folder, symlinks=True)
    place = Place(folder)
    attempt.change(place)
    before = digests(folder)
    ended = run_verb(place, attempt)
    return ended, complaints(attempt, ended, before, digests(folder))


def markdown(rows: Sequence[tuple[Try, Ended, list[str]]]) -> str:
    """Returns a table of tries: group, what was done, how the verb ended, its telling line."""
    lines = ["| group | try | ends | what is said |", "|---|---|---|---|"]
    for attempt, ended, wrong in rows:
        lines_of_it = [line for line in ended.said.splitlines() if not line.startswith(("checking files", "next: "))]
        told = [line for line in lines_of_it if ": " in line]
        text = (told or [""])[0].replace("|", "\\|")[:160]
        how = f"**no**: {'; '.join(wrong)}" if wrong else attempt.ends
        lines.append(f"| {attempt.group} | {attempt.name} | {how} | {text} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the tries; returns 1 if any does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="groups, or parts of names, separated by commas")
    parser.add_argument("--markdown", type=Path, help="file for a table of all tries")
    parser.add_argument("--say", action="store_true", help="show what each verb said")
    options = parser.parse_args(arguments)
    import bad_inputs_table

    wanted = [text.strip() for text in options.only.split(",") if text.strip()]
    tries = [t for t in bad_inputs_table.TRIES if not wanted or any(text in (t.group, t.name) for text in wanted)]
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        template = Path(temporary) / "template"
        template.mkdir()
        make_template(template)
        for number, attempt in enumerate(tries):
            folder = Path(temporary) / f"try_{number}"
            ended, wrong = run_try(attempt, template, folder)
            rows.append((attempt, ended, wrong))
            shutil.rmtree(folder, ignore_errors=True)
            if wrong or options.say:
                print(
                    f"{attempt.group}: {attempt.name}: {'; '.join(wrong) or 'holds'}\n{ended.said.rstrip()}\n",
                    flush=True,
                )
    if options.markdown:
        options.markdown.write_text(markdown(rows), "utf-8")
    held = sum(not wrong for _, _, wrong in rows)
    longest = max((ended.seconds for _, ended, _ in rows), default=0.0)
    print(f"{held} of {len(rows)} tries end as they should; the longest took {longest:.1f} s")
    return int(held < len(rows))


if __name__ == "__main__":
    sys.exit(main())
