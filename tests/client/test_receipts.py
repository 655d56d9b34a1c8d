"""Receipts of a real server, judged by the client alone."""

import base64
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from llmring.api import APINotFoundError, APIService
from llmring.api.canonical import canonical_bytes
from llmring.api.models.receipts import PublicKeys
from llmring.api.offline import judge
from shared.proofs.canonical import canonical_bytes as as_the_server_signs
from tests.live.conftest import Account
from tests.live.process import ServerProcess


@pytest.fixture
def live(server: ServerProcess, account: Account) -> Iterator[APIService]:
    with APIService(server.url, account.key) as made:
        yield made


def test_a_receipt_is_judged_without_the_server(live: APIService) -> None:
    logged = live.log_usage(model="openai:gpt-4o-mini", input_tokens=1000, output_tokens=100)
    recorded = live.create_receipt_for(logged.log_id)
    declared = live.create_receipt(model="gpt-4o-mini", input_tokens=7, cost=Decimal("0.0000000375"))
    assert recorded.payload["cost"] == str(logged.cost)
    assert (declared.payload["kind"], declared.payload["cost"]) == ("declared", "0.0000000375")
    assert declared.id == declared.receipt_id
    assert live.get_receipt(declared.id) == declared
    keys = live.get_public_keys()
    for receipt in (recorded, declared):
        proof = live.get_receipt_proof(receipt.id)
        for shown in (receipt, msgspec.to_builtins(receipt), msgspec.json.encode(receipt)):
            assert judge(shown, keys).signature == "passed"
            judgement = live.verify_receipt(shown, public_keys=keys, proof=proof)
            assert (judgement.valid, judgement.inclusion) == (True, "passed")
        assert live.verify_receipt(live.get_receipt_bundle(receipt.id)).inclusion == "passed"
    other = live.get_receipt_proof(recorded.id)
    judgement = live.verify_receipt(declared, proof=other)
    assert (judgement.valid, judgement.signature, judgement.inclusion) == (False, "passed", "failed")
    assert not live.verify_receipt(recorded, proof=other, log_origin="another.example/log").valid
    with pytest.raises(APINotFoundError):
        live.create_receipt_for("01a21214-6fdf-7000-a4e6-6ac567df7f83")


def test_nothing_can_be_changed_in_a_receipt_or_its_proof(live: APIService) -> None:
    bundle = live.get_receipt_bundle(live.create_receipt(model="m", cost=Decimal("1.5"), origin="a").id)
    keys = live.get_public_keys()
    good = msgspec.to_builtins(bundle)
    assert judge(good, keys).valid
    for path in _paths({"receipt": good["receipt"], "proof": good["proof"]}):
        changed = json.loads(json.dumps(good))
        *parents, last = path
        place = changed
        for each in parents:
            place = place[each]
        place[last] = _other(place[last])
        assert not judge(changed, keys).valid, path
    text = msgspec.json.encode(bundle.receipt).decode()
    assert not judge(text.replace('"origin":"a"', '"origin":"a","origin":"a"'), keys).valid
    stranger = {**good["public_keys"]["keys"][0], "public_key": base64.b64encode(bytes(32)).decode()}
    for wrong in ([], [stranger]):
        assert not judge(bundle, msgspec.convert({"keys": wrong}, PublicKeys)).valid
    revoked = {**good["public_keys"]["keys"][0], "status": "revoked", "revoked_at": "2020-01-01T00:00:00Z"}
    assert "revoked" in str(judge(bundle, msgspec.convert({"keys": [revoked]}, PublicKeys)).reason)


@given(
    st.one_of(
        st.none(),
        st.text(max_size=30),
        st.binary(max_size=30),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["receipt", "payload", "key_id", "proof", "x"]), inner, max_size=5
                )
            ),
        ),
    )
)
def test_anything_can_be_shown(shown: Any) -> None:
    assert not judge(shown, PublicKeys(keys=[])).valid


@pytest.mark.parametrize(
    "checkpoint",
    [
        "\ud800\n1\nAAAA\n\n— \ud800 AAAA\n",
        "log\n1\nAAAA\n\ud800\n\n— log AAAA\n",
        "log\n1\nAAAA\n\n— log \ud800",
    ],
)
def test_a_good_receipt_with_a_checkpoint_of_any_text_is_judged(checkpoint: str) -> None:
    private = Ed25519PrivateKey.generate()
    key = {
        "key_id": "k",
        "algorithm": "Ed25519",
        "public_key": base64.b64encode(private.public_key().public_bytes_raw()).decode(),
        "status": "active",
        "not_before": "0001-01-01T00:00:00Z",
    }
    keys = msgspec.convert({"keys": [key]}, PublicKeys)
    payload = {"receipt_id": "r", "key_id": "k", "issued_at": "0001-01-01T00:00:00Z"}
    receipt: dict[str, Any] = {
        "receipt_id": "r",
        "id": "r",
        "payload": payload,
        "key_id": "k",
        "algorithm": "Ed25519",
        "signature": base64.b64encode(private.sign(canonical_bytes(payload))).decode(),
    }
    assert judge(receipt, keys).valid
    proof = {"receipt_id": "r", "leaf_index": 0, "tree_size": 1, "hashes": [], "checkpoint": checkpoint}
    for origin in (None, "\ud800", "log"):
        judgement = judge({"receipt": receipt, "proof": proof}, keys, log_origin=origin)
        assert (judgement.signature, judgement.inclusion) == ("passed", "failed")
        assert str(judgement.reason).encode()
    for strange in ({1: 2}, {"a": "\ud800"}, {"\ud800": 1}):
        assert judge(receipt | {"payload": payload | strange}, keys).signature == "failed"


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), st.text(max_size=8)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(_JSON)
def test_what_is_signed_is_spelled_as_the_server_spells_it(value: Any) -> None:
    try:
        expected = as_the_server_signs(value)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            canonical_bytes(value)
    else:
        assert canonical_bytes(value) == expected


@pytest.mark.parametrize("value", [1.5, 2**53, {"a": "\ud800"}, object(), [[[0.1]]]])
def test_what_a_receipt_never_holds_has_no_spelling(value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical_bytes(value)


def _paths(value: Any) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        if isinstance(inner, dict | list) and inner:
            yield from ((key, *rest) for rest in _paths(inner))
        else:
            yield (key,)


def _other(value: Any) -> Any:
    if isinstance(value, str):
        return value[:-1] + ("A" if value[-1:] != "A" else "B") if value else "x"
    return {int: lambda: value + 1, bool: lambda: not value}.get(type(value), lambda: "x")()
