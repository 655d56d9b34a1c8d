"""Places in a list, as callers hand them back: opaque text that only this API gives out."""

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from shared.errors import InvalidFieldError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def encode_cursor(occurred_at: datetime, ids: Sequence[UUID]) -> str:
    """The place of a record: its instant, and the ids that order records of one instant."""
    text = ".".join([str((occurred_at - _EPOCH) // _MICROSECOND), *(each.hex for each in ids)])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str, ids: int) -> tuple[datetime, list[UUID]]:
    """The instant and the ids, of which there must be so many.

    Raises:
        InvalidFieldError: it is not one of ours.
    """
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        microseconds, *named = text.split(".")
        if len(named) != ids:
            raise ValueError(named)  # noqa: TRY301 - answered as any other cursor that is not ours
        return _EPOCH + int(microseconds) * _MICROSECOND, [UUID(each) for each in named]
    except (ValueError, OverflowError, binascii.Error):
        raise InvalidFieldError.of("cursor", "is not one that this API gave out") from None
