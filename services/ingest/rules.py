"""Ask auth for how long records of accounts are kept."""

import asyncio
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec

from shared.contracts.accounts import RETENTION_PATH, RetentionAnswer, RetentionQuestion, RetentionRule
from shared.errors import UnavailableError
from shared.web.client import Upstream

_ANSWER_WITHIN_S: Final = 10.0
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(RetentionAnswer)


class RemoteRules:
    """`Rules` that auth tells."""

    def __init__(self, auth: Upstream) -> None:
        self._auth = auth

    async def __call__(self, account_ids: Sequence[UUID]) -> list[RetentionRule]:
        """See `Rules`."""
        body = _encoder.encode(RetentionQuestion(list(account_ids)))
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                answer = await self._auth.call(
                    "POST", RETENTION_PATH, headers=[(b"content-type", b"application/json")], body=body
                )
            return _decoder.decode(answer.body).rules
        except (TimeoutError, msgspec.MsgspecError):
            raise UnavailableError("Auth does not tell for how long records are kept.") from None
