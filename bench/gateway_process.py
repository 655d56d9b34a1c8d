"""One gateway, or the empty service behind it, as a process of its own: what `make bench-gateway` measures.

Everything is the product's own but auth, which knows one key by heart, and the event log, which is silent.
"""

import argparse
import functools
from contextlib import AsyncExitStack
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import uvloop
from litestar.types import Receive, Scope, Send

from services.gateway import service as gateway
from services.gateway.settings import GatewaySettings
from services.redis_shares import MAX_COUNTED_ADDRESSES, MAX_COUNTED_KEYS
from shared.clock import SystemClock
from shared.limits.choose import build_limiter
from shared.proofs.signing import SigningKey, new_seed
from shared.redis import open_redis
from shared.runtime.connections import Connections
from shared.runtime.listen import listen
from shared.runtime.run import run_services
from shared.runtime.service import Service
from shared.web.asgi import read_body, send_answer
from shared.web.client import AsgiUpstream, Upstream
from shared.web.http_upstream import HttpUpstream
from shared.web.principal import PrincipalMint, PrincipalVerifier
from tests.gateway.streets import FakeAuth, FaultyLog


async def answer_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """The empty upstream."""
    await read_body(scope, receive, 1_000_000)
    await send_answer(send, 200, b"{}")


class PassThrough:
    """Stands in for `Admission`: no key is looked at, and nothing is counted."""

    def __init__(self, *parts: object) -> None:
        pass

    async def admit(self, *request: object) -> None:
        """Let it pass."""


async def build(options: argparse.Namespace, stack: AsyncExitStack) -> Service:
    """Put the gateway together."""
    clock = SystemClock()
    signing_key = SigningKey.from_seed(new_seed())
    auth = FakeAuth(PrincipalVerifier([signing_key.public_key], clock))
    for key in options.keys.split(","):
        name = uuid5(NAMESPACE_URL, key)  # the same in every gateway
        auth.add(key, account_id=name, key_id=name, requests_per_minute=options.limit)
    redis = None
    if options.redis:
        redis = await open_redis(options.redis)
        stack.push_async_callback(redis.close)
    empty = functools.partial(HttpUpstream, options.upstream) if options.upstream else _in_process
    upstreams: dict[str, Upstream] = {
        name: empty() for name in ("registry", "ingest", "receipts", "webhooks")
    }
    log: Any = FaultyLog()
    if options.open:
        gateway.Admission = PassThrough  # type: ignore[misc, assignment]
    return gateway.build_gateway(
        upstreams={**upstreams, "auth": AsgiUpstream(auth)},
        mint=PrincipalMint(signing_key, clock),
        event_log=log,
        key_limiter=build_limiter(redis, "key", MAX_COUNTED_KEYS),
        address_limiter=build_limiter(redis, "address", MAX_COUNTED_ADDRESSES),
        clock=clock,
        settings=GatewaySettings(),
        version="0",
    )


def _in_process() -> AsgiUpstream:
    return AsgiUpstream(answer_nothing)


async def serve(options: argparse.Namespace) -> None:
    """Until SIGTERM."""
    async with AsyncExitStack() as stack:
        if options.role == "upstream":
            service = Service(name="upstream", app=answer_nothing)
        else:
            service = await build(options, stack)
        assert service.app is not None
        connections = None if options.role == "upstream" else Connections(100_000)
        listening = listen(service.app, "127.0.0.1", options.port, connections=connections)
        await run_services([service], listening=listening)


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=["gateway", "upstream"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", default="", help="its URL; empty: in the gateway's own process")
    parser.add_argument("--redis", default="", help="where limits are counted; empty: in memory")
    parser.add_argument("--keys", default="llmr_pk_0")
    parser.add_argument("--limit", type=int, default=10_000_000)
    parser.add_argument("--open", action="store_true", help="without authentication and limits")
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
