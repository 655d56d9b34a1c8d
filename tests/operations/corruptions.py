"""What a hand on the database could do to 60 records of three accounts, and what a check must find then."""

from typing import Final, NamedTuple

from services.audit.findings import Kind
from tests.operations.works import A, B, C

ANY: Final = None
"""At least one: how many depends on the row that is touched."""

NOBODY: Final = "00000000-0000-0000-0000-000000000001"
NO_RECORD: Final = "00000000-0000-0000-0000-000000000002"


class Corruption(NamedTuple):
    """What is done, and how many differences of each kind it makes."""

    statements: tuple[str, ...]
    found: dict[Kind, int | None]


LAST_ROW: Final = (
    "(SELECT log_id FROM usage.logs WHERE latency_ms > 0 ORDER BY account_id DESC, log_id DESC LIMIT 1)"
)
LAST_RECEIPT: Final = (
    "(SELECT receipt_id FROM receipts.receipts ORDER BY account_id DESC, log_id DESC LIMIT 1)"
)


def _stating(**members: str) -> str:
    """The signed text with other members in it; they are SQL."""
    text = "convert_from(payload, 'UTF8')"
    for name, value in members.items():
        text = f"""regexp_replace({text}, '"{name}":("[^"]*"|[0-9]+)', '"{name}":' || {value})"""
    return f"convert_to({text}, 'UTF8')"


def _another_receipt(log_id: str) -> str:
    """One more receipt of account C, the 21st, like the last one but for the record it is for."""
    payload = _stating(
        receipt_id=f"'\"{NOBODY}\"'", account_sequence="'21'", log_id=f"'\"' || {log_id} || '\"'"
    )
    return f"""
    INSERT INTO receipts.receipts (account_id, receipt_id, account_sequence, kind, log_id, occurred_at,
                                   issued_at, key_id, payload, signature)
    SELECT account_id, '{NOBODY}', 21, kind, {log_id}, occurred_at, issued_at, key_id, {payload}, signature
      FROM receipts.receipts WHERE receipt_id = {LAST_RECEIPT}
    """


def _a_sum(account_id: str, requests: int) -> str:
    return f"""
    INSERT INTO usage.rollups (account_id, grain, bucket_at, provider, model_group, origin, alias, requests,
        unpriced_requests, cost, input_tokens, output_tokens, cached_input_tokens, timed_requests, latency_ms)
    VALUES ('{account_id}', 'd', '2031-05-03', 'p', 'p:m', '', '', {requests}, 0, 0, 0, 0, 0, 0, 0)
    """


def _restate(**members: str) -> str:
    return f"UPDATE receipts.receipts SET payload = {_stating(**members)} WHERE receipt_id = {LAST_RECEIPT}"


_COUNTER_AT_21: Final = f"UPDATE receipts.sequences SET last_sequence = 21 WHERE account_id = '{C}'"

CORRUPTIONS: Final[dict[str, Corruption]] = {
    "a row is deleted": Corruption(
        (f"DELETE FROM usage.logs WHERE log_id = {LAST_ROW}",),
        {"lost": 1, "rollup": 2, "latency_rollup": ANY},
    ),
    "all rows are deleted, and the sums with them": Corruption(
        ("DELETE FROM usage.logs", "DELETE FROM usage.rollups", "DELETE FROM usage.latency_rollups"),
        {"lost": 60},
    ),
    "a row is there that nobody accepted": Corruption(
        (
            f"CREATE TEMP TABLE copied AS SELECT * FROM usage.logs WHERE log_id = {LAST_ROW}",
            f"UPDATE copied SET log_id = '{NOBODY}'",
            "INSERT INTO usage.logs SELECT * FROM copied",
        ),
        {"doubled": 1, "rollup": 2, "latency_rollup": ANY, "receipt_missing": 1},
    ),
    "a cost is changed": Corruption(
        (f"UPDATE usage.logs SET cost = cost + 0.000001 WHERE log_id = {LAST_ROW}",),
        {"wrong_cost": 1, "rollup": 2, "receipt_wrong_cost": 1},
    ),
    "a cost is taken away": Corruption(
        (f"UPDATE usage.logs SET cost = NULL WHERE log_id = {LAST_ROW}",),
        {"wrong_cost": 1, "rollup": 2, "receipt_wrong_cost": 1},
    ),
    "a count of tokens is changed": Corruption(
        (f"UPDATE usage.logs SET input_tokens = input_tokens + 1 WHERE log_id = {LAST_ROW}",),
        {"wrong_figures": 1, "rollup": 2},
    ),
    "a count that is in no sum is changed": Corruption(
        (f"UPDATE usage.logs SET reasoning_tokens = 1 WHERE log_id = {LAST_ROW}",),
        {"wrong_figures": 1},
    ),
    "a row is moved to another account": Corruption(
        (f"UPDATE usage.logs SET account_id = '{A}' WHERE log_id = {LAST_ROW}",),
        {
            "lost": 1,
            "doubled": 1,
            "rollup": ANY,
            "latency_rollup": ANY,
            "receipt_missing": 1,
        },
    ),
    "the sums of a day are doubled": Corruption(
        (f"UPDATE usage.rollups SET requests = requests * 2 WHERE grain = 'd' AND account_id = '{A}'",),
        {"rollup": ANY},
    ),
    "the cost of a day is a trifle too high": Corruption(
        (f"UPDATE usage.rollups SET cost = cost + 1e-20 WHERE grain = 'd' AND account_id = '{A}'",),
        {"rollup": ANY},
    ),
    "the sums of a quarter of an hour are missing": Corruption(
        (f"DELETE FROM usage.rollups WHERE grain = 'q' AND account_id = '{B}'",),
        {"rollup": 20},
    ),
    "a sum of nothing": Corruption((_a_sum("00000000-0000-0000-0000-0000000000ff", 0),), {"rollup": 1}),
    "a sum of an account without an id": Corruption(
        (_a_sum("00000000-0000-0000-0000-000000000000", 1),), {"rollup": 1}
    ),
    "a count of latencies is changed": Corruption(
        (
            """UPDATE usage.latency_rollups SET requests = requests + 1
               WHERE ctid = (SELECT ctid FROM usage.latency_rollups WHERE provider <> '' LIMIT 1)""",
        ),
        {"latency_rollup": 1},
    ),
    "a count of all latencies is missing": Corruption(
        (
            """DELETE FROM usage.latency_rollups
               WHERE ctid = (SELECT ctid FROM usage.latency_rollups WHERE provider = '' LIMIT 1)""",
        ),
        {"latency_rollup": 1},
    ),
    "a receipt is deleted": Corruption(
        (f"DELETE FROM receipts.receipts WHERE receipt_id = {LAST_RECEIPT}",),
        {"receipt_missing": 1, "sequence": 1, "log_leaf": 1},
    ),
    "a record has two receipts": Corruption(
        ("DROP INDEX receipts.receipts_one_recorded_per_log", _another_receipt("log_id"), _COUNTER_AT_21),
        {"receipt_doubled": 1, "log_leaf": 1},
    ),
    "a receipt is for no record": Corruption(
        (_another_receipt(f"'{NO_RECORD}'::uuid"), _COUNTER_AT_21),
        {"receipt_without_record": 1, "log_leaf": 1},
    ),
    "a receipt states another cost": Corruption(
        (_restate(cost="'\"0.5\"'"),),
        {"receipt_wrong_cost": 1, "log_leaf": 1},
    ),
    "a receipt states another record": Corruption(
        (_restate(log_id=f"'\"{NO_RECORD}\"'"),),
        {"receipt_misstated": 1, "log_leaf": 1},
    ),
    "a receipt states nothing": Corruption(
        (f"UPDATE receipts.receipts SET payload = 'x' WHERE receipt_id = {LAST_RECEIPT}",),
        {"receipt_misstated": 1, "log_leaf": 1},
    ),
    "a receipt and its leaf are made anew, without the key": Corruption(
        (
            _restate(nonce="'\"0\"'"),
            f"""UPDATE receipts.leaves l SET leaf_hash = sha256('\\x00'::bytea || payload)
                FROM receipts.receipts r
                WHERE r.receipt_id = l.receipt_id AND r.receipt_id = {LAST_RECEIPT}""",
        ),
        {"receipt_forged": 1, "log_tree": 2},
    ),
    "a signature is changed": Corruption(
        (
            f"""UPDATE receipts.receipts SET signature = set_byte(signature, 9, 255 - get_byte(signature, 9))
                WHERE receipt_id = {LAST_RECEIPT}""",
        ),
        {"receipt_forged": 1},
    ),
    "a receipt is kept under another key than it names": Corruption(
        (
            """INSERT INTO receipts.signing_keys (key_id, public_key, status, not_before, not_after)
               SELECT 'another', public_key, 'retired', not_before, now() FROM receipts.signing_keys""",
            f"UPDATE receipts.receipts SET key_id = 'another' WHERE receipt_id = {LAST_RECEIPT}",
        ),
        {"receipt_forged": 1},
    ),
    "two leaves are swapped": Corruption(
        (
            """UPDATE receipts.leaves l SET leaf_hash = o.leaf_hash FROM receipts.leaves o
               WHERE (l.leaf_index, o.leaf_index) IN ((7, 12), (12, 7))""",
        ),
        {"log_leaf": 2, "log_tree": 2},
    ),
    "two receipts are swapped in the log": Corruption(
        (
            "DROP INDEX receipts.leaves_one_per_receipt",
            """UPDATE receipts.leaves l SET account_id = o.account_id, receipt_id = o.receipt_id
               FROM receipts.leaves o WHERE (l.leaf_index, o.leaf_index) IN ((7, 12), (12, 7))""",
        ),
        {"log_leaf": 2},
    ),
    "a leaf is taken out": Corruption(
        ("DELETE FROM receipts.leaves WHERE leaf_index = 30",),
        {"log_leaf": 1, "log_tree": 1},
    ),
    "the last leaves are taken out": Corruption(
        ("DELETE FROM receipts.leaves WHERE leaf_index >= 58",),
        {"log_leaf": 2, "log_tree": 2},
    ),
    "the tree is set back": Corruption(
        ("UPDATE receipts.log SET tree_size = 59, frontier = substr(frontier, 1, 5 * 32)",),
        {"log_tree": 1},
    ),
    "the checkpoint is another one": Corruption(
        ("UPDATE receipts.log SET checkpoint = replace(checkpoint, E'\\n60\\n', E'\\n59\\n')",),
        {"log_tree": 1},
    ),
    "a number is left out": Corruption(
        (f"UPDATE receipts.receipts SET account_sequence = 99 WHERE receipt_id = {LAST_RECEIPT}",),
        {"receipt_misstated": 1, "sequence": 1},
    ),
    "a counter is behind": Corruption(
        (f"UPDATE receipts.sequences SET last_sequence = last_sequence - 1 WHERE account_id = '{B}'",),
        {"sequence": 1},
    ),
    "a counter is gone": Corruption(
        (f"DELETE FROM receipts.sequences WHERE account_id = '{B}'",),
        {"sequence": 1},
    ),
    "one of two budgets has counted a record twice": Corruption(
        (
            f"""INSERT INTO usage.budgets
                    (account_id, budget_id, name, scope, value, amount, thresholds, counts_from)
                SELECT account_id, '{NOBODY}', 'all', 'account', '', 10, '{{}}', '2031-05-01'
                  FROM unnest('{{{A},{B}}}'::uuid[]) AS account_id""",
            f"""INSERT INTO usage.budget_months (account_id, budget_id, month, spent)
                SELECT account_id, '{NOBODY}', '2031-05-01',
                       sum(cost) + CASE account_id WHEN '{A}' THEN 0 ELSE max(cost) END
                  FROM usage.logs WHERE account_id IN ('{A}', '{B}') GROUP BY account_id""",
        ),
        {"budget": 1},
    ),
    "a rater stands beyond the end": Corruption(
        ("UPDATE usage.positions SET next_offset = next_offset + 5",),
        {"position_beyond_end": ANY},
    ),
}
