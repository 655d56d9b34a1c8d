"""Taking records over that were kept elsewhere."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from llmring.api.calls import Known
from llmring.api.exceptions import APIError, APIQuotaExceededError, APIRateLimitError, APIValidationError
from llmring.api.exchange import Flow, Pause, Request, Response, exchange
from llmring.api.models import decode, encode_fields, given
from llmring.api.models.usage import USAGE_FIELDS, ImportResult, RefusedLine
from llmring.api.problems import problem_error

MAX_BATCH: Final = 1000
MAX_BODY_BYTES: Final = 5 * 1024 * 1024
_LONGEST_WAIT_S: Final = 120.0
_USUAL_WAIT_S: Final = 30.0


class _Batch(msgspec.Struct):
    results: list[dict[str, Any]]


def import_usage_logs(
    known: Known,
    records: str | bytes | Path | Iterable[Mapping[str, Any]],
    *,
    recalculate: bool = False,
) -> Flow[ImportResult]:
    """Take over records that were kept elsewhere. Doing it again, also once it broke off, counts nothing
    twice.

    A record without an `idempotency_key` gets one from its `id`, else from its content; of equal records each
    counts. `logged_at` stands for `timestamp`. Members that no record has are left out.

    Args:
        known: of the service.
        records: JSON (an array, or an object a line) as text, bytes or in a file; or the records themselves.
        recalculate: price them anew from the registry of their time, but for what their caller had said. By
            default a cost is kept, so that totals stay what they were.

    Raises:
        APIValidationError: it is none of these.
        APIQuotaExceededError: the month's records are used up. What fitted is taken over.
        APIError: as for every call. Call it again with the same records.
    """
    accepted, refused = 0, list[RefusedLine]()
    lines = _lines(records)
    while pairs := list(islice(lines, MAX_BATCH)):
        waiting = list(_bodies(pairs, refused, recalculate=recalculate))
        while waiting:
            part = _fitting(waiting)
            del waiting[: len(part)]
            outcome = yield from _send(part)
            for (index, _), result in zip(part, outcome, strict=True):
                if "log_id" in result:
                    accepted += 1
                    continue
                error = _error_of(result)
                if (error.status or 500) >= 500 or isinstance(error, APIRateLimitError):
                    raise error
                refused.append(RefusedLine(index=index, reason=error.detail))
    return ImportResult(accepted=accepted, refused=sorted(refused, key=lambda line: line.index))


def _send(part: list[tuple[int, bytes]]) -> Flow[list[dict[str, Any]]]:
    body = b'{"logs":[' + b",".join(each for _, each in part) + b"]}"
    request = Request(method="POST", path="/api/v1/log/batch", body=body)
    while True:
        try:
            response: Response = yield from exchange(request, accept={422})
        except APIRateLimitError as error:
            wait_s = _USUAL_WAIT_S if error.retry_after is None else max(1.0, error.retry_after)
            if isinstance(error, APIQuotaExceededError) or wait_s > _LONGEST_WAIT_S:
                raise
            yield Pause(wait_s)
        else:
            return _read_results(response, len(part))


def _read_results(response: Response, count: int) -> list[dict[str, Any]]:
    results = decode(response.body, _Batch).results
    if len(results) != count:
        raise APIError("the server answered for another number of records", status=response.status)
    return results


def _error_of(result: Mapping[str, Any]) -> APIError:
    problem = result.get("error")
    problem = problem if isinstance(problem, dict) else {}
    status = problem.get("status")
    return problem_error(problem, status if isinstance(status, int) else 500)


def _fitting(waiting: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    size, count = 20, 0
    for _, body in waiting:
        size += len(body) + 1
        if size > MAX_BODY_BYTES and count:
            break
        count += 1
    return waiting[:count]


def _bodies(
    pairs: list[tuple[int, Any, str]], refused: list[RefusedLine], *, recalculate: bool
) -> Iterator[tuple[int, bytes]]:
    for index, record, key in pairs:
        if not isinstance(record, Mapping):
            refused.append(RefusedLine(index=index, reason="it is no object"))
            continue
        try:
            body = encode_fields(_as_usage(record, key, recalculate=recalculate))
        except (APIValidationError, TypeError, ValueError, RecursionError) as error:
            refused.append(RefusedLine(index=index, reason=f"it has no JSON form: {error}"))
        else:
            yield index, body


def _as_usage(record: Mapping[str, Any], key: str, *, recalculate: bool) -> dict[str, Any]:
    usage = {name: value for name, value in given(record).items() if name in USAGE_FIELDS}
    usage.setdefault("idempotency_key", key)
    if "timestamp" not in usage and record.get("logged_at") is not None:
        usage["timestamp"] = record["logged_at"]
    if recalculate:
        usage.pop("cost", None)
        if record.get("client_cost") is not None:
            usage["cost"] = record["client_cost"]
    return usage


def _lines(records: str | bytes | Path | Iterable[Mapping[str, Any]]) -> Iterator[tuple[int, Any, str]]:
    """Each record with its number and the key that it gets if it has none, as `usage import` gives one."""
    seen: Counter[bytes] = Counter()
    for index, record in enumerate(_parse(records)):
        own = record.get("id") if isinstance(record, Mapping) else None
        if isinstance(own, str | int) and not isinstance(own, bool):
            yield index, record, f"id:{own}"[:255]
            continue
        try:
            digest = hashlib.sha256(msgspec.json.encode(record, order="sorted")).digest()[:16]
        except (TypeError, ValueError, RecursionError):
            digest = b""  # it is refused later on, with its reason
        seen[digest] += 1
        yield index, record, f"content:{digest.hex()}-{seen[digest]}"


def _parse(records: str | bytes | Path | Iterable[Mapping[str, Any]]) -> Iterator[Any]:
    if isinstance(records, Path):
        records = records.read_bytes()
    if isinstance(records, str):
        records = records.encode()
    if not isinstance(records, bytes):
        return iter(records)
    decoder = msgspec.json.Decoder(float_hook=Decimal)
    try:
        if records.lstrip().startswith(b"["):
            return iter(decoder.decode(records))
        return iter(decoder.decode_lines(records))
    except (msgspec.DecodeError, RecursionError) as error:
        raise APIValidationError(f"neither a JSON array nor a JSON object a line: {error}") from None
