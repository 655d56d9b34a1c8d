"""How the two bodies that are read as raw bytes stand in the OpenAPI document."""

from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    RequestBody,
    Schema,
)

from shared.contracts.receipts import Receipt
from shared.contracts.usage import MAX_COST_USD, UsageLog
from shared.web.problems import Problem

_UUID: Final = {"type": "string", "format": "uuid"}


def _details() -> dict[str, Any]:
    properties = {
        field.encode_name: msgspec.json.schema(field.type)
        for field in msgspec.structs.fields(UsageLog)
        # What is declared only is counted nowhere, so it settles nothing either.
        if field.type is not msgspec.Raw and field.name != "reservation_id"
    }
    properties["cost"] = {"type": "number", "minimum": 0, "maximum": MAX_COST_USD}
    properties["metadata"] = {"type": "object", "description": "only its digest enters the receipt"}
    return {
        "title": "UsageDetails",
        "description": "Usage that the client declares; answered by a receipt of kind `declared`.",
        "type": "object",
        "properties": properties,
        "required": ["model"],
    }


def _of_log() -> dict[str, Any]:
    return {
        "title": "ReceiptOfLog",
        "description": "A record of `/api/v1/log`; answered by its receipt of kind `recorded`.",
        "type": "object",
        "properties": {"log_id": _UUID},
        "required": ["log_id"],
    }


def _of_range() -> dict[str, Any]:
    bound = {"type": "string", "description": "YYYY-MM-DD (UTC), or an RFC 3339 time"}
    return {
        "title": "StatementOfRange",
        "description": "A range of usage; answered by a receipt of kind `statement`.",
        "type": "object",
        "properties": {"start_date": bound, "end_date": bound},
        "required": ["start_date", "end_date"],
    }


def _receipt() -> dict[str, Any]:
    fields = msgspec.structs.fields(Receipt)
    members: dict[str, Any] = {field.encode_name: {"type": "string"} for field in fields}
    members["payload"] = {"type": "object", "description": "the signed facts"}
    return {"title": "ReceiptShown", "type": "object", "properties": members, "required": list(members)}


def _json_body(schema: dict[str, Any]) -> RequestBody:
    # Litestar copies a dict into the document as it is; its annotation knows only its own classes.
    return RequestBody(
        content={"application/json": OpenAPIMediaType(schema=cast("Schema", schema))}, required=True
    )


@dataclass
class CreateOperation(Operation):
    """`POST /api/v1/receipts`."""

    def __post_init__(self) -> None:
        """Set the body, which the handler takes as bytes."""
        self.request_body = _json_body({"oneOf": [_details(), _of_log(), _of_range()]})


@dataclass
class VerifyOperation(Operation):
    """`POST /api/v1/receipts/verify`."""

    def __post_init__(self) -> None:
        """Set the body, which the handler takes as bytes."""
        self.request_body = _json_body(_receipt())


@dataclass
class ProofOperation(Operation):
    """`GET /api/v1/receipts/{receipt_id}/proof`, which also answers with a text."""

    def __post_init__(self) -> None:
        """Add the media type of `format=tlog-proof`."""
        answer = (self.responses or {}).get("200")
        if isinstance(answer, OpenAPIResponse) and answer.content is not None:
            answer.content["text/plain"] = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))


@dataclass
class CosignedOperation(Operation):
    """`POST /api/v1/receipts/cosignatures`."""

    def __post_init__(self) -> None:
        """Set the body, which the handler takes as bytes."""
        note = {"type": "string", "description": "a signed checkpoint with lines of witnesses"}
        self.request_body = RequestBody(
            content={"text/plain": OpenAPIMediaType(schema=cast("Schema", note))}, required=True
        )


def describe_problems(*statuses: int) -> dict[int, ResponseSpec]:
    """The problem documents that a path may answer with."""
    return {
        status: ResponseSpec(
            Problem, generate_examples=False, description="A problem", media_type="application/problem+json"
        )
        for status in statuses
    }
