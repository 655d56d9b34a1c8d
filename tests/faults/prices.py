"""A registry with one version, over HTTP: what the processes price from, and what the test reckons with."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

import msgspec

from shared.contracts.registry import Model, Snapshot, VersionList, VersionListing

VERSION: Final = "2024.01.01"
INPUT_USD: Final = Decimal("0.15")
CACHED_USD: Final = Decimal("0.075")
OUTPUT_USD: Final = Decimal("0.60")
"""Per million tokens."""

_SINCE: Final = datetime(2024, 1, 1, tzinfo=UTC)
_MODEL: Final = Model(
    provider="openai",
    model_name="gpt-4o-mini",
    dollars_per_million_tokens_input=INPUT_USD,
    dollars_per_million_tokens_cached_input=CACHED_USD,
    dollars_per_million_tokens_output=OUTPUT_USD,
)
_encoder: Final = msgspec.json.Encoder(decimal_format="number")
_BODIES: Final = {
    "/registry/versions": _encoder.encode(
        VersionList(
            [
                VersionListing(
                    version=VERSION, generated_at=_SINCE, effective_from=_SINCE, digest="0" * 64, models=1
                )
            ]
        )
    ),
    f"/registry/v/{VERSION}/registry.json": _encoder.encode(
        Snapshot(
            version=VERSION,
            generated_at=_SINCE,
            effective_from=_SINCE,
            models={"openai:gpt-4o-mini": _MODEL},
            providers={},
        )
    ),
}


@asynccontextmanager
async def serve_registry() -> AsyncIterator[str]:
    """Answer while the block runs; gives the URL."""
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            body = _BODIES[head.split(b" ", 2)[1].decode()]
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            )
            writer.write(body)
    except (asyncio.IncompleteReadError, OSError):
        writer.close()
