"""What anybody may ask, without a key: a verdict on a receipt, and the public keys."""

import hashlib
from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import CacheControlHeader
from litestar.handlers import HTTPRouteHandler
from litestar.params import RawBody

from services.receipts.routes.documents import VerifyOperation, describe_problems
from services.receipts.verify import Verification
from shared.contracts.evidence import JsonWebKeys
from shared.contracts.receipts import MAX_RECEIPT_BYTES, PublicKeys, Verdict
from shared.errors import TooLargeError
from shared.web.asgi import find_header

_CACHED = CacheControlHeader(public=True, max_age=300)
"""A verifier that meets an unknown key reads the set again; this bounds how long it may hold an old one."""

_encoder = msgspec.json.Encoder()


def build_public_routes(verification: Verification) -> list[HTTPRouteHandler]:
    """The handlers that need no key."""

    @post(
        "/api/v1/receipts/verify",
        status_code=200,
        operation_class=VerifyOperation,
        responses=describe_problems(400, 413, 429, 503),
        summary="Check a receipt",
        tags=["receipts"],
    )
    async def verify_receipt(body: RawBody) -> Verdict:
        if len(body) > MAX_RECEIPT_BYTES:
            raise TooLargeError(f"A receipt is at most {MAX_RECEIPT_BYTES} bytes long.")
        return await verification.verify_receipt(body)

    @get(
        "/api/v1/receipts/public-keys.json",
        responses=describe_problems(429, 503),
        cache_control=_CACHED,
        summary="Every key that ever signed a receipt",
        tags=["receipts"],
    )
    async def get_public_keys(request: Request[Any, Any, Any]) -> Response[PublicKeys]:
        keys = _encoder.encode(await verification.list_public_keys())
        return _cacheable(request, keys, "application/json")

    @get(
        "/api/v1/receipts/public-key.pem",
        responses=describe_problems(404, 429, 503),
        cache_control=_CACHED,
        media_type="application/x-pem-file",
        summary="The key that signs now",
        tags=["receipts"],
    )
    async def get_public_key_pem(request: Request[Any, Any, Any]) -> Response[str]:
        pem = (await verification.get_current_pem()).encode()
        return _cacheable(request, pem, "application/x-pem-file")

    @get(
        "/api/v1/receipts/jwks.json",
        responses=describe_problems(429, 503),
        cache_control=_CACHED,
        media_type="application/jwk-set+json",
        summary="The keys whose signatures count, as a JSON Web Key Set (RFC 7517)",
        tags=["receipts"],
    )
    async def get_jwks(request: Request[Any, Any, Any]) -> Response[JsonWebKeys]:
        keys = _encoder.encode(await verification.list_json_web_keys())
        return _cacheable(request, keys, "application/jwk-set+json")

    return [verify_receipt, get_public_keys, get_public_key_pem, get_jwks]


def _cacheable(request: Request[Any, Any, Any], content: bytes, media_type: str) -> Response[Any]:
    """The content with its ETag, or 304 for who has it already (RFC 9110, sections 8.8.3 and 13.1.2)."""
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    asked = (find_header(request.scope["headers"], b"if-none-match") or b"").decode("latin-1")
    known = {tag.strip().removeprefix("W/") for tag in asked.split(",")}
    if "*" in known or etag in known:
        return Response(b"", status_code=304, headers={"ETag": etag})
    return Response(content, headers={"ETag": etag}, media_type=media_type)
