"""Values that make no sense are refused before anything is installed, and told by their name."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import chart
from tests.deploy.documents import read_yaml
from tests.docs.pages import get_page, list_rows

VALUES = read_yaml(chart.PATH / "values.yaml")
SCHEMA = json.loads((chart.PATH / "values.schema.json").read_text())
PROCESSES = ("gateway", "registry", "ingest", "auth", "receipts", "webhooks", "rater", "issuer", "deliverer")

WRONG = [
    ("gateway.replica=3", "additional properties 'replica' not allowed"),
    ("gatway.replicas=3", "additional properties 'gatway' not allowed"),
    ("gateway.replicas=-1", "/gateway/replicas"),
    ("gateway.autoscaling.minReplicas=0", "/gateway/autoscaling/minReplicas"),
    ("rater.autoscaling.targetCPUUtilizationPercentage=0", "targetCPUUtilizationPercentage"),
    ("registry.resources.limits.memory=lots", "/registry/resources/limits/memory"),
    ("registry.resources.limits.memory=null", "/registry/resources/limits"),
    ("auth.podDisruptionBudget.maxUnavailable=200%", "/auth/podDisruptionBudget/maxUnavailable"),
    ("kafka.bootstrap=", "/kafka/bootstrap"),
    ("kafka.bootstrap=kafka", "/kafka/bootstrap"),
    ("kafka.replicationFactor=0", "/kafka/replicationFactor"),
    ("kafka.securityProtocol=TLS", "/kafka/securityProtocol"),
    ("kafka.securityProtocol=SASL_SSL", "/kafka/existingSecret"),
    ("kafka.saslMechanism=GSSAPI", "/kafka/saslMechanism"),
    ("kafka.caSecret=kafka-ca", "/kafka/caSecret"),
    ("kafka.clientSecret=kafka-client", "/kafka/clientSecret"),
    ("database.existingSecret=", "/database/existingSecret"),
    ("database.existingSecret=My_Secret", "/database/existingSecret"),
    ("redis.port=0", "/redis/port"),
    ("principal.seed=c2VlZA==", "additional properties 'seed' not allowed"),
    ("settings.logLevel=loud", "/settings/logLevel"),
    ("settings.anonymousRequestsPerMinute=0", "/settings/anonymousRequestsPerMinute"),
    ("settings.trustedProxies[0]=*", "/settings/trustedProxies/0"),
    ("settings.corsOrigins[0]=https://app.example.com/", "/settings/corsOrigins/0"),
    ("settings.maxConnections=0", "/settings/maxConnections"),
    ("gateway.tlsSecret=My_Secret", "/gateway/tlsSecret"),
    ("settings.publicUrl=llmring.example.com", "/settings/publicUrl"),
    ("smtp.host=smtp.example.com", "/smtp/from"),
    ("smtp.from=nobody", "/smtp/from"),
    ("smtp.security=ssl", "/smtp/security"),
    ("oauth.google.issuer=accounts.google.com", "/oauth/google/issuer"),
    ("oauth.github.url=https://a b", "/oauth/github/url"),
    ("oauth.gitlab.existingSecret=x", "/oauth"),
    ("telemetry.sampleRatio=2", "/telemetry/sampleRatio"),
    ("telemetry.otlpEndpoint=collector:4318", "/telemetry/otlpEndpoint"),
    ("image.digest=latest", "/image/digest"),
    ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
    ("ingress.enabled=true", "/ingress/host"),
    ("httpRoute.enabled=true", "/httpRoute/parentRefs"),
    ("runAsUser=0", "/runAsUser"),
    ("preStopSeconds=-1", "/preStopSeconds"),
    ("networkPolicy.gatewayFrom[0].ip=10.0.0.0", "/networkPolicy/gatewayFrom/0"),
]


@pytest.mark.parametrize(("given", "named"), WRONG, ids=[given for given, _ in WRONG])
def test_a_wrong_value_is_refused_and_named(helm: Path, given: str, named: str) -> None:
    with pytest.raises(chart.RefusedError) as caught:
        chart.render(helm, given)
    assert named in str(caught.value)


def test_the_schema_knows_every_value_and_nothing_else() -> None:
    unknown, missing = [], []
    for path, schema in _walk_schema(SCHEMA, ()):
        default: Any = VALUES
        for step in path:
            default = default.get(step) if isinstance(default, dict) else None
        if path != ("global",) and isinstance(default, dict):
            unknown += [(*path, name) for name in default.keys() - schema.get("properties", default).keys()]
            missing += [(*path, name) for name in schema.get("properties", {}).keys() - default.keys()]
    assert (unknown, missing) == ([], [("global",)])


def test_a_larger_chart_may_hand_down_its_global_values(helm: Path) -> None:
    assert chart.render(helm, "global.region=eu")


def test_every_value_is_in_the_table_of_the_page_with_its_default() -> None:
    rows = list_rows(get_page("docs/deployment.md").prose, "value")
    assert {row[0].strip("`"): row[1].strip("`") for row in rows} == dict(_flatten(VALUES))


def test_every_process_is_in_its_own_table_with_its_defaults() -> None:
    rows = list_rows(get_page("docs/deployment.md").prose, "process")
    assert [row[0].strip("`") for row in rows] == list(PROCESSES)
    for name, replicas, cpu, memory, limits in rows:
        values = VALUES[name.strip("`")]
        scaling, resources = values["autoscaling"], values["resources"]
        expected = f"{scaling['minReplicas']} to {scaling['maxReplicas']} at "
        expected += f"{scaling['targetCPUUtilizationPercentage']} %"
        assert replicas == (expected if scaling["enabled"] else str(values["replicas"])), name
        assert (cpu, memory) == (resources["requests"]["cpu"], resources["requests"]["memory"]), name
        assert limits == f"{resources['limits']['cpu']}, {resources['limits']['memory']}", name


def _walk_schema(schema: dict[str, Any], path: tuple[str, ...]) -> Any:
    schema = {**schema, **_resolve(schema)}
    if schema.get("type") == "object":
        yield path, schema
        for name, each in schema.get("properties", {}).items():
            yield from _walk_schema(each, (*path, name))


def _resolve(schema: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    found: dict[str, Any] = SCHEMA["definitions"][reference.rpartition("/")[2]] if reference else {}
    return found


def _flatten(values: dict[str, Any], prefix: str = "") -> Any:
    """Every value as the page's first table names it; the processes have a table of their own."""
    for name, value in values.items():
        if prefix == "" and name in PROCESSES:
            if name == "gateway":
                own = {name: value[name] for name in ("tlsSecret", "service")}
                yield from _flatten(own, "gateway.")
            continue
        if name == "resources":
            yield f"{prefix}{name}", "see the file"
        elif isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value:
            yield f"{prefix}{name}", "see the file"
        else:
            yield f"{prefix}{name}", "" if value in (None, "", [], {}) else json.dumps(value).strip('"')
