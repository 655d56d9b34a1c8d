"""Records, rows and receipts side by side, key by key: whatever one of them has and another one lacks."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from services.audit.findings import Findings
from services.audit.stream import Stream
from services.ingest.store.audit import StoredFigures
from services.receipts.audit import Receipted
from services.receipts.issue import LATE


class Record(NamedTuple):
    """One accepted record, as it goes through a sort: see `services.ingest.audit.Accepted`."""

    key: bytes
    partition: int
    offset: int
    cost: str | None
    figures: bytes
    answered_cost: str | None
    answered_figures: bytes | None
    is_late: bool
    occurred_us: int

    @property
    def place(self) -> tuple[int, int]:
        """Where it is in its topic."""
        return self.partition, self.offset


class Surroundings(NamedTuple):
    """What decides whether something that is not there is a difference.

    Attributes:
        rated_until: per partition, the offset before which every record was rated or set aside.
        set_aside: places in `usage.logged` whose records are in `usage.dead`.
        receipts_set_aside: keys whose rated events are in `usage.dead`.
        deleted_before_us: by account (16 bytes), before which instant, in microseconds since 1970, retention
            may have deleted records.
        whole_since: rows accepted before may have had records that the topic let go of; None: it has all.
    """

    rated_until: Mapping[int, int]
    set_aside: frozenset[tuple[int, int]]
    receipts_set_aside: frozenset[bytes]
    deleted_before_us: Mapping[bytes, int]
    whole_since: datetime | None

    def is_rated(self, record: Record) -> bool:
        """Whether a rater has passed a record."""
        return record.offset < self.rated_until.get(record.partition, 0)

    def may_be_deleted(self, record: Record) -> bool:
        """Whether retention may have deleted a record's row."""
        return record.occurred_us < self.deleted_before_us.get(record.key[:16], record.occurred_us)


class Streams(NamedTuple):
    """What is compared, each in the order of its keys.

    Attributes:
        records: everything that `usage.logged` holds, beyond what was rated too.
        rows: everything that is stored.
        receipts: every receipt for a usage record.
        on_their_way: keys of rated events that the issuer has not come to.
    """

    records: Stream[Record]
    rows: Stream[StoredFigures]
    receipts: Stream[Receipted]
    on_their_way: Stream[tuple[bytes]]


class _OfOneKey(NamedTuple):
    """What there is of one usage record, once it is on the level of a key."""

    key: bytes
    accepted: list[Record]
    stored: list[StoredFigures]
    receipted: list[Receipted]
    is_on_its_way: bool


async def reconcile(streams: Streams, around: Surroundings, findings: Findings) -> None:
    """Compare the streams to their ends, and put down what differs."""
    records, rows, receipts, on_their_way = streams
    while True:
        keys = [stream.key for stream in (records, rows, receipts) if stream.key is not None]
        if not keys:
            return
        key = min(keys)
        while on_their_way.key is not None and on_their_way.key < key:
            await on_their_way.take(on_their_way.key)
        there = _OfOneKey(
            key,
            await records.take(key),
            await rows.take(key),
            await receipts.take(key),
            is_on_its_way=bool(await on_their_way.take(key)),
        )
        findings.stored += len(there.stored)
        findings.receipted += len(there.receipted)
        _compare_row(there, around, findings)
        _compare_receipts(there, around, findings)


def _compare_row(there: _OfOneKey, around: Surroundings, findings: Findings) -> None:
    key, accepted, stored = there.key, there.accepted, there.stored
    rated = [each for each in accepted if around.is_rated(each)]
    due = [each for each in rated if each.place not in around.set_aside]
    findings.topic += bool(due or (rated and stored))
    if not stored:
        if due and around.may_be_deleted(due[0]):
            findings.expired += 1
        elif due:
            findings.differ("lost", key, f"usage.logged/{due[0].partition}/{due[0].offset} has no row")
        return
    (row, *_) = stored
    if not accepted:
        if around.whole_since is not None and row.received_at < around.whole_since:
            findings.beyond_topic += 1
        else:
            findings.differ("doubled", key, "there is a row, and no record in usage.logged")
        return
    expected = _list_expected(accepted, around)
    if (row.cost, row.figures) in expected:
        return
    if any(cost == row.cost for cost, _ in expected):
        findings.differ("wrong_figures", key, "the row has the cost of its record, and other figures")
    else:
        costs = " or ".join(sorted({cost or "null" for cost, _ in expected}))
        findings.differ("wrong_cost", key, f"the row has {row.cost or 'null'}, its record {costs}")


def _list_expected(accepted: list[Record], around: Surroundings) -> set[tuple[str | None, bytes | None]]:
    """What the row may hold: of records that came twice the first; after one set aside, the next too.

    Where that is no cost, the first one that was found later.
    """
    expected = _list_first([each for each in accepted if not each.is_late], around)
    late = _list_first([each for each in accepted if each.is_late and around.is_rated(each)], around)
    if not late or (expected and all(cost is not None for cost, _ in expected)):
        return expected
    return {each for each in expected if each[0] is not None} | late


def _list_first(accepted: list[Record], around: Surroundings) -> set[tuple[str | None, bytes | None]]:
    expected: set[tuple[str | None, bytes | None]] = set()
    settled: set[int] = set()
    for each in accepted:
        if each.partition in settled:
            continue
        is_set_aside = each.place in around.set_aside
        if is_set_aside and each.is_late:
            continue  # the record itself stays as it was
        expected.add((each.cost, each.figures))
        if each.answered_figures is not None:
            expected.add((each.answered_cost, each.answered_figures))
        if not is_set_aside:
            settled.add(each.partition)
    return expected


def _compare_receipts(there: _OfOneKey, around: Surroundings, findings: Findings) -> None:
    key, stored, receipted = there.key, there.stored, there.receipted
    if not receipted:
        if stored and not there.is_on_its_way and key not in around.receipts_set_aside:
            findings.differ("receipt_missing", key, "there is a row, and no receipt")
        return
    by_revision: dict[int, Receipted] = {}
    for receipt in receipted:
        if by_revision.setdefault(receipt.revision, receipt) is not receipt:
            told = f"{receipt.receipt_id} beside {by_revision[receipt.revision].receipt_id}"
            findings.differ("receipt_doubled", key, told)
    is_due = bool(stored) and stored[0].is_repriced and LATE not in by_revision
    if is_due and not there.is_on_its_way and key not in around.receipts_set_aside:
        findings.differ("receipt_missing", key, "its cost was found later, and no receipt states it")
    for receipt in receipted:
        first = by_revision.get(0) if receipt.revision else None
        if not receipt.is_its_own or receipt.supersedes != (str(first.receipt_id) if first else None):
            findings.differ("receipt_misstated", key, f"{receipt.receipt_id} states something else")
        elif stored and not _states_cost(receipt, stored[0], there, around):
            told = f"{receipt.receipt_id} states {receipt.cost}, the row has {stored[0].cost}"
            findings.differ("receipt_wrong_cost", key, told)
    # One that is rated and not set aside is called lost already; one that is not rated yet is on its way.
    # Where the topic has let go of records and retention of rows, the receipt alone is left.
    is_all_that_is_left = around.whole_since is not None and key[:16] in around.deleted_before_us
    if (
        not stored
        and not (is_all_that_is_left and not there.accepted)
        and all(around.is_rated(each) and each.place in around.set_aside for each in there.accepted)
    ):
        findings.differ("receipt_without_record", key, f"{receipted[0].receipt_id} is for no stored record")


def _states_cost(receipt: Receipted, row: StoredFigures, there: _OfOneKey, around: Surroundings) -> bool:
    """Whether a receipt states the cost of its row, as that is or was."""
    if row.is_repriced and receipt.revision < LATE:
        return receipt.cost is None
    if receipt.revision and not row.is_repriced:  # it was issued right before the row was written
        return any(each.is_late and not around.is_rated(each) for each in there.accepted)
    return _are_equal(receipt.cost, row.cost)


def _are_equal(one: str | None, other: str | None) -> bool:
    if one == other or one is None or other is None:
        return one == other
    return Decimal(one) == Decimal(other)
