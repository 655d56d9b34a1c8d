"""The check itself: topic, rows, sums and receipts of a deployment that goes on working meanwhile.

What is in flight must not look like a difference. So the order is:
1. the topic up to its present end, which takes the longest and holds nothing open;
2. a snapshot of the receipts, then one of the usage tables, each with its consumers' positions;
3. what was appended to the topics until then, and `usage.dead`.
A record below a position has its row, or was set aside. A receipt of the first snapshot has its row in the
second, or its record has been accepted at least. A row of the second snapshot has its receipt in the first,
or its rated event is at or after the issuer's position.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Final

from services.audit.findings import Findings, Kind
from services.audit.reconcile import Record, Streams, Surroundings, reconcile
from services.audit.runs import SortedRuns
from services.audit.stream import Stream, as_batches
from services.audit.words import describe_budget, describe_rollup
from services.ingest.audit import Accepted, Unreadable, UsageSnapshot, open_usage_snapshot, read_accepted
from services.ingest.store.recount import SumsFound
from services.receipts.audit import ReceiptsSnapshot, find_key, open_receipts_snapshot, read_rated
from shared.contracts.topics import USAGE_LOGGED, USAGE_RATED
from shared.event_log.port import EventLog
from shared.event_log.replay import open_dead_letters
from shared.pricebook.pricebook import Pricebook

OnProgress = Callable[[str, int], None]

_CLOCKS_DIFFER: Final = timedelta(hours=1)
_AFTER_EVERYTHING: Final = datetime.max.replace(tzinfo=UTC)
_TELL_EVERY: Final = 100_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Verification:
    """One check. It writes nothing but temporary files of its own.

    Args:
        event_log: with the topics.
        usage_url: the database with the schema `usage`.
        receipts_url: the database with the schema `receipts`.
        pricebook: to price records as a rater does.
        on_progress: told what is being read, and how many of it were.
    """

    def __init__(
        self,
        *,
        event_log: EventLog,
        usage_url: str,
        receipts_url: str,
        pricebook: Pricebook,
        on_progress: OnProgress,
    ) -> None:
        self._event_log = event_log
        self._usage_url = usage_url
        self._receipts_url = receipts_url
        self._pricebook = pricebook
        self._on_progress = on_progress
        self._findings = Findings()
        self._unreadable: list[Unreadable] = []

    async def verify(self) -> Findings:
        """Compare everything with everything.

        Raises:
            UnavailableError: a dependency is away; nothing can be said then.
        """
        begins, ends = await self._event_log.begins(USAGE_LOGGED), await self._event_log.ends(USAGE_LOGGED)
        async with AsyncExitStack() as stack:
            records = stack.enter_context(SortedRuns())
            on_their_way = stack.enter_context(SortedRuns())
            await self._read_topic(begins, ends, records)
            receipts = await stack.enter_async_context(open_receipts_snapshot(self._receipts_url))
            usage = await stack.enter_async_context(open_usage_snapshot(self._usage_url))
            later_ends = await self._event_log.ends(USAGE_LOGGED)
            await self._read_topic(ends, later_ends, records)
            self._findings.rater_lag = self._find_lag(USAGE_LOGGED, usage.positions, begins, later_ends)
            await self._read_rated(receipts, on_their_way)
            around = await self._look_around(usage)
            streams = Streams(
                await Stream(_as_records(records), lambda record: record.key).open(),
                await Stream(usage.list_stored(), lambda row: row.key).open(),
                await Stream(receipts.list_receipted(), lambda receipt: receipt.key).open(),
                await Stream(as_batches(on_their_way.merged()), lambda entry: bytes(entry[0])).open(),
            )
            await reconcile(streams, around, self._findings)
            await self._check_rollups(usage)
            async for wrong in usage.list_wrong_budgets():
                self._findings.differ("budget", wrong.account_id.bytes, describe_budget(wrong))
            await self._check_sequences(receipts)
            async for fault in receipts.check_log():
                key = None if fault.account_id is None else fault.account_id.bytes
                self._findings.differ(fault.kind, key, fault.detail)
        return self._findings

    async def _read_topic(
        self, starts: Mapping[int, int], ends: Mapping[int, int], records: SortedRuns
    ) -> None:
        read = told = 0
        async for batch in read_accepted(
            self._event_log, self._pricebook, starts, ends, self._note_unknown_version
        ):
            self._unreadable += [each for each in batch if isinstance(each, Unreadable)]
            records.add([_entry(each) for each in batch if isinstance(each, Accepted)])
            read += len(batch)
            if read - told >= _TELL_EVERY:
                self._on_progress(f"records of {USAGE_LOGGED}", read)
                told = read

    def _note_unknown_version(self, version: str) -> None:
        self._findings.unknown_versions[version] += 1

    async def _read_rated(self, receipts: ReceiptsSnapshot, on_their_way: SortedRuns) -> None:
        begins, ends = await self._event_log.begins(USAGE_RATED), await self._event_log.ends(USAGE_RATED)
        self._findings.issuer_lag = self._find_lag(USAGE_RATED, receipts.positions, begins, ends)
        starts = {
            partition: max(begin, receipts.positions.get(partition, 0)) for partition, begin in begins.items()
        }
        async for keys in read_rated(self._event_log, starts, ends):
            on_their_way.add([(key,) for key in keys])

    async def _look_around(self, usage: UsageSnapshot) -> Surroundings:
        """Read `usage.dead`, and hold against it what could not be read."""
        set_aside: set[tuple[int, int]] = set()
        receipts_set_aside: set[bytes] = set()
        async with open_dead_letters(self._event_log) as letters:
            async for letter in letters:
                self._findings.dead += 1
                if letter.source is None:
                    continue
                topic, partition, offset = letter.source
                if topic == USAGE_LOGGED:
                    set_aside.add((partition, offset))
                elif topic == USAGE_RATED and (key := find_key(letter.record.value)) is not None:
                    receipts_set_aside.add(key)
        for place in self._unreadable:
            if place.offset < usage.positions.get(place.partition, 0) and place[:2] not in set_aside:
                told = f"usage.logged/{place.partition}/{place.offset}: {place.reason}"
                self._findings.differ("not_set_aside", None, told)
        # Anew: what was let go of while the topic was read was not seen either.
        whole_since = await self._whole_since(await self._event_log.begins(USAGE_LOGGED))
        deleted_before = {
            account_id.bytes: _microseconds(at) for account_id, at in usage.deleted_before.items()
        }
        return Surroundings(
            usage.positions,
            frozenset(set_aside),
            frozenset(receipts_set_aside),
            deleted_before,
            whole_since,
        )

    async def _whole_since(self, begins: Mapping[int, int]) -> datetime | None:
        """From when on the topic has every record of every partition; None: from the first."""
        cut = {partition: begin for partition, begin in begins.items() if begin}
        if not cut:
            return None
        after = {partition: begin + 1 for partition, begin in cut.items()}
        async with self._event_log.read_range(USAGE_LOGGED, cut, after) as slices:
            earliest = [part.records[0].appended_at async for part in slices]
        return max(earliest) + _CLOCKS_DIFFER if earliest else _AFTER_EVERYTHING

    def _find_lag(
        self, topic: str, positions: Mapping[int, int], begins: Mapping[int, int], ends: Mapping[int, int]
    ) -> int:
        lag = 0
        for partition, end in ends.items():
            position = positions.get(partition, begins[partition])
            if position > end:
                told = f"{topic}/{partition} ends at {end}, and its consumer is at {position}"
                self._findings.differ("position_beyond_end", None, told)
            lag += max(0, end - position)
        return lag

    async def _check_rollups(self, usage: UsageSnapshot) -> None:
        async for wrong in usage.list_wrong_rollups():
            kind: Kind = "rollup" if isinstance(wrong, SumsFound) else "latency_rollup"
            self._findings.differ(kind, wrong.account_id.bytes, describe_rollup(wrong))
        self._findings.rolled_up = await usage.count_rolled_up()

    async def _check_sequences(self, receipts: ReceiptsSnapshot) -> None:
        async for wrong in receipts.list_wrong_sequences():
            told = (
                f"{wrong.receipts} receipts with {wrong.numbers} numbers from {wrong.first} to {wrong.last}; "
                f"the counter is at {wrong.counter}"
            )
            self._findings.differ("sequence", wrong.account_id.bytes, told)


def _entry(accepted: Accepted) -> Record:
    answered = accepted.as_answered
    return Record(
        accepted.key,
        accepted.partition,
        accepted.offset,
        *accepted.expected,
        None if answered is None else answered.cost,
        None if answered is None else answered.figures,
        accepted.is_late,
        _microseconds(accepted.occurred_at),
    )


def _microseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


async def _as_records(runs: SortedRuns) -> AsyncIterator[list[Record]]:
    for batch in runs.merged():
        yield [Record(*entry) for entry in batch]
