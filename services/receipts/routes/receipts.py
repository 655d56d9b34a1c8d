"""An account's own receipts: `/api/v1/receipts` and `/api/v1/receipts/{receipt_id}`."""

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter, RawBody

from services.receipts.declare import Declarations
from services.receipts.llmring_1_0 import OldForm
from services.receipts.read import Reading, as_receipt, parse_period
from services.receipts.routes.documents import CreateOperation, describe_problems
from shared.contracts.evidence import OldReceipt
from shared.contracts.keys import SCOPE_LOG, SCOPE_READ, Principal
from shared.contracts.receipts import Receipt, ReceiptAnswer, ReceiptPage
from shared.contracts.usage import ABSENT, MAX_LOG_BODY_BYTES, NULL
from shared.errors import Fault, InvalidFieldError, TooLargeError
from shared.web.asgi import find_only_header
from shared.web.principal import require_scope

Bound = Annotated[
    str | None, QueryParameter(description="YYYY-MM-DD (UTC), or an RFC 3339 time", max_length=64)
]
ReceiptFormat = Annotated[
    Literal["json", "llmring-1.0"],
    QueryParameter(description="`llmring-1.0` is the form of the `llmring` 1.0.0 package"),
]


class _Asked(msgspec.Struct):
    """What tells the kinds of request apart."""

    log_id: msgspec.Raw = ABSENT
    start_date: msgspec.Raw = ABSENT
    end_date: msgspec.Raw = ABSENT


_asked_decoder = msgspec.json.Decoder(_Asked)


def build_receipt_routes(
    declarations: Declarations, reading: Reading, old_form: OldForm
) -> list[HTTPRouteHandler]:
    """The handlers that need a key."""

    @post(
        "/api/v1/receipts",
        operation_class=CreateOperation,
        responses=describe_problems(400, 401, 403, 404, 413, 422, 429, 503),
        summary="Get a receipt: of a recorded log, or for declared usage",
        tags=["receipts"],
    )
    async def post_receipt(
        request: Request[Any, Any, Any], principal: NamedDependency[Principal], body: RawBody
    ) -> Response[ReceiptAnswer]:
        if len(body) > MAX_LOG_BODY_BYTES:
            raise TooLargeError(f"The body is larger than {MAX_LOG_BODY_BYTES} bytes.")
        log_id = _read_log_id(body)
        if log_id is not None:
            require_scope(principal, SCOPE_READ)
            return _answer(as_receipt(await reading.await_recorded(principal.account_id, log_id)))
        require_scope(principal, SCOPE_LOG)
        key = find_only_header(request.scope["headers"], b"idempotency-key")
        declared = await declarations.declare_receipt(principal, body, key)
        return _answer(as_receipt(declared.row), replayed=declared.replayed)

    @get(
        "/api/v1/receipts",
        responses=describe_problems(401, 403, 422, 429, 503),
        summary="The account's receipts, newest usage first",
        tags=["receipts"],
    )
    async def list_receipts(
        principal: NamedDependency[Principal],
        *,
        log_id: Annotated[UUID | None, QueryParameter(description="the receipt of this record")] = None,
        start_date: Bound = None,
        end_date: Bound = None,
        limit: Annotated[int, QueryParameter(ge=1, le=500, description="receipts to give")] = 50,
        cursor: Annotated[str | None, QueryParameter(description="`next` of the page before")] = None,
    ) -> ReceiptPage:
        require_scope(principal, SCOPE_READ)
        period = parse_period(start_date, end_date)
        return await reading.list_receipts(
            principal.account_id, log_id=log_id, period=period, cursor=cursor, limit=limit
        )

    @get(
        "/api/v1/receipts/{receipt_id:str}",
        responses=describe_problems(401, 403, 404, 422, 429, 503),
        summary="One receipt of the account",
        tags=["receipts"],
    )
    async def get_receipt(
        principal: NamedDependency[Principal],
        receipt_id: FromPath[str],
        format: ReceiptFormat = "json",  # noqa: A002 - the parameter's own name, which errors tell
    ) -> Receipt | OldReceipt:
        require_scope(principal, SCOPE_READ)
        if format == "llmring-1.0":
            return await old_form.get_receipt(principal.account_id, receipt_id)
        return await reading.get_receipt(principal.account_id, receipt_id)

    return [post_receipt, list_receipts, get_receipt]


def _read_log_id(body: bytes) -> UUID | None:
    """The record whose receipt is asked for, or None where usage is declared.

    Raises:
        InvalidFieldError: `log_id` is no UUID, or a range asks for a statement, which is not offered.
    """
    try:
        asked = _asked_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # reading the usage details says what is wrong with it
    if asked.log_id and asked.log_id != NULL:
        try:
            return msgspec.json.decode(asked.log_id, type=UUID)
        except msgspec.MsgspecError:
            raise InvalidFieldError.of("log_id", "must be the UUID of a record") from None
    ranged = [name for name in ("start_date", "end_date") if getattr(asked, name) not in (ABSENT, NULL)]
    if ranged:
        raise InvalidFieldError.all(
            [Fault(name, "statements over a range are not offered") for name in ranged]
        )
    return None


def _answer(receipt: Receipt, *, replayed: bool = False) -> Response[ReceiptAnswer]:
    answer = ReceiptAnswer(receipt_id=receipt.receipt_id, signature=receipt.signature, receipt=receipt)
    return Response(answer, status_code=201, headers={"Idempotent-Replayed": "true"} if replayed else {})
