"""`GET /internal/month`: how many records of the caller's account arrived this month. Auth asks for it."""

from datetime import timedelta

from litestar import get
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler

from services.ingest.month import end_of, month_of
from services.ingest.quota import Quotas
from services.ingest.watermark import Watermark
from shared.clock import Clock
from shared.contracts.keys import Principal
from shared.contracts.statistics import MonthUsage


def build_month(quotas: Quotas, watermark: Watermark, clock: Clock, read_wait: timedelta) -> HTTPRouteHandler:
    """The handler. The gateway has no route to it; it answers for the principal that it is shown."""

    @get("/internal/month", include_in_schema=False)
    async def get_month(principal: NamedDependency[Principal]) -> MonthUsage:
        if principal.logs_per_month is None:  # then the stored ones are counted
            await watermark.wait(principal.account_id, read_wait)
        month = month_of(clock.now())
        records = await quotas.used(principal.account_id, principal.logs_per_month)
        return MonthUsage(month=f"{month:%Y-%m}", records=records, resets_at=end_of(month))

    return get_month
