"""The registry's HTTP door."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, TypeAlias
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, Parameter

from services.registry.conditional import accepts_gzip, find_match
from services.registry.lookup import Edition, Filters, Lookup, read_filters
from services.registry.openapi import PublishOperation
from services.registry.publish import Publication
from services.registry.request import PublishRequest, read_request
from shared.contracts.keys import SCOPE_OPERATOR, Principal
from shared.contracts.registry import CAPABILITIES, Snapshot, VersionList
from shared.web.principal import require_scope

AnyRequest: TypeAlias = Request[Any, Any, Any]
Publish: TypeAlias = Callable[[PublishRequest, UUID], Awaitable[Publication]]

CURRENT: Final = "public, max-age=3600"
IMMUTABLE: Final = "public, max-age=31536000, immutable"
_NO_CACHE: Final = "no-cache"

Version = Annotated[str | None, Parameter(description="a version, YYYY.MM.DD or YYYY.MM.DD.n")]
Providers = Annotated[str | None, Parameter(description="only these providers, comma-separated")]
Capabilities = Annotated[
    str | None,
    Parameter(
        description=f"only models with all of these, comma-separated: {', '.join(sorted(CAPABILITIES))}"
    ),
]
Active = Annotated[bool, Parameter(description="true leaves retired models out")]

_SNAPSHOT: Final = {200: ResponseSpec(Snapshot, description="the registry")}
_encoder: Final = msgspec.json.Encoder()


def build_routes(lookup: Lookup, publish: Publish, publish_bytes: int) -> list[HTTPRouteHandler]:
    """The handlers of the registry.

    Args:
        lookup: answers reads.
        publish: stores a version for the key that sent it.
        publish_bytes: the largest body of a publish.
    """

    @get(
        ["/registry", "/registry.json"],
        summary="The registry in force now, or a version of it",
        tags=["registry"],
        responses=_SNAPSHOT,
    )
    async def registry(
        request: AnyRequest,
        version: Version = None,
        providers: Providers = None,
        capabilities: Capabilities = None,
        active: Active = False,
    ) -> Response[bytes]:
        filters = read_filters(providers, capabilities, active=active)
        return _answer(request, await lookup.get_edition(version, filters), CURRENT)

    @get(
        "/registry/v/{version:str}/registry.json",
        summary="One immutable version",
        tags=["registry"],
        responses=_SNAPSHOT,
    )
    async def pinned(request: AnyRequest, version: FromPath[str]) -> Response[bytes]:
        return _answer(request, await lookup.get_edition(version, Filters()), IMMUTABLE)

    @get("/registry/versions", summary="Every version, newest first", tags=["registry"])
    async def versions() -> Response[VersionList]:
        return Response(VersionList(await lookup.list_versions()), headers={"cache-control": _NO_CACHE})

    @post(
        "/registry/versions",
        summary="Publish a version (scope: operator)",
        tags=["registry"],
        request_max_body_size=publish_bytes,
        operation_class=PublishOperation,
        responses={
            201: ResponseSpec(Publication, description="published"),
            200: ResponseSpec(Publication, description="a dry run, or nothing to publish"),
        },
    )
    async def publish_version(principal: NamedDependency[Principal], request: AnyRequest) -> Response[bytes]:
        require_scope(principal, SCOPE_OPERATOR)
        publication = await publish(read_request(await request.body()), principal.key_id)
        headers = {"cache-control": "no-store"}
        if publication.published:
            headers["location"] = f"/registry/v/{publication.version}/registry.json"
        return Response(
            _encoder.encode(publication),
            status_code=201 if publication.published else 200,
            media_type="application/json",
            headers=headers,
        )

    return [registry, pinned, versions, publish_version]


def _answer(request: AnyRequest, edition: Edition, cache_control: str) -> Response[bytes]:
    """Send an edition, or say that the client has it.

    Each coding has its own strong tag, since a strong tag stands for exact bytes (RFC 9110, 8.8.3.3). A
    client that names either has this content.
    """
    compressed = edition.compressed if accepts_gzip(_joined(request, "accept-encoding")) else None
    plain_tag, gzip_tag = edition.tag, f"{edition.tag}-gzip"
    tags = (plain_tag, gzip_tag) if compressed is None else (gzip_tag, plain_tag)
    headers = {"cache-control": cache_control, "vary": "Accept-Encoding"}
    match = find_match(_joined(request, "if-none-match"), tags)
    if match is not None:
        return Response(b"", status_code=304, headers={**headers, "etag": f'"{match}"'})
    headers["etag"] = f'"{tags[0]}"'
    if compressed is not None:
        headers["content-encoding"] = "gzip"
    return Response(
        edition.body if compressed is None else compressed, media_type="application/json", headers=headers
    )


def _joined(request: AnyRequest, name: str) -> str:
    return ", ".join(request.headers.getall(name, []))
