"""What can be set of webhooks."""

import msgspec


class WebhooksSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Plain values; only the command line reads the environment.

    Attributes:
        data_dir: the sealing key is kept below it, in `webhooks/sealing.key`, unless one is given.
        sealing_keys: base64 of the 32 bytes that secrets are sealed with in the database; while it is being
            changed two, the new one first.
        allow_private: plain HTTP, and addresses that are not public, are allowed as well: for development.
        endpoints_per_account: the most that an account may have.
        at_once: the most deliveries that one process has in flight.
        at_once_per_endpoint: the most of them that go to one endpoint.
        timeout_s: for one attempt, from looking up the name to the last byte of the answer.
        disable_after_s: an endpoint of which every attempt failed for so long is disabled.
        keep_days: how long deliveries and their attempts are kept.
    """

    data_dir: str = "./data"
    sealing_keys: tuple[str, ...] = ()
    allow_private: bool = False
    endpoints_per_account: int = 20
    at_once: int = 64
    at_once_per_endpoint: int = 8
    timeout_s: float = 10.0
    disable_after_s: int = 5 * 86_400
    keep_days: int = 30

    def __repr__(self) -> str:
        return f"WebhooksSettings(data_dir={self.data_dir!r})"  # the key never reaches a log
