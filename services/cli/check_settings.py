"""Settings that are right one by one, and make no sense together."""

import re
from typing import TYPE_CHECKING, Final

from services.auth.settings import is_plain_url
from services.gateway.cors import Cors
from services.receipts.policy import parse_policy
from shared.limits.address import parse_trusted_proxies

if TYPE_CHECKING:
    from services.cli.settings import ProcessSettings

_BROKER: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:,\[\]]+)(:(?P<port>\d{1,5}))?", re.ASCII)


def list_faults(settings: "ProcessSettings") -> list[str]:
    """What is wrong, each with the names of the settings."""
    faults: list[str] = []
    try:
        parse_trusted_proxies(settings.trusted_proxies)
    except ValueError as error:
        faults.append(f"LLMRING_TRUSTED_PROXIES: {error}")
    if settings.smtp_host and "@" not in settings.smtp_from:
        faults.append(
            "LLMRING_SMTP_FROM: must be the address that mail comes from, where LLMRING_SMTP_HOST is set"
        )
    if bool(settings.smtp_user) != bool(settings.smtp_password):
        faults.append("LLMRING_SMTP_USER, LLMRING_SMTP_PASSWORD: must be set together")
    faults += _faults_of_logins(settings)
    faults += _faults_of_kafka(settings)
    try:
        Cors(settings.cors_origins)
    except ValueError as error:
        faults.append(f"LLMRING_CORS_ORIGINS: {error}")
    if (settings.tls_certificate_file is None) != (settings.tls_key_file is None):
        faults.append("LLMRING_TLS_CERTIFICATE_FILE and LLMRING_TLS_KEY_FILE: give both or neither")
    try:
        parse_policy(settings.receipts)
    except ValueError as error:
        faults.append(f"LLMRING_RECEIPTS_WITNESSES: {error}")
    return faults


def _faults_of_logins(settings: "ProcessSettings") -> list[str]:
    faults = [
        f"LLMRING_{name}_CLIENT_ID, LLMRING_{name}_CLIENT_SECRET: must be set together"
        for name, client_id, secret in (
            ("GOOGLE", settings.google_client_id, settings.google_client_secret),
            ("GITHUB", settings.github_client_id, settings.github_client_secret),
        )
        if bool(client_id) != bool(secret)
    ]
    for name, url in (
        ("LLMRING_GOOGLE_ISSUER", settings.google_issuer),
        ("LLMRING_GITHUB_URL", settings.github_url),
    ):
        if not is_plain_url(url):
            faults.append(f"{name}: must be an address such as https://login.example.com, without a query")
    return faults


def _faults_of_kafka(settings: "ProcessSettings") -> list[str]:
    faults = []
    brokers = settings.kafka_bootstrap.split(",") if settings.kafka_bootstrap else []
    found = [_BROKER.fullmatch(each.strip()) for each in brokers]
    if not all(each and 0 < int(each["port"] or 9092) < 65536 for each in found):
        faults.append("LLMRING_KAFKA_BOOTSTRAP: must be host:port, or several with commas")
    protocol = settings.kafka_security_protocol
    if protocol != "PLAINTEXT" and not brokers:
        faults.append("LLMRING_KAFKA_BOOTSTRAP: must be set where LLMRING_KAFKA_SECURITY_PROTOCOL is")
    login = (settings.kafka_username, settings.kafka_password)
    own = (settings.kafka_certificate_file, settings.kafka_key_file)
    if protocol.startswith("SASL_") != any(login) or any(login) != all(login):
        faults.append(
            "LLMRING_KAFKA_USERNAME, LLMRING_KAFKA_PASSWORD: must both be set where "
            "LLMRING_KAFKA_SECURITY_PROTOCOL is SASL_SSL or SASL_PLAINTEXT, and there alone"
        )
    if any(own) != all(own):
        faults.append("LLMRING_KAFKA_CERTIFICATE_FILE, LLMRING_KAFKA_KEY_FILE: must be set together")
    if not protocol.endswith("SSL") and any((settings.kafka_ca_file, *own)):
        faults.append(
            "LLMRING_KAFKA_CA_FILE, LLMRING_KAFKA_CERTIFICATE_FILE, LLMRING_KAFKA_KEY_FILE: make sense only "
            "where LLMRING_KAFKA_SECURITY_PROTOCOL is SSL or SASL_SSL"
        )
    return faults
