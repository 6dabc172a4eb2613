"""One writer per folder: a file that says who writes there, and that nobody has to remove after a kill.

The lock is a small file with host, process and verb, made by a hard link, which network file systems do as a whole or
not at all. Its time stamp is renewed while its owner lives. It counts as left behind when its process is gone (on the
same host), or when it has not been renewed for a while (from another host, whose processes cannot be seen).
"""

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from sfgkeras.errors import ConfigError, DataError
from sfgkeras.files import TEMPORARY_SUFFIX, writing_problem
from sfgkeras.reporter import Reporter, SilentReporter

LOCK = ".lock.json"
BEAT = 15.0
"""Seconds between two signs of life."""
STALE = 90.0
"""Seconds without one, by the clock of the file system, after which a lock from another host is left behind."""


@dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    Attributes:
        host: Name of the machine.
        place: What tells its processes apart from those of a container or an earlier start of the same name.
        pid: Process id.
        began: When the process began, in the words of its system; None where that cannot be known.
        verb: What it does, e.g. `train`.
        since: When it took the lock.
        token: Tells this lock from every other.
    """

    host: str
    place: str
    pid: int
    began: str | None
    verb: str
    since: str
    token: str

    def describe(self) -> str:
        """Words the owner for a message."""
        return f"`sfgkeras {self.verb}`, process {self.pid} on {self.host}, since {self.since}"


UNKNOWN = Owner("an unknown host", "", 0, None, "?", "?", "?")
"""The owner of a lock that cannot be read."""


class Lock:
    """A lock that this process holds; see `holding`.

    Args:
        path: Its file.
        owner: This process.
    """

    def __init__(self, path: Path, owner: Owner) -> None:
        self._path, self._owner = path, owner
        self._ended = threading.Event()
        self._beats = threading.Thread(target=self._beat, name="lock", daemon=True)
        self._beats.start()

    def confirm(self) -> None:
        """Makes sure that nobody took the lock over while this process was halted.

        Raises:
            DataError: If somebody did: what they write must not be mixed with what this process writes.
        """
        found = _read(self._path)
        if found is not None and found.token != self._owner.token:
            raise DataError(
                f"{self._path.parent}: is held by {found.describe()} now, which took this process for dead; nothing "
                "more is written here"
            )

    def release(self) -> None:
        """Lets others in."""
        self._ended.set()
        self._beats.join()
        _give_back(self._path, self._owner)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT):
            found = _read(self._path)
            if found is not None and found.token == self._owner.token:
                with contextlib.suppress(OSError):
                    os.utime(self._path)


class Held(ConfigError):
    """Another process holds a folder."""


@contextlib.contextmanager
def holding(folder: Path, verb: str, reporter: Reporter, name: str = LOCK) -> Iterator[Lock]:
    """Holds a folder against every other process that would write the same files.

    Args:
        folder: The folder; it must exist and be writable.
        verb: What this process does, for messages of others.
        reporter: Told when a lock that was left behind is taken over.
        name: Name of the lock's file.

    Raises:
        Held: If another process holds it; says who.
        DataError: If the lock cannot be written.
    """
    path = folder / name
    owner = _this_process(verb)
    _acquire(path, owner, reporter)
    lock = Lock(path, owner)
    try:
        yield lock
    finally:
        lock.release()


def _acquire(path: Path, owner: Owner, reporter: Reporter) -> None:
    draft = path.with_name(f"{path.name}.{owner.pid}-{owner.token}{TEMPORARY_SUFFIX}")
    try:
        draft.write_text(json.dumps(asdict(owner)) + "\n", encoding="utf-8")
        while not _link(draft, path):
            held = _read(path)
            if held is None:
                if not path.exists():
                    continue  # given back in this moment
                held = UNKNOWN
            _refuse_living(path, held, draft, reporter)
            _take_away(path, held, owner)
            reporter.warning(
                f"{path.parent}: the lock of {held.describe()} was left behind by a process that is gone; taken over"
            )
    except OSError as error:
        raise DataError(writing_problem(path, error)) from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def _link(draft: Path, path: Path) -> bool:
    """Gives a whole file its name, unless that is taken; says whether it got it."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    except OSError:
        # A file system without hard links: an exclusive creation is the next best.
        try:
            with open(path, "x", encoding="utf-8") as stream:
                stream.write(draft.read_text(encoding="utf-8"))
        except FileExistsError:
            return False
    return True


def _refuse_living(path: Path, held: Owner, draft: Path, reporter: Reporter) -> None:
    """Refuses a lock whose owner lives; waits for a sign of life where its process cannot be seen."""
    own = _this_process("")
    if (held.host, held.place) == (own.host, own.place):
        if _is_alive(held):
            raise Held(_who_holds(path, held))
        return
    first = _stamp(path)
    waits = False
    while first is not None and _age(path, draft) < STALE:
        if not waits:
            waits = True
            reporter.message(
                f"{path.parent}: is held by {held.describe()}; waiting up to {STALE:.0f} s for a sign of life"
            )
        time.sleep(min(1.0, STALE / 10))
        latest = _stamp(path)
        if latest is not None and latest != first:
            raise Held(_who_holds(path, held))
        first = latest


def _who_holds(path: Path, held: Owner) -> str:
    return (
        f"{path.parent}: is held by {held.describe()}; wait for it, end it, or choose another folder "
        f"(if it is certainly gone, remove {path})"
    )


def _take_away(path: Path, held: Owner, owner: Owner) -> None:
    """Removes a lock that was left behind, and no other.

    Of several who find it, one at a time may remove it: who holds the lock on removing it, which can be left behind
    and taken over like any other. Who comes late finds that the lock is not the one that was judged, and leaves it.
    """
    claim = path.with_name(f"{path.name}.{''.join(filter(str.isalnum, held.token))}.taken")
    _acquire(claim, owner, SilentReporter())
    try:
        found = _read(path)
        if (UNKNOWN if found is None else found).token == held.token:
            path.unlink(missing_ok=True)
    finally:
        _give_back(claim, owner)


def _give_back(path: Path, owner: Owner) -> None:
    """Removes a lock of our own; one that was taken over stays with its new owner."""
    found = _read(path)
    if found is not None and found.token == owner.token:
        path.unlink(missing_ok=True)


def _age(path: Path, draft: Path) -> float:
    """Returns the seconds since a lock was renewed, by the clock of the file system, which may not be ours."""
    os.utime(draft)
    stamp = _stamp(path)
    return 0.0 if stamp is None else (draft.stat().st_mtime_ns - stamp) / 1e9


def _stamp(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


def _is_alive(owner: Owner) -> bool:
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is somebody else's, and alive
    began = _began(owner.pid)
    return began is None or owner.began is None or began == owner.began


def _began(pid: int) -> str | None:
    """Returns the time at which a process began; a later one of the same number has another."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    # A process that has ended and whose parent has not noticed yet holds nothing.
    return "ended" if fields[0] in ("Z", "X") else fields[19]


def _this_process(verb: str) -> Owner:
    place = ""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        place = f"{boot} {os.readlink('/proc/self/ns/pid')}"
    since = datetime.now().isoformat(sep=" ", timespec="seconds")
    pid = os.getpid()
    return Owner(socket.gethostname(), place, pid, _began(pid), verb, since, secrets.token_hex(8))


def _read(path: Path) -> Owner | None:
    try:
        return Owner(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
