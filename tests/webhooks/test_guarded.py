"""Calls to addresses that customers chose: the one that was looked at, and no other."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from aiohttp import web

from shared.errors import UnavailableError
from shared.web.addresses import Address
from shared.web.guarded import NOT_PUBLIC, GuardedOutbound
from tests.auth.certificate import make_certificate
from tests.webhooks.receiver import Received, Receiver, answer_with

GOOD, BAD = "127.0.0.2", "127.0.0.3"


class Names:
    """Answers look-ups one after the other; the last answer stays."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def permits(address: Address) -> bool:
    """One address of this machine stands for the internet, and the others for what is private."""
    return address == ip_address(GOOD)


class Call:
    """Makes outbounds whose names are the test's."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    def open(self, *answers: Sequence[str] | Exception, **options: Any) -> tuple[GuardedOutbound, Names]:
        names = Names(*answers)
        chosen: dict[str, Any] = {
            "timeout": timedelta(seconds=5),
            "max_bytes": 65_536,
            "allow_plain": True,
            "permits": permits,
            "look_up": names,
        }
        outbound = GuardedOutbound(**chosen | options)
        self._stack.push_async_callback(outbound.close)
        return outbound, names


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def call(stack: AsyncExitStack) -> Call:
    return Call(stack)


@pytest.fixture
async def inside(stack: AsyncExitStack) -> Receiver:
    """What only this machine reaches."""
    return await Receiver().open(stack, BAD)


@pytest.fixture
async def outside(stack: AsyncExitStack, inside: Receiver) -> Receiver:
    """A customer's server, at the same port as the one inside."""
    return await Receiver().open(stack, GOOD, inside.port)


async def test_a_name_that_changes_between_two_looks_gains_nothing(
    call: Call, outside: Receiver, inside: Receiver
) -> None:
    url = f"http://rebind.example:{outside.port}/hook"
    outbound, names = call.open([GOOD], [BAD])
    reply = await outbound.post(url, b"{}", {})
    assert (reply.status, names.asked) == (204, ["rebind.example"])
    assert outside.received[0].headers["host"] == f"rebind.example:{outside.port}"
    with pytest.raises(UnavailableError, match=NOT_PUBLIC):
        await outbound.post(url, b"{}", {})
    assert (len(outside.received), inside.received) == (1, [])


@pytest.mark.parametrize("addresses", [[BAD], [GOOD, BAD], [BAD, GOOD], ["::ffff:127.0.0.3", GOOD], ["::1"]])
async def test_one_address_that_is_not_public_is_enough(
    call: Call, outside: Receiver, inside: Receiver, addresses: list[str]
) -> None:
    outbound, _ = call.open(addresses)
    with pytest.raises(UnavailableError, match=NOT_PUBLIC):
        await outbound.post(f"http://a.example:{outside.port}/", b"{}", {})
    with pytest.raises(ValueError, match=NOT_PUBLIC):
        await outbound.check(f"https://a.example:{outside.port}/")
    assert outside.received == inside.received == []


async def test_the_real_resolver_leads_nobody_to_this_machine(inside: Receiver, call: Call) -> None:
    outbound = GuardedOutbound(timeout=timedelta(seconds=5), max_bytes=1_000)
    for host in ("localhost", "localhost.", "LOCALHOST", BAD, "[::1]", "[::ffff:127.0.0.3]", "0.0.0.0"):
        url = f"https://{host}:{inside.port}/"
        with pytest.raises(ValueError, match=NOT_PUBLIC):
            await outbound.check(url)
        with pytest.raises(UnavailableError, match=NOT_PUBLIC):
            await outbound.post(url, b"{}", {})
    await outbound.close()
    assert inside.received == []


async def test_no_redirect_no_proxy_no_cookie(
    call: Call, outside: Receiver, inside: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, inside.url)
    outside.answer = answer_with(307, location=inside.url, set_cookie="a=b")
    outbound, _ = call.open([GOOD])
    for _ in range(2):
        reply = await outbound.post(f"http://a.example:{outside.port}/x?y=1", b"body", {"x-y": "z"})
        assert reply.status == 307
    assert inside.received == []
    assert [(each.path, each.body) for each in outside.received] == [("/x?y=1", b"body")] * 2
    assert all("cookie" not in each.headers and each.headers["x-y"] == "z" for each in outside.received)


async def test_an_answer_is_bounded_in_size_and_in_time(
    call: Call, outside: Receiver, stack: AsyncExitStack
) -> None:
    release = asyncio.Event()
    stack.callback(release.set)

    async def flood(_: Received) -> web.StreamResponse:
        return web.Response(body=b"x" * 4_000_000)

    async def hang(_: Received) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    outside.answer = flood
    outbound, _ = call.open([GOOD], timeout=timedelta(seconds=1), max_bytes=100_000)
    reply = await outbound.post(f"http://a.example:{outside.port}/", b"{}", {})
    assert (reply.status, reply.body) == (200, b"x" * 100_000)
    outside.answer = hang
    with pytest.raises(UnavailableError, match="in time"):
        await outbound.post(f"http://a.example:{outside.port}/", b"{}", {})


async def test_what_goes_wrong_is_told_without_our_own_addresses(call: Call, outside: Receiver) -> None:
    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"nonsense\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(garbage, GOOD, 0)
    port = server.sockets[0].getsockname()[1]
    for url, answers, why in (
        ("http://a.example/", [OSError("no such name")], "no address"),
        ("http://a.example/", [()], "no address"),
        ("http://a.example:1/", [[GOOD]], "takes no connection"),
        (f"http://a.example:{port}/", [[GOOD]], "does not speak HTTP"),
        (f"https://a.example:{port}/", [[GOOD]], "TLS|takes no connection"),
        ("http://a.example:0/", [[GOOD]], "not a URL"),
    ):
        outbound, _ = call.open(*answers)  # type: ignore[misc]
        with pytest.raises(UnavailableError, match=why) as caught:
            await outbound.post(url, b"{}", {})
        assert GOOD not in caught.value.detail
    server.close()


async def test_the_certificate_must_be_that_of_the_name(
    call: Call, stack: AsyncExitStack, tmp_path: Any
) -> None:
    certificate = make_certificate(tmp_path, "hooks.example")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def serve(_: web.BaseRequest) -> web.Response:
        return web.Response(status=201)

    runner = web.ServerRunner(web.Server(serve))
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, GOOD, 0, ssl_context=context).start()
    port = runner.addresses[0][1]
    trust = ssl.create_default_context(cafile=str(certificate))
    outbound, _ = call.open([GOOD], trust=trust)
    assert (await outbound.post(f"https://hooks.example:{port}/", b"{}", {})).status == 201
    with pytest.raises(UnavailableError, match="certificate"):
        await outbound.post(f"https://other.example:{port}/", b"{}", {})
    stranger, _ = call.open([GOOD])
    with pytest.raises(UnavailableError, match="certificate"):
        await stranger.post(f"https://hooks.example:{port}/", b"{}", {})


async def test_a_name_that_cannot_be_looked_up_may_be_noted_down(call: Call) -> None:
    outbound, _ = call.open(OSError("the resolver is away"))
    await outbound.check("https://soon.example/hook")
    await call.open([GOOD])[0].check("https://good.example/hook")
    with pytest.raises(ValueError, match="https"):
        await call.open([GOOD], allow_plain=False)[0].check("http://good.example/hook")
