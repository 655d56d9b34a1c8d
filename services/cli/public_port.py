"""The port where strangers arrive: HTTPS where a certificate is given, and bounds on connections."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from litestar.types import ASGIApp

from services.cli.settings import ProcessSettings
from shared.limits.address import parse_trusted_proxies
from shared.runtime.connections import Connections, allow_open_files
from shared.runtime.listen import Listener, listen
from shared.runtime.tls import Certificate


def listen_publicly(app: ASGIApp, settings: ProcessSettings) -> AbstractAsyncContextManager[Listener]:
    """Answer strangers, as the settings say.

    Raises:
        CertificateError: the certificate or its key cannot be used.
    """
    certificate = None
    if settings.tls_certificate_file is not None and settings.tls_key_file is not None:
        certificate = Certificate(Path(settings.tls_certificate_file), Path(settings.tls_key_file))
    most = allow_open_files(settings.max_connections)
    connections = Connections(most, parse_trusted_proxies(settings.trusted_proxies))
    return listen(app, settings.host, settings.port, certificate=certificate, connections=connections)
