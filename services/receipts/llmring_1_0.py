"""A receipt in the form of the `llmring` 1.0.0 package, signed as that package's verifier expects it.

That form has floats and no `kind`, `key_id` or account, and its signature is over Python's own JSON text. It
is made from a stored receipt when somebody asks for it, and is neither stored nor in the log: the receipt of
the same id is.

One key signs three kinds of text, and none can pass for another: payloads of receipts always have the member
`key_id` and this form never has it; both are JSON in one line, and the text of a checkpoint has three lines.
"""

import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Final
from uuid import UUID

import msgspec

from services.receipts.read import find_own_receipt
from services.receipts.signer import Signer
from shared.clock import Clock, parse_rfc3339
from shared.contracts.evidence import OldReceipt
from shared.errors import InvalidFieldError
from shared.money import EXACT, ZERO
from shared.postgres import Database
from shared.proofs.signing import encode_base64

_VOUCHED_FOR: Final = frozenset({"recorded", "superseding"})
_OUTPUTS: Final = frozenset({"output", "reasoning", "audio_output"})


class _Line(msgspec.Struct):
    kind: str
    usd: str


class _Facts(msgspec.Struct):
    kind: str
    receipt_id: str
    issued_at: str
    alias: str | None = None
    profile: str | None = None
    provider: str | None = None
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cost: str | None = None
    cost_breakdown: list[_Line] = []


_facts_decoder = msgspec.json.Decoder(_Facts)


class OldForm:
    """Gives an account's receipts in the old form.

    Args:
        database: of the schema `receipts`.
        signer: signs the form with the key that signs receipts now.
        clock: the present, at which that key must be allowed to sign.
    """

    def __init__(self, database: Database, signer: Signer, clock: Clock) -> None:
        self._database = database
        self._signer = signer
        self._clock = clock

    async def get_receipt(self, account_id: UUID, receipt_id: str) -> OldReceipt:
        """One receipt by its id.

        Raises:
            NotFoundError: the account has none of that id.
            InvalidFieldError: the form cannot say what the receipt says.
            UnavailableError: the database is away, or the key may sign no longer.
        """
        async with self._database.connection() as connection:
            row = await find_own_receipt(connection, account_id, receipt_id)
            unsigned = as_old_receipt(row.payload)
            await self._signer.require_right_to_sign(connection, self._clock.now())
            signature = self._signer.key.sign(old_bytes(unsigned))
        return msgspec.structs.replace(unsigned, signature=encode_base64(signature))


def as_old_receipt(payload: bytes) -> OldReceipt:
    """Say the same in the old form. An alias, profile or lock file that there was not is an empty text.

    Raises:
        InvalidFieldError: the form has no room for it: who vouches, no cost, or a cost without its parts.
    """
    facts = _facts_decoder.decode(payload)
    if facts.kind not in _VOUCHED_FOR:
        raise _unsayable(f"it would not show that this receipt is only {facts.kind}")
    if facts.cost is None:
        raise _unsayable("it has no way to say that a cost is not known")
    outgoing = _add_up(line for line in facts.cost_breakdown if line.kind in _OUTPUTS)
    incoming = _add_up(line for line in facts.cost_breakdown if line.kind not in _OUTPUTS)
    if EXACT.add(incoming, outgoing) != Decimal(facts.cost):
        raise _unsayable("it wants a cost of input and one of output, and this cost has no such parts")
    return OldReceipt(
        receipt_id=facts.receipt_id,
        timestamp=parse_rfc3339(facts.issued_at).isoformat(),
        alias=facts.alias or "",
        profile=facts.profile or "",
        lock_digest="",
        provider=facts.provider or "",
        model=facts.model,
        prompt_tokens=facts.input_tokens,
        completion_tokens=facts.output_tokens,
        total_tokens=facts.input_tokens + facts.output_tokens,
        input_cost=float(incoming),
        output_cost=float(outgoing),
        total_cost=float(Decimal(facts.cost)),
        signature="",
    )


def old_bytes(receipt: OldReceipt) -> bytes:
    """What that package signs and verifies: all members but the signature, as Python's `json` writes them."""
    members = msgspec.structs.asdict(receipt)
    del members["signature"]
    return json.dumps(members, sort_keys=True, separators=(",", ":")).encode()


def _add_up(lines: Iterable[_Line]) -> Decimal:
    total = ZERO
    for line in lines:
        total = EXACT.add(total, Decimal(line.usd))
    return total


def _unsayable(why: str) -> InvalidFieldError:
    return InvalidFieldError.of("format", f"the form llmring-1.0 cannot carry this receipt: {why}")
