"""What is saved from the server is enough for a stranger: offline, and with the code of others."""

import json
from base64 import b64decode, b64encode, urlsafe_b64decode
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from shared.contracts.receipts import PublicKeys
from shared.errors import ForbiddenError, InvalidFieldError, NotFoundError
from shared.proofs.evidence import read_evidence, read_proof, read_public_keys
from shared.proofs.offline import Trust, verify_offline
from shared.proofs.receipt import KeySet
from shared.proofs.tlog.note import VerifierKey
from tests.proofs.stranger import ask_stranger
from tests.receipts.house import A, B, House, Street, a_rated, a_slice

PATH = "/api/v1/receipts"


@pytest.fixture
async def receipt_id(house: House) -> str:
    """Of one receipt among seven."""
    await house.issuer.issue_receipts(a_slice([a_rated() for _ in range(7)]))
    page = await house.get(PATH)
    return str(page["receipts"][3]["id"])


async def known(house: House) -> Trust:
    """What a stranger has from elsewhere."""
    keys = (await house.call("GET", f"{PATH}/public-keys.json", account=None)).body
    log_keys = (await house.call("GET", f"{PATH}/verifier-keys.txt", account=None)).body.decode().split()
    published: PublicKeys = read_public_keys(keys)
    return Trust(keys=KeySet(published.keys), log_keys=tuple(map(VerifierKey.parse, log_keys)), strict=True)


async def test_a_saved_bundle_is_enough_for_ever(house: House, receipt_id: str) -> None:
    old = (await house.call("GET", f"{PATH}/checkpoint", account=None)).body.decode()
    await house.issuer.issue_receipts(a_slice([a_rated()], first=7))
    answer = await house.call("GET", f"{PATH}/{receipt_id}/bundle?since=7")
    headers = dict(answer.headers)
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"content-disposition"] == f'attachment; filename="{receipt_id}.bundle.json"'.encode()
    shown = json.loads(answer.body)
    assert shown["receipt"] == await house.get(f"{PATH}/{receipt_id}")
    assert (shown["proof"]["tree_size"], shown["consistency"]["from"], shown["consistency"]["to"]) == (
        8,
        7,
        8,
    )
    trust = await known(house)
    kept = Trust(keys=trust.keys, log_keys=trust.log_keys, old_checkpoint=old, strict=True)
    judgement = verify_offline(read_evidence(answer.body), kept)
    assert judgement.valid, judgement
    assert {check.name: check.outcome for check in judgement.checks}["consistency"] == "passed"
    assert judgement.receipt_id == receipt_id
    changed = answer.body.replace(b'"output_tokens":340', b'"output_tokens":341')
    assert not verify_offline(read_evidence(changed), kept).valid


async def test_a_bundle_survives_the_rotation_of_the_key(
    street: Street, house: House, receipt_id: str
) -> None:
    early = (await house.call("GET", f"{PATH}/{receipt_id}/bundle")).body
    before = await known(house)
    seed = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk="
    new = await street.open_house(signing_seed=seed)
    await new.issuer.issue_receipts(a_slice([a_rated()], first=7))
    late = (await new.call("GET", f"{PATH}/{receipt_id}/bundle")).body
    after = await known(new)
    assert verify_offline(read_evidence(early), after).valid
    assert verify_offline(read_evidence(late), after).valid
    # Who has only the old keys can judge the old receipt, and not the new checkpoint.
    assert verify_offline(read_evidence(early), before).valid
    assert not verify_offline(read_evidence(late), before).valid


async def test_a_bundle_is_its_own_accounts_alone(house: House, receipt_id: str) -> None:
    for path in (f"{receipt_id}/bundle", "nothing/bundle", f"{receipt_id}/proof?format=tlog-proof"):
        with pytest.raises(NotFoundError):
            await house.get(f"{PATH}/{path}", account=B)
    with pytest.raises(ForbiddenError):
        await house.call("GET", f"{PATH}/{receipt_id}/bundle", scopes=("log",))


@pytest.mark.parametrize("query", ["since=8", "since=-1", "since=x", "since=9223372036854775808"])
async def test_an_older_size_that_the_log_never_had_is_refused(
    house: House, receipt_id: str, query: str
) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        await house.get(f"{PATH}/{receipt_id}/bundle?{query}")
    assert [fault.field for fault in refused.value.faults] == ["since"]


async def test_the_tlog_proof_says_what_the_json_says_and_strangers_accept_it(
    house: House, receipt_id: str, stranger: Path
) -> None:
    proof = await house.get(f"{PATH}/{receipt_id}/proof")
    answer = await house.call("GET", f"{PATH}/{receipt_id}/proof?format=tlog-proof")
    headers = dict(answer.headers)
    assert headers[b"content-type"] == b"text/plain; charset=utf-8"
    assert headers[b"content-disposition"] == f'attachment; filename="{receipt_id}.tlog-proof"'.encode()
    head, checkpoint = answer.body.decode().split("\n\n", 1)
    assert checkpoint == proof["checkpoint"]
    assert head.split("\n") == [
        "c2sp.org/tlog-proof@v1",
        f"index {proof['leaf_index']}",
        *proof["hashes"],
    ]
    raw = (await house.call("GET", f"{PATH}/{receipt_id}")).body
    evidence = read_evidence(raw)
    trust = await known(house)
    shown = type(evidence)(receipt=evidence.receipt, proof=read_proof(answer.body))
    assert verify_offline(shown, trust).valid
    origin, size, root = checkpoint.split("\n")[:3]
    lines = ask_stranger(
        stranger,
        {
            "origin": origin,
            "log_key": trust.log_keys[0].text,
            "witness_keys": [],
            "checkpoints": [checkpoint],
            "inclusions": [
                {
                    "entry": b64encode(rfc8785.dumps(json.loads(raw)["payload"])).decode(),
                    "index": proof["leaf_index"],
                    "size": int(size),
                    "root": root,
                    "proof": head.split("\n")[2:],
                }
            ],
            "consistencies": [],
        },
    )
    assert len(lines) == 2
    with pytest.raises(InvalidFieldError) as refused:
        await house.get(f"{PATH}/{receipt_id}/proof?format=pdf")
    assert [fault.field for fault in refused.value.faults] == ["format"]


def is_signed(key: Ed25519PublicKey, receipt: dict[str, Any]) -> bool:
    """By the code of others alone: `cryptography` and `rfc8785`."""
    try:
        key.verify(b64decode(receipt["signature"]), rfc8785.dumps(receipt["payload"]))
    except InvalidSignature:
        return False
    return True


async def test_the_code_of_others_reads_every_format_of_the_keys_and_verifies_by_it(
    street: Street, house: House, receipt_id: str
) -> None:
    receipt = await house.get(f"{PATH}/{receipt_id}")
    assert (
        rfc8785.dumps(receipt["payload"])
        == json.dumps(receipt["payload"], ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
    )
    pem = load_pem_public_key((await house.call("GET", f"{PATH}/public-key.pem", account=None)).body)
    assert isinstance(pem, Ed25519PublicKey)
    published = await house.get(f"{PATH}/public-keys.json", account=None)
    plain = Ed25519PublicKey.from_public_bytes(b64decode(published["keys"][0]["public_key"]))
    [jwk] = (await house.get(f"{PATH}/jwks.json", account=None))["keys"]
    assert {name: jwk[name] for name in ("kty", "crv", "use", "kid")} == {
        "kty": "OKP",
        "crv": "Ed25519",
        "use": "sig",
        "kid": receipt["key_id"],
    }
    assert set(jwk) == {"kty", "crv", "use", "kid", "x"}
    web = Ed25519PublicKey.from_public_bytes(urlsafe_b64decode(jwk["x"] + "="))
    raw = {key.public_bytes(Encoding.Raw, PublicFormat.Raw) for key in (pem, plain, web)}
    assert raw == {house.signer.key.public_key}
    dearer = receipt | {"payload": receipt["payload"] | {"cost": "99"}}
    for key in (pem, plain, web):
        assert is_signed(key, receipt)
        assert not is_signed(key, dearer)


async def test_the_web_keys_are_those_whose_signatures_count(street: Street, house: House) -> None:
    old = house.signer.key.key_id
    seed = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk="
    new = await street.open_house(signing_seed=seed)
    answer = await new.call("GET", f"{PATH}/jwks.json", account=None)
    assert dict(answer.headers)[b"content-type"] == b"application/jwk-set+json"
    assert {key["kid"] for key in json.loads(answer.body)["keys"]} == {old, new.signer.key.key_id}
    async with new.database.connection() as connection:
        await connection.execute(
            "UPDATE receipts.signing_keys SET status = 'revoked', revoked_at = now() WHERE key_id = $1", old
        )
    etag = dict(answer.headers)[b"etag"].decode()
    fresh = await new.call("GET", f"{PATH}/jwks.json", account=None, headers={"If-None-Match": etag})
    assert [key["kid"] for key in json.loads(fresh.body)["keys"]] == [new.signer.key.key_id]


async def test_no_public_path_gives_a_receipt(house: House, receipt_id: str) -> None:
    for path in ("jwks.json", "public-keys.json", "verifier-keys.txt", "checkpoint"):
        body = (await house.call("GET", f"{PATH}/{path}", account=None)).body
        assert receipt_id.encode() not in body
        assert str(A).encode() not in body
