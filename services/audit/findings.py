"""What a check has found: every kind of difference, counted, and the first ones in words."""

from collections import Counter
from typing import Final, Literal, NamedTuple, get_args
from uuid import UUID

Kind = Literal[
    "lost",  # a record of usage.logged that a rater has passed has no row, and was not set aside
    "not_set_aside",  # a record that cannot be read was passed, and is not in usage.dead
    "doubled",  # a row that no record of usage.logged stands for
    "wrong_cost",  # a row with another cost than its record
    "wrong_figures",  # a row whose cost is right, and something else that is counted is not
    "rollup",  # a sum that is not that of the rows
    "latency_rollup",  # a count of latencies that is not that of the rows
    "budget",  # a month of a budget that has counted something else than its records and reservations
    "receipt_missing",  # a row whose rated event the issuer has passed has no receipt
    "receipt_doubled",  # a row with more than one receipt
    "receipt_without_record",  # a receipt for a record that is neither stored nor on its way
    "receipt_wrong_cost",  # a receipt that states another cost than the row has
    "receipt_misstated",  # a receipt whose signed text names another account, record, receipt or number
    "receipt_forged",  # a receipt whose signature is not one over its text by the key that it names
    "log_leaf",  # a leaf of the Merkle log that is not its receipt, or has none, or a receipt that is no leaf
    "log_tree",  # the leaves do not make the tiles, the tree or the signed checkpoint
    "sequence",  # an account whose receipts are not numbered 1, 2, 3 and so on up to its counter
    "position_beyond_end",  # a consumer stands beyond the end of its topic: the log was lost or replaced
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

MAX_TOLD: Final = 1_000


class Difference(NamedTuple):
    """One thing that is not as it must be.

    Attributes:
        detail: what was found where, for a person.
    """

    kind: Kind
    account_id: UUID | None
    log_id: UUID | None
    detail: str


class Findings:
    """Filled in by a check.

    Attributes:
        topic: records of `usage.logged` that a rater has passed, each once, without those set aside.
        stored: rows.
        rolled_up: records that the rollups have counted.
        receipted: receipts for usage records.
        dead: records in `usage.dead`, each source once, whether they were replayed or not.
        rater_lag: records of `usage.logged` that are still to be rated.
        issuer_lag: records of `usage.rated` that are still to be receipted.
        expired: records whose rows retention has deleted.
        beyond_topic: rows of a time of which the topic has no records any more.
        unknown_versions: records whose registry version is not in this deployment, by version; they are held
            against their own word.
        told: the first differences.
    """

    def __init__(self) -> None:
        self.topic = 0
        self.stored = 0
        self.rolled_up = 0
        self.receipted = 0
        self.dead = 0
        self.rater_lag = 0
        self.issuer_lag = 0
        self.expired = 0
        self.beyond_topic = 0
        self.unknown_versions: Counter[str] = Counter()
        self.counts: Counter[Kind] = Counter()
        self.told: list[Difference] = []

    def differ(self, kind: Kind, key: bytes | None, detail: str) -> None:
        """Put down a difference.

        Args:
            kind: what it is.
            key: account id and log id, or the account's alone; None where it is nobody's.
            detail: what was found.
        """
        self.counts[kind] += 1
        if len(self.told) < MAX_TOLD:
            account_id = UUID(bytes=key[:16]) if key else None
            log_id = UUID(bytes=key[16:32]) if key and len(key) > 16 else None
            self.told.append(Difference(kind, account_id, log_id, detail))

    @property
    def is_clean(self) -> bool:
        """Whether nothing differs."""
        return not self.counts.total()

    def as_document(self) -> dict[str, object]:
        """For programs."""
        counts = self.counts
        return {
            "clean": self.is_clean,
            "topic": self.topic,
            "stored": self.stored,
            "rolled_up": self.rolled_up,
            "receipted": self.receipted,
            "lost": counts["lost"] + counts["not_set_aside"],
            "doubled": counts["doubled"],
            "wrong_cost": counts["wrong_cost"],
            "wrong_figures": counts["wrong_figures"],
            "rollup_differences": counts["rollup"] + counts["latency_rollup"],
            "budget_differences": counts["budget"],
            "receipt_differences": sum(
                count for kind, count in counts.items() if kind.startswith("receipt_") or kind == "sequence"
            ),
            "log_differences": counts["log_leaf"] + counts["log_tree"],
            "dead": self.dead,
            "lag": self.rater_lag + self.issuer_lag,
            "rater_lag": self.rater_lag,
            "issuer_lag": self.issuer_lag,
            "expired": self.expired,
            "beyond_topic": self.beyond_topic,
            "unknown_versions": dict(self.unknown_versions),
            "by_kind": {kind: counts[kind] for kind in KINDS if counts[kind]},
            "differences": [difference._asdict() for difference in self.told],
        }
