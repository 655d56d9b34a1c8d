"""The chart passes `helm lint`, and what it renders fits the schemas of Kubernetes."""

import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from shared.proofs.tlog.note import COSIGNATURE, VerifierKey
from tests.deploy import chart
from tests.deploy.documents import write_yaml
from tests.deploy.schemas import LOCATION, VERSIONS
from tests.docs.pages import ROOT, get_page

WITNESS = VerifierKey("witness.example.org", bytes(32), COSIGNATURE).text
EVERYTHING: dict[str, Any] = {
    "image": {"digest": f"sha256:{'ab' * 32}", "pullSecrets": ["registry"]},
    "kafka": {
        "bootstrap": "kafka-0.kafka:9092,kafka-1.kafka:9093",
        "securityProtocol": "SASL_SSL",
        "existingSecret": "kafka",
        "caSecret": "kafka-ca",
        "clientSecret": "kafka-client",
        "replicationFactor": 3,
    },
    "settings": {
        "publicUrl": "https://llmring.example.com",
        "trustedProxies": ["10.0.0.0/8", "2001:db8::/32"],
        "maxConnections": 500,
        "corsOrigins": ["https://app.example.com", "http://localhost:3000"],
        "receiptsWitnesses": [f"{WITNESS} https://witness.example.org:8443/w", WITNESS],
        "receiptsWitnessQuorum": 1,
    },
    "smtp": {"host": "smtp.example.com", "from": "llmring@example.com", "existingSecret": "smtp"},
    "oauth": {
        "google": {"existingSecret": "google", "issuer": "https://login.example.com:8443/realm"},
        "github": {"existingSecret": "github"},
    },
    "telemetry": {"otlpEndpoint": "http://collector.monitoring:4318", "sampleRatio": 0.1},
    "metrics": {
        "scrapeAnnotations": True,
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    },
    "extraEnv": [
        {"name": "LLMRING_LOG_FORMAT", "value": "text"},
        {
            "name": "OTEL_EXPORTER_OTLP_HEADERS",
            "valueFrom": {"secretKeyRef": {"name": "otlp", "key": "headers"}},
        },
    ],
    "gateway": {
        "tlsSecret": "llmring-gateway-tls",
        "service": {"type": "LoadBalancer", "annotations": {"example.com/internal": "true"}},
    },
    "registry": {"autoscaling": {"enabled": True}, "podDisruptionBudget": {"maxUnavailable": "25%"}},
    "rater": {"autoscaling": {"enabled": False}, "replicas": 3},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "host": "llmring.example.com",
        "tlsSecret": "llmring-tls",
        "annotations": {"example.com/body-size": "8m"},
    },
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["llmring.example.com"]},
    "networkPolicy": {
        "gatewayFrom": [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}],
        "databaseTo": [{"ipBlock": {"cidr": "10.1.0.0/16"}}],
        "redisTo": [{"podSelector": {"matchLabels": {"app": "redis"}}}],
        "kafkaTo": [{"ipBlock": {"cidr": "10.2.0.0/16"}}],
        "smtpTo": [{"ipBlock": {"cidr": "10.3.0.0/16"}}],
        "otlpTo": [{"namespaceSelector": {}}],
        "webhooksTo": [{"ipBlock": {"cidr": "10.4.0.0/16"}}],
        "extraEgress": [{"ports": [{"port": 443}]}],
    },
    "serviceAccount": {"annotations": {"example.com/role": "llmring"}},
    "podAnnotations": {"example.com/team": "billing"},
    "podLabels": {"team": "billing"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
    "priorityClassName": "important",
}
NOTHING: dict[str, Any] = {
    "networkPolicy": {"enabled": False},
    "serviceAccount": {"create": False, "name": "given"},
    "runAsUser": None,
    "preStopSeconds": 0,
    **{
        name: {"autoscaling": {"enabled": False}}
        for name in ("gateway", "ingest", "rater", "issuer", "deliverer")
    },
}
EACH_SET = pytest.mark.parametrize(
    "values", [{}, EVERYTHING, NOTHING], ids=["defaults", "everything", "nothing"]
)


@EACH_SET
def test_helm_lint_has_nothing_to_say(helm: Path, values: dict[str, Any], tmp_path: Path) -> None:
    done = subprocess.run(
        [helm, "lint", "--strict", "--quiet", chart.PATH, "--values", _write(values, tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout


@EACH_SET
@pytest.mark.parametrize("version", VERSIONS)
def test_everything_rendered_is_valid_kubernetes(
    helm: Path, kubeconform: Path, kubernetes_schemas: Path, values: dict[str, Any], version: str
) -> None:
    text = chart.render_text(helm, values=values)
    done = check(kubeconform, kubernetes_schemas, version, text)
    assert done.returncode == 0, done.stdout
    assert "Errors: 0" in done.stdout
    # Those that other projects define: no package carries their schemas.
    skipped = sum(1 for kind in ("HTTPRoute", "PodMonitor") if f"kind: {kind}\n" in text)
    assert f"Skipped: {skipped}" in done.stdout


def test_the_check_would_notice_a_misspelt_field(
    helm: Path, kubeconform: Path, kubernetes_schemas: Path
) -> None:
    text = chart.render_text(helm).replace("readOnlyRootFilesystem", "readOnlyRootFileSystem")
    assert check(kubeconform, kubernetes_schemas, VERSIONS[-1], text).returncode != 0


def test_the_command_of_the_page_installs_something(helm: Path) -> None:
    [command] = [
        block.text.partition("helm test")[0].replace("\\\n", " ")
        for block in get_page("docs/deployment.md").blocks
        if block.text.startswith("helm install")
    ]
    words = [word for word in shlex.split(command)[2:] if word not in ("--wait", "--timeout", "15m")]
    done = subprocess.run([helm, "template", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kafka = "kafka-0.kafka:9092,kafka-1.kafka:9092,kafka-2.kafka:9092"
    assert f'name: LLMRING_KAFKA_BOOTSTRAP\n              value: "{kafka}"' in done.stdout
    assert "name: llmring-api-auth\n" in done.stdout


def check(kubeconform: Path, schemas: Path, version: str, text: str) -> subprocess.CompletedProcess[str]:
    """Run kubeconform without a network."""
    options = ["-strict", "-summary", "-skip", "HTTPRoute,PodMonitor", "-kubernetes-version", version]
    return subprocess.run(
        [kubeconform, *options, "-schema-location", f"{schemas}/{LOCATION}"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


def _write(values: dict[str, Any], folder: Path) -> Path:
    path = folder / "values.yaml"
    path.write_text(write_yaml(values))
    return path
