"""Where the brokers are, and how they are spoken to."""

import ssl
from typing import Any, Literal, NamedTuple

Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


class Login(NamedTuple):
    """How a client says who it is: SASL (RFC 4422), by SCRAM (RFC 5802) or in plain text (RFC 4616)."""

    mechanism: Mechanism
    username: str
    password: str


class Brokers:
    """The brokers of one cluster.

    Args:
        bootstrap: `host:port`, or several, separated by commas.
        tls: how their certificates are checked, with our own where they want one; None is no TLS.
        login: None where they want none.

    Attributes:
        options: all of that, as each client of the library takes it.
    """

    def __init__(self, bootstrap: str, tls: ssl.SSLContext | None = None, login: Login | None = None) -> None:
        transport = "PLAINTEXT" if tls is None else "SSL"
        self.options: dict[str, Any] = {
            "bootstrap_servers": bootstrap,
            "security_protocol": transport if login is None else f"SASL_{transport}",
            "ssl_context": tls,
        }
        if login is not None:
            self.options |= {
                "sasl_mechanism": login.mechanism,
                "sasl_plain_username": login.username,
                "sasl_plain_password": login.password,
            }


def build_tls(
    authority_file: str | None = None, certificate_file: str | None = None, key_file: str | None = None
) -> ssl.SSLContext:
    """How brokers' certificates are checked: by authority and by name.

    Args:
        authority_file: PEM; whom to trust instead of those that this machine does.
        certificate_file: PEM; our own certificate, for brokers that want one, with its chain.
        key_file: PEM, its private key, not encrypted.

    Raises:
        OSError: a file cannot be read, or holds something else.
    """
    context = ssl.create_default_context(cafile=authority_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate_file is not None:
        # An encrypted key would have a terminal asked.
        context.load_cert_chain(certificate_file, key_file, password=lambda: "")
    return context
