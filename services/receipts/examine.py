"""Everything that can be checked of one receipt, each with its verdict: what a dispute is settled by."""

from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec

from services.receipts.prove import Proving
from services.receipts.read import as_receipt, find_own_receipt
from services.receipts.store.keys import list_keys
from services.receipts.store.receipts import ReceiptRow, list_superseded
from services.receipts.verify import public_key_of
from shared.clock import Clock, parse_rfc3339, rfc3339
from shared.contracts.receipts import STATEMENT, Check, Examined
from shared.contracts.records import KeptRecords
from shared.errors import LLMRingError, NotFoundError, UnavailableError
from shared.money import plain
from shared.postgres import Database
from shared.pricebook.pricebook import Pricebook
from shared.pricing.tokens import Tokens
from shared.proofs.metadata import metadata_digest
from shared.proofs.receipt import KeySet, verify_receipt
from shared.proofs.tlog.checkpoint import Checkpoint
from shared.proofs.tlog.hashing import hash_leaf
from shared.proofs.tlog.note import NoteError, parse_note, verify_note
from shared.proofs.tlog.proofs import verify_inclusion
from shared.web.client import HeaderList, Upstream

Payload = Mapping[str, Any]

_RECORDED: Final = (
    "alias",
    "audio_input_tokens",
    "audio_output_tokens",
    "cache_write_1h_tokens",
    "cache_write_5m_tokens",
    "cached_input_tokens",
    "id_at_origin",
    "input_tokens",
    "latency_ms",
    "model",
    "origin",
    "output_tokens",
    "profile",
    "provider",
    "reasoning_tokens",
    "received_at",
    "service_tier",
)
_PRICED: Final = (
    "calculated_cost",
    "calculated_status",
    "client_cost",
    "cost",
    "cost_breakdown",
    "cost_status",
    "model_key",
    "registry_version",
    "repriced_at",
)
"""These may differ from a receipt that was superseded: the record was priced later."""

_AMOUNTS: Final = frozenset(("cost", "client_cost", "calculated_cost", "usd", "usd_per_million"))
_ISSUED_WITHIN: Final = timedelta(minutes=1)
"""So long after a cost was found its own receipt may still be to come."""

_exact = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder()


class Examination:
    """Examines an account's own receipts.

    Args:
        database: of the schema `receipts`.
        proving: proves inclusion.
        pricebook: prices once more.
        ingest: has the recorded row; None where it cannot be asked.
        clock: tells a cost that was found just now from one that has had the time to be receipted.
    """

    def __init__(
        self,
        *,
        database: Database,
        proving: Proving,
        pricebook: Pricebook,
        ingest: Upstream | None,
        clock: Clock,
    ) -> None:
        self._database = database
        self._proving = proving
        self._pricebook = pricebook
        self._ingest = ingest
        self._clock = clock

    async def examine(self, account_id: UUID, receipt_id: str, caller: HeaderList) -> Examined:
        """Check signature, inclusion in the log, the cost by the pinned prices, and the recorded row.

        A check that cannot be made for want of a service is `unavailable` and fails nothing.

        Args:
            account_id: whose receipt.
            receipt_id: its name.
            caller: the headers by which the service with the rows knows the caller.

        Raises:
            NotFoundError: the account has no such receipt.
            UnavailableError: the database is away.
        """
        async with self._database.connection() as connection:
            row = await find_own_receipt(connection, account_id, receipt_id)
            keys = KeySet(map(public_key_of, await list_keys(connection)))
            superseded = await list_superseded(connection, account_id, [row.receipt_id])
        payload: Payload = msgspec.json.decode(row.payload)
        newer = superseded.get(row.receipt_id)
        checks = [
            _check_signature(row, keys),
            await self._check_inclusion(row),
            await self._check_cost(row, payload),
            await self._check_record(row, payload, caller, is_superseded=newer is not None),
        ]
        verdicts = {check.verdict for check in checks}
        return Examined(
            receipt_id=str(row.receipt_id),
            valid="failed" not in verdicts,
            complete="unavailable" not in verdicts,
            superseded_by=None if newer is None else str(newer),
            checks=checks,
        )

    async def _check_inclusion(self, row: ReceiptRow) -> Check:
        try:
            proof = await self._proving.prove_inclusion(row.account_id, str(row.receipt_id))
            note = parse_note(proof.checkpoint)
            verify_note(note, await self._proving.list_verifier_keys())
            root = Checkpoint.parse(note.text).root
        except UnavailableError as error:
            return Check("inclusion", "unavailable", error.detail)
        except NoteError as error:
            return Check("inclusion", "failed", f"The checkpoint will not do: {error}.")
        hashes = [b64decode(each) for each in proof.hashes]
        if verify_inclusion(hash_leaf(row.payload), proof.leaf_index, proof.tree_size, hashes, root):
            return Check(
                "inclusion",
                "passed",
                f"It is leaf {proof.leaf_index} of the signed tree of {proof.tree_size}.",
            )
        return Check("inclusion", "failed", f"It is not leaf {proof.leaf_index} of the signed tree.")

    async def _check_cost(self, row: ReceiptRow, payload: Payload) -> Check:
        version = payload.get("registry_version")
        if row.kind == STATEMENT or version is None:
            return Check("cost", "not_applicable", "It was not priced from a registry version.")
        try:
            edition = await self._pricebook.edition(version)
        except NotFoundError:
            return Check("cost", "failed", f"There is no registry version {version}.")
        except UnavailableError as error:
            return Check("cost", "unavailable", error.detail)
        if payload.get("registry_digest") not in (None, edition.digest):
            return Check(
                "cost", "failed", f"Registry version {version} is not the one with the digest stated."
            )
        tokens = Tokens(**{name: payload[f"{name}_tokens"] for name in Tokens.__struct_fields__})
        _, quote = edition.quote(payload["provider"] or "", payload["model"], tokens, payload["service_tier"])
        calculated = None if quote.cost is None else plain(quote.cost)
        given = payload["client_cost"]
        expected = (calculated, quote.status, calculated if given is None else given)
        stated = (payload["calculated_cost"], payload["calculated_status"], payload["cost"])
        if stated == expected:
            return Check("cost", "passed", f"Version {version} gives the same: {_say(calculated)}.")
        return Check("cost", "failed", f"Version {version} gives {_say(calculated)}, not {_say(stated[0])}.")

    async def _check_absence(self, payload: Payload, caller: HeaderList) -> Check:
        """A record that is not there must have been old enough for its account's retention."""
        assert self._ingest is not None  # noqa: S101 - it has just answered
        try:
            answer = await self._ingest.call("GET", "/internal/kept", headers=caller)
            deleted_before = msgspec.json.decode(answer.body, type=KeptRecords).deleted_before
            occurred_at = parse_rfc3339(str(payload.get("occurred_at")))
        except (LLMRingError, msgspec.MsgspecError, ValueError) as error:
            return Check("record", "unavailable", str(error))
        if deleted_before is not None and occurred_at < deleted_before:
            told = f"The record is no longer kept: the account's retention ends at {rfc3339(deleted_before)}."
            return Check("record", "not_applicable", told)
        return Check("record", "failed", "There is no such record any more.")

    async def _check_record(
        self, row: ReceiptRow, payload: Payload, caller: HeaderList, *, is_superseded: bool
    ) -> Check:
        if row.log_id is None:
            return Check("record", "not_applicable", "It is not the receipt of a record.")
        if self._ingest is None:
            return Check("record", "unavailable", "The service with the records cannot be asked.")
        try:
            answer = await self._ingest.call("GET", f"/api/v1/logs/{row.log_id}", headers=caller)
        except NotFoundError:
            return await self._check_absence(payload, caller)
        except LLMRingError as error:
            return Check("record", "unavailable", error.detail)
        names = _RECORDED if is_superseded else (*_RECORDED, *_PRICED)
        check = _compare(payload, answer.body, names)
        if (
            check.verdict == "failed"
            and not is_superseded
            and self._was_priced_just_now(payload, answer.body)
        ):
            return Check("record", "unavailable", "It was priced just now; the receipt of that is to come.")
        return check

    def _was_priced_just_now(self, payload: Payload, record: bytes) -> bool:
        """Whether a record's price, and nothing else, is newer than its receipts."""
        if payload["cost"] is not None or _compare(payload, record, _RECORDED).verdict != "passed":
            return False
        repriced_at = msgspec.json.decode(record)["repriced_at"]
        return repriced_at is not None and self._clock.now() - parse_rfc3339(repriced_at) < _ISSUED_WITHIN


def _compare(payload: Payload, record: bytes, names: Iterable[str]) -> Check:
    try:
        wrong = list(_list_differences(payload, record, names))
    except ValueError as error:  # msgspec's and CanonicalError included
        return Check("record", "failed", f"The record cannot be read any more: {error}.")
    if wrong:
        return Check("record", "failed", f"The record has another {', '.join(wrong)}.")
    return Check("record", "passed", "The record says the same.")


def _list_differences(payload: Payload, record: bytes, names: Iterable[str]) -> Iterator[str]:
    """The names of what a record does not say as its receipt does."""
    entry: Payload = _exact.decode(record)
    for name in names:
        if _plain(name, entry.get(name)) != payload.get(name):
            yield name
    if entry.get("logged_at") != payload.get("occurred_at"):
        yield "occurred_at"
    # Decoded as the digest wants it: with floats.
    metadata = msgspec.json.decode(record)["metadata"]
    if (None if metadata is None else metadata_digest(metadata)) != payload.get("metadata_digest"):
        yield "metadata"


def _check_signature(row: ReceiptRow, keys: KeySet) -> Check:
    verdict = verify_receipt(_encoder.encode(as_receipt(row)), keys)
    if verdict.valid:
        return Check(
            "signature", "passed", f"Key {row.key_id} has signed it; the key is {verdict.key_status}."
        )
    return Check("signature", "failed", f"The signature does not hold: {verdict.reason}.")


def _plain(name: str, value: object) -> object:
    if name in _AMOUNTS and isinstance(value, int | Decimal):
        return plain(Decimal(value))
    if isinstance(value, list):  # the lines of a breakdown
        return [{key: _plain(key, each) for key, each in line.items()} for line in value]
    return value


def _say(cost: str | None) -> str:
    return "no cost" if cost is None else f"{cost} dollars"
