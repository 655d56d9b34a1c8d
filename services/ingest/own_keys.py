"""Ask auth which keys are an account's own."""

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol
from uuid import UUID

import msgspec

from shared.contracts.keys import OWNED_PATH, OwnedKeys, OwnedQuestion
from shared.errors import LLMRingError, UnavailableError
from shared.web.client import Upstream

_ANSWER_WITHIN_S: Final = 5.0
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(OwnedKeys)


class OwnKeys(Protocol):
    """Knows whose keys are whose."""

    async def __call__(self, account_id: UUID, key_ids: Sequence[UUID]) -> set[UUID]:
        """Those that are keys of the account, or were until they ended.

        Raises:
            UnavailableError: nobody can tell.
        """
        ...


class RemoteKeys:
    """`OwnKeys` that auth tells."""

    def __init__(self, auth: Upstream) -> None:
        self._auth = auth

    async def __call__(self, account_id: UUID, key_ids: Sequence[UUID]) -> set[UUID]:
        """See `OwnKeys`."""
        body = _encoder.encode(OwnedQuestion(account_id, list(key_ids)))
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                answer = await self._auth.call(
                    "POST", OWNED_PATH, headers=[(b"content-type", b"application/json")], body=body
                )
            return set(_decoder.decode(answer.body).key_ids)
        except (LLMRingError, TimeoutError, msgspec.MsgspecError) as error:
            # Whatever auth says to this question says nothing against what the caller asked.
            raise UnavailableError("Whose keys these are cannot be checked at the moment.") from error
