"""What every object of the chart promises, whatever the values."""

import re
from pathlib import Path
from typing import Any

import pytest

from services.cli.settings import ProcessSettings
from services.separate import SERVICES, WORKERS
from shared.runtime.listen import DRAIN_S
from tests.deploy import chart
from tests.deploy.chart import COMPONENT, Manifest
from tests.deploy.test_chart_lint import EVERYTHING, NOTHING

CONSUMERS = {"rater": "rater", "issuer": "issuer", "deliverer": "webhooks"}
"""Consumers, and how the program calls them."""

PROCESSES = [*SERVICES, *CONSUMERS]
SETS = {"defaults": {}, "everything": EVERYTHING, "nothing": NOTHING}


@pytest.fixture(scope="module", params=SETS, ids=list(SETS))
def manifests(request: pytest.FixtureRequest, helm: Path) -> list[Manifest]:
    """What the chart renders."""
    return chart.render(helm, values=SETS[request.param])


@pytest.fixture
def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """Every pod by its process."""
    return dict(chart.list_pods(manifests))


def test_every_process_is_a_deployment_and_the_migration_a_hook_before(manifests: list[Manifest]) -> None:
    assert set(CONSUMERS.values()) == set(WORKERS)
    for name in PROCESSES:
        command, called = ("worker", CONSUMERS[name]) if name in CONSUMERS else ("serve", name)
        process = {"serve": SERVICES, "worker": WORKERS}[command][called]
        container = _container(chart.get_one(manifests, "Deployment", name))
        assert container["args"] == [command, called]
        given = {each["name"] for each in container["env"]}
        assert {f"LLMRING_{need.upper()}" for need in process.needs} <= given
    assert len(chart.list_of(manifests, "Deployment")) == len(PROCESSES)
    [job] = chart.list_of(manifests, "Job")
    assert _container(job)["args"] == ["migrate"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"


def test_every_setting_given_exists(pods: dict[str, Manifest]) -> None:
    known = {f"LLMRING_{name.upper()}" for name in ProcessSettings.__struct_fields__}
    for name, pod in pods.items():
        given = {each["name"] for each in pod["spec"]["containers"][0]["env"]}
        assert {each for each in given if each.startswith("LLMRING_")} <= known, name


def test_a_process_gets_no_secret_that_it_does_not_need(manifests: list[Manifest]) -> None:
    needs = {
        "LLMRING_PRINCIPAL_SEED": {"gateway"},
        "LLMRING_RECEIPTS_SIGNING_SEED": {"receipts", "issuer"},
        "LLMRING_WEBHOOKS_KEY": {"webhooks", "deliverer"},
        "LLMRING_REDIS_URL": {"gateway", "ingest", "auth"},
        "LLMRING_DATABASE_URL": {*PROCESSES, "migrate"} - {"gateway"},
    }
    for variable, processes in needs.items():
        holders = {
            name
            for name, pod in chart.list_pods(manifests)
            for each in pod["spec"]["containers"][0]["env"]
            if each["name"] == variable
        }
        assert holders == processes, variable
    for name, pod in chart.list_pods(manifests):
        given = {each["name"] for each in pod["spec"]["containers"][0]["env"]}
        secrets = {"LLMRING_SMTP_PASSWORD", "LLMRING_GOOGLE_CLIENT_SECRET", "LLMRING_GITHUB_CLIENT_SECRET"}
        assert name == "auth" or not secrets & given, name


def test_secrets_are_named_and_never_made(manifests: list[Manifest]) -> None:
    assert not chart.list_of(manifests, "Secret")
    assert not chart.list_of(manifests, "ConfigMap")
    secret = re.compile(r"SEED|_KEYS|WEBHOOKS_KEY|DATABASE_URL|REDIS_URL|PASSWORD|CLIENT_SECRET")
    for _, pod in chart.list_pods(manifests):
        for each in pod["spec"]["containers"][0]["env"]:
            if secret.search(each["name"]):
                assert each["valueFrom"]["secretKeyRef"].keys() == {"name", "key"}, each


def test_no_container_can_do_more_than_it_must(pods: dict[str, Manifest]) -> None:
    for name, pod in pods.items():
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["securityContext"].get("runAsUser") != 0
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        [container] = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert all("hostPath" not in volume for volume in spec.get("volumes", []))


def test_every_container_asks_for_and_is_limited_in_processor_and_memory(pods: dict[str, Manifest]) -> None:
    for name, pod in pods.items():
        resources = pod["spec"]["containers"][0]["resources"]
        assert resources["requests"].keys() >= {"cpu", "memory"}, name
        assert resources["limits"].keys() >= {"cpu", "memory"}, name


@pytest.mark.parametrize("name", PROCESSES)
def test_every_process_is_probed_on_the_right_paths(manifests: list[Manifest], name: str) -> None:
    container = _container(chart.get_one(manifests, "Deployment", name))
    port = "http" if name == "gateway" else "internal"
    for probe, path in {"startup": "live", "liveness": "live", "readiness": "ready"}.items():
        asked = container[f"{probe}Probe"]["httpGet"]
        assert {**asked, "scheme": None} == {"path": f"/health/{path}", "port": port, "scheme": None}
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 60


@pytest.mark.parametrize("name", PROCESSES)
def test_a_pod_has_time_to_drain(manifests: list[Manifest], name: str) -> None:
    deployment = chart.get_one(manifests, "Deployment", name)
    spec = deployment["spec"]["template"]["spec"]
    sleep = _container(deployment).get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert spec["terminationGracePeriodSeconds"] > sleep + DRAIN_S
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_only_a_gateway_with_a_certificate_speaks_https(helm: Path) -> None:
    for values, scheme in (({}, None), (EVERYTHING, "HTTPS")):
        manifests = chart.render(helm, values=values)
        for name, pod in chart.list_pods(manifests):
            [container] = pod["spec"]["containers"]
            expected = scheme if name == "gateway" else None
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert probe not in container or container[probe]["httpGet"].get("scheme") == expected
            given = {each["name"]: each.get("value") for each in container["env"]}
            files = [given.get(f"LLMRING_TLS_{part}_FILE") for part in ("CERTIFICATE", "KEY")]
            mounted = [each["mountPath"] for each in container.get("volumeMounts", [])]
            assert files == (
                ["/etc/llmring/tls/tls.crt", "/etc/llmring/tls/tls.key"] if expected else [None] * 2
            )
            assert ("/etc/llmring/tls" in mounted) == bool(expected)
        service = chart.get_one(manifests, "Service", "gateway")
        assert service["spec"]["ports"][0]["appProtocol"] == (scheme or "http").lower()


@pytest.mark.parametrize("name", PROCESSES)
def test_its_pods_are_spread_and_kept_when_nodes_are_drained(manifests: list[Manifest], name: str) -> None:
    deployment = chart.get_one(manifests, "Deployment", name)
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    spread = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in spread] == [
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    ]
    budget = chart.get_one(manifests, "PodDisruptionBudget", name)
    for selector in [budget["spec"]["selector"], *(each["labelSelector"] for each in spread)]:
        assert chart.is_selected(selector["matchLabels"], labels)


def test_a_selector_finds_the_pods_of_its_own_process_and_no_others(
    manifests: list[Manifest], pods: dict[str, Manifest]
) -> None:
    selectors = [
        (each["metadata"]["labels"][COMPONENT], selector)
        for each in manifests
        for selector in [_selector(each)]
        if selector is not None
    ]
    assert len(selectors) >= 3 * len(PROCESSES) - len(CONSUMERS)
    for owner, selector in selectors:
        found = {name for name, pod in pods.items() if chart.is_selected(selector, pod["metadata"]["labels"])}
        assert found == {owner}


def test_two_releases_do_not_select_each_others_pods(helm: Path) -> None:
    pods = dict(chart.list_pods(chart.render(helm)))
    assert {pod["metadata"]["labels"]["app.kubernetes.io/instance"] for pod in pods.values()} == {
        chart.RELEASE
    }
    for manifest in chart.render(helm):
        selector = _selector(manifest)
        assert selector is None or selector["app.kubernetes.io/instance"] == chart.RELEASE


def test_autoscaling_and_replicas_never_fight(manifests: list[Manifest]) -> None:
    scaled = {
        each["spec"]["scaleTargetRef"]["name"]: each
        for each in chart.list_of(manifests, "HorizontalPodAutoscaler")
    }
    for deployment in chart.list_of(manifests, "Deployment"):
        assert (deployment["metadata"]["name"] in scaled) != ("replicas" in deployment["spec"])
    for scaler in scaled.values():
        assert scaler["spec"]["minReplicas"] <= scaler["spec"]["maxReplicas"]


def test_names_fit_and_are_unique(helm: Path) -> None:
    manifests = chart.render(helm, f"fullnameOverride={'a' * 80}")
    names = [(each["kind"], each["metadata"]["name"]) for each in manifests]
    assert len(set(names)) == len(names)
    assert all(len(name) <= 63 for _, name in names)


def test_only_the_gateway_can_be_reached_by_a_name_outside(helm: Path) -> None:
    manifests = chart.render(helm, values=EVERYTHING)
    gateway = chart.get_one(manifests, "Service", "gateway")["metadata"]["name"]
    [ingress] = chart.list_of(manifests, "Ingress")
    [rule] = ingress["spec"]["rules"]
    assert [path["backend"]["service"]["name"] for path in rule["http"]["paths"]] == [gateway]
    [route] = chart.list_of(manifests, "HTTPRoute")
    assert [each["name"] for rule in route["spec"]["rules"] for each in rule["backendRefs"]] == [gateway]
    types = {each["metadata"]["name"]: each["spec"]["type"] for each in chart.list_of(manifests, "Service")}
    assert types.pop(gateway) == "LoadBalancer"
    assert set(types.values()) == {"ClusterIP"}


def test_the_first_install_needs_nothing_that_comes_after_the_hook(helm: Path) -> None:
    manifests = chart.render(helm)
    [job] = chart.list_of(manifests, "Job")
    [account] = chart.list_of(manifests, "ServiceAccount")
    assert job["spec"]["template"]["spec"]["serviceAccountName"] != account["metadata"]["name"]
    policy = chart.get_one(manifests, "NetworkPolicy", "migrate")
    weights = [int(each["metadata"]["annotations"]["helm.sh/hook-weight"]) for each in (policy, job)]
    assert weights == sorted(set(weights))


def _container(manifest: Manifest) -> dict[str, Any]:
    [container] = chart.pod_of(manifest)["spec"]["containers"]
    found: dict[str, Any] = container
    return found


def _selector(manifest: Manifest) -> dict[str, str] | None:
    """What a Deployment, Service, budget or policy selects."""
    spec = manifest.get("spec", {})
    match manifest["kind"]:
        case "Service":
            found: dict[str, str] = spec["selector"]
        case "Deployment" | "PodDisruptionBudget":
            found = spec["selector"]["matchLabels"]
        case "NetworkPolicy":
            found = spec["podSelector"]["matchLabels"]
        case _:
            return None
    return found
