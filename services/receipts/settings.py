"""What can be set of the receipts service."""

import msgspec


class ReceiptsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Plain values; only the command line reads the environment.

    Attributes:
        data_dir: the private seed is kept below it, in `receipts/<key_id>.seed`, unless one is given.
        signing_seed: base64 of the 32 seed bytes; a new one rotates the key.
        rotation_overlap_s: how long processes that still hold the previous key may go on signing with it.
        issue_wait_ms: how long a request for a record's receipt waits for the issuer.
        max_skew_s: how far ahead of our clock a declared time may be.
        issuer_batch: the most records that are receipted in one transaction.
        log_origin: the name of the Merkle log in its checkpoints, such as `receipts.example.com/log`; empty
            for one that is made from the first signing key. It never changes.
        witnesses: each a verifier key, and after a blank the address where it is asked; without one it comes
            by itself.
        witness_quorum: how many of them must have cosigned a checkpoint that counts as witnessed; all by
            default.
        witness_interval_s: how often the log's growth is shown to them.
        witness_overdue_s: how long one may be behind before that is reported.
    """

    data_dir: str = "./data"
    signing_seed: str = ""
    rotation_overlap_s: int = 86_400
    issue_wait_ms: int = 2_000
    max_skew_s: int = 300
    issuer_batch: int = 1_000
    log_origin: str = ""
    witnesses: tuple[str, ...] = ()
    witness_quorum: int | None = None
    witness_interval_s: int = 10
    witness_overdue_s: int = 600

    def __repr__(self) -> str:
        return f"ReceiptsSettings(data_dir={self.data_dir!r})"  # the seed never reaches a log
