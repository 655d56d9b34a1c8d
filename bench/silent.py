"""The program without anything that measures or traces: what `bench.telemetry_overhead` compares with.

Run as `python -m bench.silent serve`. It takes the measuring out before any other module takes it in.
"""

from collections.abc import Mapping

import prometheus_client
from litestar.types import ASGIApp, Receive, Scope, Send

import shared.telemetry.requests
import shared.web.observed
from shared.web.observed import PASSED_ON, Lane


def silence() -> None:
    """Replace what measures by what does nothing."""
    prometheus_client.Counter.inc = _nothing  # type: ignore[method-assign]
    prometheus_client.Gauge.set = _nothing  # type: ignore[method-assign]
    prometheus_client.Histogram.observe = _nothing  # type: ignore[method-assign]
    shared.telemetry.requests.RequestMeter.note = _nothing  # type: ignore[method-assign]
    shared.web.observed.observed = _bare


def _nothing(*_arguments: object, **_options: object) -> None:
    """Measure nothing."""


def _bare(app: ASGIApp, service: str, lanes: Mapping[str, Lane]) -> ASGIApp:  # noqa: ARG001 - as the original
    by_path = {path: lane for route, lane in lanes.items() for path in (route, f"{route}/")}

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        lane = by_path.get(scope["path"])
        if lane is None or await lane(scope, receive, send) == PASSED_ON:
            await app(scope, receive, send)

    return call


def main() -> None:
    """Run the program."""
    silence()
    from services.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
