"""Whether to cosign a checkpoint (C2SP tlog-witness): only where the log has grown from the last one."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from services.witness.evidence import Contradiction, Evidence
from services.witness.key_file import WitnessKey
from services.witness.state import Cosigned, State
from shared.clock import Clock
from shared.proofs.tlog.checkpoint import Checkpoint
from shared.proofs.tlog.hashing import EMPTY_ROOT
from shared.proofs.tlog.note import (
    ED25519,
    Note,
    NoteError,
    VerifierKey,
    cosign_note,
    parse_note,
    verify_note,
)
from shared.proofs.tlog.proofs import verify_consistency
from shared.proofs.tlog.witness import AddCheckpoint


class RefusedError(Exception):
    """Nothing is cosigned.

    Attributes:
        status: the HTTP status that says so.
        latest_size: what was cosigned last, where the request started from another size.
        contradiction: the log has signed what cannot be true together.
        evidence: where that is kept.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        latest_size: int | None = None,
        contradiction: Contradiction | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.latest_size = latest_size
        self.contradiction = contradiction
        self.evidence: Path | None = None


class Opened(NamedTuple):
    """A checkpoint that a known log has signed; `signed` has the lines of its known keys alone."""

    checkpoint: Checkpoint
    signed: Note


class Witness:
    """Cosigns for the logs that it knows.

    Args:
        key: signs, and nothing but cosignatures.
        state: what was cosigned last.
        logs: keys of the logs; a log is known by its origin, which is the name of its keys. After a change of
            keys it has several.
        evidence: keeps what a log contradicts itself by.
        clock: dates cosignatures.

    Raises:
        NoteError: one of the keys is not that of a log.
    """

    def __init__(
        self, key: WitnessKey, state: State, logs: Iterable[VerifierKey], evidence: Evidence, clock: Clock
    ) -> None:
        self._key = key
        self._state = state
        self._logs: dict[str, list[VerifierKey]] = {}
        for each in logs:
            if each.algorithm != ED25519:
                raise NoteError(f"{each.text} is the key of a witness, not of a log")
            self._logs.setdefault(each.name, []).append(each)
        self._evidence = evidence
        self._clock = clock

    @property
    def verifier(self) -> VerifierKey:
        """What others verify its cosignatures with."""
        return self._key.verifier

    def open(self, raw: str) -> Opened:
        """Read a checkpoint and verify its log's signature.

        Raises:
            RefusedError: it is none, of a log that is not known, or not signed by it.
        """
        try:
            note = parse_note(raw)
            checkpoint = Checkpoint.parse(note.text)
        except NoteError as error:
            raise RefusedError(400, str(error)) from None
        keys = self._logs.get(checkpoint.origin)
        if keys is None:
            raise RefusedError(404, f"{checkpoint.origin} is not known here")
        try:
            signatures = verify_note(note, keys)
        except NoteError as error:
            raise RefusedError(403, str(error)) from None
        return Opened(checkpoint, Note(note.text, tuple(each.line for each in signatures)))

    def find_latest(self, origin: str) -> Cosigned | None:
        """What was cosigned last of a log.

        Raises:
            sqlite3.Error: the state cannot be read.
        """
        return self._state.find(origin)

    def add_checkpoint(self, request: AddCheckpoint) -> str:
        """Cosign a checkpoint: the line. It is remembered on the disk before this returns.

        Raises:
            RefusedError: it is not cosigned.
            sqlite3.Error: the state cannot be read or written; nothing is cosigned.
        """
        checkpoint, signed = self.open(request.note)
        if request.old_size > checkpoint.size:
            raise RefusedError(400, "the old size is larger than the checkpoint's")
        request = request._replace(note=signed.encode())  # what strangers wrote below it is not kept
        with self._state.turn(checkpoint.origin) as turn:
            refusal = _judge(request, checkpoint, turn.latest)
            if refusal is None and (turn.latest is None or checkpoint.size > turn.latest.size):
                turn.store(Cosigned(checkpoint.size, checkpoint.root, request.note))
        if refusal is not None:
            if refusal.contradiction is not None and turn.latest is not None:
                self._keep(refusal, checkpoint.origin, turn.latest, request)
            raise refusal
        return cosign_note(signed.text, self._key.name, self._key.key, int(self._clock.now().timestamp()))

    def refuse_rewound(self, opened: Opened, latest: Cosigned) -> RefusedError:
        """What to raise where a log shows as its newest tree one that is smaller than what was cosigned."""
        detail = f"the log shows {opened.checkpoint.size} leaves, and had {latest.size}"
        refusal = RefusedError(409, detail, latest_size=latest.size, contradiction="rewound")
        request = AddCheckpoint(latest.size, (), opened.signed.encode())
        self._keep(refusal, opened.checkpoint.origin, latest, request)
        return refusal

    def _keep(self, refusal: RefusedError, origin: str, latest: Cosigned, request: AddCheckpoint) -> None:
        if refusal.contradiction is not None:
            refusal.evidence = self._evidence.keep(
                refusal.contradiction, origin, latest, request, self._clock.now()
            )


def _judge(request: AddCheckpoint, checkpoint: Checkpoint, latest: Cosigned | None) -> RefusedError | None:
    """What speaks against it, in the order of the protocol."""
    size, root = (0, EMPTY_ROOT) if latest is None else latest[:2]
    is_fork = checkpoint.size == size and checkpoint.root != root
    if request.old_size != size:
        return RefusedError(
            409,
            f"the latest size is {size}",
            latest_size=size,
            contradiction="fork" if is_fork else None,
        )
    if is_fork:
        return RefusedError(409, "another tree of this size was cosigned", contradiction="fork")
    if verify_consistency(size, checkpoint.size, root, checkpoint.root, request.proof):
        return None
    grows = 0 < size < checkpoint.size
    return RefusedError(422, "the proof does not hold", contradiction="unproved" if grows else None)
