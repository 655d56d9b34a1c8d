"""An exporter that says once when the collector is away, and once when it is back."""

import logging
from collections.abc import Callable, Sequence
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from shared.telemetry.metrics import SPANS

_log = logging.getLogger(__name__)
_exported: Final = SPANS.labels("exported")
_failed: Final = SPANS.labels("failed")


class Outage:
    """Reports the first failure in a row, and the end of it.

    Args:
        what: is exported.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._failing = False

    def note(self, *, succeeded: bool) -> None:
        """Say how an export went."""
        if succeeded and self._failing:
            _log.info("%s are exported again", self._what)
        elif not succeeded and not self._failing:
            _log.warning("%s cannot be exported at the moment; nothing else depends on it", self._what)
        self._failing = not succeeded

    def succeeds(self, export: Callable[[], bool]) -> bool:
        """Export; whatever goes wrong is only counted and reported."""
        try:
            succeeded = export()
        except Exception as error:
            _log.debug("%s: %r", self._what, error)
            succeeded = False
        self.note(succeeded=succeeded)
        return succeeded


class WatchedExporter(SpanExporter):
    """Counts what became of spans.

    Args:
        exporter: sends them.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._outage = Outage("traces")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans, or count them as lost."""
        sent = self._outage.succeeds(lambda: self._exporter.export(spans) is SpanExportResult.SUCCESS)
        (_exported if sent else _failed).inc(len(spans))
        return SpanExportResult.SUCCESS if sent else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Let go of connections."""
        self._exporter.shutdown()
