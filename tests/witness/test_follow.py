"""`llmring-api witness follow`: a witness that comes by itself, and what it exits with."""

import signal
import subprocess
import time
from pathlib import Path

import httpx
import pytest

from shared.proofs.tlog.checkpoint import open_checkpoint
from shared.proofs.tlog.note import VerifierKey
from tests.live.process import ServerProcess
from tests.witness.conftest import PROGRAM, OpenWitness, WitnessProcess
from tests.witness.deployment import Deployment, deploy
from tests.witness.log import ALog, entries

LOG = ALog(entries(60))


def look(witness: WitnessProcess, shown: Deployment) -> int:
    return witness.run("follow", shown.url, "--once").returncode


@pytest.mark.slow
def test_it_cosigns_what_grows_and_refuses_what_contradicts_it(make_witness: OpenWitness) -> None:
    witness = make_witness(LOG.verifier)
    with deploy(LOG, 0) as shown:
        for size in (0, 7, 7, 40):
            shown.size = size
            assert look(witness, shown) == 0
            brought = shown.brought[-1]
            opened = open_checkpoint(brought, LOG.origin, [LOG.verifier, witness.verifier])
            assert (opened.checkpoint.size, len(opened.signatures)) == (size, 2)
        taken = len(shown.brought)

        shown.size = 39  # rewound
        assert look(witness, shown) == 1
        shown.log, shown.size = ALog(entries(60, other_from=5)), 40  # another tree of this size
        assert look(witness, shown) == 1
        shown.size = 50  # rewritten, and grown
        assert look(witness, shown) == 1
        shown.log = LOG
        shown.failing["consistency"] = (404, b"{}")  # no proof
        assert look(witness, shown) == 1
        kinds = [name.split("-")[0] for name in witness.evidence()]
        assert kinds == ["fork", "rewound", "unproved", "unproved"]

        shown.failing.clear()
        shown.log = ALog(entries(60), seed=2)  # not signed by a known key
        assert look(witness, shown) == 1
        shown.log = ALog(entries(60), origin="other.example")
        assert look(witness, shown) == 1
        assert len(witness.evidence()) == 4
        assert len(shown.brought) == taken

        shown.log = LOG
        assert look(witness, shown) == 0


@pytest.mark.slow
def test_a_deployment_that_is_away_or_ill_accuses_nobody(make_witness: OpenWitness) -> None:
    witness = make_witness(LOG.verifier)
    with deploy(LOG, 9) as shown:
        assert look(witness, shown) == 0
        shown.size = 20
        for name, answer in (
            ("checkpoint", (503, b"")),
            ("checkpoint", (200, b"x" * 300_000)),
            ("consistency", (503, b"")),
            ("consistency", (429, b"")),
            ("consistency", (200, b"not JSON")),
            ("consistency", (200, b'{"from": 9, "to": 20, "hashes": ["!"], "checkpoint": null}')),
            ("cosignatures", (403, b"{}")),
        ):
            shown.failing = {name: answer}
            assert look(witness, shown) == 3, (name, answer)
        shown.failing = {}
        assert look(witness, shown) == 0
    assert look(witness, shown) == 3
    assert not witness.evidence()


def test_it_goes_on_until_it_is_told_to_end_or_the_log_contradicts_itself(make_witness: OpenWitness) -> None:
    witness = make_witness(LOG.verifier)

    def start(url: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [*PROGRAM, "follow", url, "--every", "0.1"], env=witness.environment, stderr=subprocess.DEVNULL
        )

    with deploy(LOG, 9) as shown:
        process = start(shown.url)
        deadline = time.monotonic() + 60
        for size in (9, 20, 30):
            shown.size = size
            while not any(f"\n{size}\n" in each for each in shown.brought):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        process = start(shown.url)
        shown.size = 12
        assert process.wait(60) == 1
    assert [name.split("-")[0] for name in witness.evidence()] == ["rewound"]


@pytest.mark.slow
def test_a_real_deployment_is_witnessed_by_one_that_comes(make_witness: OpenWitness, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "d")
    try:
        server.start()
        receipts = f"{server.url}/api/v1/receipts"
        assert httpx.get(f"{receipts}/checkpoint?witnessed=true").status_code == 404
        keys = httpx.get(f"{receipts}/verifier-keys.txt").text.split()
        logs = [VerifierKey.parse(each) for each in keys]
        witness = make_witness(*logs)
        server.stop()
        server.environment["LLMRING_RECEIPTS_WITNESSES"] = witness.verifier.text
        server.environment["LLMRING_RECEIPTS_WITNESS_INTERVAL_S"] = "1"
        server.start()
        early = httpx.get(f"{receipts}/checkpoint?witnessed=true")
        assert (early.status_code, early.headers["retry-after"]) == (503, "1")
        account = {"email": "w@example.com", "password": "correct horse battery"}
        key = httpx.post(f"{server.url}/api/v1/register", json=account).json()["api_key"]
        usage = {"model": "gpt-4o-mini", "provider": "openai", "input_tokens": 5, "output_tokens": 2}
        headers = {"X-API-Key": key}
        log_id = httpx.post(f"{server.url}/api/v1/log", json=usage, headers=headers).json()["log_id"]
        receipt = httpx.post(receipts, json={"log_id": log_id}, headers=headers).json()["receipt_id"]
        done = witness.run("follow", server.url, "--once")
        assert done.returncode == 0, done.stderr
        proof = httpx.get(f"{receipts}/{receipt}/proof?witnessed=true", headers=headers).json()
        opened = open_checkpoint(proof["checkpoint"], logs[0].name, [*logs, witness.verifier])
        assert [each.key for each in opened.signatures if each.time] == [witness.verifier]
        told = httpx.get(f"{receipts}/witnesses").json()
        assert (told["witnessed_size"], told["witnesses"][0]["name"]) == (1, "witness.example")
        assert httpx.post(f"{receipts}/cosignatures", content=b"x").status_code == 400
        assert httpx.post(f"{receipts}/cosignatures", content=b"x" * 80_000).status_code == 413
    finally:
        server.stop()
