"""What a run has shown, as a document and as tables."""

import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.chaos.door import Door
from tests.chaos.settle import Settlement


class Recovery(NamedTuple):
    """One fault and what came after it.

    Attributes:
        paired: another fault happened at the same time.
        lasted_s: until everything was given back.
        accepts_s: from then until a record of every account was acknowledged; None: never.
        no_lag_s: from then until no consumer was behind; None: never.
    """

    kind: str
    target: str
    paired: bool
    lasted_s: float
    accepts_s: float | None
    no_lag_s: float | None


@dataclass
class Report:
    """Filled in by a run."""

    seed: int = 0
    minutes: float = 0.0
    recoveries: list[Recovery] = field(default_factory=list)
    settlement: Settlement = field(default_factory=Settlement)
    complaints: list[str] = field(default_factory=list)
    dead_letters: int = 0
    price_changes: int = 0
    doctor: dict[str, Any] | None = None
    drains_s: list[tuple[str, float]] = field(default_factory=list)
    error_lines: dict[str, int] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    unexpected_answers: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    silences: dict[str, int] = field(default_factory=dict)
    stale: dict[str, int] = field(default_factory=dict)
    slowest_ms: dict[str, int] = field(default_factory=dict)
    slowest_by_fault_ms: dict[str, int] = field(default_factory=dict)

    def note_door(self, door: Door) -> None:
        """Take over what the public door answered."""
        self.unexpected = door.unexpected
        self.unexpected_answers = door.unexpected_count
        self.answers = {f"{purpose} {status}": n for (purpose, status), n in sorted(door.statuses.items())}
        self.silences = dict(door.silences.most_common())
        self.stale = dict(door.stale.most_common())
        self.slowest_ms = {purpose: round(ms) for purpose, ms in sorted(door.slowest_ms.items())}
        self.slowest_by_fault_ms = {
            fault: round(ms)
            for fault, ms in sorted(door.slowest_by_fault_ms.items(), key=lambda each: -each[1])
        }

    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        found = self.settlement
        return (
            found.acknowledged > 0
            and found.acknowledged == found.stored == found.rolled_up == found.receipted
            and not (found.lost or found.doubled or found.wrong_cost or found.differences)
            and not (self.complaints or self.unexpected_answers or self.dead_letters or self.stale)
            and (self.doctor is None or self.doctor["status"] == "ok")
        )

    def count_faults(self) -> dict[str, int]:
        """How many of each kind there were."""
        return dict(sorted(Counter(each.kind for each in self.recoveries).items()))

    def as_document(self) -> dict[str, Any]:
        """`report.json`."""
        found = self.settlement
        return {
            "seed": self.seed,
            "minutes": self.minutes,
            "faults": self.count_faults(),
            "acknowledged": found.acknowledged,
            "stored": found.stored,
            "rolled_up": found.rolled_up,
            "receipted": found.receipted,
            "lost": found.lost,
            "doubled": found.doubled,
            "wrong_cost": found.wrong_cost,
            "clean": self.is_clean(),
            "signatures_checked": found.signatures_checked,
            "dead_letters": self.dead_letters,
            "price_changes": self.price_changes,
            "recovery": self._recovery(),
            "slowest_answer_ms": max(self.slowest_by_fault_ms.values(), default=0),
            "unexpected_answers": self.unexpected_answers,
            "differences": found.differences,
            "complaints": self.complaints,
            "unexpected": self.unexpected,
            "stale_reads": self.stale,
            "answers": self.answers,
            "silences": self.silences,
            "slowest_ms_by_purpose": self.slowest_ms,
            "slowest_ms_by_fault": self.slowest_by_fault_ms,
            "slowest_drain_s": round(max((s for _, s in self.drains_s), default=0), 1),
            "error_lines": self.error_lines,
            "doctor": self.doctor,
            "timeline": [each._asdict() for each in self.recoveries],
        }

    def as_tables(self) -> str:
        """For people, and for `docs/reliability.md`."""
        found = self.settlement
        counted = (
            *(found.acknowledged, found.stored, found.rolled_up, found.receipted),
            *(found.lost, found.doubled, found.wrong_cost),
        )
        lines = [
            f"Seed {self.seed}: {self.minutes:.1f} minutes, {len(self.recoveries)} faults.",
            "",
            "| acknowledged | stored | rolled up | receipted | lost | doubled | wrong cost |",
            "|---|---|---|---|---|---|---|",
            f"| {' | '.join(map(str, counted))} |",
            "",
            "| fault | times | accepts again: median, slowest | no lag: median, slowest | slowest answer |",
            "|---|---|---|---|---|",
        ]
        for kind, figures in self._recovery().items():
            accepts, no_lag = figures["accepts_s"], figures["no_lag_s"]
            slowest_ms = max(
                (ms for name, ms in self.slowest_by_fault_ms.items() if name.split()[0] == kind), default=0
            )
            lines.append(
                f"| {kind.replace('_', ' ')} | {figures['times']} | {accepts['p50']}, {accepts['max']} "
                f"| {no_lag['p50']}, {no_lag['max']} | {slowest_ms / 1000:.1f} |"
            )
        return "\n".join([*lines, ""])

    def _recovery(self) -> dict[str, Any]:
        """Percentiles by kind, of the faults that came alone where there are such."""
        kinds: dict[str, Any] = {}
        for kind, times in self.count_faults().items():
            all_of_it = [each for each in self.recoveries if each.kind == kind]
            alone = [each for each in all_of_it if not each.paired] or all_of_it
            kinds[kind] = {
                "times": times,
                "alone": sum(not each.paired for each in all_of_it),
                "accepts_s": _percentiles([each.accepts_s for each in alone]),
                "no_lag_s": _percentiles([each.no_lag_s for each in alone]),
            }
        return kinds


def _percentiles(values: list[float | None]) -> dict[str, float | int]:
    known = sorted(value for value in values if value is not None)
    if not known:
        return {"p50": -1, "p95": -1, "max": -1, "never": len(values)}
    return {
        "p50": round(statistics.median(known), 1),
        "p95": round(known[min(len(known) - 1, int(len(known) * 0.95))], 1),
        "max": round(known[-1], 1),
        "never": len(values) - len(known),
    }
