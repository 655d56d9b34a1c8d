"""How bodies that are read as bytes, and problems, stand in the OpenAPI document."""

from dataclasses import dataclass
from typing import cast

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema

from shared.web.problems import Problem


def describe_body(kind: type[msgspec.Struct], *, required: bool = True) -> type[Operation]:
    """An operation whose body is this Struct, for a handler that reads the bytes by itself."""
    (_,), components = msgspec.json.schema_components([kind])
    # Litestar copies a dict into the document as it is; its annotation knows only its own classes.
    schema = cast("Schema", components[kind.__name__])

    @dataclass
    class OperationWithBody(Operation):
        def __post_init__(self) -> None:
            self.request_body = RequestBody(
                content={"application/json": OpenAPIMediaType(schema=schema)}, required=required
            )

    return OperationWithBody


def describe_problems(*statuses: int) -> dict[int, ResponseSpec]:
    """The problem documents that a path may answer with."""
    return {
        status: ResponseSpec(
            Problem, generate_examples=False, description="A problem", media_type="application/problem+json"
        )
        for status in statuses
    }
