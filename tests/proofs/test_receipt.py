import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.receipts import PublicKey, PublicKeys, Verdict
from shared.proofs.canonical import canonical_bytes
from shared.proofs.receipt import KeySet, build_receipt, sign_payload, verify_receipt
from shared.proofs.signing import SigningKey, encode_base64
from shared.proofs.strict_json import DuplicateKeyError, MalformedJsonError

KEY = SigningKey.from_seed(bytes([7]) * 32)
STRANGER = SigningKey.from_seed(bytes([9]) * 32)
KNOWN = (
    '{"alias":"résumé 😀","cost":{"amount":"0.00660000","currency":"USD"},"key_id":"k1",'
    '"receipt_id":"rcpt_0001","tokens":{"cached_input":0,"input":1200,"output":340}}'
)
KNOWN_SIGNATURE = "/kltG4DG5bnKaIaIJIywgHezKUL0YlKItTSrHo2HS3JHUyI7jGrhZC/d8jaM25q4CjewulXjqR5YUdXAdSo+Dw=="
AT = datetime(2026, 5, 1, tzinfo=UTC)
BAD = Verdict(valid=False, reason="bad_signature")
MALFORMED = Verdict(valid=False, reason="malformed")


def public(key: SigningKey, key_id: str | None = None, **changes: Any) -> PublicKey:
    fields: dict[str, Any] = {
        "key_id": key_id or key.key_id,
        "algorithm": "Ed25519",
        "public_key": encode_base64(key.public_key),
        "not_before": AT,
        "not_after": None,
        "status": "current",
    }
    return PublicKey(**fields | changes)


KEYS = KeySet([public(KEY), public(KEY, "k1")])


def known_receipt() -> dict[str, Any]:
    return {
        "receipt_id": "rcpt_0001",
        "id": "rcpt_0001",
        "payload": json.loads(KNOWN),
        "signature": KNOWN_SIGNATURE,
        "key_id": "k1",
        "algorithm": "Ed25519",
    }


def text(receipt: object) -> bytes:
    return json.dumps(receipt).encode()


def signed(key: SigningKey = KEY, **facts: object) -> bytes:
    payload = {"receipt_id": "r1", "key_id": key.key_id, "issued_at": "2026-05-03T12:00:00Z", **facts}
    return msgspec.json.encode(build_receipt("r1", key.key_id, sign_payload(payload, key)))


def test_the_known_answer_comes_out_to_the_last_byte() -> None:
    """Case P35."""
    data = canonical_bytes(json.loads(KNOWN))
    assert data == KNOWN.encode()
    assert (
        hashlib.sha256(data).hexdigest() == "025977c261ca86bf041b4c205d388fd27dd8efe7b279dd3322c97bd3cc6d71a1"
    )
    assert KEY.public_key.hex() == "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c"
    assert encode_base64(KEY.sign(data)) == KNOWN_SIGNATURE


def test_the_known_receipt_verifies_in_any_order_and_spacing() -> None:
    assert verify_receipt(text(known_receipt()), KEYS) == Verdict(valid=True, key_status="current")
    turned = {name: known_receipt()[name] for name in reversed(known_receipt())}
    turned["payload"] = {name: turned["payload"][name] for name in reversed(turned["payload"])}
    assert verify_receipt(json.dumps(turned, indent=3, ensure_ascii=False).encode(), KEYS).valid


def test_a_receipt_is_served_as_the_bytes_that_were_signed() -> None:
    payload = {"receipt_id": "r1", "key_id": KEY.key_id, "z": "é", "a": 1}
    data = canonical_bytes(payload)
    assert data in msgspec.json.encode(build_receipt("r1", KEY.key_id, sign_payload(payload, KEY)))


def test_the_answer_of_a_post_verifies_as_it_is() -> None:
    receipt = known_receipt()
    answer = {"receipt_id": "rcpt_0001", "signature": KNOWN_SIGNATURE, "receipt": receipt}
    assert verify_receipt(text(answer), KEYS).valid
    assert verify_receipt(text(answer | {"receipt_id": "rcpt_0002"}), KEYS) == MALFORMED
    assert verify_receipt(text(answer | {"note": "x"}), KEYS) == MALFORMED


@pytest.mark.parametrize("name", ["receipt_id", "id", "signature", "key_id", "algorithm"])
def test_a_changed_member_of_the_receipt_fails(name: str) -> None:
    receipt = known_receipt()
    for value in [receipt[name] + "x", receipt[name].upper() + " ", ""]:
        assert not verify_receipt(text(receipt | {name: value}), KEYS).valid
    for value in [None, 1, [], {}, True]:
        assert verify_receipt(text(receipt | {name: value}), KEYS) == MALFORMED
    del receipt[name]
    assert verify_receipt(text(receipt), KEYS) == MALFORMED


def _changed(value: object) -> list[object]:
    if isinstance(value, str):
        return [value + "0", value[:-1], value.upper() + "\u0301", None]
    if isinstance(value, int):
        return [value + 1, str(value), value + 0.5, True]
    return [None, {}, "x"]


def test_a_changed_removed_or_renamed_fact_fails() -> None:
    for path in [
        ("alias",),
        ("cost",),
        ("cost", "amount"),
        ("cost", "currency"),
        ("tokens", "input"),
        ("key_id",),
    ]:
        for value in _changed(_at(known_receipt()["payload"], path)):
            receipt = known_receipt()
            _at(receipt["payload"], path[:-1])[path[-1]] = value
            assert not verify_receipt(text(receipt), KEYS).valid, (path, value)
        receipt = known_receipt()
        parent = _at(receipt["payload"], path[:-1])
        parent[path[-1].title()] = parent.pop(path[-1])
        assert not verify_receipt(text(receipt), KEYS).valid
        del parent[path[-1].title()]
        assert not verify_receipt(text(receipt), KEYS).valid


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        value = value[name]
    return value


def test_an_amount_of_equal_value_but_other_text_fails() -> None:
    receipt = known_receipt()
    receipt["payload"]["cost"]["amount"] = "0.0066"
    assert verify_receipt(text(receipt), KEYS) == BAD


@given(st.data())
def test_any_single_changed_byte_is_refused_or_changes_nothing(data: st.DataObject) -> None:
    raw = bytearray(signed(amount="0.0066", tokens=340, alias="résumé"))
    index = data.draw(st.integers(0, len(raw) - 1))
    raw[index] ^= data.draw(st.integers(1, 255))
    try:
        verdict = verify_receipt(bytes(raw), KEYS)
    except (MalformedJsonError, DuplicateKeyError):
        return
    assert not verdict.valid


def test_a_key_inside_the_receipt_is_never_used() -> None:
    receipt = known_receipt()
    receipt["payload"]["cost"]["amount"] = "9.99"
    receipt["signature"] = encode_base64(STRANGER.sign(canonical_bytes(receipt["payload"])))
    assert verify_receipt(text(receipt), KEYS) == BAD
    receipt["public_key"] = encode_base64(STRANGER.public_key)
    assert verify_receipt(text(receipt), KEYS) == BAD


@pytest.mark.parametrize(
    "extra", [{"note": "x"}, {"Cost": "1"}, {"key_url": "http://169.254.169.254/"}, {"": 0}]
)
def test_a_member_that_no_signature_covers_fails(extra: dict[str, object]) -> None:
    assert verify_receipt(text(known_receipt() | extra), KEYS) == BAD
    receipt = known_receipt()
    receipt["payload"].update(extra)
    assert verify_receipt(text(receipt), KEYS) == BAD


@pytest.mark.parametrize(
    "shown", [{}, None, [], "x", 7, True, {"receipt": {}}, {"receipt": None}, {"payload": {}}]
)
def test_what_is_no_receipt_is_malformed(shown: object) -> None:
    assert verify_receipt(text(shown), KEYS) == MALFORMED


@pytest.mark.parametrize("payload", [None, [], "x", 1, {}])
def test_a_payload_without_facts_is_never_valid(payload: object) -> None:
    assert not verify_receipt(text(known_receipt() | {"payload": payload}), KEYS).valid


@pytest.mark.parametrize(
    "signature",
    [
        KNOWN_SIGNATURE + " ",
        KNOWN_SIGNATURE.replace("/", "_").replace("+", "-"),
        KNOWN_SIGNATURE.rstrip("="),
        KNOWN_SIGNATURE[:-3] + "x==",
        encode_base64(bytes(63)),
        encode_base64(bytes(64)),
        "",
        "=",
        "é",
    ],
)
def test_a_signature_in_another_spelling_or_length_fails(signature: str) -> None:
    assert verify_receipt(text(known_receipt() | {"signature": signature}), KEYS) == BAD


@pytest.mark.parametrize(
    "raw",
    [
        text(known_receipt()).replace(b'"currency"', b'"amount": "1", "currency"'),
        text(known_receipt()).replace(b'"currency"', b'"amoun\\u0074": "0.00660000", "currency"'),
        text(known_receipt())[:-1] + b', "id": "rcpt_0001"}',
        text(known_receipt()).replace(b'"payload"', b'"payload": {"a": [{"b": 1, "b": 1}]}, "payload"'),
    ],
)
def test_a_member_that_stands_twice_is_found_in_the_text(raw: bytes) -> None:
    with pytest.raises(DuplicateKeyError, match="duplicate_key"):
        verify_receipt(raw, KEYS)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"1" * 5000,
        "\ufeff{}".encode(),
        b"{} {}",
        '{"a": "é"}'.encode("latin-1"),
        "{}".encode("utf-16"),
    ],
    ids=lambda raw: repr(raw[:12]),
)
def test_what_is_no_json_is_malformed_and_never_a_crash(raw: bytes) -> None:
    with pytest.raises(MalformedJsonError):
        verify_receipt(raw, KEYS)


def test_numbers_that_were_never_signed_fail_without_a_crash() -> None:
    for number in [b"1.0", b"1e400", b"9007199254740993", b"-0.0", b"1" * 400]:
        raw = text(known_receipt()).replace(b'"cached_input": 0', b'"cached_input": ' + number)
        assert verify_receipt(raw, KEYS) == BAD
    assert verify_receipt(text(known_receipt()).replace(b"r\\u00e9sum", b"\\ud800"), KEYS) == BAD


def test_an_unknown_key_is_named_as_such() -> None:
    assert verify_receipt(signed(STRANGER), KEYS) == Verdict(valid=False, reason="unknown_key")
    other = KeySet([public(STRANGER, algorithm="Ed448")])
    assert verify_receipt(signed(STRANGER), other) == Verdict(valid=False, reason="unknown_key")


def test_receipts_of_a_retired_key_stay_valid() -> None:
    keys = KeySet(
        [public(KEY, status="retired", not_after=datetime(2026, 6, 1, tzinfo=UTC)), public(STRANGER)]
    )
    assert verify_receipt(signed(), keys) == Verdict(valid=True, key_status="retired")
    late = signed(issued_at="2026-06-01T00:00:01Z")
    assert verify_receipt(late, keys) == Verdict(valid=False, reason="key_expired", key_status="retired")


def test_a_revoked_key_counts_up_to_its_revocation() -> None:
    keys = KeySet([public(KEY, status="revoked", revoked_at=datetime(2026, 5, 4, tzinfo=UTC))])
    refused = Verdict(valid=False, reason="key_revoked", key_status="revoked")
    assert verify_receipt(signed(), keys) == Verdict(valid=True, key_status="revoked_after_issue")
    for issued_at in ["2026-05-04T00:00:00Z", "2027-01-01T00:00:00Z", "2026-05-03T12:00:00", "no", None, 7]:
        assert verify_receipt(signed(issued_at=issued_at), keys) == refused


def test_the_published_set_is_read_from_its_own_json() -> None:
    published = msgspec.json.encode(PublicKeys(keys=[public(KEY)], current_key_id=KEY.key_id))
    assert verify_receipt(signed(), KeySet.from_json(published)).valid
    with pytest.raises(msgspec.ValidationError):
        KeySet.from_json(b"{}")


@pytest.mark.parametrize("payload", [{}, {"receipt_id": "r"}, {"receipt_id": 1, "key_id": KEY.key_id}])
def test_a_payload_that_does_not_name_itself_is_not_signed(payload: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="names its receipt_id"):
        sign_payload(payload, KEY)
