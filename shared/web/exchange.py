"""One request whose body and whose answer are streams, read and sent at the same time."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, NamedTuple

import aiohttp

from shared.errors import UnavailableError

_CONNECT_S: Final = 10.0
_DIGITS: Final = 9
_LONGEST_LINE_BYTES: Final = 1024 * 1024


class Exchange(NamedTuple):
    """An answer that has begun.

    Attributes:
        status: of HTTP.
        media_type: of the body, without parameters.
        retry_after_s: how long to wait before asking again, where the other side says so.
        lines: of the answer's body, as they come. Raises UnavailableError where it breaks off.
    """

    status: int
    media_type: str
    retry_after_s: float | None
    lines: AsyncIterator[bytes]


@asynccontextmanager
async def exchange(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    body: AsyncIterator[bytes] | None = None,
    silence_s: float = 120.0,
) -> AsyncIterator[Exchange]:
    """Send a request, and read its answer while the body is still being sent.

    Args:
        method: of HTTP.
        url: with its query.
        headers: of the request.
        body: what is sent.
        silence_s: the longest that the other side may say nothing.

    Raises:
        UnavailableError: nobody is there, or the connection broke.
    """
    limits = aiohttp.ClientTimeout(total=None, connect=_CONNECT_S, sock_read=silence_s)
    try:
        async with (
            aiohttp.ClientSession(timeout=limits, read_bufsize=_LONGEST_LINE_BYTES) as session,
            session.request(method, url, headers=headers, data=body, allow_redirects=False) as response,
        ):
            told = response.headers.get("Retry-After", "")
            wait_s = float(told) if told.isascii() and told.isdigit() and len(told) < _DIGITS else None
            yield Exchange(response.status, response.content_type, wait_s, _lines(response, url))
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _away(url, error) from error


async def _lines(response: aiohttp.ClientResponse, url: str) -> AsyncIterator[bytes]:
    try:
        async for line in response.content:
            yield line
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise _away(url, error) from error


def _away(url: str, error: Exception) -> UnavailableError:
    return UnavailableError(f"{url} does not answer: {str(error) or type(error).__name__}.")
