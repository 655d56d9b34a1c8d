"""Differences as a person reads them."""

from services.ingest.store.recount import CountFound, SumsFound
from services.ingest.store.recount_budgets import BudgetFound
from shared.clock import rfc3339

_GRAINS = {"d": "day", "q": "quarter of an hour"}


def describe_rollup(wrong: SumsFound | CountFound) -> str:
    """Which row of the rollups it is, and what in it differs."""
    names = ", ".join(filter(None, wrong.names)) or "all names"
    place = f"{_GRAINS.get(wrong.grain, wrong.grain)} {rfc3339(wrong.bucket_at)}, {names}"
    if isinstance(wrong, CountFound):
        return (
            f"{place}, latency bucket {wrong.latency_bucket}: {wrong.found or 0} instead of {wrong.due or 0}"
        )
    due, found = wrong.due, wrong.found
    if due is None:
        return f"{place}: there are no rows for it"
    if found is None:
        return f"{place}: it is missing"
    differing = [f"{name} {found[name]} instead of {due[name]}" for name in due if due[name] != found[name]]
    return f"{place}: {', '.join(differing)}"


def describe_budget(wrong: BudgetFound) -> str:
    """Which month of which budget it is, and what in it differs."""
    names = ("spent", "reserved", "records without a cost")
    differing = [
        f"{name} {found} instead of {due}"
        for name, found, due in zip(names, wrong.found, wrong.due, strict=True)
        if found != due
    ]
    return f"budget {wrong.budget_id}, month {wrong.month:%Y-%m}: {', '.join(differing)}"
