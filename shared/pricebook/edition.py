"""One registry version, ready to price with."""

from datetime import datetime

from shared.contracts.registry import Snapshot
from shared.pricing.names import NameIndex
from shared.pricing.rates import Quote, quote
from shared.pricing.tokens import Tokens


class Edition:
    """One immutable registry version and its index of names.

    Attributes:
        digest: SHA-256 of the bytes that the registry serves it as, lower-case hex.
    """

    def __init__(self, snapshot: Snapshot, digest: str) -> None:
        self.digest = digest
        self.version = snapshot.version
        self.effective_from: datetime = snapshot.effective_from
        self._models = snapshot.models
        self._index = NameIndex(snapshot.models)

    def quote(self, provider: str, model: str, tokens: Tokens, service_tier: str) -> tuple[str | None, Quote]:
        """The registry key that the names resolve to, or None, and the exact price of the call."""
        key = self._index.find_key(provider, model)
        entry = None if key is None else self._models[key]
        return key, quote(tokens, entry, service_tier)
