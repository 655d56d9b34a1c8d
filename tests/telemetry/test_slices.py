"""The trace goes on in headers of records."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from shared.errors import UnavailableError
from shared.event_log.port import EventLog, Headers, Position, Record, Slice, StoredRecord
from shared.event_log.traces import SliceSpans, append_traced, find_traceparent
from shared.telemetry.current import describe_current
from tests.telemetry.conftest import Trace, parts_of
from tests.telemetry.test_tracing import SAMPLED, UNSAMPLED

OTHER = SAMPLED.replace(b"4bf9", b"5bf9")
HERE: Headers = (("before", b"1"), ("traceparent", SAMPLED), ("after", b"2"))


class Log:
    """Takes appends, or does not."""

    def __init__(self, *, away: bool = False) -> None:
        self.away = away
        self.records: list[Record] = []

    async def append(self, topic: str, records: Sequence[Record]) -> list[Position]:
        if self.away:
            raise UnavailableError("away")
        self.records += records
        return [Position(0, number) for number in range(len(records))]


def named(span: ReadableSpan) -> bytes:
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01".encode()


def parent_of(span: ReadableSpan) -> str:
    assert span.parent is not None
    return f"{span.parent.span_id:016x}"


def slice_of(*headers: Headers) -> Slice:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    records = [
        StoredRecord("usage.logged", 3, number, b"k", b"v", each, at) for number, each in enumerate(headers)
    ]
    return Slice("usage.logged", 3, tuple(records), 0)


async def append(log: Log, headers: Headers) -> list[Position]:
    return await append_traced(cast("EventLog", log), "usage.logged", b"k", [b"a", b"b"], headers)


async def test_an_append_has_a_span_that_its_records_name(trace: Trace) -> None:
    ended = trace(0.0)
    log = Log()
    assert await append(log, HERE) == [Position(0, 0), Position(0, 1)]
    [span] = ended()
    assert (span.name, span.kind) == ("send usage.logged", SpanKind.PRODUCER)
    assert parts_of(span)["messaging.batch.message_count"] == 2
    assert parent_of(span) == "00f067aa0ba902b7"
    assert [record.value for record in log.records] == [b"a", b"b"]
    for record in log.records:
        assert dict(record.headers) == {"before": b"1", "after": b"2", "traceparent": named(span)}


@pytest.mark.parametrize("headers", [(), (("traceparent", UNSAMPLED),), (("traceparent", b"00-1-2-01"),)])
async def test_what_is_not_traced_is_appended_as_it_is(trace: Trace, headers: Headers) -> None:
    ended = trace(1.0)
    log = Log()
    await append(log, headers)
    assert [record.headers for record in log.records] == [headers, headers]
    part = slice_of(headers)
    assert SliceSpans("rater", part).part is part
    assert not ended()


async def test_without_a_collector_a_sampled_header_is_passed_on() -> None:
    log = Log()
    await append(log, HERE)
    assert [record.headers for record in log.records] == [HERE, HERE]
    part = slice_of(HERE)
    assert SliceSpans("rater", part).part is part


async def test_a_failed_append_ends_its_span_with_the_error(trace: Trace) -> None:
    ended = trace(0.0)
    with pytest.raises(UnavailableError):
        await append(Log(away=True), HERE)
    [span] = ended()
    assert (span.status.status_code, parts_of(span)["error.type"]) == (StatusCode.ERROR, "UnavailableError")


async def test_each_trace_of_a_slice_has_one_span_that_lasts_until_it_is_applied(trace: Trace) -> None:
    ended = trace(0.0)
    unsampled: Headers = (("traceparent", UNSAMPLED),)
    part = slice_of(HERE, unsampled, (("traceparent", OTHER),), HERE, ())
    seen: list[Slice] = []

    async def apply(taken: Slice) -> None:
        assert not ended()
        seen.append(taken)

    await SliceSpans("rater", part).apply(apply)
    first, second = ended()
    assert {span.kind for span in ended()} == {SpanKind.CONSUMER}
    assert parts_of(first) == {
        "messaging.operation.type": "process",
        "messaging.destination.name": "usage.logged",
        "messaging.destination.partition.id": "3",
        "messaging.consumer.group.name": "rater",
        "messaging.batch.message_count": 5,
    }
    [taken] = seen
    traces = [find_traceparent(record.headers) for record in taken.records]
    assert traces == [named(first), UNSAMPLED, named(second), named(first), None]
    assert [record._replace(headers=()) for record in taken.records] == [
        record._replace(headers=()) for record in part.records
    ]
    assert (taken.expected, taken.next_offset) == (part.expected, part.next_offset)


async def test_a_slice_that_fails_ends_its_spans_with_the_error(trace: Trace) -> None:
    ended = trace(0.0)

    async def apply(taken: Slice) -> None:
        raise UnavailableError("away")

    for _ in range(2):  # it comes again
        with pytest.raises(UnavailableError):
            await SliceSpans("rater", slice_of(HERE)).apply(apply)
    assert [parts_of(span)["error.type"] for span in ended()] == ["UnavailableError"] * 2


async def test_a_log_line_names_the_trace_where_the_slice_has_only_one(trace: Trace) -> None:
    trace(0.0)
    told: list[dict[str, Any]] = []

    async def apply(taken: Slice) -> None:
        told.append(describe_current())

    await SliceSpans("rater", slice_of(HERE, ())).apply(apply)
    await SliceSpans("rater", slice_of(HERE, (("traceparent", OTHER),))).apply(apply)
    assert told[0]["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert told[1] == {}
    assert describe_current() == {}
