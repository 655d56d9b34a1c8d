"""At the end: the prices that answers named, repetitions, and the product's own checker."""

import asyncio
import json
import random
import subprocess
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from tests.chaos.cluster import Cluster
from tests.chaos.door import Door
from tests.chaos.ledger import Ledger
from tests.chaos.load import Load

_REPEATED: Final = 400
_OTHER_BODIES: Final = 50
_SHOWN: Final = 100
_AT_ONCE: Final = 8
_DOCTOR_S: Final = 600


async def show_versions(door: Door, ledger: Ledger) -> dict[str, Mapping[str, Any]]:
    """The models of every registry version that an answer names, as the public door shows them."""
    names = {each.answer.registry_version for each in ledger.acknowledged.values()}
    found: dict[str, Mapping[str, Any]] = {}
    for name in sorted(filter(None, names)):
        shown = await door.ask_until(
            "GET", f"/registry/v/{name}/registry.json", purpose="registry version", wanted=200
        )
        found[name] = json.loads(shown.body, parse_float=Decimal, parse_int=Decimal)["models"]
    return found


async def sample_again(load: Load, chance: random.Random) -> list[str]:
    """Repeat some of what was acknowledged, and look at some of it through the public door; what is wrong."""
    deliveries = load.ledger.deliveries
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one_at_a_time(step: Any) -> None:
        async with turns:
            await step

    again = chance.sample(deliveries, min(_REPEATED, len(deliveries)))
    singles = [each for each in deliveries if len(each[1].records) == 1]
    others = chance.sample(singles, min(_OTHER_BODIES, len(singles)))
    await asyncio.gather(
        *(one_at_a_time(load.repeat(account, work)) for account, work, _ in again),
        *(one_at_a_time(load.offer_other_body(account, work)) for account, work, _ in others),
    )
    wrong: list[str] = []
    for log_id in chance.sample(sorted(load.ledger.acknowledged), min(_SHOWN, len(load.ledger.acknowledged))):
        wrong += await _look_at(load, log_id)
    return wrong


async def _look_at(load: Load, log_id: str) -> list[str]:
    """One record, its receipt, and the public verdict on it."""
    each = load.ledger.acknowledged[log_id]
    key = each.account.key
    shown = await load.door.ask_until("GET", f"/api/v1/logs/{log_id}", key=key, purpose="one log", wanted=200)
    entry = json.loads(shown.body, parse_float=Decimal, parse_int=Decimal)
    made = await load.door.ask_until(
        "POST",
        "/api/v1/receipts",
        key=key,
        body=json.dumps({"log_id": log_id}).encode(),
        purpose="receipt of a log",
        wanted=201,
    )
    receipt = json.loads(made.body)["receipt"]
    judged = await load.door.ask_until(
        "POST", "/api/v1/receipts/verify", body=json.dumps(receipt).encode(), purpose="verify", wanted=200
    )
    stated = receipt["payload"]["cost"]
    wrong = []
    if entry["cost"] != each.answer.cost:
        wrong.append(f"{log_id} is shown with cost {entry['cost']}, not {each.answer.cost}")
    if (None if stated is None else Decimal(stated)) != each.answer.cost:
        wrong.append(f"the receipt of {log_id} states {stated}, not {each.answer.cost}")
    if not json.loads(judged.body)["valid"]:
        wrong.append(f"the receipt of {log_id} is not valid: {judged.body!r}")
    return wrong


def run_doctor(cluster: Cluster) -> dict[str, Any] | None:
    """What `llmring-api doctor --verify --json` says; None while there is no such command."""
    ingest = cluster.programs["ingest-1"]
    try:
        printed = ingest.run("doctor", "--verify", "--json", seconds=_DOCTOR_S)
    except subprocess.TimeoutExpired:
        return {"status": "timeout"}
    except RuntimeError as error:
        if "No such command" in str(error):
            return None
        return {"status": "failed", "text": str(error)[-3000:]}
    return {"status": "ok", "found": json.loads(printed)}
