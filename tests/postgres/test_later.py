"""A database that comes after the process that uses it."""

import asyncio

import pytest

from shared.errors import UnavailableError
from shared.postgres import Database, DatabaseToCome, open_database


async def test_it_is_unavailable_until_it_is_there(postgres_url: str) -> None:
    arrived = asyncio.Event()

    async def opening() -> Database:
        await arrived.wait()
        return await open_database(postgres_url, application_name="test", min_size=0)

    database = DatabaseToCome(postgres_url, opening())
    for _ in range(2):
        with pytest.raises(UnavailableError):
            await database.ping()
        with pytest.raises(UnavailableError):
            async with database.transaction():
                pass
        await asyncio.sleep(0)
    arrived.set()
    async with asyncio.timeout(10):
        while True:
            try:
                await database.ping()
                break
            except UnavailableError:
                await asyncio.sleep(0.05)
    async with database.transaction() as connection:
        assert await connection.fetchval("SELECT 1") == 1
    await database.close()


async def test_it_can_be_closed_while_it_is_waited_for(postgres_url: str) -> None:
    async def opening() -> Database:
        await asyncio.Event().wait()
        raise AssertionError("never")

    database = DatabaseToCome(postgres_url, opening())
    async with asyncio.timeout(5):
        await database.close()
