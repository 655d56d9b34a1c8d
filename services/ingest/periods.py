"""Ranges of time as callers name them, and the days, weeks and months that they are made of: pure.

A day is half-open in the zone asked for, so that no instant falls between two days or into both. An end that
names a day includes it; an end that names an instant does not. The same rule holds for logs and statistics.
"""

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from shared.clock import parse_rfc3339
from shared.errors import InvalidFieldError

GroupBy = Literal["day", "week", "month"]

MAX_DAYS_BY_DAY = 366
MAX_PERIODS = 2000
DEFAULT_DAYS = 30

_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_ONE_DAY = timedelta(days=1)


class TimeRange(NamedTuple):
    """From `start_at` up to, and not including, `end_at`, both in UTC, and the days they touch in a zone."""

    start_at: datetime
    end_at: datetime
    first_day: date
    last_day: date
    zone: ZoneInfo


class Period(NamedTuple):
    """A day, week or month: its first day, and the instant at which that begins in the zone."""

    first_day: date
    starts_at: datetime


def parse_zone(name: str | None) -> ZoneInfo:
    """An IANA time zone, UTC by default.

    Raises:
        InvalidFieldError: there is no such zone.
    """
    if name is None:
        return ZoneInfo("UTC")
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):  # a bad name, a directory of the database, no such zone
        raise InvalidFieldError.of(
            "timezone", "is not a zone of the IANA database, such as Europe/Zurich"
        ) from None


def parse_bound(text: str, field: str, zone: ZoneInfo, *, is_end: bool) -> datetime:
    """A day or an RFC 3339 instant as an instant in UTC. A day that ends a range counts whole.

    Raises:
        InvalidFieldError: neither of the two, or not a possible one.
    """
    try:
        if _DATE.fullmatch(text):
            day = date.fromisoformat(text)
            return midnight(day + _ONE_DAY if is_end else day, zone)
        return parse_rfc3339(text)
    except OverflowError:
        raise InvalidFieldError.of(field, "is not a possible date") from None
    except ValueError as error:
        reason = (
            "is not a possible date" if _DATE.fullmatch(text) else "must be YYYY-MM-DD or an RFC 3339 time"
        )
        raise InvalidFieldError.of(field, reason) from error


def parse_range(
    start: str | None, end: str | None, zone: ZoneInfo, now: datetime, default_days: int = DEFAULT_DAYS
) -> TimeRange:
    """The range that two bounds name. Without an end it ends today; without a start it has `default_days`.

    Raises:
        InvalidFieldError: a bound is wrong, or the start is not before the end.
    """
    end_at = (
        midnight(now.astimezone(zone).date() + _ONE_DAY, zone)
        if end is None
        else parse_bound(end, "end_date", zone, is_end=True)
    )
    try:
        last_day = (end_at - timedelta(microseconds=1)).astimezone(zone).date()
        start_at = (
            midnight(last_day - timedelta(days=default_days - 1), zone)
            if start is None
            else parse_bound(start, "start_date", zone, is_end=False)
        )
        first_day = start_at.astimezone(zone).date()
    except OverflowError:
        raise InvalidFieldError.of("start_date", "is not a possible date") from None
    if start_at >= end_at:
        raise InvalidFieldError.of("start_date", "must not be after end_date")
    return TimeRange(start_at, end_at, first_day, last_day, zone)


def list_days(span: TimeRange) -> list[Period]:
    """Every day that a range touches, in order."""
    count = (span.last_day - span.first_day).days + 1
    days = (span.first_day + timedelta(days=number) for number in range(count))
    return [Period(day, midnight(day, span.zone)) for day in days]


def list_period_days(span: TimeRange, group_by: GroupBy) -> list[date]:
    """The first day of every period that a range touches: days, ISO weeks (Mondays) or months.

    Raises:
        InvalidFieldError: more than `MAX_DAYS_BY_DAY` days by day, or more than `MAX_PERIODS` periods.
    """
    days = (span.last_day - span.first_day).days + 1
    most = MAX_DAYS_BY_DAY if group_by == "day" else MAX_PERIODS
    if days / {"day": 1, "week": 7, "month": 31}[group_by] > most:
        raise InvalidFieldError.of(
            "start_date", f"the range has more than {most} periods; group_by a longer one"
        )
    first = period_of(span.first_day, group_by)
    periods = [first]
    while (following := _next(periods[-1], group_by)) <= span.last_day:
        periods.append(following)
    return periods


def period_of(day: date, group_by: GroupBy) -> date:
    """The first day of the period that a day is in."""
    if group_by == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if group_by == "month" else day


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """The instant at which a day begins in a zone, in UTC; where clocks skip midnight, the first one after.

    Raises:
        OverflowError: it falls outside the years 1 to 9999.
    """
    return datetime.combine(day, time(), zone).astimezone(UTC)


def _next(period: date, group_by: GroupBy) -> date:
    if group_by == "month":
        return (period + timedelta(days=31)).replace(day=1)
    return period + timedelta(days=7 if group_by == "week" else 1)
