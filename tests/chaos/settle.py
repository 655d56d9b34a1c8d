"""Settling the accounts: acknowledged = stored = rolled up = receipted, each once, each at its exact cost.

Everything is read from the tables and held against what callers were told; nothing of the product's own
arithmetic takes part.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec

from shared.postgres import open_connection
from shared.proofs.signing import verify
from tests.chaos.ledger import Acknowledged, Ledger
from tests.chaos.records import price_by_hand

LIST_LOGS: Final = """
SELECT account_id, log_id, occurred_at, cost, cost_status, client_cost, registry_version,
       input_tokens, output_tokens, cached_input_tokens
  FROM usage.logs
"""
LIST_ROLLUPS: Final = """
SELECT account_id, grain::text AS grain, bucket_at, origin, alias, sum(requests)::bigint AS requests,
       sum(unpriced_requests)::bigint AS unpriced, sum(cost) AS cost,
       sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens,
       sum(cached_input_tokens)::bigint AS cached_input_tokens, sum(timed_requests)::bigint AS timed,
       sum(latency_ms)::bigint AS latency_ms
  FROM usage.rollups GROUP BY 1, 2, 3, 4, 5
"""
COUNT_LATENCIES: Final = """
SELECT grain::text AS grain, sum(requests)::bigint AS requests FROM usage.latency_rollups
 WHERE provider = '' AND model_group = '' AND origin = '' AND alias = '' GROUP BY 1
"""
LIST_RECEIPTS: Final = """
SELECT account_id, log_id, kind, account_sequence, key_id, payload, signature FROM receipts.receipts
"""
LIST_SEQUENCES: Final = "SELECT account_id, last_sequence FROM receipts.sequences"
LIST_KEYS: Final = "SELECT key_id, public_key FROM receipts.signing_keys"

_SHOWN: Final = 5
_QUARTER_MIN: Final = 15


@dataclass
class Settlement:
    """What was found.

    Attributes:
        lost: acknowledged records that are missing from rows, rollups or receipts; the largest of the three.
        doubled: what is there more often than it was acknowledged, or was never acknowledged.
        wrong_cost: records whose row, receipt or answer has another cost than it must have.
        differences: all that is wrong, in words; empty if all is well.
    """

    acknowledged: int = 0
    stored: int = 0
    rolled_up: int = 0
    receipted: int = 0
    lost: int = 0
    doubled: int = 0
    wrong_cost: int = 0
    signatures_checked: int = 0
    differences: list[str] = field(default_factory=list)

    def differ(self, what: str, examples: Collection[object]) -> None:
        """Put down a difference, with a few examples."""
        shown = ", ".join(str(each) for each in list(examples)[:_SHOWN])
        self.differences.append(f"{what}: {len(examples)}, such as {shown}")


async def settle(
    ledger: Ledger, database_url: str, versions: Mapping[str, Mapping[str, Any]], *, signatures: int
) -> Settlement:
    """Hold the tables against the ledger.

    Args:
        ledger: what was acknowledged.
        database_url: the usage and receipts schemas.
        versions: the models of each registry version that an answer names.
        signatures: how many receipts to verify at most, evenly spread.
    """
    connection = await open_connection(database_url, application_name="chaos")
    try:
        logs = await connection.fetch(LIST_LOGS)
        rollups = await connection.fetch(LIST_ROLLUPS)
        latencies = await connection.fetch(COUNT_LATENCIES)
        receipts = await connection.fetch(LIST_RECEIPTS)
        sequences = await connection.fetch(LIST_SEQUENCES)
        keys = {row["key_id"]: row["public_key"] for row in await connection.fetch(LIST_KEYS)}
    finally:
        await connection.close()
    found = Settlement(acknowledged=len(ledger.acknowledged), stored=len(logs), receipted=len(receipts))
    _settle_answers(ledger, versions, found)
    _settle_logs(ledger, logs, found)
    _settle_rollups(ledger, rollups, latencies, found)
    _settle_receipts(ledger, receipts, sequences, found)
    _verify(receipts[:: max(1, len(receipts) // max(1, signatures))], keys, found)
    return found


def _settle_answers(ledger: Ledger, versions: Mapping[str, Mapping[str, Any]], found: Settlement) -> None:
    """Every answer's cost is what the version that it names says."""
    wrong = [
        f"{log_id}: {each.answer.cost}"
        for log_id, each in ledger.acknowledged.items()
        if price_by_hand(each.record, versions.get(each.answer.registry_version or "", {}))
        != each.answer.cost
    ]
    if wrong:
        found.wrong_cost += len(wrong)
        found.differ("answers with a wrong cost", wrong)


def _settle_logs(ledger: Ledger, logs: list[Any], found: Settlement) -> None:
    rows = {str(row["log_id"]): row for row in logs}
    lost = ledger.acknowledged.keys() - rows.keys()
    extra = rows.keys() - ledger.acknowledged.keys()
    if lost:
        found.lost = max(found.lost, len(lost))
        found.differ("acknowledged and not stored", sorted(lost))
    if extra:
        found.doubled += len(extra)
        found.differ("stored and never acknowledged", sorted(extra))
    costs, others = [], []
    for log_id in ledger.acknowledged.keys() & rows.keys():
        each, row = ledger.acknowledged[log_id], rows[log_id]
        if row["cost"] != each.answer.cost:
            costs.append(f"{log_id}: {row['cost']}, not {each.answer.cost}")
        if _facts_of(row) != _facts_told(each):
            others.append(f"{log_id}: {_facts_of(row)}, not {_facts_told(each)}")
    if costs:
        found.wrong_cost += len(costs)
        found.differ("stored with another cost", costs)
    if others:
        found.differ("stored with other facts", others)


def _facts_of(row: Any) -> tuple[object, ...]:
    return (
        str(row["account_id"]),
        row["occurred_at"],
        row["cost_status"],
        row["registry_version"],
        row["input_tokens"],
        row["output_tokens"],
        row["cached_input_tokens"],
    )


def _facts_told(each: Acknowledged) -> tuple[object, ...]:
    record, answer = each.record, each.answer
    return (
        each.account.account_id,
        datetime.fromisoformat(answer.timestamp),
        answer.cost_status,
        answer.registry_version,
        record["input_tokens"],
        record["output_tokens"],
        record.get("cached_input_tokens", 0),
    )


def _settle_rollups(ledger: Ledger, rollups: list[Any], latencies: list[Any], found: Settlement) -> None:
    """Both grains hold the sums of what was acknowledged, bucket by bucket."""
    wanted: defaultdict[tuple[object, ...], list[Any]] = defaultdict(
        lambda: [0, 0, Decimal(0), 0, 0, 0, 0, 0]
    )
    timed = 0
    for each in ledger.acknowledged.values():
        record = each.record
        latency_ms = record.get("latency_ms")
        timed += latency_ms is not None
        adds = (
            1,
            each.answer.cost is None,
            each.answer.cost or Decimal(0),
            record["input_tokens"],
            record["output_tokens"],
            record.get("cached_input_tokens", 0),
            latency_ms is not None,
            latency_ms or 0,
        )
        for grain, bucket_at in _buckets(datetime.fromisoformat(each.answer.timestamp)):
            key = (
                each.account.account_id,
                grain,
                bucket_at,
                record.get("origin", ""),
                record.get("alias", ""),
            )
            sums = wanted[key]
            for index, value in enumerate(adds):
                sums[index] += value
    there: dict[tuple[object, ...], list[Any]] = {
        (str(row["account_id"]), row["grain"], row["bucket_at"], row["origin"], row["alias"]): [
            row["requests"],
            row["unpriced"],
            row["cost"],
            row["input_tokens"],
            row["output_tokens"],
            row["cached_input_tokens"],
            row["timed"],
            row["latency_ms"],
        ]
        for row in rollups
    }
    for grain in ("d", "q"):
        counted = sum(sums[0] for key, sums in there.items() if key[1] == grain)
        if grain == "d":
            found.rolled_up = counted
        lost = found.acknowledged - counted
        found.lost = max(found.lost, lost)
        found.doubled += max(0, -lost)
    wrong = [
        f"{key}: {there.get(key)}, not {wanted.get(key)}"
        for key in wanted.keys() | there.keys()
        if there.get(key) != wanted.get(key)
    ]
    if wrong:
        found.differ("rollups that are not the sums of what was acknowledged", wrong)
    counted_latencies = {row["grain"]: row["requests"] for row in latencies}
    for grain in ("d", "q"):
        if counted_latencies.get(grain, 0) != timed:
            found.differ(f"latencies of grain {grain}", [f"{counted_latencies.get(grain, 0)}, not {timed}"])


def _buckets(at: datetime) -> list[tuple[str, datetime]]:
    at = at.astimezone(UTC).replace(second=0, microsecond=0)
    return [
        ("d", at.replace(hour=0, minute=0)),
        ("q", at.replace(minute=at.minute - at.minute % _QUARTER_MIN)),
    ]


def _settle_receipts(ledger: Ledger, receipts: list[Any], sequences: list[Any], found: Settlement) -> None:
    times: Counter[str] = Counter(str(row["log_id"]) for row in receipts)
    lost = ledger.acknowledged.keys() - times.keys()
    extra = times.keys() - ledger.acknowledged.keys()
    twice = [log_id for log_id, count in times.items() if count > 1]
    if lost:
        found.lost = max(found.lost, len(lost))
        found.differ("acknowledged and not receipted", sorted(lost))
    for what, examples in (("receipts of what was never acknowledged", extra), ("receipted twice", twice)):
        if examples:
            found.doubled += len(examples)
            found.differ(what, sorted(examples))
    wrong = [fault for row in receipts if (fault := _judge_payload(ledger, row)) is not None]
    if wrong:
        found.wrong_cost += len(wrong)
        found.differ("receipts that state something else", wrong)
    numbers: defaultdict[UUID, list[int]] = defaultdict(list)
    for row in receipts:
        numbers[row["account_id"]].append(row["account_sequence"])
    gaps = [
        f"{account_id}: {len(given)} numbers up to {max(given)}"
        for account_id, given in numbers.items()
        if sorted(given) != list(range(1, len(given) + 1))
    ]
    if gaps:
        found.differ("accounts whose receipts are not numbered without gaps", gaps)
    last = {row["account_id"]: row["last_sequence"] for row in sequences}
    if last != {account_id: len(given) for account_id, given in numbers.items()}:
        found.differ("counters that are not the number of receipts", [last])


def _judge_payload(ledger: Ledger, row: Any) -> str | None:
    """What a receipt states about its record, or None where that is what was acknowledged."""
    each = ledger.acknowledged.get(str(row["log_id"]))
    if each is None:
        return None
    payload = msgspec.json.decode(row["payload"])
    cost = None if payload["cost"] is None else Decimal(payload["cost"])
    stated = (payload["account_id"], payload["log_id"], cost, payload["input_tokens"], payload["occurred_at"])
    told = (
        each.account.account_id,
        each.answer.log_id,
        each.answer.cost,
        each.record["input_tokens"],
        each.answer.timestamp,
    )
    return None if stated == told else f"{stated}, not {told}"


def _verify(receipts: list[Any], keys: Mapping[str, bytes], found: Settlement) -> None:
    bad = [
        hashlib.sha256(row["payload"]).hexdigest()
        for row in receipts
        if not verify(keys[row["key_id"]], row["payload"], row["signature"])
    ]
    found.signatures_checked = len(receipts)
    if bad:
        found.differ("receipts with a bad signature", bad)
