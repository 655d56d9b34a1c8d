"""Showing the log's growth to its witnesses, each on its own: a slow one holds nobody up."""

import logging
from datetime import timedelta
from typing import Final

from services.receipts.cosignatures import Cosignatures
from services.receipts.policy import Peer, Policy
from services.receipts.prove import Proving
from services.receipts.store.cosignatures import (
    Candidate,
    CheckpointRow,
    claim_witness,
    delete_overtaken,
    find_candidate,
    find_unwitnessed_age,
    find_witnessed,
    insert_checkpoint,
    insert_witnesses,
    lock_candidates,
    release_witness,
)
from shared.errors import InvalidFieldError, UnavailableError
from shared.postgres import Database
from shared.proofs.signing import decode_base64
from shared.proofs.tlog.note import NoteError, parse_note
from shared.proofs.tlog.witness import (
    ADD_CHECKPOINT,
    MAX_COSIGNATURES_BYTES,
    SIZE_TYPE,
    AddCheckpoint,
    parse_cosignatures,
    parse_size,
)
from shared.telemetry.metrics import UNWITNESSED_SECONDS
from shared.web.asgi import find_header
from shared.web.client import Answer
from shared.web.outbound import Outbound

TIMEOUT: Final = timedelta(seconds=10)
_LEASE: Final = TIMEOUT * 3
_HOLD: Final = timedelta(minutes=1)
"""For so long a checkpoint that lacks cosignatures is left to witnesses that poll; then it is a newer one."""
_MAX_FAULT: Final = 300

_log = logging.getLogger(__name__)


class Submission:
    """Asks the witnesses of a deployment.

    Args:
        database: of the schema `receipts`.
        proving: makes the proofs.
        cosignatures: takes what they answer.
        policy: the witnesses.
    """

    def __init__(
        self, database: Database, proving: Proving, cosignatures: Cosignatures, policy: Policy
    ) -> None:
        self._database = database
        self._proving = proving
        self._cosignatures = cosignatures
        self._policy = policy
        self._was_rewound = False
        self._outbound = Outbound(timeout=TIMEOUT, max_bytes=MAX_COSIGNATURES_BYTES)

    async def close(self) -> None:
        """Let go of connections."""
        await self._outbound.close()

    async def choose(self) -> None:
        """Choose the checkpoint that all are asked about; tell how long the last one has been waiting.

        It is the newest one, when the log has grown since the one before, and that is witnessed or old.

        Raises:
            UnavailableError: the database is away.
        """
        log = await self._proving.get_log()
        names = self._policy.names
        async with self._database.transaction() as connection:
            await lock_candidates(connection)
            await insert_witnesses(connection, names)
            candidate = await find_candidate(connection)
            witnessed = await find_witnessed(connection, names, self._policy.quorum)
            reached = 0 if witnessed is None else witnessed.tree_size
            if _is_due(candidate, log.tree_size, reached, self._policy.interval):
                await insert_checkpoint(connection, CheckpointRow(log.tree_size, log.checkpoint))
            await delete_overtaken(connection, reached)
            age = await find_unwitnessed_age(connection, reached)
        UNWITNESSED_SECONDS.set(0 if age is None else age.total_seconds())
        is_rewound = candidate is not None and candidate.tree_size > log.tree_size
        if candidate is not None and is_rewound and not self._was_rewound:
            _log.error(
                "the log has %d leaves, and witnesses were shown %d: it has been rewound",
                log.tree_size,
                candidate.tree_size,
            )
        self._was_rewound = is_rewound

    async def ask(self, peer: Peer) -> bool:
        """Ask a witness for what it has not cosigned yet; whether there was anything, and it did.

        Raises:
            UnavailableError: the database is away.
        """
        if peer.url is None:
            return False
        async with self._database.connection() as connection:
            known = await claim_witness(connection, peer.key.text, _LEASE)
            candidate = await find_candidate(connection)
        if known is None or candidate is None:
            return False
        fault: str | None
        try:
            fault = await self._submit(peer, peer.url, candidate, known)
        except (UnavailableError, InvalidFieldError) as error:
            fault = error.detail
        except NoteError as error:
            fault = f"what it answers is no cosignature: {error}"
        if fault is None:
            return True
        _log.warning("witness %s has not cosigned %d leaves: %s", peer.key.name, candidate.tree_size, fault)
        async with self._database.connection() as connection:
            await release_witness(connection, peer.key.text, self._policy.interval, fault[:_MAX_FAULT])
        return False

    async def _submit(self, peer: Peer, url: str, candidate: Candidate, known: int) -> str | None:
        """Ask, and once more where it knows another size; None when it has cosigned, else what is wrong."""
        text = parse_note(candidate.note).text
        old = known
        for _ in range(2):
            proof = await self._proving.prove_consistency(old, candidate.tree_size)
            hashes = [decode_base64(each) for each in proof.hashes]
            answer = await self._outbound.ask(
                "POST",
                url + ADD_CHECKPOINT,
                body=AddCheckpoint(old, hashes, candidate.note).encode(),
                headers={"Content-Type": "text/plain; charset=utf-8"},
            )
            if answer.status == 200:
                body = answer.body.decode("utf-8", "replace")
                cosigned = parse_cosignatures(text, body, peer.key)
                await self._cosignatures.store(CheckpointRow(candidate.tree_size, candidate.note), [cosigned])
                return None
            told = _told_size(answer)
            if told is None:
                return f"it answers {answer.status}: {answer.body[:200].decode('utf-8', 'replace').strip()}"
            if told > candidate.tree_size:
                return f"it has cosigned {told} leaves, and was asked about {candidate.tree_size}"
            old = told
        return f"it answers twice that it has cosigned {old} leaves"


def _is_due(candidate: Candidate | None, tree_size: int, reached: int, interval: timedelta) -> bool:
    if candidate is None:
        return tree_size > 0
    if candidate.tree_size >= tree_size or candidate.age < interval:
        return False
    return candidate.tree_size <= reached or candidate.age >= max(interval, _HOLD)


def _told_size(answer: Answer) -> int | None:
    kind = find_header([(k.lower(), v) for k, v in answer.headers], b"content-type")
    return parse_size(answer.body) if answer.status == 409 and kind == SIZE_TYPE.encode() else None
