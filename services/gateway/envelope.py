"""The parts of the OpenAPI document that are the gateway's own: keys, limits, problems, and its own paths."""

from typing import Any, Final

from services.gateway.routes import Access

Json = dict[str, Any]

_INTEGER: Final = {"type": "integer", "minimum": 0}
_TEXT: Final = {"type": "string"}

_HEADERS: Final[Json] = {
    "X-Request-ID": {"description": "Names this request in our logs.", "schema": _TEXT},
    "X-RateLimit-Limit": {"description": "Requests that pass in any 60 s.", "schema": _INTEGER},
    "X-RateLimit-Remaining": {"description": "Requests that would pass now.", "schema": _INTEGER},
    "X-RateLimit-Reset": {
        "description": "Epoch second at which the window is full again.",
        "schema": _INTEGER,
    },
    "RateLimit-Policy": {"description": "draft-ietf-httpapi-ratelimit-headers", "schema": _TEXT},
    "RateLimit": {"description": "draft-ietf-httpapi-ratelimit-headers", "schema": _TEXT},
}

_PROBLEM: Final[Json] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457. `detail` is always a plain sentence.",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "instance": _TEXT,
        "request_id": _TEXT,
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": _TEXT, "message": _TEXT},
            },
        },
        "resets_at": {"type": "string", "format": "date-time"},
        "remaining": {"type": "number", "minimum": 0},
    },
}

_DESCRIPTIONS: Final = {
    "400": "The request is malformed.",
    "401": "No API key, or a bad one.",
    "403": "The key is good, but not for this.",
    "404": "Nothing is there, or not for this key.",
    "405": "The path has no such method.",
    "409": "It contradicts what is there.",
    "413": "The body is too large.",
    "415": "The body is not JSON, or is compressed.",
    "422": "A field is wrong; `errors` names it.",
    "429": "Too many requests, or the month's quota is used up.",
    "500": "An error of ours.",
    "503": "Something needed is away; nothing was recorded.",
}
_RETRY: Final = {
    "Retry-After": {"description": "Whole seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
}


def _problem_response(status: str, description: str) -> Json:
    headers: Json = {"X-Request-ID": {"$ref": "#/components/headers/X-Request-ID"}}
    if status == "429":
        headers = {name: {"$ref": f"#/components/headers/{name}"} for name in _HEADERS} | _RETRY
    elif status == "503":
        headers |= _RETRY
    elif status == "401":
        headers["WWW-Authenticate"] = {"schema": _TEXT}
    return {
        "description": description,
        "headers": headers,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


COMMON: Final[Json] = {
    "schemas": {"Problem": _PROBLEM},
    "responses": {
        f"Problem{status}": _problem_response(status, text) for status, text in _DESCRIPTIONS.items()
    },
    "parameters": {},
    "examples": {},
    "requestBodies": {},
    "headers": _HEADERS,
    "links": {},
    "callbacks": {},
    "pathItems": {},
    "securitySchemes": {
        "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "Bearer": {"type": "http", "scheme": "bearer", "description": "The same API key."},
        "Session": {
            "type": "apiKey",
            "in": "cookie",
            "name": "__Host-llmring_session",
            "description": "From logging in. Over plain HTTP its name is `llmring_session`.",
        },
    },
}

SECURITY: Final[dict[Access, list[Json]]] = {
    Access.REQUIRED: [{"ApiKey": []}, {"Bearer": []}, {"Session": []}],
    Access.OPTIONAL: [{}, {"ApiKey": []}, {"Bearer": []}],
    Access.IGNORED: [],
}


def error_responses(access: Access, *, with_body: bool) -> Json:
    """The problems that any operation of this kind may answer."""
    statuses = ["400", "403", "404", "405", "422", "429", "500", "503"]
    if access is not Access.IGNORED:
        statuses.append("401")
    if with_body:
        statuses += ["409", "413", "415"]
    return {status: {"$ref": f"#/components/responses/Problem{status}"} for status in statuses}


def _own(summary: str, media_type: str, schema: Json, *, also_503: bool = False) -> Json:
    answer = {
        "description": summary,
        "headers": {"X-Request-ID": {"$ref": "#/components/headers/X-Request-ID"}},
        "content": {media_type: {"schema": schema}},
    }
    responses = {"200": answer, "405": {"$ref": "#/components/responses/Problem405"}}
    if also_503:
        responses["503"] = answer
    return {"get": {"summary": summary, "tags": ["gateway"], "security": [], "responses": responses}}


_HEALTH: Final[Json] = {
    "type": "object",
    "required": ["status", "version", "database", "redis", "event_log", "services"],
    "properties": {
        "status": {"enum": ["healthy", "degraded", "unhealthy"]},
        "version": _TEXT,
        **{
            part: {"enum": ["connected", "down", "not configured"]}
            for part in ("database", "redis", "event_log")
        },
        "services": {"type": "object", "additionalProperties": _TEXT},
    },
}
_INDEX: Final[Json] = {
    "type": "object",
    "required": ["name", "version", "documentation", "openapi", "endpoints"],
    "properties": {
        **dict.fromkeys(("name", "version", "documentation", "openapi"), _TEXT),
        "endpoints": {"type": "object", "additionalProperties": _TEXT},
    },
}
_ALIVE: Final[Json] = {"type": "object", "required": ["status"], "properties": {"status": {"const": "alive"}}}

OWN_PATHS: Final[Json] = {
    "/": _own("What this is, and where to go on", "application/json", _INDEX),
    "/health": _own("Health of the API and of what it needs", "application/json", _HEALTH, also_503=True),
    "/health/live": _own("This process answers", "application/json", _ALIVE),
    "/health/ready": _own("Whether logs can be taken", "application/json", _HEALTH, also_503=True),
    "/docs": _own("This document, to read and to try", "text/html", _TEXT),
    "/login": _own("The page to log in with an account elsewhere", "text/html", _TEXT),
    "/password-reset": _own("The page that a mailed link opens", "text/html", _TEXT),
    "/openapi.json": _own("This document", "application/json", {"type": "object"}, also_503=False),
}
