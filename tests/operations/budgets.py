"""An account with budgets, of which everything is used that there is."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from services.ingest.budget import BudgetKey, Wish
from services.ingest.presence import Presence
from services.ingest.reserve import Reserving
from services.ingest.set_budgets import Budgeting, Wanted
from services.ingest.settle import Settling
from shared.clock import FixedClock
from shared.ids import uuid7
from tests.operations.works import NOW, A, Works, an_event


async def own_all(account_id: UUID, key_ids: Sequence[UUID]) -> set[UUID]:
    """Every key is whoever's is asked for."""
    return set(key_ids)


async def use_budgets(works: Works) -> None:
    """Have records count before a budget is made and after, and settle reservations in every way."""
    clock, presence = FixedClock(NOW), Presence(works.database)
    budgeting = Budgeting(
        database=works.database,
        presence=presence,
        event_log=works.event_log,
        own_keys=own_all,
        clock=clock,
        slice_records=2,
        month_clock=clock,
    )
    settling = Settling(
        database=works.database,
        presence=presence,
        event_log=works.event_log,
        clock=clock,
        expiry_clock=clock,
    )
    thresholds = (Decimal("0.5"), Decimal(1))
    await works.accept(*(an_event(number) for number in range(5)))
    await works.work_off()
    wanted = [
        Wanted(None, "all", "account", "", Decimal(10), thresholds),
        Wanted(None, "web", "origin", "web", Decimal(10), thresholds),
    ]
    gone = Wanted(None, "gone", "origin", "gone", Decimal(10), thresholds)
    whole, web, removed = [BudgetKey(A, each.id) for each in await budgeting.set_budgets(A, [*wanted, gone])]
    reserving = Reserving(works.database, presence, clock)
    names = [uuid7() for _ in range(5)]
    others = [(key, names[0]) for key in (web, removed)]
    for key, name in (*others, *((whole, name) for name in names)):
        await reserving.reserve(key, Wish(name, Decimal(1), timedelta(minutes=1)))
    await budgeting.set_budgets(A, wanted)
    await settling.settle(whole, names[0], Decimal("0.25"))  # and by a record
    await settling.settle(whole, names[1], Decimal("0.75"))  # and by nothing else
    await settling.settle(whole, names[2], Decimal(0))
    await works.accept(
        *(an_event(number) for number in range(5)),
        an_event(client_cost="4.125", cost="4.125", cost_status="client", reservation_id=names[0]),
        an_event(client_cost="0.5", cost="0.5", cost_status="client", reservation_id=names[3], origin="web"),
        an_event(client_cost="0.5", cost="0.5", cost_status="client", reservation_id=names[3]),
    )
    await works.work_off()
