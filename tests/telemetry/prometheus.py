"""Reads `/metrics` as Prometheus does."""

import time
from collections.abc import Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


class Metrics:
    """The metrics of one process."""

    def __init__(self, url: str) -> None:
        self._url = url

    def _find(self, name: str, labels: dict[str, str]) -> list[Sample]:
        answer = httpx.get(self._url, timeout=10)
        assert answer.status_code == 200, answer.text
        return [
            sample
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def total(self, name: str, **labels: str) -> float:
        """The sum of what matches."""
        return sum(sample.value for sample in self._find(name, labels))

    def series(self, name: str, **labels: str) -> int:
        """How many there are."""
        return len(self._find(name, labels))

    def wait(self, condition: Callable[[], bool], within_s: float = 20) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, httpx.get(self._url, timeout=10).text
            time.sleep(0.1)
