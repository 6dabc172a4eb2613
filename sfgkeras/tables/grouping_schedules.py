"""How the groups of filters are found over a training: what `[TRAINING] schedule` may choose."""

from dataclasses import dataclass

from sfgkeras.errors import Problem, did_you_mean
from sfgkeras.settings import Settings, setting
from sfgkeras.tables.candidates import CANDIDATES
from sfgkeras.tables.entry import Entry

FEWEST_STEPS = 5
"""Iterations of a candidate below which there is nothing to judge."""


@dataclass(frozen=True)
class Auto(Settings):
    """Settings of `auto`: explore, decide, settle, by successive rejects (Audibert, Bubeck and Munos 2010).

    Attributes:
        rungs: Fractions of the iterations at which candidates are judged.
        candidates: Names in `CANDIDATES`.
        windows: Held-out windows that the candidates are judged on.
        tolerance: Difference of scores that does not count.
    """

    rungs: tuple[float, ...] = setting(
        (0.125, 0.25, 0.5),
        "Fractions of `max_iter` at which the candidates are judged: the worst leave, "
        "as many at each, and after the last one the best goes on; see docs/schedule.md.",
        gt=0,
        lt=1,
    )
    candidates: tuple[str, ...] = setting(
        tuple(CANDIDATES),
        "Candidates that are tried, of "
        + "; ".join(f"`{name}`: {entry.summary}" for name, entry in CANDIDATES.items())
        + ". One alone goes on without being judged.",
    )
    windows: int = setting(
        64, "Held-out windows that the candidates are judged on, the same for each; see docs/schedule.md.", ge=1
    )
    tolerance: float = setting(
        0.01,
        "How much higher than the best a candidate's score may be, as a share of what training improves, to be taken "
        "for equal; of equal candidates the one with the fewest multiplies goes on.",
        ge=0,
        lt=1,
    )

    def __post_init__(self) -> None:
        for name in ("candidates", "rungs"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        super().__post_init__()
        if not self.rungs or list(self.rungs) != sorted(set(self.rungs)):
            raise Problem(
                "is no list of rising fractions", "write e.g. 0.125, 0.25, 0.5", key="rungs", value=self.rungs
            )
        if not self.candidates:
            raise Problem("names no candidate", f"choose of {', '.join(CANDIDATES)}", key="candidates")
        for name in self.candidates:
            if name not in CANDIDATES:
                remedy = did_you_mean(name, CANDIDATES, f"choose of {', '.join(CANDIDATES)}")
                raise Problem(f"has no candidate {name!r}", remedy, key="candidates", value=name)
        if len(set(self.candidates)) < len(self.candidates):
            raise Problem("names a candidate twice", "name each once", key="candidates")

    def rung_ends(self, iterations: int) -> tuple[int, ...]:
        """Returns the iterations at which candidates are judged, in a training of so many; none if they are too few.

        Examples:
            >>> Auto().rung_ends(1000), Auto().rung_ends(30)
            ((125, 250, 500), ())
        """
        ends = sorted({round(fraction * iterations) for fraction in self.rungs})
        return tuple(ends) if ends[0] >= FEWEST_STEPS else ()


@dataclass(frozen=True)
class Paper(Settings):
    """`paper` has no settings of its own: the temperature and all else of the masks are those of the mechanism."""

    def rung_ends(self, iterations: int) -> tuple[int, ...]:
        """Returns nothing: there are no candidates."""
        return ()


def _auto() -> type[Auto]:
    return Auto


def _paper() -> type[Paper]:
    return Paper


GROUPING_SCHEDULES: dict[str, Entry[type[Auto] | type[Paper]]] = {
    "auto": Entry(
        _auto, "candidates train side by side, the best one on held-out windows goes on with fixed groups", Auto
    ),
    "paper": Entry(_paper, "masks are drawn until the end, and the groups learned with the kernels (the paper)", Paper),
}
