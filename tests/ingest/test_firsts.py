"""Keys in the memory of the one process that has no Redis, and keys where there is no memory either."""

import pytest

from services.ingest.firsts import MemoryFirsts
from shared.errors import UnavailableError
from tests.ingest.conftest import Way
from tests.ingest.house import B, Street
from tests.ingest.test_claims import later


async def test_memory_for_keys_has_an_end() -> None:
    firsts = MemoryFirsts(max_bytes=10_000)
    for number in range(1000):
        assert await firsts.settle(b"%d" % number, b"v" * 100) == b"v" * 100
    assert await firsts.settle(b"999", b"other") == b"v" * 100
    assert await firsts.settle(b"0", b"other") == b"other"


async def test_one_process_without_redis_remembers_by_itself(street: Street, to_postgres: Way) -> None:
    ingest = await street.open_ingest(url=to_postgres.url, claim_cache=MemoryFirsts())
    before = await ingest.log("before")
    await to_postgres.link.cut()
    first = await ingest.log("k")
    later(ingest)
    assert await ingest.log("k") == first
    assert await ingest.log("before") == before
    assert await ingest.log("k", account=B) != first
    await to_postgres.link.open()
    await street.rate_all()
    assert len(await street.rows()) == 3


async def test_without_a_cache_a_key_needs_postgres(street: Street, to_postgres: Way) -> None:
    ingest = await street.open_ingest(url=to_postgres.url)
    await to_postgres.link.cut()
    with pytest.raises(UnavailableError):
        await ingest.log("k")
    await ingest.log()
    assert len(await street.logged()) == 1
