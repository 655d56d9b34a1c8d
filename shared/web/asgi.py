"""The few ASGI steps that the fast lanes take by hand (ASGI 3.0, HTTP)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from shared.errors import LLMRingError, MalformedRequestError, TooLargeError

if TYPE_CHECKING:  # the settings need a word of this module, and no command needs Litestar for that
    from litestar.types import ASGIApp, Receive, Scope, Send
    from litestar.types.asgi_types import ReceiveMessage

Headers = Iterable[tuple[bytes, bytes]]

_LONGEST_LENGTH = 18
"""The most digits of a length that anybody means."""

JSON = (b"content-type", b"application/json")


class ClientGoneError(LLMRingError):
    """The client closed the connection before its request was complete. There is nobody to answer."""


def find_header(headers: Headers, name: bytes) -> bytes | None:
    """The first header of that name (lower case), or None."""
    for key, value in headers:
        if key == name:
            return value
    return None


def find_only_header(headers: Headers, name: bytes) -> bytes | None:
    """The header of that name (lower case), or None.

    Raises:
        MalformedRequestError: there are several, and they may not say the same.
    """
    found = [value for key, value in headers if key == name]
    if len(found) > 1:
        raise MalformedRequestError(f"There is more than one header {name.decode()}.")
    return found[0] if found else None


def describe(scope: Scope) -> str:
    """A request for a log line: its path and its id."""
    return f"{scope['path']} (request {request_id_of(scope) or '-'})"


def request_id_of(scope: Scope) -> str:
    """The id that the gateway gave the request; empty where it did not come through one."""
    return (find_header(scope["headers"], b"x-request-id") or b"").decode("latin-1")


async def read_body(scope: Scope, receive: Receive, limit_bytes: int) -> bytes:
    """Read the whole request body.

    Raises:
        TooLargeError: it is longer than the limit, by its Content-Length or in fact.
        MalformedRequestError: Content-Length is not a number.
        ClientGoneError: the client left before the end.
    """
    declared = find_header(scope["headers"], b"content-length")
    if declared is not None:
        if not declared.isdigit():
            raise MalformedRequestError("Content-Length is not a number.")
        digits = declared.lstrip(b"0")  # of which there may be more than Python turns into a number
        if len(digits) > _LONGEST_LENGTH or int(digits or b"0") > limit_bytes:
            raise TooLargeError(f"The body is larger than {limit_bytes} bytes.")
    message = await receive()
    body = _chunk(message)
    if not message.get("more_body"):
        if len(body) > limit_bytes:
            raise TooLargeError(f"The body is larger than {limit_bytes} bytes.")
        return body
    chunks, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        body = _chunk(message)
        size += len(body)
        if size > limit_bytes:
            raise TooLargeError(f"The body is larger than {limit_bytes} bytes.")
        chunks.append(body)
    return b"".join(chunks)


def _chunk(message: ReceiveMessage) -> bytes:
    if message["type"] != "http.request":
        raise ClientGoneError("The client closed the connection.")
    return message.get("body", b"")


async def send_answer(
    send: Send, status: int, body: bytes, headers: Headers = (), *, content_type: tuple[bytes, bytes] = JSON
) -> int:
    """Send a whole answer with its length; tells the status again."""
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [content_type, (b"content-length", b"%d" % len(body)), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})
    return status


def without_empty_parameters(app: ASGIApp) -> ASGIApp:
    """Wrap an application so that `?start_date=&alias=` means that neither was given.

    The published client sends every unset option as an empty parameter (wire contract, "Everywhere").
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        query = scope.get("query_string", b"")
        if isinstance(query, bytes) and (query.endswith(b"=") or b"=&" in query):
            # Empty is what has nothing after its first "=": a value may end in one, as base64 does.
            kept = [part for part in query.split(b"&") if part and part.find(b"=") != len(part) - 1]
            scope["query_string"] = b"&".join(kept)
        await app(scope, receive, send)

    return call


def with_whole_bodies(app: ASGIApp) -> ASGIApp:
    """Wrap an application so that `ClientGoneError` tells that a client has left in the middle of its body.

    A framework takes that for an error of its own.
    """

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        is_whole = False

        async def receive_or_end() -> ReceiveMessage:
            nonlocal is_whole
            message = await receive()
            if message["type"] == "http.request":
                is_whole = not message.get("more_body")
            elif not is_whole:
                raise ClientGoneError("The client closed the connection.")
            return message

        await app(scope, receive_or_end, send)

    return call
