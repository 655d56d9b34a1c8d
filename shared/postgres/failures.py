"""Which of the driver's errors mean that Postgres is away, and that the same call may work a moment later."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg
from asyncpg.exceptions import InternalClientError

from shared.errors import UnavailableError

_TRANSIENT: Final = (
    OSError,  # refused, reset, no route; TimeoutError is one of these too
    asyncpg.PostgresConnectionError,  # class 08
    asyncpg.InsufficientResourcesError,  # class 53: too many connections, disk full
    asyncpg.OperatorInterventionError,  # class 57: shutting down, starting up, cancelled by a time limit
    asyncpg.PostgresSystemError,  # class 58: the server's own input or output failed
    asyncpg.TransactionRollbackError,  # class 40: deadlock, serialization failure
    asyncpg.LockNotAvailableError,  # 55P03: lock_timeout
    asyncpg.ReadOnlySQLTransactionError,  # 25006: a fail-over left us on a standby
    asyncpg.InvalidCachedStatementError,  # a migration ran beside us; the driver has dropped its cache by now
    asyncpg.IdleInTransactionSessionTimeoutError,
)


@contextmanager
def translated() -> Iterator[None]:
    """Let every connection-like failure of the block leave as `UnavailableError`.

    A failure while a commit was under way leaves the same way, although the commit may have happened:
    what is written must therefore be safe to write again.

    Raises:
        UnavailableError: Postgres is away, overloaded, or rolled the transaction back for another one.
    """
    try:
        yield
    except _TRANSIENT as error:
        raise UnavailableError("The database is not available at the moment.") from error
    except asyncpg.exceptions.InterfaceError as error:
        # The driver has one class for wrong use and for a connection that is gone: only its text tells.
        if "is closed" in str(error) or "is closing" in str(error):
            raise UnavailableError("The database connection was lost.") from error
        raise
    except InternalClientError as error:
        # The server's farewell has arrived, the end of the connection not yet: the driver is in between.
        if "cannot switch to state" in str(error):
            raise UnavailableError("The database connection was lost.") from error
        raise
