"""`POST /registry/versions`."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias
from uuid import UUID

import msgspec
from litestar import Response, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec

from services.registry.openapi import PublishOperation
from services.registry.publish import Publication
from services.registry.request import PublishRequest, read_request
from services.registry.routes.query import AnyRequest
from shared.contracts.keys import SCOPE_OPERATOR, Principal
from shared.web.principal import require_scope

Publish: TypeAlias = Callable[[PublishRequest, UUID], Awaitable[Publication]]

_encoder: Final = msgspec.json.Encoder()


def build_publishing(publish: Publish, max_bytes: int) -> list[HTTPRouteHandler]:
    """The handler of a publish.

    Args:
        publish: stores a version for the key that sent it.
        max_bytes: the largest body.
    """

    @post(
        "/registry/versions",
        summary="Publish a version (scope: operator)",
        tags=["registry"],
        request_max_body_size=max_bytes,
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

    return [publish_version]
