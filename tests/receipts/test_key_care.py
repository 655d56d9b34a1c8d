"""Rotation in the data directory, and a key that was compromised."""

import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from services.receipts.log import ReceiptLog
from services.receipts.revoke import RevocationError, revoke_key
from services.receipts.settings import ReceiptsSettings
from services.receipts.signer import Signer, SigningKeyError
from shared.clock import FixedClock
from shared.errors import UnavailableError
from shared.proofs.evidence import read_evidence
from shared.proofs.offline import Trust, verify_offline
from shared.proofs.receipt import KeySet
from shared.proofs.signing import encode_base64
from shared.proofs.tlog.checkpoint import Checkpoint, open_checkpoint
from shared.proofs.tlog.note import VerifierKey
from tests.receipts.house import NOW, House, Street, a_rated, a_slice

PATH = "/api/v1/receipts"


@pytest.fixture
async def desk(street: Street) -> "Desk":
    house = await street.open_house(clock=FixedClock(NOW))
    return Desk(street, house)


class Desk:
    """A running process, and the operator beside it."""

    def __init__(self, street: Street, house: House) -> None:
        self.street = street
        self.house = house
        self.first = house.signer.key.key_id
        self.offset = 0

    async def rotate(self, **settings: Any) -> str:
        signer = Signer(
            self.house.database,
            ReceiptsSettings(data_dir=str(self.street.data_dir), **settings),
            self.house.clock,
        )
        key = await signer.rotate()
        await ReceiptLog(self.house.database, signer, "", self.house.clock).renew_signature()
        return key.key_id

    async def issue(self, count: int = 1) -> None:
        await self.house.issuer.issue_receipts(a_slice([a_rated() for _ in range(count)], first=self.offset))
        self.offset += count

    async def signers(self) -> list[str]:
        return [payload["key_id"] for payload in await self.house.payloads()]

    async def checkpoint(self) -> tuple[Checkpoint, bytes]:
        """The newest one, and which key signed it."""
        raw = (await self.house.call("GET", f"{PATH}/checkpoint", account=None)).body.decode()
        lines = (await self.house.call("GET", f"{PATH}/verifier-keys.txt", account=None)).body.decode()
        opened = open_checkpoint(raw, raw.split("\n", 1)[0], map(VerifierKey.parse, lines.split()))
        [signature] = opened.signatures
        return opened.checkpoint, signature.key.public_key

    async def bundle(self, number: int) -> bytes:
        receipt_id = (await self.house.payloads())[number]["receipt_id"]
        return (await self.house.call("GET", f"{PATH}/{receipt_id}/bundle")).body


async def test_a_running_process_takes_a_new_key_with_its_next_receipt(desk: Desk) -> None:
    await desk.issue(2)
    second = await desk.rotate()
    assert sorted(path.stem for path in (desk.street.data_dir / "receipts").glob("*.seed")) == sorted(
        [desk.first, second]
    )
    await desk.issue()
    await desk.house.post(PATH, {"model": "m", "cost": 1})
    third = await desk.rotate()
    await desk.issue()
    assert await desk.signers() == [desk.first, desk.first, second, second, third]
    published = await desk.house.get(f"{PATH}/public-keys.json", account=None)
    assert {key["key_id"]: key["status"] for key in published["keys"]} == {
        desk.first: "retired",
        second: "retired",
        third: "current",
    }
    for receipt in (await desk.house.get(PATH))["receipts"]:
        assert (await desk.house.post(f"{PATH}/verify", receipt, account=None))["valid"]
    assert (await desk.street.open_house()).signer.key.key_id == third


async def test_the_checkpoint_is_signed_anew_when_the_key_is_rotated(desk: Desk) -> None:
    await desk.issue(3)
    before, by = await desk.checkpoint()
    assert by == desk.house.signer.key.public_key
    await desk.rotate()
    after, by = await desk.checkpoint()
    assert after == before
    assert by != desk.house.signer.key.public_key
    # A start with a new seed does the same; one with the same key changes nothing.
    new = await desk.street.open_house(signing_seed=encode_base64(bytes([5]) * 32))
    assert await desk.checkpoint() == (before, new.signer.key.public_key)


@pytest.mark.parametrize(
    "damage",
    [
        "tree_size = 4",
        "tree_size = 4, frontier = sha256('')",
        "tree_size = 5",
        "checkpoint = 'x'",
        "checkpoint = replace(checkpoint, origin, origin || '2')",
    ],
)
async def test_a_checkpoint_that_does_not_hold_is_not_signed_anew(desk: Desk, damage: str) -> None:
    await desk.issue(3)
    async with desk.house.database.transaction() as connection:
        await connection.execute(f"UPDATE receipts.log SET {damage}")
    before = (await desk.house.call("GET", f"{PATH}/checkpoint", account=None)).body
    await desk.rotate()
    assert (await desk.house.call("GET", f"{PATH}/checkpoint", account=None)).body == before


async def test_a_new_key_that_cannot_be_read_leaves_the_old_one_its_overlap(desk: Desk) -> None:
    second = await desk.rotate()
    seed = desk.street.data_dir / "receipts" / f"{second}.seed"
    content = seed.read_bytes()
    seed.unlink()
    await desk.issue()
    assert await desk.signers() == [desk.first]
    assert isinstance(desk.house.clock, FixedClock)
    desk.house.clock.at = NOW + timedelta(days=1, seconds=1)
    with pytest.raises(UnavailableError):
        await desk.issue()
    seed.write_bytes(content)
    await desk.issue()
    assert await desk.signers() == [desk.first, second]


async def test_a_key_is_not_rotated_where_it_is_not_kept(desk: Desk) -> None:
    with pytest.raises(SigningKeyError, match="the signing seed is a setting"):
        await desk.rotate(signing_seed=encode_base64(bytes([5]) * 32))
    (desk.street.data_dir / "receipts" / f"{desk.first}.seed").unlink()
    with pytest.raises(SigningKeyError, match="cannot be read"):
        await desk.rotate()
    assert list((desk.street.data_dir / "receipts").iterdir()) == []
    published = await desk.house.get(f"{PATH}/public-keys.json", account=None)
    assert [key["status"] for key in published["keys"]] == ["current"]


async def test_a_compromised_key_is_replaced_and_what_is_older_stays_true(desk: Desk) -> None:
    await desk.issue(2)
    assert isinstance(desk.house.clock, FixedClock)
    early = await desk.bundle(0)
    desk.house.clock.at = NOW + timedelta(hours=2)
    await desk.issue()
    second = await desk.rotate()
    at = NOW + timedelta(hours=1)
    done = await revoke_key(desk.house.database, desk.first, at, desk.house.clock)
    assert (done.signed.before, done.signed.since, done.current_key_id) == (2, 1, second)
    await desk.issue()
    assert (await desk.signers())[-1] == second

    published = await desk.house.get(f"{PATH}/public-keys.json", account=None)
    old = next(key for key in published["keys"] if key["key_id"] == desk.first)
    assert (old["status"], old["revoked_at"], old["not_after"]) == (
        "revoked",
        "2031-05-03T13:00:00Z",
        "2031-05-03T13:00:00Z",
    )
    assert [key["kid"] for key in (await desk.house.get(f"{PATH}/jwks.json", account=None))["keys"]] == [
        second
    ]

    keys = read_evidence(await desk.bundle(0)).public_keys
    assert keys is not None
    log_keys = read_evidence(await desk.bundle(0)).log_keys
    trust = Trust(keys=KeySet(keys.keys), log_keys=log_keys, strict=True)
    verdicts = [verify_offline(read_evidence(await desk.bundle(number)), trust) for number in range(4)]
    assert [verdict.valid for verdict in verdicts] == [True, True, False, True]
    # Of the bundle that was saved before, the checkpoint is signed by a key that somebody else may have had.
    assert not verify_offline(read_evidence(early), trust).valid
    alone = msgspec.json.encode(json.loads(early)["receipt"])
    assert not verify_offline(read_evidence(alone), Trust(keys=trust.keys)).valid


async def test_nonsense_is_refused_and_changes_nothing(desk: Desk) -> None:
    database, clock = desk.house.database, desk.house.clock
    for key_id, at, why in (
        ("k9", NOW, f"known are {desk.first}"),
        (desk.first, NOW + timedelta(seconds=1), "still to come"),
        (desk.first, NOW - timedelta(seconds=1), "before the key was published, at 2031-05-03T12:00:00Z"),
        (desk.first, NOW, "rotate first"),
    ):
        with pytest.raises(RevocationError, match=why):
            await revoke_key(database, key_id, at, clock)
    await desk.issue()
    done = await revoke_key(database, desk.first, NOW, clock, stop_signing=True)
    assert (done.signed.since, done.current_key_id) == (1, None)
    with pytest.raises(UnavailableError):
        await desk.issue()
    second = await desk.rotate()
    await desk.issue()
    assert await desk.signers() == [desk.first, second]


async def test_a_revocation_is_set_earlier_and_never_later(desk: Desk) -> None:
    assert isinstance(desk.house.clock, FixedClock)
    await desk.rotate()
    desk.house.clock.at = NOW + timedelta(hours=3)
    for hours in (2, 2, 1):
        await revoke_key(desk.house.database, desk.first, NOW + timedelta(hours=hours), desk.house.clock)
    with pytest.raises(RevocationError, match="only be set earlier"):
        await revoke_key(desk.house.database, desk.first, NOW + timedelta(hours=2), desk.house.clock)
