"""Costs that were found later, put into the rows of their records: once, and only where there was none."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from services.ingest.store.logs import insert_logs
from services.ingest.store.retention import is_before, list_horizons
from services.ingest.store.unpriced import find_unpriced, set_costs
from shared.contracts.usage import UsageLogged
from shared.postgres import Connection


class LateCosts(NamedTuple):
    """What came of them, each named by its place among them.

    Attributes:
        before: those whose records have this cost now, and the records as they were.
        inserted: those whose rows were not there: their topic has let go of the first event. None of those
            that may have been deleted.
        foreign: those that state other facts than a row that has no cost.
    """

    before: dict[int, UsageLogged]
    inserted: list[int]
    foreign: list[int]


async def apply_late_costs(connection: Connection, late: Sequence[UsageLogged]) -> LateCosts:
    """Set costs where rows have none. A row that has one, from whomever and since when ever, stays as it is.

    Args:
        connection: of the rater's transaction, which alone writes these accounts' records.
        late: with `repriced_at`; of several for one record the first counts that states its facts.
    """
    horizons = await list_horizons(connection, {event.account_id for event in late}) if late else {}
    # One that retention has deleted stays so: its sums are those of a record without a cost.
    kept = [event for event in late if not is_before(event, horizons)]
    new = await insert_logs(connection, kept)
    rows = await find_unpriced(connection, {(event.account_id, event.log_id) for event in late} - new)
    costs = LateCosts({}, [], [])
    for place, event in enumerate(late):
        key = event.account_id, event.log_id
        if key in new:
            new.discard(key)
            costs.inserted.append(place)
        elif key in rows:
            if _is_the_same(rows[key], event):
                costs.before[place] = rows.pop(key)
            else:
                costs.foreign.append(place)
    await set_costs(connection, [late[place] for place in costs.before])
    return costs


_FOUND = (
    "model_key",
    "calculated_cost",
    "calculated_status",
    "cost",
    "cost_status",
    "registry_version",
    "cost_breakdown",
)


def _is_the_same(row: UsageLogged, late: UsageLogged) -> bool:
    """Whether an event states the facts of a row, but for its price."""
    price = {name: getattr(row, name) for name in _FOUND}
    kept = {"repriced_at": None, "idempotency_key": None, "body_digest": None}
    return msgspec.structs.replace(late, **price, **kept) == row
