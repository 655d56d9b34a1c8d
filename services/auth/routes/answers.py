"""What several of the handlers share."""

from typing import Final, TypeAlias

from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency

from shared.contracts.keys import Principal

NO_STORE: Final = CacheControlHeader(no_store=True)
"""Answers with a key in them must not lie about in anybody's cache."""

FromGateway: TypeAlias = NamedDependency[Principal]
"""Who is calling, by the gateway's token; without one the answer is 401."""
