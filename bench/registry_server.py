"""One registry service as a process of its own, on a Postgres of its own, and how to publish to it."""

import base64
import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import psutil

from bench.servers import run_postgres, run_server
from shared.clock import SystemClock
from shared.contracts.keys import SCOPE_OPERATOR, Principal
from shared.proofs.signing import SigningKey
from shared.web.principal import PRINCIPAL_HEADER, PrincipalMint
from tests.servers.process import find_free_port

_SEED = bytes(range(32))
_PSUTIL: Any = psutil  # its functions carry no annotations


class Registry(NamedTuple):
    """Where it answers, and its process."""

    url: str
    process: Any

    def cpu_s(self) -> float:
        """The processor time that it has taken so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextlib.contextmanager
def run_registry(module: str) -> Iterator[Registry]:
    """A fresh one. `module` is the program: `services`, or one that stands in for it."""
    port = find_free_port()
    url = f"http://127.0.0.1:{port}"
    key = SigningKey.from_seed(_SEED).public_key
    with run_postgres() as create, tempfile.TemporaryDirectory(prefix="llmring-bench-") as work:
        settings = {
            "LLMRING_DATABASE_URL": create("registry"),
            "LLMRING_PORT": str(port),
            "LLMRING_DATA_DIR": f"{work}/data",
            "LLMRING_PRINCIPAL_PUBLIC_KEYS": base64.b64encode(key).decode(),
        }
        program = [sys.executable, "-m", module]
        subprocess.run(
            [*program, "migrate"], check=True, env={**os.environ, **settings}, stdout=subprocess.PIPE
        )
        with run_server(
            [*program, "serve", "registry"], settings, url, Path(work) / "log", health="/health/ready"
        ):
            [process] = [
                child
                for child in _PSUTIL.Process().children()
                if child.environ().get("LLMRING_PORT") == str(port)
            ]
            yield Registry(url, process)


def operator_headers() -> dict[str, str]:
    """What a publish carries behind the gateway."""
    mint = PrincipalMint(SigningKey.from_seed(_SEED), SystemClock())
    principal = Principal(account_id=uuid4(), key_id=uuid4(), scopes=(SCOPE_OPERATOR,))
    return {PRINCIPAL_HEADER.decode(): mint.mint(principal).decode(), "Content-Type": "application/json"}
