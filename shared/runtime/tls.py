"""TLS on the public port, with a certificate that may be renewed while connections are open.

The files are read again every few seconds, since all that certbot, cert-manager and a mounted Secret have in
common is that they replace files. A pair is tried in a context of its own, and only one that is whole takes
over, for handshakes from then on; what is open goes on as it is. One that is broken, or half written, changes
nothing.
"""

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Final, Protocol, cast

from shared.telemetry.metrics import TLS_RENEWAL_FAILED

LOOK_EVERY_S: Final = 5.0
HANDSHAKE_S: Final = 10.0
"""A connection whose handshake takes longer is closed."""

GOODBYE_S: Final = 1.0
"""How long the client's own end of a connection is waited for. Browsers leave idle ones without it."""

# Of TLS 1.2 what has forward secrecy and authenticates what it encrypts (RFC 9325, 4.2). All of 1.3 does.
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"

_log = logging.getLogger(__name__)


class CertificateError(Exception):
    """The files are no certificate and its key; the text says why."""


class _Handshake(Protocol):
    context: ssl.SSLContext


class Certificate:
    """A certificate and its key as two PEM files, the chain in the first, the server's own before the others.

    Attributes:
        context: what connections are accepted with; TLS 1.2 and 1.3.

    Raises:
        CertificateError: they cannot be read, do not belong together, or the key wants a password.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = (certificate, key)
        self._seen = self._read()
        self._current = self.context = self._load()
        self._failure = ""
        # Called in every handshake, also where the client names no server.
        self.context.sni_callback = self._choose

    async def follow(self) -> None:
        """Take every new pair that is whole. Never ends by itself."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Take the pair that is in the files now, if it is another one and whole."""
        failure = ""
        try:
            seen = self._read()
            if seen != self._seen:
                self._current = self._load()
                self._seen = seen
                _log.info("the certificate in %s was renewed", self._files[0])
        except CertificateError as error:
            failure = str(error)
            if failure != self._failure:
                _log.error("the renewed certificate is not used, the old one stays: %s", failure)
        self._failure = failure
        TLS_RENEWAL_FAILED.set(bool(failure))

    def _choose(self, handshake: object, name: str | None, context: ssl.SSLContext) -> None:  # noqa: ARG002 - ssl's own arguments
        cast("_Handshake", handshake).context = self._current

    def _read(self) -> tuple[bytes, ...]:
        try:
            return tuple(file.read_bytes() for file in self._files)
        except OSError as error:
            raise CertificateError(f"{error.filename}: {error.strerror}") from error

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_ciphers(_CIPHERS)
        context.set_alpn_protocols(["http/1.1"])
        certificate, key = self._files
        try:
            context.load_cert_chain(certificate, key, _no_password)
        except (OSError, ValueError) as error:
            raise CertificateError(f"{certificate} and {key}: {error}") from error
        return context


def _no_password() -> str:
    # Without this OpenSSL asks for one at the terminal.
    raise ValueError("the key is encrypted, which is not supported")
