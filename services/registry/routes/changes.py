"""What changed from version to version."""

from typing import Annotated

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, Parameter, QueryParameter

from services.registry.changelog import DEFAULT_PAGE, MAX_PAGE, Changelog
from services.registry.difference import Comparison
from services.registry.lookup import check_version
from services.registry.routes.answer import IMMUTABLE, REVALIDATE, UNCHANGED, answer_with
from services.registry.routes.query import AnyRequest, check_optional, check_single
from shared.contracts.changes import ChangelogPage, Difference, VersionChanges
from shared.errors import InvalidFieldError

Since = Annotated[str | None, Parameter(description="only versions after this one")]
Before = Annotated[str | None, Parameter(description="only versions before this one")]
Limit = Annotated[int, Parameter(ge=1, le=MAX_PAGE, description="at most so many versions")]
From = Annotated[
    str | None, QueryParameter(name="from", required=True, description="the version to start from")
]
To = Annotated[
    str | None, QueryParameter(name="to", description="the version to arrive at; the one in force if absent")
]


def build_changes(changelog: Changelog, comparison: Comparison) -> list[HTTPRouteHandler]:
    """The handlers of changes.

    Args:
        changelog: answers what a version changed.
        comparison: answers how two versions differ.
    """

    @get(
        "/registry/v/{version:str}/changes.json",
        summary="What one version changed",
        tags=["registry"],
        responses={
            200: ResponseSpec(VersionChanges, description="its changes, against its base"),
            **UNCHANGED,
        },
    )
    async def changes(request: AnyRequest, version: FromPath[str]) -> Response[bytes]:
        return await answer_with(request, await changelog.get_changes(check_version(version)), IMMUTABLE)

    @get(
        "/registry/changelog",
        summary="What each version changed, newest first",
        tags=["registry"],
        responses={200: ResponseSpec(ChangelogPage, description="versions with their changes"), **UNCHANGED},
    )
    async def list_changes(
        request: AnyRequest, since: Since = None, before: Before = None, limit: Limit = DEFAULT_PAGE
    ) -> Response[bytes]:
        check_single(request, "since", "before", "limit")
        page = await changelog.get_page(
            check_optional(since, "since"), check_optional(before, "before"), limit
        )
        return await answer_with(request, page, REVALIDATE)

    @get(
        "/registry/diff",
        summary="Everything that differs between two versions",
        tags=["registry"],
        responses={
            200: ResponseSpec(Difference, description="what makes the one out of the other"),
            **UNCHANGED,
        },
    )
    async def diff(request: AnyRequest, old: From = None, new: To = None) -> Response[bytes]:
        check_single(request, "from", "to")
        if old is None:
            raise InvalidFieldError.of("from", "is required: the version to start from")
        difference = await comparison.get_difference(check_version(old, "from"), check_optional(new, "to"))
        return await answer_with(request, difference, REVALIDATE if new is None else IMMUTABLE)

    return [changes, list_changes, diff]
