"""What came of a record that was sent to be recorded, and what its caller is told."""

from typing import NamedTuple

import msgspec

from services.ingest.store.claims import Claim, Settled
from shared.clock import rfc3339
from shared.contracts.usage import LogAnswer, UsageLogged, answer_lines, as_number
from shared.errors import ConflictError, InvalidFieldError, LLMRingError

_event_decoder = msgspec.json.Decoder(UsageLogged)
_answer_encoder = msgspec.json.Encoder()


class Accepted(NamedTuple):
    """One record that is durable, as it was recorded first."""

    event: UsageLogged
    replayed: bool

    @property
    def answer(self) -> bytes:
        """The JSON that its caller is told, the same at every replay."""
        return encode_answer(self.event)


class Prepared(NamedTuple):
    """One record that was checked and priced, and is not yet durable."""

    event: UsageLogged
    value: bytes
    claim: Claim | None


def is_own(settled: Settled | ConflictError, claim: Claim) -> bool:
    """Whether a key was claimed just now, for this record."""
    return isinstance(settled, Settled) and not settled.replayed and settled.event == claim.event


def outcome_of(record: Prepared, settled: Settled | ConflictError, *, again: bool) -> Accepted | LLMRingError:
    """What came of a record whose key stands for `settled`; `again`: a second one of its batch."""
    if isinstance(settled, ConflictError):
        return settled
    if record.claim is not None and settled.digest == record.claim.digest:
        is_as_sent = settled.event in (
            record.value,
            b"",
        )  # of a key that is the record's content none is kept
        event = record.event if is_as_sent else _event_decoder.decode(settled.event)
        return Accepted(event, replayed=settled.replayed or again)
    if settled.replayed:
        return InvalidFieldError.of("idempotency_key", "was used before with another body")
    return ConflictError("Another record of this batch has the same idempotency_key and another body.")


def encode_answer(event: UsageLogged) -> bytes:
    """The JSON that answers for an accepted record, the same at every replay."""
    return _answer_encoder.encode(
        LogAnswer(
            log_id=event.log_id,
            cost=as_number(event.cost),
            timestamp=rfc3339(event.occurred_at),
            cost_status=event.cost_status,
            registry_version=event.registry_version,
            cost_breakdown=answer_lines(event.cost_breakdown),
        )
    )
