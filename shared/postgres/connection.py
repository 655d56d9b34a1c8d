# ruff: noqa: ASYNC109 - the driver takes a time-out with each call, and cancels the statement itself
"""What a store may ask of a connection, whether it is borrowed from the pool or one's own."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol


class Row(Protocol):
    """One row: its columns by name or by position."""

    def __getitem__(self, column: str | int) -> Any: ...  # noqa: ANN401 - a column may be of any type

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...  # the values, so that a row can be unpacked

    def keys(self) -> Iterable[str]:
        """The columns' names, in order."""
        ...

    def values(self) -> Iterable[Any]:
        """The columns' values, in order."""
        ...

    def items(self) -> Iterable[tuple[str, Any]]:
        """Name and value of each column, in order: `dict(row.items())`."""
        ...


class Connection(Protocol):
    """A connection to Postgres; parameters are `$1`, `$2` and so on, time-outs are in seconds.

    `numeric` arrives as `Decimal`, `timestamptz` as an aware `datetime`, `jsonb` as text, `bytea` as bytes.
    """

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        """Run a statement (or several, when there are no parameters); answers the command's tag."""
        ...

    async def executemany(
        self, command: str, args: Iterable[Sequence[object]], *, timeout: float | None = None
    ) -> None:
        """Run one statement for each of the sequences of parameters, all or nothing."""
        ...

    async def fetch(self, query: str, *args: object, timeout: float | None = None) -> list[Row]:
        """All rows."""
        ...

    async def fetchrow(self, query: str, *args: object, timeout: float | None = None) -> Row | None:
        """The first row, or None."""
        ...

    async def fetchval(self, query: str, *args: object, timeout: float | None = None) -> Any:  # noqa: ANN401 - a column may be of any type
        """The first column of the first row, or None."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """A transaction or, inside of one, a savepoint."""
        ...

    def cursor(
        self, query: str, *args: object, prefetch: int | None = None, timeout: float | None = None
    ) -> Any:  # noqa: ANN401 - both an awaitable and an iterator of rows
        """An asynchronous iterator over the rows, inside a transaction."""
        ...

    async def copy_records_to_table(
        self,
        table_name: str,
        *,
        records: Iterable[Sequence[object]],
        columns: Sequence[str] | None = None,
        schema_name: str | None = None,
        timeout: float | None = None,
    ) -> str:
        """Write rows with COPY, the fastest way in."""
        ...


class PreparedStatement(Protocol):
    """A statement that the server has parsed."""

    async def fetchval(self, *args: object, timeout: float | None = None) -> Any:  # noqa: ANN401 - a column may be of any type
        """Run it; the first column of the first row, or None."""
        ...


class OwnedConnection(Connection, Protocol):
    """A connection outside the pool, which its owner closes."""

    async def close(self, *, timeout: float | None = None) -> None:
        """Say good-bye and close."""
        ...

    def terminate(self) -> None:
        """Close at once, without a word to the server."""
        ...

    def is_closed(self) -> bool:
        """Whether it is closed, by either side."""
        ...

    async def prepare(self, query: str) -> "PreparedStatement":
        """Have the server parse a statement once, for many runs."""
        ...

    def get_server_pid(self) -> int:
        """The process id of the server's side, as `pg_notify` tells it to listeners."""
        ...

    async def add_listener(self, channel: str, callback: Any) -> None:  # noqa: ANN401 - called with (connection, pid, channel, payload)
        """LISTEN to a channel; the callback gets `(connection, pid, channel, payload)`."""
        ...

    def add_termination_listener(self, callback: Any) -> None:  # noqa: ANN401 - called with (connection)
        """Call back once the connection is closed, by either side."""
        ...
