"""The public verdict on a receipt that anybody shows, and the keys to reach the same one offline."""

import hmac
from base64 import urlsafe_b64encode
from typing import Any
from uuid import UUID

from services.receipts.store.keys import KeyRow, list_keys
from services.receipts.store.receipts import find_receipt
from shared.contracts.evidence import JsonWebKey, JsonWebKeys
from shared.contracts.receipts import PublicKey, PublicKeys, Verdict
from shared.errors import MalformedRequestError, NotFoundError
from shared.postgres import Connection, Database
from shared.proofs.canonical import canonical_bytes
from shared.proofs.receipt import KeySet, find_shown_receipt, verify_parsed
from shared.proofs.signing import ALGORITHM, encode_base64, public_key_pem
from shared.proofs.strict_json import DuplicateKeyError, MalformedJsonError, parse_strict


class Verification:
    """Judges receipts by the published keys.

    Args:
        database: of the schema `receipts`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def verify_receipt(self, raw: bytes) -> Verdict:
        """Judge the text of a receipt. Nothing in it is followed or fetched.

        A receipt of a revoked key also has to be one that is stored here: when it was issued is otherwise
        only the word of whoever held the key.

        Raises:
            MalformedRequestError: it is not JSON, or one object has a member twice.
        """
        try:
            shown = parse_strict(raw)
        except DuplicateKeyError as error:
            raise MalformedRequestError(
                f"The member {error.key!r} stands twice in one object (duplicate_key): there is no verdict."
            ) from None
        except MalformedJsonError as error:
            raise MalformedRequestError(f"The body {error}.") from None
        async with self._database.connection() as connection:
            verdict = verify_parsed(shown, KeySet(map(public_key_of, await list_keys(connection))))
            if verdict.key_status == "revoked_after_issue" and not await _is_stored(connection, shown):
                return Verdict(valid=False, reason="key_revoked", key_status="revoked")
        return verdict

    async def list_public_keys(self) -> PublicKeys:
        """Every key that ever signed, oldest first."""
        async with self._database.connection() as connection:
            rows = await list_keys(connection)
        current = next((row.key_id for row in rows if row.status == "current"), None)
        return PublicKeys(keys=[public_key_of(row) for row in rows], current_key_id=current)

    async def list_json_web_keys(self) -> JsonWebKeys:
        """The keys whose signatures count, oldest first; JOSE has no sign for a revoked one."""
        async with self._database.connection() as connection:
            rows = await list_keys(connection)
        return JsonWebKeys(keys=[_json_web_key(row) for row in rows if row.status != "revoked"])

    async def get_current_pem(self) -> str:
        """The current public key as PEM.

        Raises:
            NotFoundError: no key is current.
        """
        async with self._database.connection() as connection:
            rows = await list_keys(connection)
        for row in rows:
            if row.status == "current":
                return public_key_pem(row.public_key)
        raise NotFoundError("There is no current signing key.")


def public_key_of(row: KeyRow) -> PublicKey:
    """A key as it is published."""
    return PublicKey(
        key_id=row.key_id,
        algorithm=ALGORITHM,
        public_key=encode_base64(row.public_key),
        not_before=row.not_before,
        not_after=row.not_after,
        status=row.status,
        revoked_at=row.revoked_at,
    )


def _json_web_key(row: KeyRow) -> JsonWebKey:
    return JsonWebKey(x=urlsafe_b64encode(row.public_key).decode().rstrip("="), kid=row.key_id)


async def _is_stored(connection: Connection, shown: Any) -> bool:  # noqa: ANN401 - JSON that a verdict was given on
    receipt = find_shown_receipt(shown)
    if receipt is None:
        return False
    payload = receipt["payload"]
    try:
        account_id, receipt_id = UUID(payload["account_id"]), UUID(payload["receipt_id"])
    except (KeyError, ValueError, AttributeError, TypeError):
        return False
    row = await find_receipt(connection, account_id, receipt_id)
    return row is not None and hmac.compare_digest(row.payload, canonical_bytes(payload))
