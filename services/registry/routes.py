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

from services.registry.answer import CURRENT, IMMUTABLE, REVALIDATE, answer_with
from services.registry.changelog import DEFAULT_PAGE, MAX_PAGE, Changelog
from services.registry.lookup import Filters, Lookup, check_version, read_filters
from services.registry.openapi import PublishOperation
from services.registry.publish import Publication
from services.registry.request import PublishRequest, read_request
from shared.contracts.changes import ChangelogPage, VersionChanges
from shared.contracts.keys import SCOPE_OPERATOR, Principal
from shared.contracts.registry import CAPABILITIES, Snapshot, VersionList
from shared.errors import Fault, InvalidFieldError
from shared.web.principal import require_scope

AnyRequest: TypeAlias = Request[Any, Any, Any]
Publish: TypeAlias = Callable[[PublishRequest, UUID], Awaitable[Publication]]

Version = Annotated[str | None, Parameter(description="a version, YYYY.MM.DD or YYYY.MM.DD.n")]
Providers = Annotated[list[str] | None, Parameter(description="only these providers, comma-separated")]
Capabilities = Annotated[
    list[str] | None,
    Parameter(
        description=f"only models with all of these, comma-separated: {', '.join(sorted(CAPABILITIES))}"
    ),
]
Active = Annotated[bool, Parameter(description="true leaves retired models out")]
Since = Annotated[str | None, Parameter(description="only versions after this one")]
Before = Annotated[str | None, Parameter(description="only versions before this one")]
Limit = Annotated[int, Parameter(ge=1, le=MAX_PAGE, description="at most so many versions")]

_SNAPSHOT: Final = {200: ResponseSpec(Snapshot, description="the registry")}
_encoder: Final = msgspec.json.Encoder()


def build_routes(
    lookup: Lookup, changelog: Changelog, publish: Publish, publish_bytes: int
) -> list[HTTPRouteHandler]:
    """The handlers of the registry.

    Args:
        lookup: answers what is in a version.
        changelog: answers what changed in it.
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
        check_single(request, "version", "active")
        filters = read_filters(_listed(providers), _listed(capabilities), active=active)
        return await answer_with(request, await lookup.get_edition(version, filters), CURRENT)

    @get(
        "/registry/v/{version:str}/registry.json",
        summary="One immutable version",
        tags=["registry"],
        responses=_SNAPSHOT,
    )
    async def pinned(request: AnyRequest, version: FromPath[str]) -> Response[bytes]:
        return await answer_with(request, await lookup.get_edition(version, Filters()), IMMUTABLE)

    @get(
        "/registry/v/{version:str}/changes.json",
        summary="What one version changed",
        tags=["registry"],
        responses={200: ResponseSpec(VersionChanges, description="its changes, against its base")},
    )
    async def changes(request: AnyRequest, version: FromPath[str]) -> Response[bytes]:
        return await answer_with(request, await changelog.get_changes(check_version(version)), IMMUTABLE)

    @get(
        "/registry/versions",
        summary="Every version, newest first",
        tags=["registry"],
        responses={200: ResponseSpec(VersionList, description="the versions")},
    )
    async def versions(request: AnyRequest) -> Response[bytes]:
        return await answer_with(request, await lookup.list_versions(), REVALIDATE)

    @get(
        "/registry/changelog",
        summary="What each version changed, newest first",
        tags=["registry"],
        responses={200: ResponseSpec(ChangelogPage, description="versions with their changes")},
    )
    async def list_changes(
        request: AnyRequest, since: Since = None, before: Before = None, limit: Limit = DEFAULT_PAGE
    ) -> Response[bytes]:
        check_single(request, "since", "before", "limit")
        page = await changelog.get_page(
            None if since is None else check_version(since, "since"),
            None if before is None else check_version(before, "before"),
            limit,
        )
        return await answer_with(request, page, REVALIDATE)

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

    return [registry, pinned, changes, versions, list_changes, publish_version]


def check_single(request: AnyRequest, *names: str) -> None:
    """Let pass a query in which each of these parameters stands once at most.

    Raises:
        InvalidFieldError: one stands there more often, and they may not say the same.
    """
    faults = [
        Fault(name, "is given more than once")
        for name in names
        if len(request.query_params.getall(name, [])) > 1
    ]
    if faults:
        raise InvalidFieldError.all(faults)


def _listed(values: list[str] | None) -> str:
    return ",".join(values or ())
