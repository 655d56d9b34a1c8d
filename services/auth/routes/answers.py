"""What several of the handlers share."""

from typing import Any, Final, TypeAlias

from litestar import Request
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency

from shared.contracts.keys import Principal

NO_STORE: Final = CacheControlHeader(no_store=True)
"""Answers with a key in them must not lie about in anybody's cache."""

FromGateway: TypeAlias = NamedDependency[Principal]
"""Who is calling, by the gateway's token; without one the answer is 401."""


def client_of(request: Request[Any, Any, Any]) -> str:
    """The address that a request came from, as the gateway tells it."""
    told = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    return told or (request.client.host if request.client else "")
