"""What a test may do to a server, wherever it runs."""

from typing import Protocol


class MissingServerError(Exception):
    """This machine cannot run the server; the sentence says what is absent."""


class Server(Protocol):
    """A real server with data of its own. Its address stays the same over a restart."""

    address: str
    """`host:port`"""

    def start(self) -> None:
        """Start it, for the first time or again, and wait until it answers."""

    def kill(self) -> None:
        """Kill it as a power cut would (SIGKILL); the data stays."""

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing answers."""

    def resume(self) -> None:
        """Let it go on after `pause`."""

    def stop(self) -> None:
        """Stop it properly; the data stays."""

    def destroy(self) -> None:
        """Stop it, whatever state it is in, and forget the data."""

    def handle(self) -> dict[str, str]:
        """What another process needs to destroy it: `{"pid": ...}` or `{"container": ...}`."""
        ...
