"""What witnesses have cosigned of the log: taken from anybody, since each line proves itself."""

import logging
from datetime import UTC, datetime, timedelta

from services.receipts.policy import Policy
from services.receipts.prove import Proving, SizedCheckpoint
from services.receipts.store.cosignatures import (
    CheckpointRow,
    WitnessRow,
    find_candidate,
    find_witnessed,
    insert_checkpoint,
    insert_cosignature,
    list_lines,
    list_witnesses,
    lock_candidates,
)
from services.receipts.store.log import LogRow
from shared.contracts.receipts import CosignaturesTaken, WitnessState, WitnessStates
from shared.errors import (
    ForbiddenError,
    InvalidFieldError,
    MalformedRequestError,
    NotFoundError,
    UnavailableError,
)
from shared.postgres import Connection, Database
from shared.proofs.tlog.checkpoint import Checkpoint, open_checkpoint
from shared.proofs.tlog.note import NoteError, Signature, join_lines, parse_note
from shared.proofs.tlog.witness import check_time

_log = logging.getLogger(__name__)


class Cosignatures:
    """The cosigned checkpoints of this log.

    Args:
        database: of the schema `receipts`.
        proving: knows what the log was at every size.
        policy: the witnesses.
    """

    def __init__(self, database: Database, proving: Proving, policy: Policy) -> None:
        self._database = database
        self._proving = proving
        self._policy = policy

    async def get_checkpoint(self) -> str:
        """The newest checkpoint, with the cosignatures that there are of exactly it.

        Raises:
            UnavailableError: the log has not begun.
        """
        log = await self._proving.get_log()
        async with self._database.connection() as connection:
            return await self._with_lines(connection, log.tree_size, log.checkpoint)

    async def get_candidate(self) -> str:
        """The checkpoint that witnesses are asked to cosign now, which is not always the newest one.

        Only where all of them cosign the same one can it be witnessed.

        Raises:
            UnavailableError: the log has not begun.
        """
        log = await self._proving.get_log()
        async with self._database.connection() as connection:
            candidate = await find_candidate(connection)
            if candidate is None or candidate.tree_size > log.tree_size:
                return await self._with_lines(connection, log.tree_size, log.checkpoint)
            return await self._with_lines(connection, candidate.tree_size, candidate.note)

    async def get_witnessed(self) -> SizedCheckpoint:
        """The newest checkpoint that enough witnesses have cosigned, with their cosignatures.

        Raises:
            NotFoundError: this deployment has no witnesses.
            UnavailableError: there is none yet.
        """
        if not self._policy.peers:
            raise NotFoundError("This deployment has no witnesses, so no checkpoint is witnessed.")
        async with self._database.connection() as connection:
            found = await find_witnessed(connection, self._policy.names, self._policy.quorum)
            if found is None:
                raise UnavailableError(
                    "No checkpoint has been cosigned by enough witnesses yet.",
                    retry_after=max(self._policy.interval, timedelta(seconds=1)),
                )
            return SizedCheckpoint(found.tree_size, await self._with_lines(connection, *found))

    async def take(self, raw: bytes) -> CosignaturesTaken:
        """Store what witnesses have cosigned.

        Args:
            raw: a checkpoint of this log, signed by it, with the lines of witnesses.

        Raises:
            MalformedRequestError: it is no signed checkpoint.
            ForbiddenError: the log has not signed it, none of the witnesses has, or a line is wrong.
            InvalidFieldError: the log has never been what it says.
        """
        try:
            note = raw.decode()
            checkpoint = Checkpoint.parse(parse_note(note).text)
        except (UnicodeDecodeError, NoteError) as error:
            raise MalformedRequestError(f"The body is not a cosigned checkpoint: {error}.") from None
        log = await self._proving.get_log()
        keys = [*await self._proving.list_verifier_keys(), *(peer.key for peer in self._policy.peers)]
        try:
            opened = open_checkpoint(note, log.origin, keys)
            cosigned = [check_time(each) for each in opened.signatures if each.time is not None]
        except NoteError as error:
            raise ForbiddenError(f"The checkpoint is not taken: {error}.") from None
        if not cosigned:
            raise ForbiddenError("None of the witnesses of this deployment has cosigned the checkpoint.")
        await self._require_ours(checkpoint, opened.note.text)
        own = next(each.line for each in opened.signatures if each.time is None)
        await self.store(CheckpointRow(checkpoint.size, f"{checkpoint.text}\n{own}"), cosigned)
        return CosignaturesTaken(tree_size=checkpoint.size, witnesses=[each.key.name for each in cosigned])

    async def store(self, checkpoint: CheckpointRow, cosigned: list[Signature]) -> None:
        """Store verified cosignatures of a checkpoint of this log."""
        async with self._database.transaction() as connection:
            await lock_candidates(connection)
            await insert_checkpoint(connection, checkpoint)
            for each in cosigned:
                at = datetime.fromtimestamp(each.time or 0, UTC)
                await insert_cosignature(connection, checkpoint.tree_size, each.key.text, each.line, at)

    async def describe(self) -> WitnessStates:
        """How far each witness is."""
        log = await self._proving.get_log()
        async with self._database.connection() as connection:
            rows = {row.witness: row for row in await list_witnesses(connection, self._policy.names)}
            witnessed = None
            if self._policy.peers:
                witnessed = await find_witnessed(connection, self._policy.names, self._policy.quorum)
        return WitnessStates(
            tree_size=log.tree_size,
            witnessed_size=None if witnessed is None else witnessed.tree_size,
            quorum=self._policy.quorum,
            witnesses=[
                self._describe(peer.key.name, peer.key.text, rows.get(peer.key.text), log)
                for peer in self._policy.peers
            ],
        )

    def _describe(self, name: str, key: str, row: WitnessRow | None, log: LogRow) -> WitnessState:
        row = row or WitnessRow(key, 0, None, None, None)
        return WitnessState(
            name=name,
            verifier_key=key,
            tree_size=row.tree_size,
            cosigned_at=row.cosigned_at,
            behind=max(0, log.tree_size - row.tree_size),
            waiting_s=None if row.waiting is None else round(row.waiting.total_seconds(), 3),
            overdue=row.waiting is not None and row.waiting > self._policy.overdue,
        )

    async def _require_ours(self, checkpoint: Checkpoint, text: str) -> None:
        root = await self._proving.compute_root(checkpoint.size)
        if checkpoint.size > 0 and root == checkpoint.root and text == checkpoint.text:
            return
        _log.error(
            "a checkpoint of %d leaves bears our log's signature and is not our log's: has the log been "
            "rewritten, or is its key in other hands?",
            checkpoint.size,
        )
        raise InvalidFieldError.of("checkpoint", "is not one that this log has been at")

    async def _with_lines(self, connection: Connection, size: int, note: str) -> str:
        lines = await list_lines(connection, size, self._policy.names)
        if not lines:
            return note
        try:
            return join_lines(parse_note(note), lines).encode()
        except NoteError:
            raise UnavailableError("The receipts' log is damaged.") from None
