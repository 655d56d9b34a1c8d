"""Where the shared servers are, for the streets of this folder; and the tables, at the end of a run."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.prices import serve_registry
from tests.faults.street import Servers

TABLE = "faults"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, table in report.user_properties:
                if name == TABLE and report.when == "call":
                    terminalreporter.write_line(f"\n{table}")


@pytest.fixture
async def servers(
    postgres_url: str, kafka_bootstrap: str, redis_url: str, tmp_path: Path
) -> AsyncIterator[Servers]:
    """Real servers, and a registry."""
    address = postgres_url.split("@")[1].split("/", maxsplit=1)[0]
    async with serve_registry() as registry:
        yield Servers(address, kafka_bootstrap, redis_url, registry, tmp_path)
