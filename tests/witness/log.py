"""A log in a few lines, which can sign whatever its operator likes."""

from collections.abc import Sequence

from shared.proofs.signing import SigningKey
from shared.proofs.tlog.checkpoint import Checkpoint
from shared.proofs.tlog.frontier import Frontier
from shared.proofs.tlog.hashing import Node, hash_leaf
from shared.proofs.tlog.note import VerifierKey
from shared.proofs.tlog.proofs import carry_out, plan_consistency
from shared.proofs.tlog.witness import AddCheckpoint
from tests.proofs.test_tlog import tree_hash


class ALog:
    """Entries, and a key that signs their tree. Logs of one origin and key are histories of one log."""

    def __init__(
        self, entries: Sequence[str], *, origin: str = "log.example/receipts", seed: int = 1
    ) -> None:
        self.origin = origin
        self.key = SigningKey.from_seed(bytes([seed]) * 32)
        self.leaves = [hash_leaf(each.encode()) for each in entries]

    @property
    def verifier(self) -> VerifierKey:
        return VerifierKey(self.origin, self.key.public_key)

    def root(self, size: int) -> bytes:
        return tree_hash(self.leaves[:size])

    def note(self, size: int) -> str:
        return Checkpoint(self.origin, size, self.root(size)).sign(self.key).encode()

    def proof(self, old: int, size: int) -> list[bytes]:
        plan = plan_consistency(old, size)
        return carry_out(plan, _Hashes(self.leaves))

    def request(self, old: int, size: int) -> AddCheckpoint:
        return AddCheckpoint(old, self.proof(old, size), self.note(size))


class _Hashes(dict[Node, bytes]):
    def __init__(self, leaves: list[bytes]) -> None:
        super().__init__()
        self._leaves = leaves

    def __missing__(self, node: Node) -> bytes:
        part = self._leaves[node.number << node.level : (node.number + 1) << node.level]
        return Frontier().append(part)[0].root


def entries(count: int, *, other_from: int | None = None) -> list[str]:
    """Entries; from an index on, those of another history."""
    return [f"{'x' if other_from is not None and n >= other_from else 'e'}{n}" for n in range(count)]
