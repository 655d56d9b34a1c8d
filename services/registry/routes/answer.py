"""Answer with an edition: in the coding that the client takes, or 304 where it has it already."""

from typing import Any, Final, NamedTuple

from litestar import Request, Response
from litestar.openapi.datastructures import ResponseSpec

from services.registry.conditional import choose_coding, find_match
from services.registry.edition import CODINGS, Edition

CURRENT: Final = "public, max-age=3600"
IMMUTABLE: Final = "public, max-age=31536000, immutable"
REVALIDATE: Final = "no-cache"

UNCHANGED: Final = {304: ResponseSpec(None, description="what If-None-Match names is still the answer")}
"""What every answer of `answer_with` may be besides, for the OpenAPI document."""

_ALL_CODINGS: Final = (None, *CODINGS)


class Choice(NamedTuple):
    """In which form to send an edition.

    Attributes:
        matched: the tag of it that the client has; None where it has none.
        tag: of the form to send.
    """

    coding: str | None
    matched: str | None
    tag: str


def choose_form(edition: Edition, accept_encoding: str, if_none_match: str) -> Choice:
    """Decide between a form and 304 by the request's headers of these names; empty where it has none."""
    coding = edition.settle_coding(choose_coding(accept_encoding) if accept_encoding else None)
    tag = edition.tag_of(coding)
    matched = None
    if if_none_match:
        others = (edition.tag_of(other) for other in _ALL_CODINGS if other != coding)
        matched = find_match(if_none_match, (tag, *others))
    return Choice(coding, matched, tag)


async def answer_with(
    request: Request[Any, Any, Any], edition: Edition, cache_control: str
) -> Response[bytes]:
    """Send an edition, or say that the client has it."""
    choice = choose_form(edition, _joined(request, "accept-encoding"), _joined(request, "if-none-match"))
    headers = {"cache-control": cache_control, "vary": "Accept-Encoding"}
    if choice.matched is not None:
        return Response(b"", status_code=304, headers={**headers, "etag": f'"{choice.matched}"'})
    headers["etag"] = f'"{choice.tag}"'
    if choice.coding is not None:
        headers["content-encoding"] = choice.coding
    return Response(await edition.get_form(choice.coding), media_type="application/json", headers=headers)


def _joined(request: Request[Any, Any, Any], name: str) -> str:
    return ", ".join(request.headers.getall(name, []))
