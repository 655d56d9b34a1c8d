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
from services.receipts.read import Period, Reading, as_receipt, parse_period
from services.receipts.routes.documents import CreateOperation, describe_problems
from services.receipts.statement import Statements
from shared.contracts.evidence import OldReceipt
from shared.contracts.keys import SCOPE_LOG, SCOPE_READ, Principal
from shared.contracts.receipts import Receipt, ReceiptAnswer, ReceiptPage
from shared.contracts.usage import ABSENT, MAX_LOG_BODY_BYTES, NULL
from shared.errors import Fault, InvalidFieldError, TooLargeError
from shared.intake.parse import parse_key_header
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
    declarations: Declarations, statements: Statements, reading: Reading, old_form: OldForm
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
        asked = _read_kind(body)
        log_id = _read_log_id(asked)
        if log_id is not None:
            require_scope(principal, SCOPE_READ)
            return _answer(as_receipt(await reading.await_recorded(principal.account_id, log_id)))
        period = _read_range(asked)
        if period is not None:
            require_scope(principal, SCOPE_READ)
            header = find_only_header(request.scope["headers"], b"idempotency-key")
            name = None if header is None else parse_key_header(header)
            stated = await statements.issue_statement(principal, period, name)
            return _answer(as_receipt(stated.row), replayed=stated.replayed)
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
        log_id: Annotated[
            UUID | None, QueryParameter(description="the receipts of this record, the one that holds first")
        ] = None,
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
    ) -> Response[Receipt | OldReceipt]:
        require_scope(principal, SCOPE_READ)
        if format == "llmring-1.0":
            return Response(await old_form.get_receipt(principal.account_id, receipt_id))
        receipt, newer = await reading.get_receipt(principal.account_id, receipt_id)
        # RFC 5829, section 3.2. In the receipt itself there is no room for it: all of that is signed.
        link = f'</api/v1/receipts/{newer}>; rel="successor-version"'
        return Response(receipt, headers={} if newer is None else {"Link": link})

    return [post_receipt, list_receipts, get_receipt]


def _read_kind(body: bytes) -> _Asked:
    """What is asked for. Where the body cannot be read, reading the usage details tells what is wrong."""
    try:
        body.decode()  # the decoder does not look into the fields that it passes over
        return _asked_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Asked()


def _read_log_id(asked: _Asked) -> UUID | None:
    """The record whose receipt is asked for, or None where something else is.

    Raises:
        InvalidFieldError: `log_id` is no UUID.
    """
    if asked.log_id in (ABSENT, NULL):
        return None
    try:
        return msgspec.json.decode(asked.log_id, type=UUID)
    except msgspec.MsgspecError:
        raise InvalidFieldError.of("log_id", "must be the UUID of a record") from None


def _read_range(asked: _Asked) -> Period | None:
    """The range over which a statement is asked for, or None where usage is declared.

    Raises:
        InvalidFieldError: an end is missing, or is no day and no time.
    """
    ends = {name: getattr(asked, name) for name in ("start_date", "end_date")}
    if all(value in (ABSENT, NULL) for value in ends.values()):
        return None
    faults: list[Fault] = []
    texts: dict[str, str] = {}
    for name, value in ends.items():
        try:
            texts[name] = msgspec.json.decode(value, type=str)
        except msgspec.MsgspecError:
            faults.append(Fault(name, "must be a day, YYYY-MM-DD, or an RFC 3339 time"))
    if faults:
        raise InvalidFieldError.all(faults)
    return parse_period(texts["start_date"], texts["end_date"])


def _answer(receipt: Receipt, *, replayed: bool = False) -> Response[ReceiptAnswer]:
    answer = ReceiptAnswer(receipt_id=receipt.receipt_id, signature=receipt.signature, receipt=receipt)
    return Response(answer, status_code=201, headers={"Idempotent-Replayed": "true"} if replayed else {})
