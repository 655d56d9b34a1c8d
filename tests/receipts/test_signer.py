"""The signing key: made once, found again, rotated in the open, and never replaced in silence (case P38)."""

import asyncio
import base64
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import rfc8785

from services.receipts.settings import ReceiptsSettings
from services.receipts.signer import SigningKeyError
from shared.clock import FixedClock
from shared.errors import UnavailableError
from shared.proofs.signing import SigningKey
from tests.receipts.house import NOW, House, Street, a_rated, a_slice

SEED_1, SEED_2 = bytes([1]) * 32, bytes([2]) * 32
K1, K2 = SigningKey.from_seed(SEED_1).key_id, SigningKey.from_seed(SEED_2).key_id


def text(seed: bytes) -> str:
    return base64.b64encode(seed).decode()


def seed_files(street: Street) -> list[Path]:
    return sorted((street.data_dir / "receipts").glob("*"))


async def keys_of(house: House) -> dict[str, Any]:
    published = await house.get("/api/v1/receipts/public-keys.json", account=None)
    return {key["key_id"]: key for key in published["keys"]} | {"current": published["current_key_id"]}


async def test_the_first_start_makes_a_key_that_only_its_owner_can_read(street: Street) -> None:
    house = await street.open_house()
    [path] = seed_files(street)
    key = SigningKey.from_seed(path.read_bytes())
    assert path.name == f"{key.key_id}.seed"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    published = await keys_of(house)
    assert published["current"] == key.key_id
    assert published[key.key_id] == {
        "key_id": key.key_id,
        "algorithm": "Ed25519",
        "public_key": base64.b64encode(key.public_key).decode(),
        "not_before": "2031-05-03T12:00:00Z",
        "not_after": None,
        "status": "current",
    }


async def test_later_starts_find_the_same_key(street: Street) -> None:
    houses = [await street.open_house() for _ in range(3)]
    assert len({house.signer.key.key_id for house in houses}) == 1
    assert len(seed_files(street)) == 1


async def test_starts_at_the_same_time_make_one_key(street: Street) -> None:
    houses = await asyncio.gather(*(street.open_house() for _ in range(4)))
    assert len({house.signer.key.key_id for house in houses}) == 1
    assert len(seed_files(street)) == 1


async def test_a_missing_key_file_fails_the_start_and_makes_no_new_key(street: Street) -> None:
    house = await street.open_house()
    await house.issuer.issue_receipts(a_slice([a_rated()]))
    [path] = seed_files(street)
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(SigningKeyError, match=house.signer.key.key_id):
        await street.open_house()
    assert seed_files(street) == []
    assert len(await keys_of(house)) == 2  # the key and `current`
    path.write_bytes(content)
    assert (await street.open_house()).signer.key.key_id == house.signer.key.key_id


@pytest.mark.parametrize("content", [b"", bytes(31), SEED_2])
async def test_a_wrong_key_file_fails_the_start(street: Street, content: bytes) -> None:
    await street.open_house()
    [path] = seed_files(street)
    path.write_bytes(content)
    with pytest.raises(SigningKeyError, match=r"[Rr]estore"):
        await street.open_house()


@pytest.mark.parametrize(
    "seed", ["x", text(bytes(31)), text(SEED_1).rstrip("="), text(bytes([251]) * 32).replace("+", "-")]
)
async def test_a_seed_that_is_none_fails_the_start_without_being_told(street: Street, seed: str) -> None:
    with pytest.raises(SigningKeyError) as raised:
        await street.open_house(signing_seed=seed)
    assert seed not in str(raised.value) or seed == "x"


def test_settings_do_not_show_the_seed() -> None:
    assert text(SEED_1) not in repr(ReceiptsSettings(signing_seed=text(SEED_1)))


async def test_a_given_seed_leaves_no_file(street: Street) -> None:
    house = await street.open_house(signing_seed=text(SEED_1) + "\n")
    assert house.signer.key.key_id == K1
    assert seed_files(street) == []


async def test_a_new_seed_rotates_and_old_receipts_stay_valid(street: Street) -> None:
    first = await street.open_house(signing_seed=text(SEED_1))
    await first.issuer.issue_receipts(a_slice([a_rated()]))
    second = await street.open_house(signing_seed=text(SEED_2), clock=FixedClock(NOW + timedelta(hours=1)))
    published = await keys_of(second)
    assert published["current"] == K2
    assert (published[K1]["status"], published[K1]["not_after"]) == ("retired", "2031-05-04T13:00:00Z")
    assert (published[K2]["status"], published[K2]["not_before"]) == ("current", "2031-05-03T13:00:00Z")
    # The replica that still runs with the old key goes on during the overlap.
    await first.issuer.issue_receipts(a_slice([a_rated()], first=1))
    await second.issuer.issue_receipts(a_slice([a_rated()], first=2))
    receipts = (await second.get("/api/v1/receipts"))["receipts"]
    assert [receipt["key_id"] for receipt in receipts] == [K2, K1, K1]
    verdicts = [await second.post("/api/v1/receipts/verify", receipt, account=None) for receipt in receipts]
    assert verdicts == [
        {"valid": True, "key_status": "current"},
        {"valid": True, "key_status": "retired"},
        {"valid": True, "key_status": "retired"},
    ]


async def test_the_old_key_signs_nothing_after_the_overlap(street: Street) -> None:
    clock = FixedClock(NOW)
    old = await street.open_house(signing_seed=text(SEED_1), clock=clock)
    new = await street.open_house(signing_seed=text(SEED_2), clock=clock, rotation_overlap_s=60)
    clock.at = NOW + timedelta(seconds=61)
    with pytest.raises(UnavailableError):
        await old.issuer.issue_receipts(a_slice([a_rated()]))
    with pytest.raises(UnavailableError):
        await old.post("/api/v1/receipts", {"model": "openai:gpt-4o-mini"})
    await new.issuer.issue_receipts(a_slice([a_rated()]))
    assert [payload["key_id"] for payload in await new.payloads()] == [K2]


async def test_a_retired_seed_does_not_come_back(street: Street) -> None:
    await street.open_house(signing_seed=text(SEED_1))
    await street.open_house(signing_seed=text(SEED_2))
    with pytest.raises(SigningKeyError, match=f"{K1}, which is retired"):
        await street.open_house(signing_seed=text(SEED_1))


async def test_without_its_seed_a_key_that_was_given_is_missed(street: Street) -> None:
    await street.open_house(signing_seed=text(SEED_1))
    with pytest.raises(SigningKeyError, match=K1):
        await street.open_house()


async def test_a_revoked_key_counts_for_what_was_stored_before(street: Street) -> None:
    house = await street.open_house(signing_seed=text(SEED_1))
    await house.issuer.issue_receipts(a_slice([a_rated()]))
    [receipt] = (await house.get("/api/v1/receipts"))["receipts"]
    async with house.database.connection() as connection:
        await connection.execute(
            "UPDATE receipts.signing_keys SET status = 'revoked', revoked_at = $1, not_after = $1",
            NOW + timedelta(minutes=1),
        )
    verdict = await house.post("/api/v1/receipts/verify", receipt, account=None)
    assert verdict == {"valid": True, "key_status": "revoked_after_issue"}
    # The thief dates a receipt back. It was never stored.
    thief = SigningKey.from_seed(SEED_1)
    for account_id in [receipt["payload"]["account_id"], "nobody", 7]:
        forged = forge(thief, receipt["payload"] | {"cost": "999", "account_id": account_id})
        verdict = await house.post("/api/v1/receipts/verify", forged, account=None)
        assert verdict == {"valid": False, "reason": "key_revoked", "key_status": "revoked"}
    with pytest.raises(UnavailableError):
        await house.issuer.issue_receipts(a_slice([a_rated()], first=1))
    with pytest.raises(SigningKeyError, match="revoked"):
        await street.open_house(signing_seed=text(SEED_1))
    with pytest.raises(SigningKeyError, match="no signing key is current"):
        await street.open_house()
    assert (await keys_of(house))["current"] is None
    renewed = await street.open_house(signing_seed=text(SEED_2))
    await renewed.issuer.issue_receipts(a_slice([a_rated()], first=1))
    assert await renewed.numbers() == [1, 2]


def forge(key: SigningKey, payload: dict[str, Any]) -> dict[str, Any]:
    return {
        "receipt_id": payload["receipt_id"],
        "id": payload["receipt_id"],
        "payload": payload,
        "signature": base64.b64encode(key.sign(rfc8785.dumps(payload))).decode(),
        "key_id": key.key_id,
        "algorithm": "Ed25519",
    }
