"""`llmring-api receipts`: what a stranger asks of saved files, and what the operator does with the keys."""

import json
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from services.cli.main import main
from shared.contracts.receipts import PublicKeys
from shared.proofs.canonical import canonical_bytes
from shared.proofs.signing import verify
from shared.proofs.tlog.tlog_proof import TlogProof, decode_hashes
from tests.operations.works import B, Works, an_event
from tests.proofs.saved import KEY, STRANGER, SavedLog, cosigner, log_key, public, witness_key

LOG = SavedLog()


class Desk:
    """A folder with saved files, on a machine without network and without settings."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        watched = LOG.checkpoint(cosigners=[cosigner(0), cosigner(1)])
        proof = LOG.inclusion(4, watched)
        self.save("bundle.json", LOG.bundle(checkpoint=watched, since=6))
        self.save("receipt.json", msgspec.json.encode(LOG.receipts[4]))
        self.save("proof.json", msgspec.json.encode(proof))
        text = TlogProof(4, decode_hashes(proof.hashes), watched).encode()
        self.save("r4.tlog-proof", text.encode())
        self.save("old.txt", LOG.checkpoint(6).encode())
        self.save("consistency.json", msgspec.json.encode(LOG.consistency(6)))
        self.save("keys.json", keys_of(KEY))
        self.save("other-keys.json", keys_of(STRANGER))

    def save(self, name: str, content: bytes) -> str:
        (self.folder / name).write_bytes(content)
        return name

    def run(self, *arguments: str, file: str = "bundle.json") -> Result:
        names = {path.name for path in self.folder.iterdir()}
        placed = [str(self.folder / each) if each in names else each for each in (file, *arguments)]
        return CliRunner().invoke(main, ["receipts", "verify", *placed])

    def judge(self, *arguments: str, file: str = "bundle.json") -> tuple[int, dict[str, str]]:
        """Status, and how each check came out."""
        done = self.run(*arguments, "--json", file=file)
        shown = json.loads(done.stdout)
        assert shown["valid"] is (done.exit_code == 0)
        return done.exit_code, {check["name"]: check["outcome"] for check in shown["checks"]}


def keys_of(*keys: Any) -> bytes:
    return msgspec.json.encode(PublicKeys(keys=[public(key) for key in keys], current_key_id=None))


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("LLMRING_PORT", "nonsense")
    return Desk(tmp_path)


GIVEN = ("--keys", "keys.json", "--log-key", log_key().text)
WATCHED = (*GIVEN, "--witness", witness_key(0).text, "--witness", witness_key(1).text)


def test_a_bundle_is_true_by_every_check(desk: Desk) -> None:
    status, outcomes = desk.judge(*WATCHED, "--since", "old.txt", "--strict")
    assert status == 0
    assert set(outcomes.values()) == {"passed"}
    printed = desk.run(*WATCHED, "--since", "old.txt", "--strict")
    assert printed.exit_code == 0
    assert printed.stdout.splitlines()[-1] == "TRUE"
    assert 'receipt "r4"' in printed.stdout
    assert "2 of 2 known witnesses cosigned the checkpoint, 2 needed" in printed.stdout


@pytest.mark.parametrize("proof", ["proof.json", "r4.tlog-proof"])
def test_a_receipt_and_a_proof_are_true_together(desk: Desk, proof: str) -> None:
    given = (*WATCHED, "--proof", proof, "--since", "old.txt", "--consistency", "consistency.json")
    assert desk.judge(*given, "--strict", file="receipt.json")[0] == 0
    assert desk.judge(*given[:-2], "--strict", file="receipt.json")[0] == 1


def test_it_says_plainly_whose_word_the_keys_are(desk: Desk) -> None:
    printed = desk.run()
    assert printed.exit_code == 0
    [line] = [line for line in printed.stdout.splitlines() if " keys " in line]
    assert line.startswith("not checked")
    assert "they came with the file itself: that is the word of whoever made it" in line
    assert [line for line in printed.stdout.splitlines() if "given by the caller" in line] == []
    given = desk.run(*GIVEN)
    assert len([line for line in given.stdout.splitlines() if "given by the caller" in line]) == 2
    for arguments in ((), GIVEN[:2], GIVEN[2:]):
        assert desk.judge(*arguments, "--strict")[0] == 1
    assert desk.judge(*GIVEN, "--strict")[0] == 0
    assert desk.judge(*GIVEN, "--strict", file="receipt.json")[0] == 1
    assert desk.judge(*GIVEN, file="receipt.json")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "failed"),
    [
        (("--keys", "other-keys.json"), {"signature"}),
        (("--log-key", log_key(STRANGER).text), {"checkpoint", "inclusion"}),
        (("--log-key", log_key(origin="other.example").text), {"checkpoint", "inclusion"}),
        (("--witness", witness_key(2).text), {"witnesses"}),
        ((*WATCHED, "--witness", witness_key(2).text), {"witnesses"}),
        (("--since", "keys.json"), {"consistency"}),
        (("--since", "other.txt"), {"consistency"}),
        (("--since", "old.txt", "--consistency", "other.json"), {"consistency"}),
    ],
)
def test_what_is_not_true_ends_with_one_and_names_what_failed(
    desk: Desk, arguments: tuple[str, ...], failed: set[str]
) -> None:
    other = SavedLog(cost="9.99")
    desk.save("other.txt", other.checkpoint(6).encode())
    desk.save("other.json", msgspec.json.encode(other.consistency(6)))
    status, outcomes = desk.judge(*arguments)
    assert status == 1
    assert {name for name, outcome in outcomes.items() if outcome == "failed"} == failed
    assert desk.run(*arguments).stdout.splitlines()[-1] == "NOT TRUE"


def test_fewer_witnesses_may_be_enough(desk: Desk) -> None:
    three = (*WATCHED, "--witness", witness_key(2).text)
    assert desk.judge(*three, "--witnesses-needed", "2")[0] == 0
    assert desk.judge(*three, "--witnesses-needed", "3")[0] == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"{}",
        b"[]",
        b"null",
        b"{",
        b"[" * 99_999,
        b" " * 2_000_000,
        b'{"a":1,"a":1}',
        b"\x00",
    ],
    ids=lambda content: repr(content[:8]),
)
def test_whatever_the_file_is_there_is_a_verdict(desk: Desk, content: bytes) -> None:
    desk.save("file.json", content)
    for arguments in (GIVEN, (*GIVEN, "--proof", "proof.json")):
        done = desk.run(*arguments, file="file.json")
        assert (done.exit_code, done.stdout.splitlines()[-1].startswith("NOT TRUE")) == (1, True)
        assert desk.judge(*arguments, file="file.json")[0] == 1
    done = desk.run(*GIVEN, "--proof", "file.json", file="receipt.json")
    assert done.exit_code == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("--keys", "nothing.json"),
        ("--keys", "receipt.json"),
        ("--keys", "old.txt"),
        ("--log-key", "x"),
        ("--log-key", log_key().text[:-4] + "AAA="),
        ("--log-key", witness_key(0).text),
        ("--witness", log_key().text),
        ("--witnesses-needed", "1"),
        ("--witnesses-needed", "-1", *WATCHED),
        ("--witnesses-needed", "3", *WATCHED),
        ("--consistency", "consistency.json"),
        ("--proof", "proof.json"),
        ("--since", "nothing.txt"),
    ],
)
def test_a_question_without_sense_ends_with_two(desk: Desk, arguments: tuple[str, ...]) -> None:
    done = desk.run(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage:")


def test_a_file_cannot_move_the_cursor(desk: Desk) -> None:
    loud = SavedLog(kind="\x1b[2J\x9b", model="\u202e")
    printed = desk.run(*GIVEN, file=desk.save("loud.json", loud.bundle()))
    assert printed.exit_code == 0
    desk.save("note.txt", LOG.checkpoint(6, origin="\x9bnasty").encode())
    printed_too = desk.run(*GIVEN, "--since", "note.txt")
    assert printed_too.exit_code == 1
    assert all(letter.isprintable() or letter == "\n" for letter in printed.stdout + printed_too.stdout)


@pytest.mark.parametrize("kind", ["postgres"])
async def test_the_keys_are_listed_rotated_and_revoked(works: Works, tmp_path: Path) -> None:
    data = {"LLMRING_DATA_DIR": str(tmp_path)}
    listed = await works.run("receipts", "keys", "list", **data)
    assert listed.status == 0, listed.err
    first = listed.out.split()[0]
    assert f"{first}  current   from 2031-05-03T12:00:00Z\n" == listed.out

    # The clock of the tests stands in 2031; the command has the real one.
    for arguments, status, said in (
        (("revoke", first), 2, "--at"),
        (("revoke", first, "--at", "yesterday"), 2, "RFC 3339"),
        (("revoke", first, "--at", "2099-01-01T00:00:00Z"), 1, "still to come"),
        (("revoke", first, "--at", "now"), 1, "before the key was published"),
        (("revoke", "k9", "--at", "now"), 1, f"known are {first}"),
    ):
        refused = await works.run("receipts", "keys", *arguments, **data)
        assert (refused.status, said in refused.err) == (status, True), refused.err
    await works.execute("UPDATE receipts.signing_keys SET not_before = '2020-01-01T00:00:00Z'")
    await works.accept(*(an_event(number) for number in range(3)))
    await works.work_off()

    rotated = await works.run("receipts", "keys", "rotate", **data)
    assert rotated.status == 0, rotated.err
    second = rotated.out.split()[1]
    assert (tmp_path / "receipts" / f"{second}.seed").stat().st_mode & 0o777 == 0o600
    # The test's own process has a clock of its own, five years ahead: the overlap is over for it.
    await works.accept(an_event(3))
    await works.work_off()
    signers = await works.fetch("SELECT key_id FROM receipts.receipts ORDER BY account_sequence")
    assert [row[0] for row in signers] == [first] * 3 + [second]

    revoked = await works.run("receipts", "keys", "revoke", first, "--at", "2020-01-01T00:00:00Z", **data)
    assert revoked.status == 0, revoked.err
    assert "3 receipts that it signed since then count no more." in revoked.out
    listed = await works.run("receipts", "keys", "list", "--json", **data)
    assert {key["key_id"]: key["status"] for key in json.loads(listed.out)["keys"]} == {
        first: "revoked",
        second: "current",
    }
    seeded = await works.run("receipts", "keys", "rotate", LLMRING_RECEIPTS_SIGNING_SEED="x", **data)
    assert (seeded.status, "is a setting" in seeded.err) == (1, True)
    assert "Traceback" not in seeded.err


@pytest.mark.parametrize("kind", ["postgres"])
async def test_an_operator_is_shown_a_receipt_and_its_account_sees_that(works: Works) -> None:
    await works.accept(an_event(0))
    await works.work_off()
    [(account_id, receipt_id)] = await works.fetch("SELECT account_id, receipt_id FROM receipts.receipts")
    for wrong in ((B, receipt_id), (account_id, B), (account_id, "x"), ("x", receipt_id)):
        refused = await works.run("receipts", "show", *map(str, wrong))
        assert refused.status in (1, 2)
        assert "Traceback" not in refused.err
    assert await works.fetch("SELECT * FROM auth.audit") == []
    shown = await works.run("receipts", "show", str(account_id), str(receipt_id))
    assert shown.status == 0, shown.err
    entries = await works.fetch("SELECT action, actor, account_id, target_id, client FROM auth.audit")
    [(*entry, client)] = map(tuple, entries)
    assert entry == ["receipt.read", "command_line", account_id, receipt_id]
    assert client.endswith(f"@{socket.gethostname()}")
    keys = await works.fetch("SELECT key_id, public_key FROM receipts.signing_keys")
    assert json.loads(shown.out)["key_id"] == keys[0][0]
    [payload] = await works.fetch("SELECT payload, signature FROM receipts.receipts")
    assert json.loads(shown.out)["payload"] == json.loads(payload[0])
    assert verify(keys[0][1], canonical_bytes(json.loads(shown.out)["payload"]), payload[1])
