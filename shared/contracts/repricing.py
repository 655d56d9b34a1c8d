"""`POST /api/v1/admin/usage/reprice`: finding costs that were unknown when records were accepted."""

from typing import Annotated, Final
from uuid import UUID

import msgspec

from shared.contracts.usage import InstantText, UsdNumber

MAX_REPRICED_AT_ONCE: Final = 5_000


class RepriceRequest(msgspec.Struct, kw_only=True):
    """Which records without a cost to price, and how.

    Attributes:
        start_date: YYYY-MM-DD (UTC) or an RFC 3339 time, by the records' own time.
        end_date: likewise; a day counts whole, a time is not included.
        account_id: only this account's.
        model: only this model's, by the name that was sent, or as statistics call it.
        registry_version: price with this version. By default with the one in force at the record's own time,
            and where that cannot, with the one in force now.
        dry_run: only tell.
        limit: how many records to look at in this request.
        cursor: `next` of the answer before.
    """

    start_date: InstantText
    end_date: InstantText
    account_id: UUID | None = None
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=600)] | None = None
    registry_version: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    dry_run: bool = True
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_REPRICED_AT_ONCE)] = 1_000
    cursor: Annotated[str, msgspec.Meta(max_length=255)] | None = None


class PricedModel(msgspec.Struct, frozen=True, kw_only=True):
    """Records that have a cost now, or would have one, by the key and the version that priced them."""

    model_key: str
    registry_version: str
    records: int
    cost: UsdNumber


class UnpricedModel(msgspec.Struct, frozen=True, kw_only=True):
    """Records that stay without a cost, by the names that were sent, and why."""

    provider: str
    model: str
    reason: str
    records: int


class Repricing(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, or would be, with the records of one request.

    Attributes:
        examined: how many records without a cost were looked at.
        priced: how many of them get one.
        cost: its sum.
        next: the cursor of the next request; null at the end of the range.
    """

    dry_run: bool
    examined: int
    priced: int
    cost: UsdNumber
    by_model: list[PricedModel]
    unpriced: list[UnpricedModel]
    next: str | None
