"""`GET /registry` and what belongs to it: versions, whole or filtered, and the list of them."""

from typing import Annotated, Final

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, Parameter

from services.registry.lookup import Filters, Lookup, check_version, read_filters
from services.registry.routes.answer import CURRENT, IMMUTABLE, REVALIDATE, UNCHANGED, answer_with
from services.registry.routes.query import AnyRequest, Version, check_optional, check_single
from shared.contracts.registry import CAPABILITIES, Snapshot, VersionList

Providers = Annotated[list[str] | None, Parameter(description="only these providers, comma-separated")]
Capabilities = Annotated[
    list[str] | None,
    Parameter(
        description=f"only models with all of these, comma-separated: {', '.join(sorted(CAPABILITIES))}"
    ),
]
Active = Annotated[bool, Parameter(description="true leaves retired models out")]

_SNAPSHOT: Final = {200: ResponseSpec(Snapshot, description="the registry"), **UNCHANGED}


def build_versions(lookup: Lookup) -> list[HTTPRouteHandler]:
    """The handlers of versions.

    Args:
        lookup: answers what is in a version.
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
        edition = await lookup.get_edition(check_optional(version), filters)
        return await answer_with(request, edition, CURRENT)

    @get(
        "/registry/v/{version:str}/registry.json",
        summary="One immutable version",
        tags=["registry"],
        responses=_SNAPSHOT,
    )
    async def pinned(request: AnyRequest, version: FromPath[str]) -> Response[bytes]:
        edition = await lookup.get_edition(check_version(version), Filters())
        return await answer_with(request, edition, IMMUTABLE)

    @get(
        "/registry/versions",
        summary="Every version, newest first",
        tags=["registry"],
        responses={200: ResponseSpec(VersionList, description="the versions"), **UNCHANGED},
    )
    async def versions(request: AnyRequest) -> Response[bytes]:
        return await answer_with(request, await lookup.list_versions(), REVALIDATE)

    return [registry, pinned, versions]


def _listed(values: list[str] | None) -> str:
    return ",".join(values or ())
