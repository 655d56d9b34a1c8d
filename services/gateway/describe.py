"""One OpenAPI document out of those of all services.

Each service describes itself at `/internal/openapi.json`. The merged document holds only what the routing
table lets through, says of each operation whether it takes a key, and describes errors and limits in the one
way in which the gateway answers them.
"""

from collections.abc import Mapping
from typing import Any, Final

from services.gateway.envelope import COMMON, OWN_PATHS, SECURITY, error_responses
from services.gateway.routes import Access, RouteTable

Json = dict[str, Any]

_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_KINDS: Final = (
    "schemas",
    "responses",
    "parameters",
    "examples",
    "requestBodies",
    "headers",
    "links",
    "callbacks",
    "pathItems",
)


def merge_documents(documents: Mapping[str, Json], routes: RouteTable, *, version: str) -> Json:
    """Merge the documents of services, given by name, into the public one (OpenAPI 3.1)."""
    components: Json = {kind: dict(parts) for kind, parts in COMMON.items()}
    paths: Json = {path: dict(item) for path, item in OWN_PATHS.items()}
    operation_ids: set[str] = set()
    for service, document in documents.items():
        renamed = _merge_components(components, service, document.get("components") or {})
        for path, item in sorted((document.get("paths") or {}).items()):
            public = _public_item(path, _rewritten(item, renamed), service, routes, operation_ids)
            if public:
                paths.setdefault(path, {}).update(public)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "LLMRing API",
            "version": version,
            "description": "Prices, adds up and signs the usage that programs calling LLMs report.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in _list_tags(paths)],
        "paths": dict(sorted(paths.items())),
        "components": {kind: parts for kind, parts in components.items() if parts},
    }


def list_methods(document: Json, path: str, routes: RouteTable) -> tuple[str, ...]:
    """The methods that a document has on a path, in capitals, with OPTIONS; none if it has none.

    With HEAD as well where that is asked as GET.
    """
    methods: set[str] = set()
    segments = path.split("/")
    paths: Json = document["paths"]
    # A path that is named is no value of another one's parameter: services route it so too.
    items = (
        [paths[path]]
        if path in paths
        else [item for template, item in paths.items() if _matches(template.split("/"), segments)]
    )
    for item in items:
        methods |= {method.upper() for method in _METHODS if method in item}
    if not methods:
        return ()
    target = routes.find_target(path.encode(), path)
    if "GET" in methods and (target is None or target.head_as_get):
        methods.add("HEAD")
    return tuple(sorted(methods | {"OPTIONS"}))


def _list_tags(paths: Json) -> list[str]:
    tags = {
        tag: None
        for item in paths.values()
        for method in _METHODS
        for tag in item.get(method, {}).get("tags", ())
    }
    return list(tags)


def _matches(template: list[str], segments: list[str]) -> bool:
    return len(template) == len(segments) and all(
        part == segment or (part[:1] == "{" and segment != "")
        for part, segment in zip(template, segments, strict=True)
    )


def _merge_components(components: Json, service: str, added: Json) -> dict[str, str]:
    """Add a service's components. One that differs from what has its name already gets its service before it.

    Returns:
        The references that have to be changed in what the service says.
    """
    parts = [
        (kind, name, part)
        for kind in _KINDS
        for name, part in (added.get(kind) or {}).items()
        # Every service describes problems as its framework sees them; there is one description of them.
        if name not in COMMON[kind]
    ]
    renamed: dict[str, str] = {}
    settled = -1
    while settled < len(renamed):  # what refers to a renamed part differs as well, by that reference
        settled = len(renamed)
        for kind, name, part in parts:
            if name in components[kind] and components[kind][name] != _rewritten(part, renamed):
                renamed[f"#/components/{kind}/{name}"] = f"#/components/{kind}/{service.capitalize()}{name}"
    for kind, name, part in parts:
        reference = f"#/components/{kind}/{name}"
        components[kind][renamed.get(reference, reference).rpartition("/")[2]] = _rewritten(part, renamed)
    return renamed


def _rewritten(part: Any, renamed: Mapping[str, str]) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(part, dict):
        return {
            key: renamed.get(value, value)
            if key == "$ref" and isinstance(value, str)
            else _rewritten(value, renamed)
            for key, value in part.items()
        }
    if isinstance(part, list):
        return [_rewritten(item, renamed) for item in part]
    return part


def _public_item(path: str, item: Json, service: str, routes: RouteTable, operation_ids: set[str]) -> Json:
    public: Json = {}
    for key, value in item.items():
        if key not in _METHODS:
            public[key] = value
            continue
        access = routes.access_of(path, key.upper())
        if access is None:
            continue
        operation = {**value, "tags": value.get("tags") or [service], "security": SECURITY[access]}
        if "parameters" in operation:
            operation["parameters"] = [_public_parameter(each) for each in operation["parameters"]]
        operation_id = operation.get("operationId")
        if operation_id in operation_ids:
            operation["operationId"] = operation_id = f"{service}{operation_id}"
        if operation_id is not None:
            operation_ids.add(operation_id)
        operation["responses"] = _public_responses(operation, access)
        public[key] = operation
    return public if any(method in public for method in _METHODS) else {}


def _public_parameter(parameter: Json) -> Json:
    # `?alias=` means that it was not given (wire contract, "Everywhere").
    may_be_empty = parameter.get("in") == "query" and not parameter.get("required")
    return {**parameter, "allowEmptyValue": True} if may_be_empty else parameter


def _public_responses(operation: Json, access: Access) -> Json:
    common = error_responses(access, with_body="requestBody" in operation)
    responses = {
        status: response
        for status, response in (operation.get("responses") or {}).items()
        # An error described as anything but a problem document is a framework's own idea of it.
        if status < "400" or status == "default" or _is_problem(response)
    }
    limited = {
        status: {**response, "headers": {**COMMON_HEADERS, **(response.get("headers") or {})}}
        for status, response in responses.items()
        if "$ref" not in response
    }
    return dict(sorted({**common, **responses, **limited}.items()))


def _is_problem(response: Json) -> bool:
    return "$ref" in response or "application/problem+json" in (response.get("content") or {})


COMMON_HEADERS: Final[Json] = {name: {"$ref": f"#/components/headers/{name}"} for name in COMMON["headers"]}
