"""The Helm chart as data: what it renders, and what Kubernetes would make of that."""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.deploy.container import Container, Probe
from tests.deploy.documents import split_yaml, write_yaml
from tests.deploy.image import read_image
from tests.docs.pages import ROOT

PATH: Final = ROOT / "deploy" / "helm" / "llmring-api"
RELEASE: Final = "demo"
COMPONENT: Final = "app.kubernetes.io/component"

Manifest = dict[str, Any]


class RefusedError(Exception):
    """Helm renders nothing with these values; the text is what it says."""


def render(helm: Path, *sets: str, values: Mapping[str, Any] | None = None) -> list[Manifest]:
    """What the chart renders, hooks and tests included.

    Args:
        helm: the program.
        sets: as after `--set`.
        values: as in a file of values.

    Raises:
        RefusedError: the values are refused.
    """
    return split_yaml(render_text(helm, *sets, values=values))


def render_text(helm: Path, *sets: str, values: Mapping[str, Any] | None = None) -> str:
    """The same as Helm writes it."""
    command = [str(helm), "template", RELEASE, str(PATH), "--namespace", "demo", "--values", "-"]
    for each in sets:
        command += ["--set", each]
    done = subprocess.run(
        command, input=write_yaml(dict(values or {})), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RefusedError(done.stderr)
    return str(done.stdout)


def list_of(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Those of one kind."""
    return [each for each in manifests if each["kind"] == kind]


def get_one(manifests: list[Manifest], kind: str, component: str) -> Manifest:
    """The one of a kind that belongs to a process."""
    [found] = [
        each for each in list_of(manifests, kind) if each["metadata"]["labels"][COMPONENT] == component
    ]
    return found


def pod_of(manifest: Manifest) -> Manifest:
    """The pod that a manifest is, or makes: its metadata and spec."""
    pod: Manifest = manifest if manifest["kind"] == "Pod" else manifest["spec"]["template"]
    return pod


def list_pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Every pod with the name of its process."""
    for manifest in manifests:
        if manifest["kind"] in ("Deployment", "Job", "Pod"):
            yield manifest["metadata"]["labels"][COMPONENT], pod_of(manifest)


def is_selected(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether labels have all that a selector asks for."""
    return selector.items() <= labels.items()


def read_container(manifest: Manifest, secrets: Mapping[str, Mapping[str, str]]) -> Container:
    """The one container of a pod.

    Args:
        manifest: a Deployment, a Job or a Pod.
        secrets: the Secrets of the namespace, by name and key.
    """
    [container] = pod_of(manifest)["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    asked = (container.get(f"{kind}Probe") for kind in ("startup", "liveness", "readiness"))
    probes = [Probe(each["httpGet"]["path"], ports[each["httpGet"]["port"]]) for each in asked if each]
    return Container(
        name=manifest["metadata"]["labels"][COMPONENT],
        command=[*container.get("command", read_image().entrypoint), *container.get("args", [])],
        environment={each["name"]: _read_value(each, secrets) for each in container["env"]},
        probes=probes,
    )


def find_address(service: Manifest, pods: Mapping[str, Manifest]) -> tuple[str, int, int]:
    """Where a Service leads: the process, and from which port to which.

    Args:
        service: the Service.
        pods: all pods, by process.
    """
    selector = service["spec"]["selector"]
    [name] = [name for name, pod in pods.items() if is_selected(selector, pod["metadata"]["labels"])]
    [port] = service["spec"]["ports"]
    [container] = pods[name]["spec"]["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    return name, port["port"], ports[port["targetPort"]]


def _read_value(entry: Mapping[str, Any], secrets: Mapping[str, Mapping[str, str]]) -> str:
    if "value" in entry:
        return str(entry["value"])
    reference = entry["valueFrom"]["secretKeyRef"]
    return secrets[reference["name"]][reference["key"]]
