"""A registry service of a few models in memory, for a real pricebook; tests publish its versions."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from types import MappingProxyType

import msgspec

from shared.contracts.registry import Model, Snapshot, VersionList, VersionListing
from shared.errors import NotFoundError, UnavailableError
from shared.web.client import Answer, HeaderList

_encoder = msgspec.json.Encoder(decimal_format="number")


class ARegistry:
    """Stands where the upstream of the registry stands.

    Attributes:
        is_away: nothing is answered.
        unheard: versions of which the instance that is asked knows nothing yet.
        calls: the paths that were asked for.
    """

    def __init__(self) -> None:
        self._snapshots: dict[str, Snapshot] = {}
        self.is_away = False
        self.unheard: set[str] = set()
        self.calls: list[str] = []

    def publish(
        self,
        version: str,
        effective_from: datetime,
        prices: Mapping[str, tuple[str, str]],
        aliases: Mapping[str, list[str]] = MappingProxyType({}),
    ) -> None:
        """Add a version: the prices of input and output by key, and other names of keys."""
        models: dict[str, Model] = {}
        for key, price in prices.items():
            provider, _, name = key.partition(":")
            models[key] = Model(
                provider=provider,
                model_name=name,
                model_aliases=aliases.get(key, []),
                dollars_per_million_tokens_input=Decimal(price[0]),
                dollars_per_million_tokens_output=Decimal(price[1]),
            )
        self._snapshots[version] = Snapshot(
            version=version,
            generated_at=effective_from,
            effective_from=effective_from,
            models=models,
            providers={},
        )

    async def call(self, method: str, path: str, *, headers: HeaderList = (), body: bytes = b"") -> Answer:
        """Answer as the registry would."""
        self.calls.append(path)
        if self.is_away:
            raise UnavailableError("The registry is away.")
        if path == "/registry/versions":
            listed = [
                VersionListing(
                    version=each.version,
                    generated_at=each.generated_at,
                    effective_from=each.effective_from,
                    digest="",
                    models=len(each.models),
                )
                for each in reversed(self._snapshots.values())
                if each.version not in self.unheard
            ]
            encoded = _encoder.encode(VersionList(listed))
            tag = b'"%s"' % sha256(encoded).hexdigest().encode()
            if (b"if-none-match", tag) in headers:
                return Answer(304, ((b"etag", tag),), b"")
            return Answer(200, ((b"etag", tag),), encoded)
        version = path.split("/")[3]
        if version not in self._snapshots or version in self.unheard:
            raise NotFoundError("There is no such version.")
        return Answer(200, (), _encoder.encode(self._snapshots[version]))
