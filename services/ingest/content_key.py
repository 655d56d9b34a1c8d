"""The idempotency key of an imported record that had none: its content, so that a line which comes again is
the same record.

Such a key can stand for nothing but this content. So what it stands for need not be kept beside it, as the
event is that another key was answered with: whoever brings the key brings the same.
"""

from shared.contracts.usage import UsageLogged


def key_of_content(digest: bytes) -> str:
    """The key of a record, by the digest of what it says."""
    return f"content:{digest.hex()}"


def is_keyed_by_content(event: UsageLogged) -> bool:
    """Whether a record's key is that of its content."""
    return event.body_digest is not None and event.idempotency_key == key_of_content(event.body_digest)
