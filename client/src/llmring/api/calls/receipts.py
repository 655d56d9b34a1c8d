"""Receipts: having them issued, reading them, judging them without asking anybody."""

import secrets
from collections.abc import Mapping
from typing import Any, Final, Unpack
from urllib.parse import quote

from llmring.api.calls import Day, Known, day_text
from llmring.api.calls.usage import usage_body
from llmring.api.exchange import Flow, Request, exchange
from llmring.api.models import decode, encode, given
from llmring.api.models.receipts import InclusionProof, PublicKeys, Receipt, ReceiptAnswer, ReceiptBundle
from llmring.api.models.usage import UsageFields
from llmring.api.offline import Judgement, judge, signer_of

_KEYS_TTL_S: Final = 300.0
_PATH: Final = "/api/v1/receipts"


def create_receipt(known: Known, **fields: Unpack[UsageFields]) -> Flow[Receipt]:
    """Have a receipt issued for usage that the caller declares; it says so (`kind` is `declared`).

    Without a `provider`, only a `cost` that is given can stand in it.

    Raises:
        APIValidationError: a field is wrong.
    """
    body = usage_body({"idempotency_key": secrets.token_hex(16)} | given(fields))
    return (yield from _issue(body))


def create_receipt_for(known: Known, log_id: str) -> Flow[Receipt]:
    """The receipt of a record that was logged.

    Raises:
        APINotFoundError: there is no such record, or its receipt is not there within two seconds.
    """
    return (yield from _issue(encode({"log_id": log_id})))


def create_statement(known: Known, *, start_date: Day, end_date: Day) -> Flow[Receipt]:
    """A receipt over what the receipts of a range add up to.

    Raises:
        APIValidationError: the range is wrong, or too large.
    """
    body = encode({"start_date": day_text(start_date), "end_date": day_text(end_date)})
    return (yield from _issue(body, repeatable=False))


def get_receipt(known: Known, receipt_id: str) -> Flow[Receipt]:
    """One receipt of the account.

    Raises:
        APINotFoundError: there is none.
    """
    return decode((yield from _get(_of(receipt_id))), Receipt)


def get_receipt_proof(known: Known, receipt_id: str) -> Flow[InclusionProof]:
    """The proof that a receipt is in the log.

    Raises:
        APINotFoundError: there is no such receipt.
    """
    return decode((yield from _get(f"{_of(receipt_id)}/proof")), InclusionProof)


def get_receipt_bundle(known: Known, receipt_id: str) -> Flow[ReceiptBundle]:
    """A receipt with its proof and the keys, to be saved.

    Raises:
        APINotFoundError: there is no such receipt.
    """
    return decode((yield from _get(f"{_of(receipt_id)}/bundle")), ReceiptBundle)


def get_public_keys(known: Known) -> Flow[PublicKeys]:
    """The published keys, kept on disk: without the server the last ones that were seen are taken."""
    path = f"{_PATH}/public-keys.json"
    return (yield from known.documents.get("public-keys", path, PublicKeys, _KEYS_TTL_S))


def verify_receipt(
    known: Known,
    receipt: Receipt | ReceiptBundle | Mapping[str, Any] | str | bytes,
    *,
    public_keys: PublicKeys | None = None,
    proof: InclusionProof | None = None,
    log_origin: str | None = None,
) -> Flow[Judgement]:
    """Judge a receipt here, by its signature and, with a proof, by its place in the log.

    The keys are the published ones, or those given, never those of a bundle. With `public_keys` nothing is
    sent.

    Args:
        known: of the service.
        receipt: a receipt or a bundle, read or as JSON.
        public_keys: to judge by.
        proof: from `get_receipt_proof`; a bundle brings its own.
        log_origin: the name that the log must have.
    """
    keys = public_keys
    if keys is None:
        keys = yield from get_public_keys(known)
        if signer_of(receipt) not in {key.key_id for key in keys.keys}:
            known.documents.expire("public-keys")
            keys = yield from get_public_keys(known)
    return judge(receipt, keys, proof=proof, log_origin=log_origin)


def _issue(body: bytes, *, repeatable: bool = True) -> Flow[Receipt]:
    response = yield from exchange(Request(method="POST", path=_PATH, body=body, repeatable=repeatable))
    return decode(response.body, ReceiptAnswer).receipt


def _get(path: str) -> Flow[bytes]:
    return (yield from exchange(Request(method="GET", path=path))).body


def _of(receipt_id: str) -> str:
    return f"{_PATH}/{quote(receipt_id, safe='')}"
