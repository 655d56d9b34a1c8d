"""A witness that nobody can reach: it asks the deployment for checkpoints, and brings it the cosignatures."""

import asyncio
import logging
from typing import Final

import msgspec

from services.witness.cosign import Opened, RefusedError, Witness
from services.witness.state import Cosigned
from shared.contracts.receipts import Consistency
from shared.errors import UnavailableError
from shared.proofs.signing import decode_base64
from shared.proofs.tlog.note import parse_note
from shared.proofs.tlog.witness import AddCheckpoint
from shared.stopping import is_set_within
from shared.web.client import Answer
from shared.web.outbound import Outbound

_RECEIPTS: Final = "/api/v1/receipts"
_consistency_decoder: Final = msgspec.json.Decoder(Consistency)
_log = logging.getLogger(__name__)


class Follower:
    """Follows the log of one deployment.

    Args:
        witness: decides.
        base_url: of the deployment.
        outbound: asks it.
    """

    def __init__(self, witness: Witness, base_url: str, outbound: Outbound) -> None:
        self._witness = witness
        self._base_url = base_url.rstrip("/") + _RECEIPTS
        self._outbound = outbound

    async def follow(self) -> int:
        """Look once: cosign what the log has become. The size that was cosigned.

        Raises:
            RefusedError: the log is not the one that was cosigned before, or not one that is known.
            UnavailableError: the deployment does not answer as it should; try again later.
            sqlite3.Error: the state cannot be read or written.
        """
        shown = await self._ask("GET", "/checkpoint?for_witnesses=true")
        raw = shown.body.decode("utf-8", "replace")
        opened = self._witness.open(raw)
        latest = await asyncio.to_thread(self._witness.find_latest, opened.checkpoint.origin)
        if latest is not None and opened.checkpoint.size < latest.size:
            raise self._witness.refuse_rewound(opened, latest)
        request = AddCheckpoint(
            0 if latest is None else latest.size,
            await self._fetch_proof(opened, latest),
            opened.signed.encode(),
        )
        line = await asyncio.to_thread(self._witness.add_checkpoint, request)
        cosigned = parse_note(request.note + line).encode()
        await self._ask("POST", "/cosignatures", cosigned.encode())
        return opened.checkpoint.size

    async def _fetch_proof(self, opened: Opened, latest: Cosigned | None) -> list[bytes]:
        """The proof that the log gives; none where it refuses, which the witness then refuses as well."""
        size = opened.checkpoint.size
        if latest is None or latest.size in (0, size):
            return []
        answer = await self._ask("GET", f"/consistency?from={latest.size}&to={size}", also=(404, 422))
        if answer.status != 200:
            return []
        try:
            return [decode_base64(each) for each in _consistency_decoder.decode(answer.body).hashes]
        except (msgspec.MsgspecError, ValueError):
            raise UnavailableError("The deployment's proof is none.") from None

    async def _ask(
        self, method: str, path: str, body: bytes | None = None, *, also: tuple[int, ...] = ()
    ) -> Answer:
        headers = {"Content-Type": "text/plain; charset=utf-8"} if body is not None else {}
        answer = await self._outbound.ask(method, self._base_url + path, body=body, headers=headers)
        if answer.status != 200 and answer.status not in also:
            text = answer.body[:500].decode("utf-8", "replace")
            raise UnavailableError(f"{method} {path} is answered with {answer.status}: {text}")
        return answer


async def keep_following(follower: Follower, interval_s: float, stop: asyncio.Event) -> None:
    """Look again and again, until told to stop.

    Raises:
        RefusedError: as `Follower.follow` does.
        sqlite3.Error: likewise.
    """
    while not stop.is_set():
        try:
            size = await follower.follow()
            _log.info("cosigned %d leaves", size)
        except UnavailableError as error:
            _log.warning("nothing is cosigned now: %s", error.detail)
        except RefusedError as refused:
            if refused.contradiction is None and refused.latest_size is not None:
                _log.info("another process of this witness was first")
            else:
                raise
        await is_set_within(stop, interval_s)
