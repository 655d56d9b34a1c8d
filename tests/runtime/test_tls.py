"""HTTPS at the public port: real certificates, real handshakes, and a renewal under open connections."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from shared.runtime import tls
from shared.runtime.listen import listen
from shared.runtime.tls import Certificate, CertificateError
from shared.telemetry.metrics import REGISTRY
from shared.web.asgi import send_answer
from tests.servers.certificates import Authority
from tests.servers.process import find_free_port


class House:
    """A server that speaks HTTPS, and the files that it has its certificate from."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.files = (folder / "tls.crt", folder / "tls.key")
        self.port = find_free_port()
        self.serial = self.renew()

    def renew(self) -> int:
        serial, certificate, key = self.authority.issue()
        self.write(certificate, key)
        return serial

    def write(self, certificate: bytes, key: bytes) -> None:
        for file, text in zip(self.files, (certificate, key), strict=True):
            file.write_bytes(text)

    async def connect(self, **versions: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = ssl.create_default_context(cafile=self.authority.file)
        for name, version in versions.items():
            setattr(context, name, version)
        return await asyncio.open_connection("localhost", self.port, ssl=context)

    async def serial_now(self) -> int:
        """Of the certificate that a new connection is shown."""
        _, writer = await self.connect()
        serial = serial_of(writer)
        writer.close()
        return serial


def serial_of(writer: asyncio.StreamWriter) -> int:
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return x509.load_der_x509_certificate(shown).serial_number


async def get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert head.startswith(b"HTTP/1.1 200 ")
    return await reader.readexactly(5)


async def tell_scheme(scope: Any, receive: Any, send: Any) -> None:
    await send_answer(send, 200, scope["scheme"].encode())


@pytest.fixture
async def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr(tls, "LOOK_EVERY_S", 0.05)
    made = House(tmp_path)
    async with listen(tell_scheme, "127.0.0.1", made.port, certificate=Certificate(*made.files)):
        yield made


async def until_shown(house: House, serial: int) -> None:
    async with asyncio.timeout(10):
        while await house.serial_now() != serial:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.02)


async def test_a_renewed_certificate_is_shown_and_open_connections_go_on(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await house.connect()
    assert serial_of(writer) == house.serial
    assert await get(reader, writer) == b"https"

    renewed = house.renew()
    await until_shown(house, renewed)
    assert await get(reader, writer) == b"https"
    assert serial_of(writer) == house.serial

    _, alien, _ = house.authority.issue()
    _, _, key = house.authority.issue()
    for broken in ((b"nonsense", key), (alien, key), (alien, b""), (alien[:100], alien[:100])):
        caplog.clear()
        house.write(*broken)
        async with asyncio.timeout(10):
            while not caplog.records:  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.01)
        assert "the old one stays" in caplog.text
        assert REGISTRY.get_sample_value("llmring_tls_renewal_failed") == 1
        assert await house.serial_now() == renewed
    await until_shown(house, house.renew())
    assert REGISTRY.get_sample_value("llmring_tls_renewal_failed") == 0
    assert await get(reader, writer) == b"https"
    writer.close()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_only_tls_1_2_and_1_3_are_spoken(house: House) -> None:
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        reader, writer = await house.connect(minimum_version=version, maximum_version=version)
        assert await get(reader, writer) == b"https"
        cipher, _, _ = writer.get_extra_info("cipher")
        assert "GCM" in cipher or "CHACHA20" in cipher
        writer.close()
    old = ssl.create_default_context(cafile=house.authority.file)
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    asked, said = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        old.wrap_bio(said, asked, server_hostname="localhost").do_handshake()
    server = Certificate(*house.files).context.wrap_bio(asked, said, server_side=True)
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        server.do_handshake()


async def test_what_is_no_handshake_ends_and_hurts_nobody(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    for sent in (b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n", b"\x16\x03\x01\x02", b"\x00" * 5000):
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        writer.write(sent)
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert await house.serial_now() == house.serial
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    with pytest.raises(CertificateError, match=r"c\.pem: No such file"):
        Certificate(certificate, key)
    _, text, _ = authority.issue()
    certificate.write_bytes(text)
    key.write_bytes(authority.issue(password=b"secret")[2])
    with pytest.raises(CertificateError, match="encrypted"):
        Certificate(certificate, key)
    key.write_bytes(authority.issue()[2])
    with pytest.raises(CertificateError, match="mismatch"):
        Certificate(certificate, key)


async def test_a_client_that_never_says_goodbye_does_not_keep_the_server_from_ending(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with listen(tell_scheme, "127.0.0.1", house.port, certificate=Certificate(*house.files)):
        reader, writer = await house.connect()
        assert await get(reader, writer) == b"https"
        transport: Any = writer.transport
        transport.pause_reading()
        ended_at = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() < ended_at + 5
    transport.abort()
