"""Which witnesses a deployment has, and how many of them must have cosigned a checkpoint."""

from datetime import timedelta
from typing import NamedTuple

from services.receipts.settings import ReceiptsSettings
from shared.proofs.tlog.note import COSIGNATURE, NoteError, VerifierKey


class Peer(NamedTuple):
    """A witness.

    Attributes:
        url: where it is asked, without `/add-checkpoint`; None for one that comes by itself.
    """

    key: VerifierKey
    url: str | None


class Policy(NamedTuple):
    """What is asked of whom.

    Attributes:
        quorum: how many of them must have cosigned a checkpoint; 0 where there are none.
        interval: how often the log's growth is shown to them.
        overdue: how long one may be behind.
    """

    peers: tuple[Peer, ...]
    quorum: int
    interval: timedelta
    overdue: timedelta

    @property
    def names(self) -> list[str]:
        """The witnesses as the tables name them."""
        return [peer.key.text for peer in self.peers]


def parse_policy(settings: ReceiptsSettings) -> Policy:
    """Read the settings.

    Raises:
        ValueError: one of the witnesses is none, stands twice, or the quorum is impossible.
    """
    peers = tuple(_parse_peer(each) for each in settings.witnesses)
    for fault, values in (
        ("key", [peer.key.text for peer in peers]),
        ("name", [peer.key.name for peer in peers]),
    ):
        if len(set(values)) < len(values):
            raise ValueError(f"two witnesses have the same {fault}")
    quorum = len(peers) if settings.witness_quorum is None else settings.witness_quorum
    if peers and not 0 < quorum <= len(peers):
        raise ValueError(f"the quorum must be from 1 to {len(peers)}, the number of the witnesses")
    return Policy(
        peers,
        quorum if peers else 0,
        timedelta(seconds=settings.witness_interval_s),
        timedelta(seconds=settings.witness_overdue_s),
    )


def _parse_peer(text: str) -> Peer:
    key_text, _, url = text.strip().partition(" ")
    url = url.strip().rstrip("/")
    try:
        key = VerifierKey.parse(key_text)
    except NoteError as error:
        raise ValueError(f"{key_text}: {error}") from None
    if key.algorithm != COSIGNATURE:
        raise ValueError(f"{key_text} is not the key of a witness")
    if url and not url.startswith(("http://", "https://")):
        raise ValueError(f"{url} is not an address that begins with http:// or https://")
    return Peer(key, url or None)
