"""What the standard variables of OpenTelemetry say. The exporters read the rest of them by themselves."""

from typing import Annotated, Literal

import msgspec


class TelemetrySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Each is `OTEL_` and the name in capitals.

    Attributes:
        exporter_otlp_endpoint: where the collector is; without one nothing is exported and nothing is traced.
        exporter_otlp_traces_endpoint: the same for traces alone.
        exporter_otlp_metrics_endpoint: the same for metrics alone.
        exporter_otlp_protocol: the one that is spoken.
        traces_sampler_arg: the share of requests that are traced, where the caller has not decided.
        service_name: replaces `llmring-` and the name of the process.
        metric_export_interval: milliseconds between two pushes of metrics.
        sdk_disabled: export nothing, whatever else is set.
    """

    exporter_otlp_endpoint: str | None = None
    exporter_otlp_traces_endpoint: str | None = None
    exporter_otlp_metrics_endpoint: str | None = None
    exporter_otlp_protocol: Literal["http/protobuf"] = "http/protobuf"
    traces_sampler_arg: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.01
    service_name: str | None = None
    metric_export_interval: Annotated[int, msgspec.Meta(ge=100)] = 60_000
    sdk_disabled: bool = False

    @property
    def exports_traces(self) -> bool:
        """Whether there is anybody to send spans to."""
        return not self.sdk_disabled and bool(
            self.exporter_otlp_traces_endpoint or self.exporter_otlp_endpoint
        )

    @property
    def exports_metrics(self) -> bool:
        """Whether there is anybody to push metrics to."""
        return not self.sdk_disabled and bool(
            self.exporter_otlp_metrics_endpoint or self.exporter_otlp_endpoint
        )
