"""A connection of one's own, outside the pool: for LISTEN, for the event log's writer, for migrations."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import asyncpg

from shared.postgres.connection import OwnedConnection
from shared.postgres.failures import translated

_DRIVER: Final[Any] = asyncpg  # its functions carry no annotations

CONNECT_TIMEOUT: Final = timedelta(seconds=5)

KEEPALIVE: Final[dict[str, str]] = {
    # A peer that vanished without a word (power, network) is noticed by the server within about 12 s, so
    # that its locks and transactions do not linger. Unix sockets ignore these.
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}


async def open_connection(
    url: str,
    *,
    application_name: str,
    settings: Mapping[str, str] | None = None,
    statement_timeout: timedelta | None = None,
) -> OwnedConnection:
    """Connect; the caller closes it.

    Args:
        url: `postgresql://user@host:port/database`, or `...?host=/socket/folder`.
        application_name: how the connection is named in `pg_stat_activity`.
        settings: server settings of the session.
        statement_timeout: the longest that one statement may take, on the client's side.

    Raises:
        UnavailableError: nothing answers, or the server takes no connection now.
    """
    with translated():
        connection: OwnedConnection = await _DRIVER.connect(
            url,
            timeout=CONNECT_TIMEOUT.total_seconds(),
            command_timeout=statement_timeout.total_seconds() if statement_timeout else None,
            server_settings={"application_name": application_name, **KEEPALIVE, **(settings or {})},
        )
    return connection
