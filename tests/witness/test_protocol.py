"""A witness over HTTP, answer by answer (C2SP tlog-witness), and the key and state that it starts with."""

import json
import stat
from pathlib import Path

import httpx
import pytest

from shared.proofs.tlog.note import NoteError, parse_note
from shared.proofs.tlog.witness import MAX_PROOF_LINES, AddCheckpoint, parse_cosignatures
from tests.proofs.stranger import ask_stranger
from tests.witness.conftest import OpenWitness, WitnessProcess
from tests.witness.log import ALog, entries

LOG = ALog(entries(300))


def is_cosigned(witness: WitnessProcess, answer: httpx.Response, note: str) -> bool:
    assert answer.status_code == 200, answer.text
    return parse_cosignatures(parse_note(note).text, answer.text, witness.verifier).key == witness.verifier


def test_a_log_that_grows_is_cosigned_and_strangers_accept_it(
    open_witness: OpenWitness, stranger: Path
) -> None:
    witness = open_witness(LOG.verifier)
    shown, old = [], 0
    for size in (1, 2, 2, 7, 64, 64, 255, 256, 300):
        request = LOG.request(old, size)
        answer = witness.ask(request)
        assert is_cosigned(witness, answer, request.note)
        shown.append(request.note + answer.text)
        old = size
    lines = ask_stranger(
        stranger,
        {
            "origin": LOG.origin,
            "log_key": LOG.verifier.text,
            "witness_keys": [witness.verifier.text],
            "checkpoints": shown,
            "inclusions": [],
            "consistencies": [],
        },
    )
    assert lines == [f"checkpoint {note.splitlines()[1]}: 2 signatures" for note in shown]
    assert not witness.evidence()


def test_an_old_size_that_is_not_the_latest_is_told_the_latest(open_witness: OpenWitness) -> None:
    witness = open_witness(LOG.verifier)
    assert witness.ask(LOG.request(4, 9)).status_code == 409
    assert witness.ask(LOG.request(0, 9)).status_code == 200
    for request in (LOG.request(0, 12), LOG.request(4, 12), LOG.request(4, 6), LOG.request(10, 12)):
        answer = witness.ask(request)
        assert (answer.status_code, answer.headers["content-type"], answer.text) == (
            409,
            "text/x.tlog.size",
            "9\n",
        )
    assert witness.ask(LOG.request(9, 12)).status_code == 200
    assert not witness.evidence()


def test_requests_that_are_none_are_refused(open_witness: OpenWitness) -> None:
    witness = open_witness(LOG.verifier)
    good = LOG.request(0, 9)
    assert witness.ask(good).status_code == 200
    later = LOG.request(9, 20)
    body = later.encode()
    malformed = [
        b"",
        b"\xff\xfe",
        b"old 9",
        b"old 9\n\n",
        body.replace(b"old 9", b"old 09"),
        body.replace(b"old 9", b"old -9"),
        body.replace(b"old 9", b"new 9"),
        body.replace(b"old 9", b"old 99999999999999999999"),
        body.replace(b"old 9\n", b"old 9\nAAAA\n"),
        body.replace(b"old 9\n", b"old 9\n!\n"),
        body.replace(b"\n20\n", b"\n020\n"),
        body[:-1],
        AddCheckpoint(9, [bytes(32)] * (MAX_PROOF_LINES + 1), later.note).encode(),
        AddCheckpoint(21, [], later.note).encode(),
    ]
    for each in malformed:
        assert witness.ask(each).status_code == 400, each
    assert witness.ask(b"old 0\n\n" + b"x" * 80_000).status_code == 413
    assert httpx.get(f"{witness.url}/add-checkpoint").status_code == 405
    assert httpx.get(f"{witness.url}/other").status_code == 404
    assert httpx.get(witness.url).text == f"{witness.verifier.text}\n"
    assert witness.ask(later).status_code == 200
    assert not witness.evidence()


def test_logs_that_are_not_known_or_have_not_signed_are_refused(open_witness: OpenWitness) -> None:
    witness = open_witness(LOG.verifier)
    elsewhere = ALog(entries(9), origin="other.example/log")
    assert witness.ask(elsewhere.request(0, 9)).status_code == 404
    forger = ALog(entries(9), seed=2)
    assert witness.ask(forger.request(0, 9)).status_code == 403
    note = LOG.note(9)
    for changed in (note.replace("\n9\n", "\n8\n"), note[:-20] + "A" * 18 + note[-2:]):
        assert witness.ask(AddCheckpoint(0, [], changed)).status_code in (400, 403)
    assert witness.ask(LOG.request(0, 9)).status_code == 200


@pytest.mark.parametrize("rotated", ["both", "new"])
def test_a_log_that_changed_its_key_is_known_by_both(open_witness: OpenWitness, rotated: str) -> None:
    renewed = ALog(entries(20), seed=2)
    witness = open_witness(LOG.verifier, renewed.verifier)
    assert witness.ask(LOG.request(0, 9)).status_code == 200
    request = renewed.request(9, 20)
    if rotated == "both":
        request = request._replace(note=request.note + parse_note(LOG.note(20)).lines[0])
    assert is_cosigned(witness, witness.ask(request), request.note)
    assert witness.ask(LOG.request(20, 40)).status_code == 200


def test_a_log_that_contradicts_itself_is_refused_and_the_evidence_is_kept(open_witness: OpenWitness) -> None:
    witness = open_witness(LOG.verifier)
    assert witness.ask(LOG.request(0, 9)).status_code == 200
    other = ALog(entries(300, other_from=5))
    fork = witness.ask(other.request(9, 9))
    assert (fork.status_code, fork.headers["content-type"]) == (409, "text/plain; charset=utf-8")
    assert witness.ask(other.request(3, 9)).text == "9\n"
    assert witness.ask(other.request(9, 20)).status_code == 422
    assert witness.ask(AddCheckpoint(9, LOG.proof(9, 21), LOG.note(20))).status_code == 422
    assert witness.ask(AddCheckpoint(9, [], LOG.note(20))).status_code == 422
    names = [name.rsplit("-", 1)[0] for name in witness.evidence()]
    assert names == ["fork-9", "unproved-9", "unproved-9"]
    [fork_file] = (witness.folder / "evidence").glob("fork-*")
    document = json.loads(fork_file.read_text())
    assert (document["cosigned"], document["shown"]) == (LOG.note(9), other.note(9))
    assert "CONTRADICTS ITSELF" in witness.tail()
    assert witness.ask(LOG.request(9, 300)).status_code == 200


def test_what_strangers_write_below_a_checkpoint_is_not_kept(open_witness: OpenWitness) -> None:
    witness = open_witness(LOG.verifier)
    assert witness.ask(LOG.request(0, 9)).status_code == 200
    other = ALog(entries(9, other_from=5))
    request = other.request(9, 9)
    assert witness.ask(request._replace(note=request.note + "— spam c3BhbXNwYW0=\n")).status_code == 409
    [path] = (witness.folder / "evidence").iterdir()
    assert "spam" not in path.read_text()


def test_a_key_is_made_once_with_its_state_and_is_private(open_witness: OpenWitness) -> None:
    witness = open_witness(LOG.verifier)
    key_file, state_file = witness.folder / "witness.key", witness.folder / "witness.db"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    before = key_file.read_bytes()
    assert witness.run("key", "--name", "other.example").returncode == 1
    assert key_file.read_bytes() == before
    witness.stop()
    state_file.rename(witness.folder / "lost.db")
    refused = witness.run("serve")
    assert (refused.returncode, "restore it" in refused.stderr) == (1, True)
    assert not state_file.exists()
    nowhere = {
        "LLMRING_WITNESS_KEY_FILE": str(witness.folder / "c.key"),
        "LLMRING_WITNESS_STATE_FILE": str(witness.folder / "no" / "such" / "folder"),
    }
    assert witness.run("key", "--name", "c", **nowhere).returncode == 1
    assert not (witness.folder / "c.key").exists()
    made = witness.run("key", "--name", "b", LLMRING_WITNESS_KEY_FILE=str(witness.folder / "b.key"))
    assert made.returncode == 0
    mixed = witness.run("serve")
    assert (mixed.returncode, "another key" in mixed.stderr) == (1, True)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb"])
def test_a_name_that_lines_cannot_bear_makes_no_key(open_witness: OpenWitness, name: str) -> None:
    witness = open_witness(LOG.verifier)
    fresh = {
        "LLMRING_WITNESS_KEY_FILE": str(witness.folder / "n.key"),
        "LLMRING_WITNESS_STATE_FILE": str(witness.folder / "n.db"),
    }
    assert witness.run("key", "--name", name, **fresh).returncode == 1
    assert not Path(fresh["LLMRING_WITNESS_KEY_FILE"]).exists()


def test_a_cosignature_of_another_text_key_or_time_does_not_do(open_witness: OpenWitness) -> None:
    witness = open_witness(LOG.verifier)
    line = witness.ask(LOG.request(0, 9)).text
    text = parse_note(LOG.note(9)).text
    with pytest.raises(NoteError):
        parse_cosignatures(parse_note(LOG.note(8)).text, line, witness.verifier)
    with pytest.raises(NoteError):
        parse_cosignatures(text, line, witness.verifier._replace(name="other.example"))
    assert parse_cosignatures(text, line, witness.verifier).time is not None
