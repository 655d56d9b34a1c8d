"""What a URL may say: password, user, number of the database, TLS; and what it may not."""

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from shared.errors import UnavailableError
from shared.redis import open_redis
from tests.conftest import StartServer
from tests.redis.conftest import Open
from tests.servers.redis import ask_redis


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://localhost:6379",
        "redis://localhost:port",
        "redis://localhost:99999999",
        "redis://localhost/mine",
        "redis://localhost/-1",
        "redis://localhost/0?no_such_option=1",
        "redis://localhost/0?health_check_interval=often",
        "rediss://localhost/0?ssl_cert_reqs=maybe",
    ],
)
async def test_a_malformed_url_is_an_error_at_once(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whoever reads the settings names the variable
        await open_redis(url)


@pytest.mark.redis
async def test_password_and_user_come_from_the_url(own_server: StartServer, open_client: Open) -> None:
    server = own_server("redis")
    ask_redis(server.address, "ACL SETUSER app on >s3cret ~* +@all", "CONFIG SET requirepass pa/ss")
    for login in ("app:s3cret@", ":pa%2Fss@", "default:pa%2Fss@"):
        await (await open_client(f"redis://{login}{server.address}/3")).ping()
    for login in ("", "app:wrong@", ":s3cret@"):
        redis = await open_client(f"redis://{login}{server.address}")
        assert redis.is_away
        with pytest.raises(UnavailableError):
            await redis.ping()


@pytest.mark.redis
async def test_the_number_of_the_database_comes_from_the_url(
    own_server: StartServer, open_client: Open
) -> None:
    server = own_server("redis")
    third = await open_client(f"redis://{server.address}/3")
    await third.call("SET", "key", "third")
    assert await (await open_client(f"redis://{server.address}")).call("GET", "key") is None
    assert await (await open_client(f"redis://{server.address}/?db=3")).call("GET", "key") == b"third"
    nowhere = await open_client(f"redis://{server.address}/999")
    assert nowhere.is_away


@pytest.mark.redis
async def test_time_outs_retries_and_decoding_are_not_the_urls(redis_url: str, open_client: Open) -> None:
    redis = await open_client(
        f"{redis_url}?socket_timeout=60&retry_on_timeout=true&decode_responses=yes&protocol=3"
    )
    assert await redis.call("ECHO", "x") == b"x"


@pytest.mark.redis
@pytest.mark.skipif(shutil.which("openssl") is None, reason="server missing: openssl makes the certificate")
async def test_tls_checks_the_server(redis_url: str, tmp_path: Path, open_client: Open) -> None:
    certificate, key = make_certificate(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    host, port = redis_url.removeprefix("redis://").split("/")[0].split(":")
    number = redis_url.rsplit("/", 1)[1]

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while part := await reader.read(65536):
            writer.write(part)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pass_on(reader, inner_writer), pass_on(inner_reader, writer))

    relay_server = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
    tls_port = relay_server.sockets[0].getsockname()[1]
    async with relay_server:
        trusting = await open_client(f"rediss://localhost:{tls_port}/{number}?ssl_ca_certs={certificate}")
        assert await trusting.call("ECHO", "x") == b"x"
        wary = await open_client(f"rediss://localhost:{tls_port}/{number}")
        assert wary.is_away
        misled = await open_client(f"rediss://127.0.0.1:{tls_port}/{number}?ssl_ca_certs={certificate}")
        assert misled.is_away
        for client in (trusting, wary, misled):
            await client.close()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for `localhost` that vouches for itself, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    name = ["-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make, *name, *files], check=True, capture_output=True)
    return certificate, key
