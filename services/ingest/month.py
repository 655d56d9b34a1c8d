"""Calendar months, UTC: by them quotas are counted."""

from datetime import UTC, date, datetime


def month_of(at: datetime) -> date:
    """The first day of the month that an instant lies in."""
    return at.astimezone(UTC).date().replace(day=1)


def end_of(month: date) -> datetime:
    """The instant at which the next month begins."""
    year, number = (month.year + 1, 1) if month.month == 12 else (month.year, month.month + 1)
    return datetime(year, number, 1, tzinfo=UTC)
