"""`llmring-api serve` with a certificate: HTTPS, and nothing else, at the public port."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.live.process import ServerProcess
from tests.servers.certificates import Authority


class SecureServer(ServerProcess):
    """It speaks HTTPS, with a certificate of an authority of its own."""

    def __init__(self, data_dir: Path, folder: Path) -> None:
        self._authority = Authority(folder)
        certificate, key = folder / "tls.crt", folder / "tls.key"
        _, shown, secret = self._authority.issue()
        certificate.write_bytes(shown)
        key.write_bytes(secret)
        super().__init__(
            data_dir,
            LLMRING_TLS_CERTIFICATE_FILE=str(certificate),
            LLMRING_TLS_KEY_FILE=str(key),
            LLMRING_METRICS_PORT="",
        )
        self.url = f"https://localhost:{self.port}"
        self.trust = ssl.create_default_context(cafile=self._authority.file)

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.tail()
        try:
            return httpx.get(f"{self.url}/health/ready", verify=self.trust, timeout=5).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
def secure(data_dir: Path, tmp_path: Path) -> Iterator[SecureServer]:
    server = SecureServer(data_dir, tmp_path)
    server.start()
    yield server
    assert server.stop() == 0


def test_a_log_is_taken_over_https_and_nothing_over_http(secure: SecureServer) -> None:
    with httpx.Client(base_url=secure.url, verify=secure.trust) as client:
        account = client.post(
            "/api/v1/register", json={"email": "ada@example.com", "password": "correct horse battery"}
        )
        assert account.headers["strict-transport-security"] == "max-age=31536000"
        answer = client.post(
            "/api/v1/log",
            json={"provider": "openai", "model": "gpt-4o-mini", "input_tokens": 10},
            headers={"X-API-Key": account.json()["api_key"]},
        )
        assert answer.status_code == 200, answer.text
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://localhost:{secure.port}/health/live")
    assert f"answers at https://127.0.0.1:{secure.port} " in secure.tail()
    assert "ERROR" not in secure.tail()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"LLMRING_TLS_CERTIFICATE_FILE": "/nowhere/tls.crt"}, "LLMRING_TLS_KEY_FILE: give both or neither"),
        (
            {
                "LLMRING_TLS_CERTIFICATE_FILE": "/nowhere/tls.crt",
                "LLMRING_TLS_KEY_FILE": "/nowhere/tls.key",
                "LLMRING_REDIS_URL": "redis://127.0.0.1:1",
                "LLMRING_KAFKA_BOOTSTRAP": "127.0.0.1:1",
                "LLMRING_PRINCIPAL_SEED": "A" * 43 + "=",
                **{f"LLMRING_{name}_URL": "http://127.0.0.1:1" for name in ("REGISTRY", "INGEST", "AUTH")},
                "LLMRING_RECEIPTS_URL": "http://127.0.0.1:1",
                "LLMRING_WEBHOOKS_URL": "http://127.0.0.1:1",
            },
            "/nowhere/tls.crt: No such file or directory",
        ),
    ],
)
def test_without_a_certificate_that_can_be_used_it_does_not_start(
    data_dir: Path, given: dict[str, str], told: str
) -> None:
    server = ServerProcess(data_dir, [*ServerProcess(data_dir).command, "gateway"], **given)
    server.spawn()
    assert server.process is not None
    assert server.process.wait(timeout=30) == 1
    assert told in server.tail()
