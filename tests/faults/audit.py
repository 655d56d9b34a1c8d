"""The checker: what was acknowledged is stored, added up and receipted, once each and to the digit.

It reads tables and topics itself, and none of the product's code takes part but the check of signatures.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec

from shared.contracts.topics import RECEIPTS_ISSUED, USAGE_DEAD, USAGE_LOGGED, USAGE_RATED
from shared.ids import keyed_log_id
from shared.proofs.canonical import canonical_bytes
from shared.proofs.signing import verify
from tests.faults.script import Item, Ledger
from tests.faults.street import Street, partitions_of

Ends = dict[tuple[str, int], int]

LIST_LOGS: Final = """
SELECT account_id, log_id, cost, cost_status, calculated_cost, client_cost
FROM usage.logs WHERE account_id = ANY($1)
"""

# What the rollups must hold, from the rows themselves.
LIST_WRONG_SUMS: Final = """
WITH due AS (
    SELECT account_id, grain, date_bin(width, occurred_at, '2000-01-01T00:00:00Z') AS bucket_at,
           lower(provider) AS provider, coalesce(model_key, lower(provider) || ':' || model) AS model_group,
           coalesce(origin, '') AS origin, coalesce(alias, '') AS alias,
           count(*) AS requests, count(*) FILTER (WHERE cost IS NULL) AS unpriced,
           coalesce(sum(cost), 0) AS cost,
           sum(input_tokens) AS input, sum(output_tokens) AS output, sum(cached_input_tokens) AS cached,
           count(latency_ms) AS timed, coalesce(sum(latency_ms), 0) AS latency
    FROM usage.logs
    CROSS JOIN (VALUES ('d'::"char", interval '1 day'), ('q', interval '15 minutes')) AS g(grain, width)
    WHERE account_id = ANY($1)
    GROUP BY 1, 2, 3, 4, 5, 6, 7
), found AS (
    SELECT account_id, grain, bucket_at, provider, model_group, origin, alias, requests, unpriced_requests,
           cost, input_tokens, output_tokens, cached_input_tokens, timed_requests, latency_ms
    FROM usage.rollups WHERE account_id = ANY($1)
)
(SELECT 'missing', * FROM due EXCEPT SELECT 'missing', * FROM found)
UNION ALL
(SELECT 'found', * FROM found EXCEPT SELECT 'found', * FROM due)
"""

LIST_LATENCY_COUNTS: Final = """
SELECT l.account_id, g.grain,
       (SELECT count(latency_ms) FROM usage.logs WHERE account_id = l.account_id) AS due,
       coalesce((SELECT sum(requests) FROM usage.latency_rollups
                 WHERE account_id = l.account_id AND grain = g.grain AND provider <> ''), 0) AS by_name,
       coalesce((SELECT sum(requests) FROM usage.latency_rollups
                 WHERE account_id = l.account_id AND grain = g.grain AND provider = ''), 0) AS whole
FROM unnest($1::uuid[]) AS l(account_id), (VALUES ('d'::"char"), ('q')) AS g(grain)
"""

LIST_RECEIPTS: Final = """
SELECT r.account_id, r.receipt_id, r.account_sequence, r.log_id, r.payload, r.signature, k.public_key
FROM receipts.receipts r LEFT JOIN receipts.signing_keys k USING (key_id)
WHERE account_id = ANY($1) AND kind = 'recorded' ORDER BY account_id, account_sequence
"""

LIST_SEQUENCES: Final = "SELECT account_id, last_sequence FROM receipts.sequences WHERE account_id = ANY($1)"

LIST_CLAIMS: Final = "SELECT log_id, event FROM usage.claims WHERE account_id = ANY($1)"

LIST_POSITIONS: Final = """
SELECT consumer_group, topic, partition, next_offset FROM usage.positions
UNION ALL SELECT consumer_group, topic, partition, next_offset FROM receipts.positions
"""

_GROUPS: Final = (("rater", USAGE_LOGGED), ("issuer", USAGE_RATED))


async def is_at_end(street: Street, ends: Ends, group: str) -> bool:
    """Whether a group has come as far as these ends, of what it reads."""
    positions = await _find_positions(street, ends)
    return all(
        position >= ends[topic, number] for (of, topic, number), position in positions.items() if of == group
    )


async def check(street: Street, ledger: Ledger, accounts: tuple[UUID, UUID], starts: Ends) -> list[str]:
    """Everything that is wrong after a case, in words; nothing where all is right.

    Args:
        street: where it took place.
        ledger: what the client knows.
        accounts: whose records these are.
        starts: where the topics ended before the case.
    """
    wrong = list(ledger.wrong)
    ends = await street.ends()
    rows = await street.database.fetch(LIST_LOGS, accounts)
    stored = {row["log_id"]: row for row in rows}
    wrong += _check_rows(ledger, stored)
    wrong += [f"rollups: {tuple(row)}" for row in await street.database.fetch(LIST_WRONG_SUMS, accounts)]
    for row in await street.database.fetch(LIST_LATENCY_COUNTS, accounts):
        if not row["due"] == row["by_name"] == row["whole"]:
            wrong.append(f"latencies: {tuple(row)}")
    receipts = await street.database.fetch(LIST_RECEIPTS, accounts)
    wrong += _check_receipts(stored, receipts)
    sequences = dict(await street.database.fetch(LIST_SEQUENCES, accounts))
    wrong += _check_sequences(receipts, sequences)
    claims = dict(await street.database.fetch(LIST_CLAIMS, accounts))
    wrong += _check_claims(ledger, claims)
    wrong += [
        f"{group} stands at {position} of {topic}/{number}, which ends at {ends[topic, number]}"
        for (group, topic, number), position in (await _find_positions(street, ends)).items()
        if position != ends[topic, number]
    ]
    wrong += _check_topics(stored, receipts, await street.read_between(starts, ends))
    return wrong


def _check_rows(ledger: Ledger, stored: Mapping[UUID, Any]) -> list[str]:
    wrong: list[str] = []
    for log_id, each in ledger.acknowledged.items():
        row = stored.get(log_id)
        if row is None:
            wrong.append(f"lost: {log_id} was acknowledged ({each.item.record}) and is not stored")
        elif (row["account_id"], row["cost"], row["cost_status"]) != (
            each.account_id,
            each.item.cost,
            each.item.cost_status,
        ):
            wrong.append(f"stored as {tuple(row)}, acknowledged as {each}")
    # Without a key, what was not acknowledged may have been recorded all the same.
    allowed = Counter((account_id, *_price(item)) for account_id, item in ledger.uncertain)
    extra = Counter(
        (row["account_id"], row["cost"], row["cost_status"])
        for log_id, row in stored.items()
        if log_id not in ledger.acknowledged
    )
    if extra - allowed:
        wrong.append(f"stored and never sent, or twice: {extra - allowed}")
    return wrong


def _price(item: Item) -> tuple[Decimal | None, str]:
    return item.cost, item.cost_status


def _check_receipts(stored: Mapping[UUID, Any], receipts: list[Any]) -> list[str]:
    counts = Counter(receipt["log_id"] for receipt in receipts)
    wrong = [
        f"{log_id}: {int(log_id in stored)} rows and {counts[log_id]} receipts"
        for log_id in stored.keys() | counts.keys()
        if log_id not in stored or counts[log_id] != 1
    ]
    for receipt in receipts:
        payload = msgspec.json.decode(receipt["payload"])
        row = stored.get(receipt["log_id"])
        stated = None if payload["cost"] is None else Decimal(payload["cost"])
        if row is not None and (stated, payload["cost_status"]) != (row["cost"], row["cost_status"]):
            wrong.append(f"the receipt of {receipt['log_id']} states {stated}, stored is {row['cost']}")
        if payload["account_sequence"] != receipt["account_sequence"]:
            wrong.append(f"the receipt of {receipt['log_id']} states another number")
        key = receipt["public_key"]
        if key is None or not verify(key, canonical_bytes(payload), receipt["signature"]):
            wrong.append(f"the receipt of {receipt['log_id']} is not signed")
    return wrong


def _check_sequences(receipts: list[Any], sequences: Mapping[UUID, int]) -> list[str]:
    numbers: defaultdict[UUID, list[int]] = defaultdict(list)
    for receipt in receipts:
        numbers[receipt["account_id"]].append(receipt["account_sequence"])
    return [
        f"the receipts of {account_id} have the numbers {numbers[account_id]}, the counter is {sequences}"
        for account_id in numbers.keys() | sequences.keys()
        if numbers[account_id] != list(range(1, sequences.get(account_id, -1) + 1))
    ]


def _check_claims(ledger: Ledger, claims: Mapping[UUID, bytes]) -> list[str]:
    """What a key stands for, for ever, is what was answered."""
    wrong: list[str] = []
    keyed = {
        keyed_log_id(request.account_id, key or "")
        for request, _ in ledger.deliveries
        for key in request.list_keys()
    }
    for log_id in keyed | claims.keys():
        if log_id not in keyed:
            wrong.append(f"{log_id} is claimed, and no request had that key")
        elif log_id not in claims:
            wrong.append(f"the key of {log_id} stands for nothing")
        else:
            event = msgspec.json.decode(claims[log_id])
            cost = None if event["cost"] is None else Decimal(event["cost"])
            if cost != ledger.acknowledged[log_id].item.cost:
                wrong.append(f"the key of {log_id} stands for {event}")
    return wrong


def _check_topics(
    stored: Mapping[UUID, Any], receipts: list[Any], read: list[tuple[str, bytes]]
) -> list[str]:
    found: defaultdict[str, set[UUID]] = defaultdict(set)
    for topic, value in read:
        if topic != USAGE_DEAD:
            name = "receipt_id" if topic == RECEIPTS_ISSUED else "log_id"
            found[topic].add(UUID(msgspec.json.decode(value)[name]))
    wrong = [f"set aside: {value!r}" for topic, value in read if topic == USAGE_DEAD]
    wrong += [
        f"{topic} and the rows differ in {found[topic] ^ stored.keys()}"
        for topic in (USAGE_LOGGED, USAGE_RATED)
        if found[topic] != stored.keys()
    ]
    silent = {receipt["receipt_id"] for receipt in receipts} - found[RECEIPTS_ISSUED]
    if silent:
        wrong.append(f"receipts that were never announced: {silent}")
    return wrong


async def _find_positions(street: Street, ends: Ends) -> dict[tuple[str, str, int], int]:
    """Where each group stands, by group, topic and partition."""
    stored = {
        (row["consumer_group"], street.plain(row["topic"]), row["partition"]): row["next_offset"]
        for row in await street.database.fetch(LIST_POSITIONS)
    }
    return {
        (group, topic, partition): stored.get((group, topic, partition), 0)
        for group, topic in _GROUPS
        for partition in partitions_of(topic, ends)
    }
