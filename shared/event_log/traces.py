"""The trace of a request goes on in the headers of its records: a span for who appends, one for who applies.

Only records whose `traceparent` says that they are recorded cost anything beyond a look at it.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from shared.event_log.port import EventLog, Headers, Position, Record, Slice, StoredRecord
from shared.telemetry.current import current_headers
from shared.telemetry.traceparent import says_sampled
from shared.telemetry.tracing import Kind, Span, is_tracing, start_span

TRACEPARENT: Final = "traceparent"


def find_traceparent(headers: Headers) -> bytes | None:
    """The first header of that name, or None."""
    for name, value in headers:
        if name == TRACEPARENT:
            return value
    return None


Apply = Callable[[Slice], Awaitable[None]]


def append_traced(
    log: EventLog, topic: str, key: bytes, values: Sequence[bytes], headers: Headers
) -> Awaitable[list[Position]]:
    """Append records that come from one request; see `EventLog.append`.

    Where its trace is recorded, they carry the `traceparent` of a span that lasts until they are durable.

    Args:
        log: where to append.
        topic: to which topic.
        key: of each record.
        values: of the records.
        headers: of each record; the request's `traceparent` is among them.
    """
    parent = find_traceparent(headers) if is_tracing() else None
    span = None
    if says_sampled(parent):
        span = start_span(
            f"send {topic}",
            Kind.PRODUCER,
            parent,
            {
                "messaging.operation.type": "send",
                "messaging.destination.name": topic,
                "messaging.batch.message_count": len(values),
            },
        )
    if span is not None:
        headers = _with_traceparent(headers, span.traceparent)
    appending = log.append(topic, [Record(key, value, headers) for value in values])
    return appending if span is None else _spanned(span, appending)


async def _spanned(span: Span, appending: Awaitable[list[Position]]) -> list[Position]:
    error: str | None = "cancelled"
    try:
        positions = await appending
        error = None
    except Exception as failure:
        error = type(failure).__name__
        raise
    finally:
        span.end(error)
    return positions


class SliceSpans:
    """The spans of those records of a slice whose traces are recorded: each lasts as long as the whole slice.

    Records with the same parent share a span, since they came in one request.

    Attributes:
        part: the slice with these spans as the parents of what is made of its records.
    """

    def __init__(self, group: str, part: Slice) -> None:
        self._spans: dict[bytes, Span] = {}
        self.part = self._follow(group, part) if is_tracing() else part

    async def apply(self, apply: Apply) -> None:
        """Apply the slice, and end the spans whatever comes of it."""
        if not self._spans:
            await apply(self.part)
            return
        error: str | None = "cancelled"
        traces = [(b"traceparent", span.traceparent) for span in self._spans.values()]
        handled = current_headers.set(traces if len(traces) == 1 else ())
        try:
            await apply(self.part)
            error = None
        except Exception as failure:
            error = type(failure).__name__
            raise
        finally:
            current_headers.reset(handled)
            for span in self._spans.values():
                span.end(error)

    def _follow(self, group: str, part: Slice) -> Slice:
        followed: dict[int, StoredRecord] = {}
        for place, record in enumerate(part.records):
            for name, value in record.headers:
                if name == TRACEPARENT:
                    if says_sampled(value):
                        followed[place] = self._join(group, part, record, value)
                    break
        if not followed:
            return part
        records = tuple(followed.get(place, record) for place, record in enumerate(part.records))
        return part._replace(records=records)

    def _join(self, group: str, part: Slice, record: StoredRecord, parent: bytes) -> StoredRecord:
        span = self._spans.get(parent) or start_span(
            f"process {part.topic}",
            Kind.CONSUMER,
            parent,
            {
                "messaging.operation.type": "process",
                "messaging.destination.name": part.topic,
                "messaging.destination.partition.id": str(part.partition),
                "messaging.consumer.group.name": group,
                "messaging.batch.message_count": len(part.records),
            },
        )
        if span is None:
            return record
        self._spans[parent] = span
        return record._replace(headers=_with_traceparent(record.headers, span.traceparent))


def _with_traceparent(headers: Headers, traceparent: bytes) -> Headers:
    return (*(header for header in headers if header[0] != TRACEPARENT), (TRACEPARENT, traceparent))
