"""A witness never cosigns two trees that contradict each other: at once, killed, or started again."""

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx

from shared.proofs.tlog.note import parse_note
from shared.proofs.tlog.witness import parse_cosignatures
from tests.witness.conftest import OpenWitness
from tests.witness.log import ALog, entries

LOG = ALog(entries(200))
OTHER = ALog(entries(200, other_from=9))


def test_of_conflicting_requests_at_once_one_wins(open_witness: OpenWitness) -> None:
    witness = open_witness(LOG.verifier)
    assert witness.ask(LOG.request(0, 9)).status_code == 200
    histories = [LOG, OTHER] * 8
    gate = threading.Barrier(len(histories))

    def ask(log: ALog) -> tuple[ALog, int]:
        gate.wait()
        return log, witness.ask(log.request(9, 20)).status_code

    with ThreadPoolExecutor(len(histories)) as pool:
        answers = list(pool.map(ask, histories))
    assert [status for _, status in answers].count(200) == 1
    assert {status for _, status in answers} == {200, 409}
    [winner] = [log for log, status in answers if status == 200]
    loser = OTHER if winner is LOG else LOG
    assert witness.ask(loser.request(20, 20)).status_code == 409
    assert witness.ask(winner.request(20, 20)).status_code == 200
    assert any(name.startswith("fork-20") for name in witness.evidence())


def test_what_was_cosigned_survives_kills_at_any_moment(open_witness: OpenWitness) -> None:
    """Two histories are offered all the time; over all lives, one of them alone is cosigned."""
    witness = open_witness(LOG.verifier)
    assert witness.ask(LOG.request(0, 9)).status_code == 200
    cosigned: list[str] = []
    for _ in range(6):
        stop = threading.Event()

        def offer(log: ALog, stop: threading.Event = stop) -> None:
            size = 9
            while not stop.is_set():
                try:
                    request = log.request(size, min(size + 1, 200))
                    answer = witness.ask(request)
                except httpx.TransportError:
                    return
                if answer.status_code == 200:
                    parse_cosignatures(parse_note(request.note).text, answer.text, witness.verifier)
                    cosigned.append(request.note)
                    size = min(size + 1, 200)
                elif answer.headers["content-type"] == "text/x.tlog.size":
                    size = int(answer.text)

        workers = [threading.Thread(target=offer, args=(log,)) for log in (LOG, OTHER)]
        already = len(cosigned)
        for worker in workers:
            worker.start()
        while len(cosigned) < already + 5:
            assert any(worker.is_alive() for worker in workers), witness.tail()
        witness.kill()
        stop.set()
        for worker in workers:
            worker.join()
        witness.start()
    beyond = [note for note in cosigned if int(note.splitlines()[1]) > 9]
    assert len(beyond) >= 30
    by_log = [{log.note(size) for size in range(10, 201)} for log in (LOG, OTHER)]
    assert sum(any(note in notes for note in beyond) for notes in by_log) == 1
    latest = max(int(note.splitlines()[1]) for note in beyond)
    told = witness.ask(LOG.request(0, 9))
    assert told.status_code == 409
    assert int(told.text) >= latest
