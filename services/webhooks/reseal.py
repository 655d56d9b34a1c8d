"""Change the sealing key, and seal all secrets with the new one.

First the new key is made the one that counts, and it is noted that the one before is retiring; then secrets
are sealed anew, a few at a time; then the note is taken away. Whoever dies in between leaves both keys in
use, and whoever does this again goes on with it. Processes at work have both keys, or find the new one in the
directory.
"""

import logging
from typing import Final, NamedTuple
from uuid import UUID

from services.webhooks.key_ring import KeyFiles, Ring, SealingKeyError
from services.webhooks.settings import WebhooksSettings
from services.webhooks.store.sealing import (
    Sealed,
    Sealing,
    find_sealing,
    list_sealed,
    lock_sealing,
    retire,
    store_sealed,
    unretire,
)
from shared.postgres import Database
from shared.proofs.sealing import seal, unseal

BATCH: Final = 200
_FIRST: Final = UUID(int=0)

_log = logging.getLogger(__name__)


class Rotation(NamedTuple):
    """What was done.

    Attributes:
        fingerprint: of the key that counts now.
        resealed: endpoints whose secrets were sealed anew.
        lost: endpoints whose secrets no key opens; they stay as they are.
    """

    fingerprint: bytes
    resealed: int
    lost: int


async def rotate_sealing_key(database: Database, settings: WebhooksSettings, batch: int = BATCH) -> Rotation:
    """Change the key, or go on with a change that was begun.

    Raises:
        SealingKeyError: there is nothing to change, or a key that it takes is not to be had.
        UnavailableError: the database is away; it may be begun, and can be gone on with.
    """
    sealing, ring = await _begin(database, KeyFiles(settings))
    resealed = lost = 0
    after = (_FIRST, _FIRST)
    while True:
        async with database.transaction() as connection:
            found = await list_sealed(connection, after, batch)
            changed = []
            for each in found:
                anew = _reseal(each, ring, sealing.fingerprint)
                if anew is None:
                    lost += 1
                    _log.error("no key opens the secrets of webhook %s", each.endpoint_id)
                elif anew != each:
                    changed.append(anew)
            if changed:
                await store_sealed(connection, changed)
        resealed += len(changed)
        if len(found) < batch:
            break
        after = found[-1].account_id, found[-1].endpoint_id
    async with database.transaction() as connection:
        await unretire(connection, sealing)
    return Rotation(sealing.fingerprint, resealed, lost)


async def _begin(database: Database, files: KeyFiles) -> tuple[Sealing, Ring]:
    """Have the new key count, after those who seal with the one before have ended."""
    async with database.transaction() as connection:
        await lock_sealing(connection)
        known = await find_sealing(connection)
        if known is None:
            raise SealingKeyError("no secret was ever sealed: there is no key to change")
        ring = files.read()
        for needed in (known.fingerprint, known.retiring):
            if needed is not None and needed not in ring:
                raise SealingKeyError(f"the key {needed.hex()[:16]}, which opens secrets, is not here")
        if known.retiring is None:
            new = next(iter(ring)) if files.are_settings else files.make(first=False)
            if new == known.fingerprint:
                raise SealingKeyError(
                    "the key is a setting: put a new one, such as `llmring-api keys webhooks` prints, before "
                    "it with a comma, restart every process of webhooks with both, and do this again"
                )
            ring = files.read()
            known = Sealing(new, known.fingerprint)
            await retire(connection, known)
    return known, ring


def _reseal(sealed: Sealed, ring: Ring, fingerprint: bytes) -> Sealed | None:
    """The secrets of an endpoint, sealed with one key; None where none opens them."""
    key = ring[fingerprint]
    others = [each for each in ring.values() if each != key]
    anew: list[bytes | None] = []
    for secret in (sealed.secret, sealed.old_secret):
        if secret is None or unseal(secret, key) is not None:
            anew.append(secret)
            continue
        plain = next((found for each in others if (found := unseal(secret, each)) is not None), None)
        if plain is None:
            return None
        anew.append(seal(plain, key))
    assert anew[0] is not None  # noqa: S101 - each has a secret
    return sealed._replace(secret=anew[0], old_secret=anew[1])
