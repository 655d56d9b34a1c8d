"""The log and its witnesses: cosigned by those who are asked and those who come; held up by none."""

import asyncio
import time
from base64 import b64decode, b64encode
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from services.cli.dependencies import look_at_dependencies
from services.cli.settings import ProcessSettings
from services.receipts.submit import TIMEOUT
from services.witness.cosign import RefusedError
from services.witness.follow import Follower
from shared.errors import (
    ForbiddenError,
    InvalidFieldError,
    MalformedRequestError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)
from shared.proofs.tlog.checkpoint import Checkpoint, open_checkpoint
from shared.proofs.tlog.hashing import hash_leaf
from shared.proofs.tlog.note import VerifierKey, cosign_note, parse_note
from shared.proofs.tlog.proofs import verify_inclusion
from shared.web.outbound import Outbound
from tests.proofs.stranger import ask_stranger
from tests.receipts.house import House, Street
from tests.receipts.test_log import PATH, issue, leaves
from tests.receipts.witnesses import (
    AWitness,
    Submitting,
    a_witness,
    at_address,
    endless,
    keep_log,
    log_keys,
    rewind_log,
    rewrite_leaf,
    saying,
    silent,
    until,
)


@pytest.fixture
async def plain(street: Street) -> House:
    """The deployment before it has witnesses: its key and its log are there."""
    return await street.open_house()


async def open_watched(street: Street, *witnesses: str, **settings: Any) -> House:
    return await street.open_house(witnesses=witnesses, **{"witness_interval_s": 0} | settings)


async def get_text(house: House, path: str) -> str:
    return (await house.call("GET", f"{PATH}/{path}", account=None)).body.decode()


async def states(house: House) -> Any:
    return await house.get(f"{PATH}/witnesses", account=None)


async def wait_witnessed(house: House, size: int) -> None:
    async def reached() -> bool:
        return bool((await states(house))["witnessed_size"] == size)

    await until(reached)


def size_of(note: str) -> int:
    return int(note.splitlines()[1])


async def test_checkpoints_are_cosigned_and_receipts_proved_by_them(
    street: Street, plain: House, tmp_path: Path, stranger: Path
) -> None:
    logs = await log_keys(plain)
    ones = [a_witness(tmp_path / name, f"{name}.example", logs) for name in ("a", "b")]
    async with AsyncExitStack() as stack:
        urls = [await stack.enter_async_context(at_address(each.app)) for each in ones]
        house = await open_watched(
            street, *(f"{w.key.text} {url}/" for w, url in zip(ones, urls, strict=True))
        )
        with pytest.raises(UnavailableError) as early:
            await get_text(house, "checkpoint?witnessed=true")
        assert early.value.retry_after
        async with Submitting(house):
            offset = 0
            for count in (5, 1, 300):
                offset = await issue(house, count, first=offset)
                await wait_witnessed(house, offset)
        await issue(house, 3, first=offset)
    witnessed, newest = (
        await get_text(house, "checkpoint?witnessed=true"),
        await get_text(house, "checkpoint"),
    )
    assert (size_of(witnessed), size_of(newest)) == (306, 309)
    assert [len(parse_note(each).lines) for each in (witnessed, newest)] == [3, 1]
    told = await states(house)
    assert (told["tree_size"], told["witnessed_size"], told["quorum"]) == (309, 306, 2)
    assert [(w["name"], w["tree_size"], w["behind"], w["overdue"]) for w in told["witnesses"]] == [
        (f"{name}.example", 306, 3, False) for name in ("a", "b")
    ]
    lines = ask_stranger(
        stranger,
        {
            "origin": logs[0].name,
            "log_key": logs[0].text,
            "witness_keys": [each.key.text for each in ones],
            "checkpoints": [witnessed],
            "inclusions": [],
            "consistencies": [],
        },
    )
    assert lines == ["checkpoint 306: 3 signatures"]
    payloads = await leaves(house)
    for index in (0, 255, 305):
        async with house.database.connection() as connection:
            receipt_id = await connection.fetchval(
                "SELECT receipt_id FROM receipts.leaves WHERE leaf_index = $1", index
            )
        proof = await house.get(f"{PATH}/{receipt_id}/proof?witnessed=true")
        assert (proof["checkpoint"], proof["tree_size"]) == (witnessed, 306)
        root = open_checkpoint(witnessed, logs[0].name, logs).checkpoint.root
        path = [b64decode(each) for each in proof["hashes"]]
        assert verify_inclusion(hash_leaf(payloads[index]), index, 306, path, root)
    async with house.database.connection() as connection:
        young = await connection.fetchval("SELECT receipt_id FROM receipts.leaves WHERE leaf_index = 306")
    with pytest.raises(UnavailableError, match="younger") as later:
        await house.get(f"{PATH}/{young}/proof?witnessed=true")
    assert later.value.retry_after
    assert (await house.get(f"{PATH}/{young}/proof"))["tree_size"] == 309


async def test_without_witnesses_nothing_is_witnessed(plain: House) -> None:
    await issue(plain, 1)
    with pytest.raises(NotFoundError, match="no witnesses"):
        await get_text(plain, "checkpoint?witnessed=true")
    assert (await states(plain))["witnesses"] == []
    assert size_of(await get_text(plain, "checkpoint?for_witnesses=true")) == 1


async def test_bad_witnesses_hold_up_nobody_and_are_reported(
    street: Street, plain: House, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    logs = await log_keys(plain)
    good = a_witness(tmp_path / "good", "good.example", logs)
    liar = a_witness(tmp_path / "liar", "liar.example", logs)
    line = cosign_note("another text\n", liar.key.name, plain.signer.key, 1)
    bad: dict[str, Any] = {
        "silent": silent,
        "endless": endless,
        "forger": saying(200, line.replace("liar", "forger").encode()),
        "garbage": saying(200, b"\xff\xfe\n\n"),
        "empty": saying(200, b""),
        "stubborn": saying(409, b"0\n", b"text/x.tlog.size"),
        "ahead": saying(409, b"999999\n", b"text/x.tlog.size"),
        "impossible": saying(409, b"99999999999999999999999\n", b"text/x.tlog.size"),
        "broken": saying(500, b"oops"),
    }
    async with AsyncExitStack() as stack:
        named = {name: a_witness(tmp_path / name, f"{name}.example", logs) for name in [*bad, "down"]}
        urls = {name: await stack.enter_async_context(at_address(app)) for name, app in bad.items()}
        urls["down"] = "http://127.0.0.1:9"
        peers = [f"{named[name].key.text} {url}" for name, url in urls.items()]
        peers.append(f"{good.key.text} {await stack.enter_async_context(at_address(good.app))}")
        house = await open_watched(street, *peers, witness_quorum=1, witness_overdue_s=0)
        await stack.enter_async_context(Submitting(house))
        offset, longest = 0, 0.0
        for _ in range(10):
            started = time.monotonic()
            offset = await issue(house, 20, first=offset)
            longest = max(longest, time.monotonic() - started)
        await wait_witnessed(house, offset)
        assert longest < TIMEOUT.total_seconds() / 2

        async def all_told() -> bool:
            told = await states(house)
            by_name = {each["name"]: each for each in told["witnesses"]}
            return all(by_name[f"{name}.example"]["overdue"] for name in named)

        await until(all_told)
        async with house.database.connection() as connection:

            async def all_faults() -> Any:
                rows = await connection.fetch("SELECT witness, fault FROM receipts.witnesses")
                faults = {row[0].partition(".")[0]: row[1] for row in rows}
                return faults if all(faults[name] for name in named) else None

            faults = await until(all_faults)
        assert faults["good"] is None
        assert "does not answer" in faults["silent"]
        assert "more than" in faults["endless"]
        assert "no cosignature" in faults["forger"]
        assert "answers twice" in faults["stubborn"]
        assert "has cosigned 999999 leaves" in faults["ahead"]
        assert "answers 500" in faults["broken"]
        settings = ProcessSettings(
            database_url=street.url,
            receipts_witnesses=tuple(peers),
            receipts_witness_quorum=1,
            receipts_witness_overdue_s=1,
        )
        looks = [look async for look in look_at_dependencies(settings, street.url)]
        said = {look.name: look.status for look in looks if look.name.startswith("witness ")}
        assert said.pop("witness good.example") == "ok"
        assert set(said.values()) == {"note"}
        assert len(said) == len(named)


async def test_one_that_cannot_be_reached_comes_and_meets_the_others(
    street: Street, plain: House, tmp_path: Path
) -> None:
    """With all as the policy, both must cosign the very same checkpoint while the log grows."""
    logs = await log_keys(plain)
    asked, comes = (a_witness(tmp_path / name, f"{name}.example", logs) for name in ("asked", "comes"))
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(at_address(asked.app))
        house = await open_watched(street, f"{asked.key.text} {url}", comes.key.text)
        await stack.enter_async_context(Submitting(house))
        assert house.service.app is not None
        base_url = await stack.enter_async_context(at_address(house.service.app))
        outbound = Outbound(timeout=TIMEOUT, max_bytes=1 << 20)
        stack.push_async_callback(outbound.close)
        follower = Follower(comes.witness, base_url, outbound)
        offset, witnessed = 0, set()
        for _ in range(4):
            offset = await issue(house, 7, first=offset)

            async def candidate_is_asked() -> bool:
                told = await states(house)
                return bool(told["witnesses"][0]["tree_size"] > (told["witnessed_size"] or 0))

            await until(candidate_is_asked)
            offset = await issue(house, 3, first=offset)
            size = await follower.follow()
            assert (await states(house))["witnessed_size"] == size
            witnessed.add(size)
        assert len(witnessed) == 4
        assert await follower.follow() == size  # once more is no harm
    assert (asked.evidence(), comes.evidence()) == ([], [])


async def test_one_that_is_away_delays_the_others_by_a_minute_at_most(
    street: Street, plain: House, tmp_path: Path
) -> None:
    """A checkpoint is left to those that come; when it has got old, the others go on with a newer one."""
    logs = await log_keys(plain)
    asked, away = (a_witness(tmp_path / name, f"{name}.example", logs) for name in ("asked", "away"))
    async with at_address(asked.app) as url:
        house = await open_watched(street, f"{asked.key.text} {url}", away.key.text)

        async def reached(size: int) -> None:
            async def is_there() -> bool:
                return bool((await states(house))["witnesses"][0]["tree_size"] == size)

            await until(is_there)

        async with Submitting(house):
            await issue(house, 3)
            await reached(3)
            await issue(house, 4, first=3)
            assert size_of(await get_text(house, "checkpoint?for_witnesses=true")) == 3
            async with house.database.connection() as connection:
                await connection.execute("UPDATE receipts.checkpoints SET made_at = now() - interval '61 s'")
            await reached(7)
        assert (await states(house))["witnesses"][1]["waiting_s"] > 0
        assert await follow(away, house) == 7
        assert (await states(house))["witnessed_size"] == 7
        assert (await states(house))["witnesses"][1]["waiting_s"] is None
        later = a_witness(tmp_path / "later", "later.example", logs)
        house = await open_watched(street, f"{asked.key.text} {url}", later.key.text)
        async with Submitting(house):

            async def is_waited_for() -> bool:
                return bool((await states(house))["witnesses"][1]["waiting_s"])

            await until(is_waited_for)  # from its being named on, also where the log does not grow


async def test_what_is_brought_is_taken_only_where_it_proves_itself(
    street: Street, plain: House, tmp_path: Path
) -> None:
    logs = await log_keys(plain)
    one = a_witness(tmp_path / "one", "one.example", logs)
    other = a_witness(tmp_path / "other", "other.example", logs)
    house = await open_watched(street, one.key.text)
    await issue(house, 9)
    checkpoint = await get_text(house, "checkpoint")
    text, key = parse_note(checkpoint).text, one.witness._key

    def cosign(note: str, at: int = 1_900_000_000) -> str:
        return note + cosign_note(parse_note(note).text, key.name, key.key, at)

    async def bring(note: str | bytes) -> Any:
        body = note if isinstance(note, bytes) else note.encode()
        return await house.post(f"{PATH}/cosignatures", body, account=None)

    for raw in (b"", b"\xff", b"x" * 1000, checkpoint.encode()[:-1], text.encode()):
        with pytest.raises(MalformedRequestError):
            await bring(raw)
    with pytest.raises(TooLargeError):
        await bring(b"x" * 70_000)
    stranger_key = other.witness._key
    bare = parse_note(checkpoint).text + "\n" + cosign_note(text, key.name, key.key, 5)
    foreign = Checkpoint("elsewhere", 9, bytes(32)).sign(house.signer.key).encode()
    for note in (
        checkpoint,  # nobody has cosigned
        checkpoint + cosign_note(text, stranger_key.name, stranger_key.key, 5),  # nobody who is asked
        checkpoint + cosign_note("9\n", key.name, key.key, 5),  # another text
        cosign(checkpoint, 0),
        cosign(checkpoint, 2**62),
        bare,  # the log has not signed
        cosign(foreign),
    ):
        with pytest.raises(ForbiddenError):
            await bring(note)
    origin = logs[0].name
    root = Checkpoint.parse(text).root
    for lie in (
        Checkpoint(origin, 9, bytes(32)),
        Checkpoint(origin, 8, root),
        Checkpoint(origin, 10, root),
        Checkpoint(origin, 2**62, root),
    ):
        with pytest.raises(InvalidFieldError):
            await bring(cosign(lie.sign(house.signer.key).encode()))
    assert (await states(house))["witnesses"][0]["tree_size"] == 0
    for _ in range(2):
        assert await bring(cosign(checkpoint)) == {"tree_size": 9, "witnesses": ["one.example"]}
    await bring(cosign(checkpoint, 1_800_000_000))  # an older line does not replace the newer one
    assert await get_text(house, "checkpoint?witnessed=true") == cosign(checkpoint)
    await issue(house, 4, first=9)
    assert size_of(await get_text(house, "checkpoint?witnessed=true")) == 9


async def test_a_deployment_that_forgot_how_far_a_witness_is_is_told(
    street: Street, plain: House, tmp_path: Path
) -> None:
    one = a_witness(tmp_path / "one", "one.example", await log_keys(plain))
    async with at_address(one.app) as url:
        house = await open_watched(street, f"{one.key.text} {url}")
        async with Submitting(house):
            await issue(house, 9)
            await wait_witnessed(house, 9)
        async with house.database.transaction() as connection:
            await connection.execute("DELETE FROM receipts.checkpoints")
            await connection.execute("DELETE FROM receipts.witnesses")
        await issue(house, 3, first=9)
        async with Submitting(house):
            await wait_witnessed(house, 12)
        async with house.database.transaction() as connection:
            await connection.execute("DELETE FROM receipts.checkpoints")
            await connection.execute("DELETE FROM receipts.witnesses")
        async with Submitting(house):
            await wait_witnessed(house, 12)
    assert not one.evidence()


async def test_two_processes_ask_a_witness_in_turns(street: Street, plain: House, tmp_path: Path) -> None:
    one = a_witness(tmp_path / "one", "one.example", await log_keys(plain))
    asked, at_once, most = 0, 0, 0
    app = one.app

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        nonlocal asked, at_once, most
        asked, at_once = asked + 1, at_once + 1
        most = max(most, at_once)
        await asyncio.sleep(0.1)
        await app(scope, receive, send)
        at_once -= 1

    async with at_address(counted) as url:
        houses = [await open_watched(street, f"{one.key.text} {url}") for _ in range(3)]
        async with Submitting(houses[0]), Submitting(houses[1]), Submitting(houses[2]):
            for size in range(1, 5):
                await issue(houses[0], 1, first=size - 1)
                await wait_witnessed(houses[size % 3], size)
    assert (asked, most) == (4, 1)


async def test_a_changed_signing_key_is_known_to_witnesses_that_were_told(
    street: Street, plain: House, tmp_path: Path
) -> None:
    seed = b64encode(bytes([5]) * 32).decode()
    untold = a_witness(tmp_path / "untold", "untold.example", await log_keys(plain))
    async with AsyncExitStack() as stack:
        before = await open_watched(street, untold.key.text)
        await issue(before, 3)
        new = await street.open_house(signing_seed=seed)
        told = a_witness(tmp_path / "told", "told.example", await log_keys(new))
        peers = [
            f"{each.key.text} {await stack.enter_async_context(at_address(each.app))}"
            for each in (told, untold)
        ]
        house = await open_watched(street, *peers, signing_seed=seed, witness_quorum=1)
        async with Submitting(house):
            # The last checkpoint of the old key first, then those of the new one.
            await wait_witnessed(house, 3)
            await issue(house, 3, first=3)
            await wait_witnessed(house, 6)

            async def refused() -> Any:
                async with house.database.connection() as connection:
                    return await connection.fetchval(
                        "SELECT fault FROM receipts.witnesses WHERE witness = $1", untold.key.text
                    )

            assert "answers 403" in await until(refused)
    assert not told.evidence()


async def follow(witness: AWitness, house: House) -> int:
    """A witness that comes, over HTTP."""
    assert house.service.app is not None
    async with at_address(house.service.app) as base_url:
        outbound = Outbound(timeout=TIMEOUT, max_bytes=1 << 20)
        try:
            return await Follower(witness.witness, base_url, outbound).follow()
        finally:
            await outbound.close()


@pytest.fixture
async def both(plain: House, tmp_path: Path) -> Sequence[AWitness]:
    """One that is asked, and one that comes."""
    logs: list[VerifierKey] = await log_keys(plain)
    return [a_witness(tmp_path / name, f"{name}.example", logs) for name in ("asked", "comes")]


async def test_a_rewritten_leaf_is_refused_with_evidence(street: Street, both: Sequence[AWitness]) -> None:
    """By an operator who has the database and the key, so that nothing in the deployment contradicts it."""
    asked, comes = both
    async with at_address(asked.app) as url:
        house = await open_watched(street, f"{asked.key.text} {url}", comes.key.text, witness_quorum=1)
        async with Submitting(house):
            await issue(house, 300)
            await wait_witnessed(house, 300)
            assert await follow(comes, house) == 300
        await rewrite_leaf(house, 40)
        await issue(house, 20, first=300)
        async with Submitting(house):

            async def refused() -> Any:
                async with house.database.connection() as connection:
                    return await connection.fetchval(
                        "SELECT fault FROM receipts.witnesses WHERE witness = $1", asked.key.text
                    )

            assert "answers 422" in await until(refused)
            with pytest.raises(RefusedError) as caught:
                await follow(comes, house)
    assert (caught.value.status, caught.value.contradiction) == (422, "unproved")
    assert caught.value.evidence is not None
    for each in both:
        assert [name.rsplit("-", 1)[0] for name in each.evidence()] == ["unproved-300"]
    assert size_of(await get_text(house, "checkpoint?witnessed=true")) == 300


async def test_a_rewound_log_is_refused_with_evidence(
    street: Street, both: Sequence[AWitness], caplog: pytest.LogCaptureFixture
) -> None:
    asked, comes = both
    async with at_address(asked.app) as url:
        house = await open_watched(street, f"{asked.key.text} {url}", comes.key.text, witness_quorum=1)
        await issue(house, 4)
        before = await keep_log(house)
        async with Submitting(house):
            offset = await issue(house, 5, first=4)
            await wait_witnessed(house, 9)
            assert await follow(comes, house) == 9
        await rewind_log(house, before)
        async with Submitting(house):
            with pytest.raises(RefusedError) as caught:
                await follow(comes, house)
            assert caught.value.contradiction == "rewound"

            async def is_said() -> bool:
                return "it has been rewound" in caplog.text

            await until(is_said)
            # It grows again, otherwise than before, to the same size and beyond.
            offset = await issue(house, 5, first=offset)
            async with house.database.transaction() as connection:
                await connection.execute("DELETE FROM receipts.checkpoints")
            with pytest.raises(RefusedError) as caught:
                await follow(comes, house)
            assert caught.value.contradiction == "fork"
            await issue(house, 5, first=offset)

            async def is_kept() -> bool:
                return any(name.startswith("unproved-9") for name in asked.evidence())

            await until(is_kept)
    assert [name.split("-")[0] for name in comes.evidence()] == ["fork", "rewound"]
