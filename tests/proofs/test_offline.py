"""A receipt is judged from saved files alone, and by nothing that the files say of themselves."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.contracts.receipts import Inclusion
from shared.proofs.evidence import (
    Evidence,
    EvidenceError,
    read_consistency,
    read_evidence,
    read_proof,
    read_public_keys,
)
from shared.proofs.offline import FROM_THE_FILE, Judgement, Trust, check_trust, verify_offline
from shared.proofs.receipt import KeySet
from shared.proofs.strict_json import parse_strict
from shared.proofs.tlog.tlog_proof import TlogProof, decode_hashes
from tests.proofs.saved import (
    ISSUED,
    KEY,
    NEXT_KEY,
    ORIGIN,
    STRANGER,
    SavedLog,
    cosigner,
    log_key,
    public,
    witness_key,
)

LOG = SavedLog()
TRUST = Trust(keys=KeySet([public(KEY)]), log_keys=(log_key(),), strict=True)
WATCHED = msgspec.structs.replace(TRUST, witnesses=(witness_key(0), witness_key(1)), witnesses_needed=2)
BUNDLE = LOG.bundle(checkpoint=LOG.checkpoint(cosigners=[cosigner(0), cosigner(1)]), since=6)
BOTH = msgspec.structs.replace(WATCHED, old_checkpoint=LOG.checkpoint(6))


def judge(raw: bytes, trust: Trust = TRUST) -> Judgement:
    check_trust(trust)
    return verify_offline(read_evidence(raw), trust)


def outcomes(judgement: Judgement) -> dict[str, str]:
    return {check.name: check.outcome for check in judgement.checks}


def why(judgement: Judgement, name: str) -> str:
    return next(check.reason for check in judgement.checks if check.name == name)


def tlog_proof(proof: Inclusion) -> str:
    return TlogProof(proof.leaf_index, decode_hashes(proof.hashes), proof.checkpoint).encode()


def test_a_bundle_passes_every_check_that_can_be_asked() -> None:
    judgement = judge(BUNDLE, BOTH)
    assert judgement.valid
    assert judgement.receipt_id == "r4"
    assert set(outcomes(judgement).values()) == {"passed"}
    assert len(judgement.checks) == 8


@pytest.mark.parametrize("index", range(len(LOG.receipts)))
def test_a_receipt_and_its_proof_in_either_format_will_do(index: int) -> None:
    receipt = msgspec.json.encode(LOG.receipts[index])
    proof = LOG.inclusion(index)
    for raw in (msgspec.json.encode(proof), tlog_proof(proof).encode()):
        evidence = msgspec.structs.replace(read_evidence(receipt), proof=read_proof(raw))
        assert verify_offline(evidence, TRUST).valid
        other = msgspec.structs.replace(
            evidence, receipt=json.loads(msgspec.json.encode(LOG.receipts[index - 1]))
        )
        assert outcomes(verify_offline(other, TRUST))["inclusion"] == "failed"


def test_keys_of_the_file_are_told_from_keys_that_the_caller_gave() -> None:
    trusting = judge(BUNDLE, Trust())
    assert trusting.valid
    assert outcomes(trusting)["keys"] == outcomes(trusting)["log_keys"] == "not_checked"
    assert why(trusting, "keys") == why(trusting, "log_keys") == FROM_THE_FILE
    strict = judge(BUNDLE, Trust(strict=True))
    assert not strict.valid
    assert {name for name, outcome in outcomes(strict).items() if outcome == "failed"} == {"keys", "log_keys"}
    assert not judge(BUNDLE, Trust(strict=True, keys=TRUST.keys)).valid
    assert not judge(BUNDLE, Trust(strict=True, log_keys=TRUST.log_keys)).valid


def test_a_bundle_that_is_forged_with_its_own_keys_fails_by_those_of_the_caller() -> None:
    forged = SavedLog(key=STRANGER)
    shown = json.loads(
        forged.bundle(checkpoint=forged.checkpoint(key=STRANGER), keys=[public(STRANGER)]).decode()
    )
    shown["verifier_keys"] = [log_key(STRANGER).text]
    raw = json.dumps(shown).encode()
    assert judge(raw, Trust()).valid  # that is what trust in a file's own keys is worth
    judgement = judge(raw)
    assert why(judgement, "signature") == "it is signed by a key that is not among the keys"
    assert outcomes(judgement)["checkpoint"] == outcomes(judgement)["inclusion"] == "failed"


def test_a_receipt_alone_is_judged_by_its_signature_and_the_rest_is_told_as_unchecked() -> None:
    raw = msgspec.json.encode(LOG.receipts[0])
    judgement = judge(raw, Trust(keys=TRUST.keys))
    assert judgement.valid
    assert {name for name, outcome in outcomes(judgement).items() if outcome == "passed"} == {
        "keys",
        "signature",
        "key_validity",
    }
    assert why(judgement, "inclusion") == "no proof was given"
    assert not judge(raw, TRUST).valid
    assert not judge(raw, Trust()).valid
    for asked in (
        Trust(keys=TRUST.keys, witnesses=(witness_key(0),), witnesses_needed=1),
        Trust(keys=TRUST.keys, old_checkpoint=LOG.checkpoint(3)),
    ):
        assert not judge(raw, asked).valid


@pytest.mark.parametrize(
    ("seen_by", "needed", "known", "valid"),
    [
        ([0, 1], 2, [0, 1], True),
        ([0], 2, [0, 1], False),
        ([0], 1, [0, 1], True),
        ([2], 1, [0, 1], False),
        ([0, 0], 2, [0, 1], False),
        ([], 1, [0], False),
        ([], 0, [0], True),
    ],
)
def test_as_many_known_witnesses_as_are_needed_must_have_cosigned(
    seen_by: list[int], needed: int, known: list[int], valid: bool
) -> None:
    raw = LOG.bundle(checkpoint=LOG.checkpoint(cosigners=[cosigner(number) for number in seen_by]))
    trust = msgspec.structs.replace(
        TRUST, witnesses=tuple(witness_key(number) for number in known), witnesses_needed=needed
    )
    assert judge(raw, trust).valid is valid


def test_a_wrong_cosignature_of_a_known_witness_fails_the_checkpoint() -> None:
    other = LOG.checkpoint(5, cosigners=[cosigner(0)]).splitlines(keepends=True)[-1]
    raw = LOG.bundle(checkpoint=LOG.checkpoint() + other)
    assert outcomes(judge(raw, WATCHED))["checkpoint"] == "failed"


@pytest.mark.parametrize("old_size", range(len(LOG.receipts) + 1))
def test_the_log_of_any_older_checkpoint_is_the_same_log(old_size: int) -> None:
    for key in (KEY, NEXT_KEY):
        trust = msgspec.structs.replace(
            TRUST, old_checkpoint=LOG.checkpoint(old_size, key), log_keys=(log_key(), log_key(NEXT_KEY))
        )
        assert judge(LOG.bundle(since=old_size), trust).valid
    without = judge(LOG.bundle(), trust)
    assert without.valid is (old_size in (0, len(LOG.receipts)))


def test_another_history_is_found_and_a_newer_kept_checkpoint_does_as_well() -> None:
    other = SavedLog(cost="9.99")
    for size in (3, 8, len(LOG.receipts)):
        trust = msgspec.structs.replace(TRUST, old_checkpoint=other.checkpoint(size))
        judgement = judge(LOG.bundle(since=size), trust)
        assert not judgement.valid
        assert why(judgement, "consistency").startswith("the log is not the one that it was")
    longer = SavedLog(20)
    kept = msgspec.structs.replace(TRUST, old_checkpoint=longer.checkpoint())
    evidence = msgspec.structs.replace(
        read_evidence(LOG.bundle()), consistency=longer.consistency(len(LOG.receipts))
    )
    assert verify_offline(evidence, kept).valid
    for wrong in (longer.consistency(5), other.consistency(3), None):
        assert not verify_offline(msgspec.structs.replace(evidence, consistency=wrong), kept).valid
    elsewhere = msgspec.structs.replace(
        TRUST,
        log_keys=(log_key(), log_key(origin="other.example")),
        old_checkpoint=LOG.checkpoint(6, origin="other.example"),
    )
    assert "of other.example, not of" in why(judge(BUNDLE, elsewhere), "consistency")


def test_a_checkpoint_of_another_log_or_key_is_refused() -> None:
    for checkpoint in (LOG.checkpoint(key=STRANGER), LOG.checkpoint(origin="other.example")):
        assert outcomes(judge(LOG.bundle(checkpoint=checkpoint)))["checkpoint"] == "failed"
    smaller = json.loads(LOG.bundle())
    smaller["proof"]["checkpoint"] = LOG.checkpoint(10)
    assert outcomes(judge(json.dumps(smaller).encode()))["inclusion"] == "failed"


REVOKED = ISSUED + timedelta(hours=1)


@pytest.mark.parametrize(
    ("seen_at", "renewed", "valid"),
    [
        (None, False, False),  # the thief has the log's key as well
        (None, True, True),  # the log signs with a new key, and has the receipt
        (REVOKED - timedelta(seconds=1), False, True),
        (REVOKED + timedelta(seconds=1), False, False),
    ],
)
def test_a_receipt_of_a_revoked_key_counts_if_the_log_had_it_before(
    seen_at: Any, renewed: bool, valid: bool
) -> None:
    keys = KeySet([public(KEY, status="revoked", revoked_at=REVOKED, not_after=REVOKED), public(NEXT_KEY)])
    trust = Trust(
        keys=keys, log_keys=(log_key(), log_key(NEXT_KEY)), witnesses=(witness_key(0),), strict=True
    )
    cosigners = [] if seen_at is None else [cosigner(0, seen_at)]
    raw = LOG.bundle(checkpoint=LOG.checkpoint(key=NEXT_KEY if renewed else KEY, cosigners=cosigners))
    assert judge(raw, trust).valid is valid
    alone = judge(msgspec.json.encode(LOG.receipts[0]), Trust(keys=keys))
    assert outcomes(alone)["key_validity"] == "failed"
    late = SavedLog(issued_at=(REVOKED + timedelta(hours=1)).isoformat())
    assert not judge(late.bundle(checkpoint=late.checkpoint(key=NEXT_KEY)), trust).valid


def test_a_receipt_from_before_its_key_was_published_is_refused() -> None:
    for early, valid in ((timedelta(minutes=5), True), (timedelta(minutes=5, microseconds=1), False)):
        keys = KeySet([public(KEY, not_before=ISSUED + early)])
        assert judge(BUNDLE, Trust(keys=keys)).valid is valid


def test_trust_that_makes_no_sense_is_refused() -> None:
    for wrong in (
        Trust(log_keys=(witness_key(0),)),
        Trust(witnesses=(log_key(),)),
        Trust(witnesses=(witness_key(0), witness_key(0)), witnesses_needed=2),
        Trust(witnesses_needed=-1),
        Trust(log_keys=(log_key(),), witnesses=(witness_key(0)._replace(public_key=KEY.public_key),)),
    ):
        with pytest.raises(ValueError, match=r"key|witness"):
            check_trust(wrong)


def test_the_key_of_the_log_in_the_file_is_no_witness() -> None:
    posing = witness_key(0)._replace(public_key=KEY.public_key)
    trust = Trust(keys=TRUST.keys, witnesses=(posing, witness_key(1)), witnesses_needed=1)
    assert why(judge(BUNDLE, trust), "witnesses").startswith("1 of 1 known")


def changed(data: st.DataObject, raw: bytes) -> bytes:
    at = data.draw(st.integers(0, len(raw) - 1))
    # Half of the changes leave the text well-formed: digits, letters and blanks in each other's place.
    new = data.draw(st.sampled_from(b'0123456789abcdefABCDEF \n\t+/="') | st.integers(0, 255))
    return raw[:at] + bytes([new]) + raw[at + 1 :]


def means_the_same(raw: bytes, other: bytes) -> bool:
    """White space, or the case of a hex digit in an escape: other text of the very same values."""
    try:
        return json.dumps(parse_strict(raw)) == json.dumps(parse_strict(other))
    except ValueError:
        return False


def is_valid(read: Callable[[], Evidence], trust: Trust) -> bool:
    try:
        return verify_offline(read(), trust).valid
    except EvidenceError:
        return False


JUDGED = ("format", "receipt", "proof", "consistency")


@settings(max_examples=500)
@given(st.data())
def test_any_byte_changed_in_a_bundle_is_refused_or_changes_no_value(data: st.DataObject) -> None:
    """By the caller's keys. The file's own keys are not looked at then: they alone may differ."""
    raw = changed(data, BUNDLE)
    if is_valid(lambda: read_evidence(raw), BOTH):
        old, new = parse_strict(BUNDLE), parse_strict(raw)
        assert old.keys() == new.keys()
        assert all(json.dumps(old[name]) == json.dumps(new[name]) for name in JUDGED)


@settings(max_examples=300)
@given(st.data())
def test_by_the_files_own_keys_only_their_dates_and_status_may_be_changed(data: st.DataObject) -> None:
    """Nothing signs what a file says of its keys' validity: one reason more to give one's own."""
    raw = changed(data, BUNDLE)
    if is_valid(
        lambda: read_evidence(raw), msgspec.structs.replace(BOTH, keys=None, log_keys=(), strict=False)
    ):
        old, new = parse_strict(BUNDLE), parse_strict(raw)
        for shown in (old, new):
            for name in ("not_before", "not_after", "status"):
                del shown["public_keys"]["keys"][0][name]
            del shown["public_keys"]["current_key_id"]
        assert json.dumps(old) == json.dumps(new)


RECEIPT = msgspec.json.encode(LOG.receipts[4])
PROOF = LOG.inclusion(4)
SHOWN = read_evidence(RECEIPT)


@settings(max_examples=300)
@given(st.data())
def test_any_byte_changed_in_a_receipt_or_its_proof_is_refused_or_changes_no_value(
    data: st.DataObject,
) -> None:
    raw = changed(data, RECEIPT)
    if is_valid(lambda: read_evidence(raw), Trust(keys=TRUST.keys)):
        assert means_the_same(raw, RECEIPT)
    shown = msgspec.json.encode(PROOF)
    raw_proof = changed(data, shown)
    if is_valid(lambda: msgspec.structs.replace(SHOWN, proof=read_proof(raw_proof)), TRUST):
        assert means_the_same(raw_proof, shown)


@settings(max_examples=300)
@given(st.data())
def test_any_byte_changed_in_a_tlog_proof_or_a_checkpoint_is_refused(data: st.DataObject) -> None:
    text = tlog_proof(PROOF).encode()
    raw = changed(data, text)
    if is_valid(lambda: msgspec.structs.replace(SHOWN, proof=read_proof(raw)), TRUST):
        assert raw == text
    kept = LOG.checkpoint(6).encode()
    raw_kept = changed(data, kept)
    trust = msgspec.structs.replace(BOTH, old_checkpoint=raw_kept.decode(errors="surrogateescape"))
    if is_valid(lambda: read_evidence(BUNDLE), trust):
        assert raw_kept == kept


@settings(max_examples=200)
@given(st.data())
def test_any_byte_changed_in_a_proof_of_consistency_is_refused_or_changes_no_value(
    data: st.DataObject,
) -> None:
    shown = msgspec.json.encode(LOG.consistency(6))
    evidence = read_evidence(LOG.bundle(checkpoint=PROOF.checkpoint))
    raw = changed(data, shown)
    trust = msgspec.structs.replace(TRUST, old_checkpoint=LOG.checkpoint(6))
    if is_valid(lambda: msgspec.structs.replace(evidence, consistency=read_consistency(raw)), trust):
        assert means_the_same(raw, shown)


@pytest.mark.parametrize(
    "change",
    [
        lambda shown: shown | {"note": "x"},
        lambda shown: shown | {"format": "llmring-receipt-bundle/2"},
        lambda shown: shown | {"proof": shown["proof"] | {"note": "x"}},
        lambda shown: shown | {"proof": shown["proof"] | {"leaf_index": 4.0}},
        lambda shown: shown | {"proof": shown["proof"] | {"leaf_index": "4"}},
        lambda shown: shown | {"receipt": []},
        lambda shown: shown | {"verifier_keys": ["x"]},
        lambda shown: shown | {"verifier_keys": [log_key().text + "\n"]},
        lambda shown: {name: value for name, value in shown.items() if name != "consistency"},
    ],
)
def test_members_and_spellings_that_a_bundle_has_not_are_refused(change: Any) -> None:
    with pytest.raises(EvidenceError):
        read_evidence(json.dumps(change(json.loads(BUNDLE))).encode())


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        BUNDLE.replace(b'"leaf_index"', b'"leaf_index":4,"leaf_inde\\u0078"'),
        b" " * 2_000_000,
        b'{"format":' + b"[" * 900 + b"]" * 900 + b"}",
    ],
    ids=lambda raw: repr(raw[:10]),
)
def test_what_cannot_be_read_in_one_way_only_is_refused(raw: bytes) -> None:
    for read in (read_evidence, read_proof, read_consistency, read_public_keys):
        with pytest.raises(EvidenceError):
            read(raw)


@pytest.mark.parametrize(
    "text",
    [
        tlog_proof(PROOF).replace("index 4", "index 04"),
        tlog_proof(PROOF).replace("index 4", "index -4"),
        tlog_proof(PROOF).replace("index 4", "extra AAAA\nindex 4"),
        tlog_proof(PROOF).replace("@v1", "@v2"),
        tlog_proof(PROOF).replace("index 4\n", "index 4\n" + "A" * 43 + "=\n" + "A" * 40 + "\n"),
        tlog_proof(PROOF).replace("index 4\n", "index 4\n" + ("A" * 43 + "=\n") * 64),
        tlog_proof(PROOF).replace("\n", "\r\n"),
        "c2sp.org/tlog-proof@v1\n\n" + PROOF.checkpoint,
        "c2sp.org/tlog-proof@v1\nindex 4\n\n" + PROOF.checkpoint[:-1],
    ],
)
def test_a_tlog_proof_has_one_spelling(text: str) -> None:
    with pytest.raises(EvidenceError):
        read_proof(text.encode())


def test_a_tlog_proof_reads_as_the_specification_shows_it() -> None:
    lines = tlog_proof(PROOF).split("\n")
    assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 4"]
    assert lines[2 : 2 + len(PROOF.hashes)] == PROOF.hashes
    assert lines[2 + len(PROOF.hashes) : 4 + len(PROOF.hashes)] == ["", ORIGIN]
    assert read_proof(tlog_proof(PROOF).encode()) == PROOF
