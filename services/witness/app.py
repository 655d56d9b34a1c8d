"""The witness over HTTP: `POST /add-checkpoint` (C2SP tlog-witness), its key, and a sign of life."""

import asyncio
import logging
import sqlite3
from typing import Final, cast

from litestar.types import HTTPScope, Receive, Scope, Send

from services.witness.cosign import RefusedError, Witness
from shared.errors import LLMRingError, TooLargeError
from shared.proofs.tlog.note import NoteError
from shared.proofs.tlog.witness import ADD_CHECKPOINT, MAX_REQUEST_BYTES, SIZE_TYPE, AddCheckpoint
from shared.web.asgi import ClientGoneError, read_body, send_answer

_TEXT: Final = "text/plain; charset=utf-8"
_log = logging.getLogger(__name__)


class WitnessApp:
    """The application of one witness. Its answers are lines of text, as the protocol has them.

    Args:
        witness: decides.
    """

    def __init__(self, witness: Witness) -> None:
        self._witness = witness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; the server lets nothing but HTTP in."""
        method, path = cast("HTTPScope", scope)["method"], scope["path"]
        if path == ADD_CHECKPOINT:
            if method == "POST":
                await self._add_checkpoint(scope, receive, send)
            else:
                await _tell(send, 405, "POST is the only method here", allow="POST")
        elif path in ("/", "/health/live"):
            await _tell(send, 200, self._witness.verifier.text)
        elif path == "/health/ready":
            await self._show_ready(send)
        else:
            await _tell(send, 404, "there is nothing at this path")

    async def _show_ready(self, send: Send) -> None:
        try:
            await asyncio.to_thread(self._witness.find_latest, "")
        except sqlite3.Error as error:
            await _tell(send, 503, f"the state cannot be read: {error}", retry_after="5")
        else:
            await _tell(send, 200, "ready")

    async def _add_checkpoint(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await read_body(scope, receive, MAX_REQUEST_BYTES)
            request = AddCheckpoint.parse(body)
        except ClientGoneError:
            return
        except NoteError as error:
            await _tell(send, 400, str(error))
            return
        except LLMRingError as error:
            await _tell(send, 413 if isinstance(error, TooLargeError) else 400, error.detail)
            return
        try:
            line = await asyncio.to_thread(self._witness.add_checkpoint, request)
        except RefusedError as refused:
            if refused.latest_size is None:
                await _tell(send, refused.status, str(refused))
            else:
                await _tell(send, refused.status, str(refused.latest_size), media_type=SIZE_TYPE)
        except sqlite3.Error as error:
            _log.error("nothing can be cosigned: %s", error)
            await _tell(send, 503, "the witness cannot remember what it signs now", retry_after="5")
        else:
            await _tell(send, 200, line.removesuffix("\n"))


async def _tell(send: Send, status: int, line: str, *, media_type: str = _TEXT, **headers: str) -> None:
    more = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    kind = (b"content-type", media_type.encode())
    await send_answer(send, status, f"{line}\n".encode(), more, content_type=kind)
