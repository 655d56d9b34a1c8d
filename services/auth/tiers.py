"""The tiers' figures (integration document, "Authentication & Security"), and the limits of an account."""

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

import msgspec

TierName = Literal["free", "hobby", "pro", "team"]
LimitName = Literal["requests_per_minute", "logs_per_month", "retention_days"]
LIMIT_NAMES: Final[tuple[LimitName, ...]] = get_args(LimitName)

OwnLimits = Mapping[LimitName, int | None]
"""The limits that an account has of its own: a name that is missing goes by the tier, None is no limit."""


class Tier(msgspec.Struct, frozen=True, kw_only=True):
    """What a tier allows; null is no limit.

    Attributes:
        logs_per_month: records per calendar month, UTC.
        retention_days: how long single records are kept.
        requests_per_minute: of each key, in any 60 s.
    """

    name: TierName
    logs_per_month: int | None
    retention_days: int | None
    requests_per_minute: int | None


TIERS: Final[dict[TierName, Tier]] = {
    tier.name: tier
    for tier in (
        Tier(name="free", logs_per_month=10_000, retention_days=30, requests_per_minute=60),
        Tier(name="hobby", logs_per_month=50_000, retention_days=90, requests_per_minute=300),
        Tier(name="pro", logs_per_month=500_000, retention_days=365, requests_per_minute=1_000),
        Tier(name="team", logs_per_month=None, retention_days=None, requests_per_minute=5_000),
    )
}


def effective_limits(tier: TierName, own: OwnLimits) -> dict[LimitName, int | None]:
    """The limits that rule an account: its own where it has some, else its tier's."""
    return {name: own[name] if name in own else getattr(TIERS[tier], name) for name in LIMIT_NAMES}


def describe_limits(tier: TierName, own: OwnLimits) -> dict[str, Any]:
    """The limits in force by name, and in `own_limits` the names of the account's own."""
    limits: dict[str, Any] = dict(effective_limits(tier, own).items())
    return limits | {"own_limits": [name for name in LIMIT_NAMES if name in own]}
