"""Keys in the memory of the one process that has no Redis, and keys where there is no memory either."""

from datetime import timedelta

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


async def test_memory_decides_alone_only_while_it_has_forgotten_nothing_of_late() -> None:
    now = 0.0
    firsts = MemoryFirsts(max_bytes=10_000, recall=timedelta(seconds=10), monotonic=lambda: now)
    with pytest.raises(UnavailableError):
        await firsts.settle_if_whole(b"k", b"v")  # what was claimed before is not there yet
    assert (token := await firsts.memory.begin()) is not None
    assert await firsts.memory.end(token)
    assert await firsts.settle_if_whole(b"k", b"v") == b"v"
    for number in range(18):
        await firsts.settle(b"%d" % number, b"v" * 100)
    assert await firsts.settle_if_whole(b"k", b"w") == b"v"
    with pytest.raises(UnavailableError):
        await firsts.settle_if_whole(b"new", b"v" * 500)  # an entry would have to go
    await firsts.settle(b"new", b"v" * 500)
    now = 9
    assert await firsts.settle_if_whole(b"17", b"w") == b"v" * 100
    with pytest.raises(UnavailableError):
        await firsts.settle_if_whole(b"k", b"w")
    now = 10
    assert await firsts.settle_if_whole(b"k", b"w") == b"w"


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
