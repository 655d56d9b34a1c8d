"""Asking servers of other people over HTTP: bounded in time and in size, whatever they do."""

from collections.abc import Mapping
from datetime import timedelta

import aiohttp

from shared.errors import UnavailableError
from shared.web.client import Answer


class Outbound:
    """Asks and takes the answer as it is, of whatever status. Redirects are not followed.

    Args:
        timeout: for each question, from the first byte to the last.
        max_bytes: what is taken of an answer; a longer one is none.
    """

    def __init__(self, *, timeout: timedelta, max_bytes: int) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout.total_seconds())
        self._max_bytes = max_bytes
        self._session: aiohttp.ClientSession | None = None

    async def ask(
        self, method: str, url: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One question and its whole answer.

        Raises:
            UnavailableError: there was none in time, or it was too long.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=self._timeout,
                connector=aiohttp.TCPConnector(limit_per_host=4, keepalive_timeout=15),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("Accept-Encoding",),
            )
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, allow_redirects=False
            ) as response:
                taken = bytearray()
                async for chunk in response.content.iter_any():
                    taken += chunk
                    if len(taken) > self._max_bytes:
                        raise UnavailableError(f"{url} gave more than {self._max_bytes} bytes.")
                return Answer(response.status, response.raw_headers, bytes(taken))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            reason = str(error) or type(error).__name__
            raise UnavailableError(f"{url} does not answer: {reason}.") from error

    async def close(self) -> None:
        """Let go of connections."""
        if self._session is not None:
            await self._session.close()
