"""One way to build a service's HTTP application: problems, principals and the OpenAPI document included."""

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from litestar import Litestar, Request, Response
from litestar.config.app import AppConfig
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    ValidationException,
)
from litestar.exceptions import (
    NotFoundException as RouteNotFoundException,
)
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.plugins import OpenAPISchemaPlugin, PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin
from litestar.types import ASGIApp, ControllerRouterHandler

from shared import errors
from shared.contracts.keys import Principal
from shared.errors import Fault, InvalidFieldError, LLMRingError
from shared.web.asgi import (
    ClientGoneError,
    describe,
    find_header,
    with_whole_bodies,
    without_empty_parameters,
)
from shared.web.observed import Lane, observed
from shared.web.principal import PRINCIPAL_HEADER, PrincipalVerifier
from shared.web.problems import encode_problem
from shared.web.schemas import RawSchemaPlugin

OPENAPI_PATH = "/internal/openapi.json"

_log = logging.getLogger(__name__)

_MISSING = re.compile(r"Missing required \w+ parameter '([^']+)'")

_BY_STATUS: dict[int, type[LLMRingError]] = {
    400: errors.MalformedRequestError,
    401: errors.UnauthenticatedError,
    403: errors.ForbiddenError,
    404: errors.NotFoundError,
    405: errors.MethodNotAllowedError,
    413: errors.TooLargeError,
    415: errors.UnsupportedMediaTypeError,
    422: errors.InvalidFieldError,
}


class _App(Litestar):
    """Litestar without its plugins for Pydantic and attrs.

    Where those are installed it imports them, whether anything uses them or not: a tenth of a start.
    """

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


def build_app(
    title: str,
    handlers: Sequence[ControllerRouterHandler],
    *,
    service: str,
    principals: PrincipalVerifier,
    version: str,
    max_body_bytes: int = 1024 * 1024,
    lanes: Mapping[str, Lane] | None = None,
    documented: Sequence[ControllerRouterHandler] = (),
    schemas: Sequence[OpenAPISchemaPlugin] = (),
) -> ASGIApp:
    """Build the ASGI application of one service.

    A handler that takes `principal: Principal` answers 401 without a valid token; one that takes
    `caller: Principal | None` also serves requests without one.

    Args:
        title: of the OpenAPI document.
        handlers: Litestar route handlers.
        service: its short name, under which its requests are measured.
        principals: checks the gateway's token.
        version: of the OpenAPI document.
        max_body_bytes: larger bodies answer 413 before they are read whole.
        lanes: answer one path each, of whatever method, without Litestar in between.
        documented: handlers that only describe the lanes in the OpenAPI document.
        schemas: plugins that describe special types in the OpenAPI document.
    """

    def provide_principal(request: Request[Any, Any, Any]) -> Principal:
        return principals.verify(find_header(request.scope["headers"], PRINCIPAL_HEADER))

    def provide_caller(request: Request[Any, Any, Any]) -> Principal | None:
        token = find_header(request.scope["headers"], PRINCIPAL_HEADER)
        return None if token is None else principals.verify(token)

    def options(routes: Sequence[ControllerRouterHandler]) -> AppConfig:
        return AppConfig(
            route_handlers=list(routes),
            dependencies={
                "principal": Provide(provide_principal, sync_to_thread=False),
                "caller": Provide(provide_caller, sync_to_thread=False),
            },
            exception_handlers={Exception: answer_exception},
            request_max_body_size=max_body_bytes,
            plugins=[RawSchemaPlugin(), *schemas],
            openapi_config=OpenAPIConfig(
                title=title,
                version=version,
                path="/internal",
                render_plugins=[JsonRenderPlugin(path="/openapi.json")],
            ),
        )

    app = _App.from_config(options(handlers))
    if documented:
        description = _App.from_config(options([*handlers, *documented])).openapi_schema
        app.openapi_schema.paths = description.paths
        app.openapi_schema.components = description.components
    return observed(without_empty_parameters(with_whole_bodies(app)), service, lanes or {})


def answer_exception(request: ASGIConnection[Any, Any, Any, Any], error: Exception) -> Response[bytes]:
    """Turn whatever a handler raised into a problem document; what is not ours to tell stays in the log."""
    if isinstance(error, ClientGoneError):
        return Response(b"", status_code=400)
    known = error if isinstance(error, LLMRingError) else typed_error(error)
    if known.kind is errors.Kind.INTERNAL:
        _log.error("unexpected error on %s", describe(request.scope), exc_info=error)
    status, body, headers = encode_problem(known, request.scope)
    response = Response(body, status_code=status, media_type="application/problem+json")
    for key, value in headers:
        response.headers[key.decode()] = value.decode()
    if isinstance(error, MethodNotAllowedException) and error.headers:
        response.headers.update(error.headers)
    return response


def typed_error(error: Exception) -> LLMRingError:
    """Translate one of Litestar's own errors; anything else is an internal error."""
    if isinstance(error, ValidationException):
        return InvalidFieldError.all(list(_faults(error)) or [_only_fault(str(error.detail))])
    if isinstance(error, RecursionError):
        return errors.MalformedRequestError("The body is nested too deeply.")
    if isinstance(error, UnicodeDecodeError):
        return errors.MalformedRequestError("The body is not valid UTF-8.")
    if isinstance(error, RouteNotFoundException):
        return errors.NotFoundError("There is nothing at this path.")
    if isinstance(error, HTTPException) and error.status_code < 500:
        kind = _BY_STATUS.get(error.status_code, errors.MalformedRequestError)
        return kind(_sentence(error.detail))
    return LLMRingError("unexpected")


def _faults(error: ValidationException) -> Sequence[Fault]:
    extra = error.extra if isinstance(error.extra, list) else []
    return [
        _fault(str(item.get("key") or "data"), str(item.get("message", "is not valid")))
        for item in extra
        if isinstance(item, dict)
    ]


def _only_fault(detail: str) -> Fault:
    """Litestar looks for required parameters first, and says in words alone which one is missing."""
    missing = _MISSING.match(detail)
    return Fault("body", detail) if missing is None else Fault(missing[1], "is required.")


def _fault(key: str, message: str) -> Fault:
    # Litestar calls the body `data`, and says only that when there is none.
    if key == "data":
        return Fault("body", "a JSON body is required" if message == "'data'" else message)
    return Fault(key.removesuffix("_"), message)  # `from_` is `from`, which Python keeps for itself


def _sentence(detail: str) -> str:
    text = detail or "The request could not be understood"
    return text if text.endswith((".", "!", "?")) else text + "."
