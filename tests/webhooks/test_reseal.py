"""The key that seals secrets is changed; every secret stays what it was, whatever happens meanwhile."""

import asyncio
import sys
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import click.testing
import pytest

from services.cli.webhooks import webhooks
from services.webhooks.key_ring import SealingKeyError, fingerprint_of
from services.webhooks.reseal import Rotation, rotate_sealing_key
from services.webhooks.store import sealing as store
from shared.clock import FixedClock
from shared.errors import UnavailableError
from shared.proofs.sealing import unseal
from tests.webhooks.house import House, Street
from tests.webhooks.receiver import Receiver

OLD, NEW, OTHER = (b64encode(bytes([number]) * 32).decode() for number in (1, 2, 3))


def name_of(key: str) -> bytes:
    return fingerprint_of(b64decode(key))


async def sealed_with(house: House, keys: dict[str, bytes]) -> dict[str, int]:
    """How many stored secrets each key opens, those before a rotation included."""
    async with house.database.connection() as connection:
        rows = await connection.fetch("SELECT secret, old_secret FROM webhooks.endpoints")
    secrets = [each for row in rows for each in row.values() if each is not None]
    return {name: sum(unseal(bytes(each), key) is not None for each in secrets) for name, key in keys.items()}


async def rotate(house: House, *, batch: int = 2) -> Rotation:
    return await rotate_sealing_key(house.database, house.settings, batch)


async def test_a_running_process_takes_the_new_key_and_every_secret_stays_what_it_was(
    street: Street, house: House, receiver: Receiver, tmp_path: Path
) -> None:
    hooks = [await house.register(receiver.url, "model.added") for _ in range(5)]
    rotated = await house.call("POST", f"/{hooks[0]['id']}/rotate-secret")
    before = (tmp_path / "webhooks" / "sealing.key").read_bytes()
    done = await rotate(house)
    assert (done.resealed, done.lost) == (5, 0)
    [new] = (tmp_path / "webhooks").glob("sealing-*.key")
    assert new.stat().st_mode & 0o777 == 0o600
    assert fingerprint_of(new.read_bytes()) == done.fingerprint
    keys = {"old": before, "new": new.read_bytes()}
    assert await sealed_with(house, keys) == {"old": 0, "new": 6}

    made = await house.register(receiver.url, "model.added")
    assert await sealed_with(house, keys) == {"old": 0, "new": 7}
    (tmp_path / "webhooks" / "sealing.key").unlink()
    for process in (house, await street.open_house()):
        receiver.received.clear()
        for hook in (*hooks[1:], made):
            await process.send_test(hook)
            assert await process.deliver() == 1
            assert receiver.received[-1].verify(hook["secret"])
        await process.send_test(hooks[0])
        await process.deliver()
        for secret in (hooks[0]["secret"], rotated["secret"]):
            assert receiver.received[-1].verify(secret)


@pytest.mark.parametrize(
    ("fails", "at"),
    [("retire", 1), ("list_sealed", 1), ("list_sealed", 2), ("store_sealed", 2), ("unretire", 1)],
)
async def test_whatever_fails_in_the_middle_leaves_secrets_open_and_is_gone_on_with(
    street: Street, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, fails: str, at: int
) -> None:
    house = await street.open_house()
    hooks = [await house.register(receiver.url, "model.added") for _ in range(5)]
    real, count = getattr(store, fails), 0

    async def fail(*args: object) -> object:
        nonlocal count
        count += 1
        if count == at:
            raise UnavailableError("The database is away.")
        return await real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(f"services.webhooks.reseal.{fails}", fail)
        with pytest.raises(UnavailableError):
            await rotate(house)
    processes = house, await street.open_house()
    hooks.append(await house.register(receiver.url, "model.added"))
    for process in processes:
        for hook in hooks:
            await process.send_test(hook)
            assert await process.deliver() == 1
            assert receiver.received[-1].verify(hook["secret"])
    done = await rotate(house)
    assert done.lost == 0
    async with house.database.connection() as connection:
        assert await store.find_sealing(connection) == store.Sealing(done.fingerprint, None)
    ring = {path.name: path.read_bytes() for path in (street.data_dir / "webhooks").iterdir()}
    opened = await sealed_with(house, ring)
    assert max(opened.values()) == 6
    assert sum(opened.values()) == 6


async def test_secrets_that_are_made_and_rotated_meanwhile_are_all_sealed_with_the_new_key(
    house: House, receiver: Receiver
) -> None:
    hooks = [await house.register(receiver.url, "model.added") for _ in range(8)]
    secrets: dict[str, list[str]] = {each["id"]: [each["secret"]] for each in hooks}
    done = asyncio.Event()

    async def work(mine: list[dict[str, str]]) -> None:
        while not done.is_set():
            for hook in mine:
                answer = await house.call("POST", f"/{hook['id']}/rotate-secret")
                secrets[hook["id"]].append(answer["secret"])

    workers = [asyncio.create_task(work(hooks[number::4])) for number in range(4)]
    for _ in range(3):
        await asyncio.gather(rotate(house), rotate(house))
    done.set()
    await asyncio.gather(*workers)
    async with house.database.connection() as connection:
        sealing = await store.find_sealing(connection)
    assert sealing is not None
    assert sealing.retiring is None
    keys = {path.name: path.read_bytes() for path in (Path(house.settings.data_dir) / "webhooks").iterdir()}
    [name] = [name for name, key in keys.items() if fingerprint_of(key) == sealing.fingerprint]
    opened = await sealed_with(house, keys)
    assert opened.pop(name) == 16
    assert set(opened.values()) == {0}
    for hook in hooks:
        await house.send_test(hook)
        assert await house.deliver() == 1
        for secret in secrets[hook["id"]][-2:]:
            assert receiver.received[-1].verify(secret)


async def test_a_key_that_is_a_setting_is_changed_with_both_at_hand(
    street: Street, receiver: Receiver
) -> None:
    clock = FixedClock(datetime.now(UTC))
    old = await street.open_house(sealing_keys=(OLD,), clock=clock)
    hook = await old.register(receiver.url, "model.added")
    for keys in ((OLD,), (NEW,), (NEW, OTHER), ("c2hvcnQ=",)):
        with pytest.raises(SealingKeyError):
            await rotate_sealing_key(old.database, old.settings.__class__(sealing_keys=keys))
    both = await street.open_house(sealing_keys=(NEW, OLD), clock=clock)
    first = await both.register(receiver.url, "model.added")
    assert await rotate(both) == Rotation(name_of(NEW), 2, 0)
    with pytest.raises(SealingKeyError):
        await rotate(both)
    with pytest.raises(SealingKeyError, match=name_of(NEW).hex()[:16]):
        await street.open_house(sealing_keys=(OLD,))
    with pytest.raises(UnavailableError):
        await old.register(receiver.url, "model.added")
    new = await street.open_house(sealing_keys=(NEW,), clock=clock)
    for made in (hook, first, await both.register(receiver.url, "model.added")):
        await new.send_test(made)
        assert await old.deliver() == 1, "it takes it, and cannot open the secret"
        assert await new.deliver() == 0
        new.advance(seconds=41)
        assert await new.deliver() == 1
        assert receiver.received[-1].verify(made["secret"])
    assert len(receiver.received) == 3


async def test_a_secret_that_no_key_opens_is_told_and_left_and_a_key_of_nobody_cannot_be_changed(
    house: House, receiver: Receiver
) -> None:
    await house.register(receiver.url, "model.added")
    async with house.database.connection() as connection:
        await connection.execute("UPDATE webhooks.endpoints SET secret = 'damaged'")
    assert (await rotate(house))[1:] == (0, 1)
    async with house.database.connection() as connection:
        assert await connection.fetchval("SELECT secret FROM webhooks.endpoints") == b"damaged"
        await connection.execute("DELETE FROM webhooks.sealing_key")
    with pytest.raises(SealingKeyError, match="ever sealed"):
        await rotate(house)


async def test_the_command_killed_at_work_goes_on_when_it_is_given_again(
    street: Street, receiver: Receiver
) -> None:
    house = await street.open_house(endpoints_per_account=1000)
    hooks = [await house.register(receiver.url, "model.added") for _ in range(450)]
    environment = {"LLMRING_DATABASE_URL": street.url, "LLMRING_DATA_DIR": str(street.data_dir)}
    async with house.database.transaction() as connection:
        await connection.execute(  # the command waits here, in its second slice
            "SELECT FROM webhooks.endpoints WHERE endpoint_id = $1 FOR UPDATE",
            UUID(sorted(each["id"] for each in hooks)[300]),
        )
        command = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services", "webhooks", "keys", "rotate", env=environment
        )
        async with asyncio.timeout(60):
            while len({bytes(each) for each in await _openers(house, street)}) < 2:
                assert command.returncode is None
                await asyncio.sleep(0.05)
        command.kill()
        await command.wait()
    assert len(set(await _openers(house, street))) == 2, (
        "some are sealed with the one key, some with the other"
    )
    for hook in (hooks[0], hooks[-1]):
        await house.send_test(hook)
        assert await house.deliver() == 1
        assert receiver.received[-1].verify(hook["secret"])
    result = await asyncio.to_thread(
        click.testing.CliRunner().invoke, webhooks, ["keys", "rotate"], env=environment
    )
    assert result.exit_code == 0, result.output
    assert "Those of 250 webhooks were sealed anew" in result.output
    assert len(set(await _openers(house, street))) == 1
    for hook in (hooks[0], hooks[-1]):
        await house.send_test(hook)
        assert await house.deliver() == 1
        assert receiver.received[-1].verify(hook["secret"])


async def _openers(house: House, street: Street) -> list[bytes]:
    """The key that opens each stored secret."""
    keys = [path.read_bytes() for path in (street.data_dir / "webhooks").iterdir()]
    async with house.database.connection() as connection:
        rows = await connection.fetch("SELECT secret FROM webhooks.endpoints")
    return [next(key for key in keys if unseal(bytes(row[0]), key) is not None) for row in rows]
