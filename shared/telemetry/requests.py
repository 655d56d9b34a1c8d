"""What a service tells of each request: its rate, its errors, its duration, and its span if it is traced.

Every request pays for this twice, at the gateway and at the service behind. So the durations are kept in
plain lists and become Prometheus' histogram when they are read: prometheus_client's own takes four times as
long (docs/adr/0011-telemetry.md).
"""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client.core import HistogramMetricFamily

from shared.telemetry.metrics import REGISTRY, SECONDS
from shared.telemetry.tracing import Span

UNMATCHED: Final = "unmatched"
"""The route of a request to a path that leads nowhere: a path as it was sent would be a label without end."""

_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_OTHER: Final = "other"
_LABELS: Final = ("service", "method", "route", "status")
_BOUNDS: Final = (*map(str, SECONDS), "+Inf")


class _Series:
    """The durations of one service, method, route and status class."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        self.total_s = 0.0


class RequestSeconds:
    """The histogram of all requests of this process, as a registry collects it."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str, str, str], _Series] = {}

    def get_series(self, service: str, method: str, route: str, status: str) -> _Series:
        """The series of these labels, made at the first use."""
        return self._series.setdefault((service, method, route, status), _Series())

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """The metric without its values."""
        yield HistogramMetricFamily(
            "llmring_http_request_duration_seconds",
            "How long requests took, from the complete head to the end of the answer, in seconds. Its count "
            "is the number of requests. By service, method, route template ('unmatched' where there is none) "
            "and status class: 2xx to 5xx, or 'none' where the client left before an answer.",
            labels=_LABELS,
        )

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The metric."""
        for family in self.describe():
            for labels, series in list(self._series.items()):
                buckets = zip(_BOUNDS, accumulate(series.counts), strict=True)
                family.add_metric(labels, list(buckets), series.total_s)
            yield family


_seconds: Final = RequestSeconds()
REGISTRY.register(_seconds)


class RequestMeter:
    """Measures the requests of one service.

    Args:
        service: its short name.
    """

    def __init__(self, service: str) -> None:
        self._service = service
        self._series: dict[tuple[str, str, int], _Series] = {}

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that is over.

        Args:
            method: of the request, as it was sent.
            route: its template.
            status: of the answer; 0 where there was none.
            seconds: how long it took.
        """
        series = self._series.get((method, route, status // 100))
        if series is None:
            series = self._find_series(method, route, status // 100)
        series.total_s += seconds
        series.counts[bisect_left(SECONDS, seconds)] += 1

    def end_span(self, span: Span, method: str, route: str, status: int, request_id: bytes | None) -> None:
        """End the span of a request: which one it was, without anything of its contents."""
        attributes: dict[str, str | int] = {
            "llmring.service": self._service,
            "http.request.method": _known(method),
            "http.route": route,
        }
        if status:
            attributes["http.response.status_code"] = status
        if request_id is not None:
            attributes["llmring.request_id"] = request_id.decode("latin-1")
        span.describe(f"{_known(method)} {route}", attributes)
        span.end("unanswered" if not status else str(status) if status >= 500 else None)

    def _find_series(self, method: str, route: str, status_class: int) -> _Series:
        status = f"{status_class}xx" if status_class else "none"
        series = _seconds.get_series(self._service, _known(method), route, status)
        if method in _METHODS:  # of others there is no end
            self._series[method, route, status_class] = series
        return series


def _known(method: str) -> str:
    return method if method in _METHODS else _OTHER
