"""The schemas of Kubernetes, each made complete in itself.

The package that carries them keeps the definitions that they share in one file, and finds it by means of its
own; kubeconform reads plain files.
"""

import json
from pathlib import Path
from typing import Any, Final

VERSIONS: Final = ("1.30.0", "1.37.0")
"""The oldest Kubernetes that the chart is for, and the newest of which there are schemas."""

KINDS: Final = (
    "deployment-apps-v1",
    "horizontalpodautoscaler-autoscaling-v2",
    "ingress-networking-v1",
    "job-batch-v1",
    "networkpolicy-networking-v1",
    "pod-v1",
    "poddisruptionbudget-policy-v1",
    "service-v1",
    "serviceaccount-v1",
)
"""Those that the chart has, but for the ones that others define: HTTPRoute and PodMonitor."""

LOCATION: Final = "{{.NormalizedKubernetesVersion}}{{.StrictSuffix}}/{{.ResourceKind}}{{.KindSuffix}}.json"
"""Where kubeconform finds a schema below the folder."""

_POINTER: Final = "#/$defs/"


def write_schemas(source: Path, folder: Path) -> None:
    """Write the schemas that the chart needs.

    Args:
        source: the folder of the package.
        folder: where they go.
    """
    for version in VERSIONS:
        there = source / f"v{version}-local-strict"
        definitions = json.loads((there / "_definitions.json").read_text())["$defs"]
        target = folder / f"v{version}-strict"
        target.mkdir(parents=True)
        for kind in KINDS:
            text = (there / f"{kind}.json").read_text().replace("/api/_definitions.json#", "#")
            schema = json.loads(text)
            schema.pop("$id", None)
            schema["$defs"] = {name: definitions[name] for name in sorted(_needed(schema, definitions))}
            (target / f"{kind}.json").write_text(json.dumps(schema))


def _needed(schema: Any, definitions: dict[str, Any]) -> set[str]:
    """The names of all definitions that a schema refers to, and those that they refer to."""
    needed: set[str] = set()
    left = [schema]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            reference = part.get("$ref")
            if isinstance(reference, str) and reference.removeprefix(_POINTER) not in needed:
                needed.add(reference.removeprefix(_POINTER))
                left.append(definitions[reference.removeprefix(_POINTER)])
            left.extend(part.values())
        elif isinstance(part, list):
            left.extend(part)
    return needed
