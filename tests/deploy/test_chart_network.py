"""Who may reach whom, by the network policies of the chart."""

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from services.separate import SERVICES
from shared.proofs.tlog.note import COSIGNATURE, VerifierKey
from tests.deploy import chart
from tests.deploy.chart import Manifest
from tests.deploy.test_chart_rules import PROCESSES

PORTS = {"postgres": 5432, "redis": 6379, "kafka": 9092}


@pytest.fixture(scope="module")
def manifests(helm: Path) -> list[Manifest]:
    """With default values."""
    return chart.render(helm)


def test_every_pod_has_a_policy_for_both_ways(manifests: list[Manifest]) -> None:
    for name, _ in chart.list_pods(manifests):
        policy = chart.get_one(manifests, "NetworkPolicy", name)["spec"]
        assert policy["policyTypes"] == ["Ingress", "Egress"]


def test_only_the_gateway_lets_strangers_in_and_only_to_its_public_port(manifests: list[Manifest]) -> None:
    for name, _ in chart.list_pods(manifests):
        rules = chart.get_one(manifests, "NetworkPolicy", name)["spec"]["ingress"]
        open_ports = [port["port"] for rule in rules if not rule.get("from") for port in rule["ports"]]
        assert open_ports == (["http"] if name == "gateway" else []), name


def test_a_service_lets_in_those_that_call_it_and_nobody_else(manifests: list[Manifest]) -> None:
    called = {name: _callers_by_environment(manifests, name) for name in PROCESSES}
    assert called["registry"] == {"gateway", "ingest", "receipts", "rater", "deliverer"}
    for name in [each for each in PROCESSES if each != "gateway"]:
        assert _let_in(manifests, name, "internal") == called[name], name


def test_a_process_can_reach_what_its_environment_names(manifests: list[Manifest]) -> None:
    for name in PROCESSES:
        rules = chart.get_one(manifests, "NetworkPolicy", name)["spec"]["egress"]
        free = {port["port"] for rule in rules if "to" not in rule for port in rule["ports"]}
        variables = _variables(manifests, name)
        wanted = {53}
        wanted |= {PORTS["kafka"]} if "LLMRING_KAFKA_BOOTSTRAP" in variables else set()
        wanted |= {PORTS["postgres"]} if "LLMRING_DATABASE_URL" in variables else set()
        wanted |= {PORTS["redis"]} if "LLMRING_REDIS_URL" in variables else set()
        assert free == wanted, name
        for called in [each for each in SERVICES if f"LLMRING_{each.upper()}_URL" in variables]:
            labels = _labels(manifests, called)
            assert any(_lets(rule.get("to", []), labels) for rule in rules), f"{name} cannot reach {called}"


def test_the_receipts_service_alone_reaches_the_witnesses_that_it_asks(helm: Path) -> None:
    key = VerifierKey("witness.example.org", bytes(32), COSIGNATURE).text
    witnesses = [
        f"{key} https://a.example/w",
        f"{key} http://b.example",
        f"{key} https://c.example:8443",
        key,
    ]
    manifests = chart.render(helm, values={"settings": {"receiptsWitnesses": witnesses}})
    before = chart.render(helm)
    for name in PROCESSES:
        rules, old = (
            chart.get_one(each, "NetworkPolicy", name)["spec"]["egress"] for each in (manifests, before)
        )
        more = [rule for rule in rules if rule not in old]
        ports = [[{"port": port}] for port in (443, 80, 8443)] if name == "receipts" else []
        assert [rule["ports"] for rule in more] == ports, name
        [container] = chart.get_one(manifests, "Deployment", name)["spec"]["template"]["spec"]["containers"]
        given = [each["value"] for each in container["env"] if each["name"] == "LLMRING_RECEIPTS_WITNESSES"]
        assert given == ([",".join(witnesses)] if name == "receipts" else [])


def test_the_deliverer_alone_reaches_the_internet_and_nothing_that_is_private(
    manifests: list[Manifest],
) -> None:
    for name in PROCESSES:
        rules = chart.get_one(manifests, "NetworkPolicy", name)["spec"]["egress"]
        blocks = [peer["ipBlock"] for rule in rules for peer in rule.get("to", []) if "ipBlock" in peer]
        assert [each["cidr"] for each in blocks] == (
            ["0.0.0.0/0", "2000::/3"] if name == "deliverer" else []
        ), name
        for address in (
            "10.1.2.3",
            "172.20.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "169.254.169.254",
            "127.0.0.1",
        ):
            assert not any(_is_in(address, each) for each in blocks)
        assert any(_is_in("93.184.215.14", each) for each in blocks) == (name == "deliverer")


def test_auth_alone_reaches_the_mail_server(helm: Path) -> None:
    smtp = {"host": "smtp.example.com", "port": 2525, "from": "llmring@example.com"}
    manifests, before = chart.render(helm, values={"smtp": smtp}), chart.render(helm)
    for name in PROCESSES:
        rules, old = (
            chart.get_one(each, "NetworkPolicy", name)["spec"]["egress"] for each in (manifests, before)
        )
        more = [rule["ports"] for rule in rules if rule not in old]
        assert more == ([[{"port": 2525}]] if name == "auth" else []), name
        given = {each for each in _variables(manifests, name) if each.startswith("LLMRING_SMTP_")}
        wanted = {f"LLMRING_SMTP_{each}" for each in ("HOST", "PORT", "SECURITY", "FROM")}
        assert given == (wanted if name == "auth" else set()), name


def test_auth_alone_reaches_the_providers_of_logins(helm: Path) -> None:
    oauth = {
        "google": {"existingSecret": "google", "issuer": "https://login.example.com:8443/realm"},
        "github": {"existingSecret": "github"},
    }
    manifests, before = chart.render(helm, values={"oauth": oauth}), chart.render(helm)
    for name in PROCESSES:
        rules, old = (
            chart.get_one(each, "NetworkPolicy", name)["spec"]["egress"] for each in (manifests, before)
        )
        more = sorted(rule["ports"][0]["port"] for rule in rules if rule not in old)
        assert more == ([443, 8443] if name == "auth" else []), name
        given = {each for each in _variables(manifests, name) if re.match("LLMRING_(GOOGLE|GITHUB)_", each)}
        wanted = {
            *(f"LLMRING_GOOGLE_{each}" for each in ("CLIENT_ID", "CLIENT_SECRET", "ISSUER")),
            *(f"LLMRING_GITHUB_{each}" for each in ("CLIENT_ID", "CLIENT_SECRET", "URL")),
        }
        assert given == (wanted if name == "auth" else set()), name
    assert "LLMRING_GOOGLE_ISSUER" not in _variables(before, "auth")


def test_metrics_are_for_the_monitoring_namespace_alone_and_only_when_wanted(helm: Path) -> None:
    for wanted in ("metrics.enabled", "metrics.scrapeAnnotations", "metrics.podMonitor.enabled"):
        manifests = chart.render(helm, f"{wanted}=true")
        for name in PROCESSES:
            rules = chart.get_one(manifests, "NetworkPolicy", name)["spec"]["ingress"]
            [metrics] = [rule for rule in rules if _namespaces(rule) == ["monitoring"]]
            assert metrics["ports"] == [{"port": "metrics" if name == "gateway" else "internal"}]
    manifests = chart.render(helm)
    for name in PROCESSES:
        rules = chart.get_one(manifests, "NetworkPolicy", name)["spec"]["ingress"]
        assert not [rule for rule in rules if _namespaces(rule)]


@pytest.mark.parametrize(
    ("bootstrap", "ports"),
    [("kafka:9092", {9092}), ("a.b:9092,c.d:9093", {9092, 9093}), ("a:9094,b:9094", {9094})],
)
def test_the_ports_of_all_brokers_are_open(helm: Path, bootstrap: str, ports: set[int]) -> None:
    manifests = chart.render(helm, values={"kafka": {"bootstrap": bootstrap}})
    rules = chart.get_one(manifests, "NetworkPolicy", "rater")["spec"]["egress"]
    free = {port["port"] for rule in rules if "to" not in rule for port in rule["ports"]}
    assert free == {53, 5432, *ports}


@pytest.mark.parametrize(
    ("endpoint", "port"),
    [("http://c:4318", 4318), ("https://c.example.com", 443), ("http://c.example.com/otlp", 80)],
)
def test_the_way_to_the_collector_is_open(helm: Path, endpoint: str, port: int) -> None:
    manifests = chart.render(helm, f"telemetry.otlpEndpoint={endpoint}")
    for name in PROCESSES:
        rules = chart.get_one(manifests, "NetworkPolicy", name)["spec"]["egress"]
        assert port in {each["port"] for rule in rules for each in rule.get("ports", [])}


def _callers_by_environment(manifests: list[Manifest], called: str) -> set[str]:
    variable = f"LLMRING_{called.upper()}_URL"
    return {name for name in PROCESSES if variable in _variables(manifests, name)}


def _variables(manifests: list[Manifest], name: str) -> set[str]:
    [container] = chart.get_one(manifests, "Deployment", name)["spec"]["template"]["spec"]["containers"]
    return {each["name"] for each in container["env"]}


def _labels(manifests: list[Manifest], name: str) -> dict[str, str]:
    pod = chart.pod_of(chart.get_one(manifests, "Deployment", name))
    labels: dict[str, str] = pod["metadata"]["labels"]
    return labels


def _let_in(manifests: list[Manifest], name: str, port: str) -> set[str]:
    rules = chart.get_one(manifests, "NetworkPolicy", name)["spec"]["ingress"]
    return {
        other
        for other in PROCESSES
        for rule in rules
        if {"port": port} in rule["ports"] and _lets(rule["from"], _labels(manifests, other))
    }


def _lets(peers: list[dict[str, Any]], labels: dict[str, str]) -> bool:
    return any(
        chart.is_selected(peer["podSelector"]["matchLabels"], labels)
        for peer in peers
        if "podSelector" in peer
    )


def _is_in(address: str, block: dict[str, Any]) -> bool:
    networks = [ip_network(block["cidr"]), *map(ip_network, block.get("except", []))]
    inside, *left_out = [ip_address(address) in network for network in networks]
    return inside and not any(left_out)


def _namespaces(rule: dict[str, Any]) -> list[str]:
    return [
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for peer in rule.get("from", [])
        if "namespaceSelector" in peer
    ]
