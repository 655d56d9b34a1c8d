"""Every call to the API, one function each. Each takes what its service knows, and the caller's arguments."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TypeAlias

from llmring.api.documents import Documents
from llmring.api.settings import Settings

Day: TypeAlias = str | date | datetime
"""A day, as `2026-11-25` or a date; or an instant, as RFC 3339 or a datetime with its offset."""


@dataclass(frozen=True)
class Known:
    """What a service knows."""

    settings: Settings
    documents: Documents


def day_text(day: Day | None) -> str | None:
    """As the server reads it."""
    return day if day is None or isinstance(day, str) else day.isoformat()


def names(given: str | Iterable[str] | None) -> list[str]:
    """Names given one by one, or separated by commas."""
    parts = given.split(",") if isinstance(given, str) else (given or ())
    return [each.strip() for each in parts if each.strip()]


def usage_filter(
    start_date: Day | None, end_date: Day | None, others: Mapping[str, str | None]
) -> dict[str, str | None]:
    """The parameters that choose records."""
    return {"start_date": day_text(start_date), "end_date": day_text(end_date), **others}
