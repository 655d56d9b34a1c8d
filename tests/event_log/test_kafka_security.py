"""Brokers that want TLS and a login, as a deployment names them in its settings."""

import asyncio
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest

from services.cli.event_log import open_event_log
from services.cli.settings import ProcessSettings, load_settings
from shared.errors import UnavailableError
from shared.event_log.port import Record
from tests.conftest import leave_out
from tests.event_log.reading import read_all
from tests.servers.certificates import Authority
from tests.servers.kafka.broker import CLUSTER_ID, KafkaProcess
from tests.servers.process import find_free_port
from tests.servers.server import MissingServerError
from tests.servers.session import session_folder, write_note

pytestmark = [pytest.mark.kafka, pytest.mark.xdist_group("kafka-security")]

LOGIN = "org.apache.kafka.common.security"
USER, PASSWORD = "alice", 'it"s a; secret'


class SecureBroker(KafkaProcess):
    """A broker that asks for a login at one port and for a certificate at another, both over TLS."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        super().__init__(folder)
        self._authority = authority
        self.by_login, self.by_certificate = (f"localhost:{find_free_port()}" for _ in range(2))

    def prepare(self) -> None:
        _, certificate, key = self._authority.issue()
        store = self.folder / "broker.pem"
        store.write_bytes(key + certificate)
        listeners = f"PLAINTEXT://{self.address},SASL_SSL://{self.by_login},SSL://{self.by_certificate}"
        password = PASSWORD.replace('"', '\\\\"')
        self.settings = {
            "listeners": f"{listeners},CONTROLLER://{self.controller}",
            "advertised.listeners": listeners,
            "listener.security.protocol.map": (
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL"
            ),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(store),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self._authority.file),
            "listener.name.ssl.ssl.client.auth": "required",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": (
                f'{LOGIN}.plain.PlainLoginModule required user_{USER}="{password}";'
            ),
        } | {
            f"listener.name.sasl_ssl.{name}.sasl.jaas.config": f"{LOGIN}.scram.ScramLoginModule required;"
            for name in ("scram-sha-256", "scram-sha-512")
        }
        super().prepare()

    def format(self) -> None:
        java = self.command()[:-3]  # without the class archive: it is the broker's
        tool = [*java, "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(self.properties)]
        for bits in (256, 512):
            tool += ["--add-scram", f"SCRAM-SHA-{bits}=[name={USER},password={PASSWORD}]"]
        subprocess.run(tool, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def broker(authority: Authority) -> Iterator[SecureBroker]:
    folder = session_folder() / f"kafka-{secrets.token_hex(4)}"
    try:
        made = SecureBroker(folder, authority)
    except MissingServerError as error:
        leave_out("kafka", error)
    try:
        made.start()
        write_note(folder.name, made)
        yield made
    finally:
        made.destroy()


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> dict[str, str]:
    """Of this deployment: whom it trusts, and its own certificate."""
    _, certificate, key = authority.issue()
    (tmp_path / "own.pem").write_bytes(certificate)
    (tmp_path / "own.key").write_bytes(key)
    return {
        "CA_FILE": str(authority.file),
        "CERTIFICATE_FILE": str(tmp_path / "own.pem"),
        "KEY_FILE": str(tmp_path / "own.key"),
    }


def set_settings(monkeypatch: pytest.MonkeyPatch, given: Mapping[str, str]) -> ProcessSettings:
    for name, value in given.items():
        monkeypatch.setenv(f"LLMRING_KAFKA_{name}", value)
    return load_settings()


def of_login(broker: SecureBroker, files: Mapping[str, str]) -> dict[str, str]:
    return {
        "BOOTSTRAP": broker.by_login,
        "SECURITY_PROTOCOL": "SASL_SSL",
        "CA_FILE": files["CA_FILE"],
        "USERNAME": USER,
        "PASSWORD": PASSWORD,
    }


async def append_and_read(settings: ProcessSettings) -> None:
    log = await open_event_log(settings, "")
    try:
        topic = f"topic.{secrets.token_hex(4)}"
        await log.ensure_topics({topic: 2})
        await log.append(topic, [Record(b"key", b"value")])
        assert [record.value for record in await read_all(log, topic)] == [b"value"]
    finally:
        await log.close()


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", None])
async def test_a_login_over_tls(
    broker: SecureBroker, files: dict[str, str], monkeypatch: pytest.MonkeyPatch, mechanism: str | None
) -> None:
    given = of_login(broker, files) | ({} if mechanism is None else {"SASL_MECHANISM": mechanism})
    await append_and_read(set_settings(monkeypatch, given))


async def test_a_certificate_of_our_own(
    broker: SecureBroker, files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"BOOTSTRAP": broker.by_certificate, "SECURITY_PROTOCOL": "SSL"} | files
    await append_and_read(set_settings(monkeypatch, given))


@pytest.mark.parametrize("wrong", ["password", "authority", "name", "no certificate", "no TLS"])
async def test_what_is_not_right_is_refused_in_time(
    broker: SecureBroker,
    files: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    wrong: str,
) -> None:
    given = of_login(broker, files)
    match wrong:
        case "password":
            given["PASSWORD"] = "guessed"
        case "authority":
            given["CA_FILE"] = str(Authority(Path(files["KEY_FILE"]).parent).file)
        case "name":
            given["BOOTSTRAP"] = broker.by_login.replace("localhost", "127.0.0.1")
        case "no certificate":
            given = {
                "BOOTSTRAP": broker.by_certificate,
                "SECURITY_PROTOCOL": "SSL",
                "CA_FILE": files["CA_FILE"],
            }
        case _:
            given = {"BOOTSTRAP": broker.by_login}
    async with asyncio.timeout(30):
        with pytest.raises(UnavailableError):
            await open_event_log(set_settings(monkeypatch, given), "")
    if wrong == "password":
        assert "invalid credentials" in caplog.text


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"SECURITY_PROTOCOL": "SASL_SSL", "USERNAME": "u"}, "LLMRING_KAFKA_PASSWORD"),
        ({"SECURITY_PROTOCOL": "SASL_PLAINTEXT"}, "LLMRING_KAFKA_USERNAME"),
        ({"USERNAME": "u", "PASSWORD": "p"}, "LLMRING_KAFKA_SECURITY_PROTOCOL"),
        ({"SECURITY_PROTOCOL": "SSL", "KEY_FILE": "own.key"}, "LLMRING_KAFKA_CERTIFICATE_FILE"),
        ({"CA_FILE": "ca.pem"}, "LLMRING_KAFKA_CA_FILE"),
        ({"SECURITY_PROTOCOL": "SSL"}, "LLMRING_KAFKA_BOOTSTRAP"),
        ({"SECURITY_PROTOCOL": "TLS"}, "LLMRING_KAFKA_SECURITY_PROTOCOL"),
        ({"SASL_MECHANISM": "GSSAPI"}, "LLMRING_KAFKA_SASL_MECHANISM"),
        ({"BOOTSTRAP": "broker:port"}, "LLMRING_KAFKA_BOOTSTRAP"),
        ({"BOOTSTRAP": "one:9092,two:92000"}, "LLMRING_KAFKA_BOOTSTRAP"),
        ({"BOOTSTRAP": "one:9092,"}, "LLMRING_KAFKA_BOOTSTRAP"),
    ],
)
def test_settings_that_do_not_fit_are_named(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], named: str
) -> None:
    with pytest.raises(click.ClickException, match=named):
        set_settings(monkeypatch, given)


@pytest.mark.parametrize("content", [None, b"no PEM", b"an encrypted key"])
def test_a_file_that_cannot_be_used_is_no_outage(
    authority: Authority,
    files: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes | None,
) -> None:
    broken = tmp_path / "broken"
    if content is not None:
        sealed = authority.issue(password=b"sealed")[2]
        broken.write_bytes(sealed if content == b"an encrypted key" else content)
    for name in ("CA_FILE", "KEY_FILE"):
        given = files | {"BOOTSTRAP": "localhost:1", "SECURITY_PROTOCOL": "SSL", name: str(broken)}
        with pytest.raises(click.ClickException, match=f"LLMRING_KAFKA_{name}"):
            asyncio.run(open_event_log(set_settings(monkeypatch, given), ""))
