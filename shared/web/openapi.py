"""How bodies that are read as bytes, and problems, stand in the OpenAPI document."""

from dataclasses import dataclass
from typing import Any, Final, cast

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema

from shared.web.problems import Problem

_REFERENCE: Final = "#/$defs/"


def describe_body(kind: type[msgspec.Struct], *, required: bool = True) -> type[Operation]:
    """An operation whose body is this Struct, for a handler that reads the bytes by itself."""
    (_,), components = msgspec.json.schema_components([kind], ref_template=_REFERENCE + "{name}")
    # Litestar copies a dict into the document as it is; its annotation knows only its own classes.
    schema = cast("Schema", _written_out(components[kind.__name__], components))

    @dataclass
    class OperationWithBody(Operation):
        def __post_init__(self) -> None:
            self.request_body = RequestBody(
                content={"application/json": OpenAPIMediaType(schema=schema)}, required=required
            )

    return OperationWithBody


def _written_out(part: Any, components: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
    """A schema with what it refers to in its place: nothing else of these components is in the document."""
    if isinstance(part, dict):
        if "$ref" in part:
            return _written_out(components[part["$ref"].removeprefix(_REFERENCE)], components)
        return {key: _written_out(value, components) for key, value in part.items()}
    return [_written_out(each, components) for each in part] if isinstance(part, list) else part


def describe_problems(*statuses: int) -> dict[int, ResponseSpec]:
    """The problem documents that a path may answer with."""
    return {
        status: ResponseSpec(
            Problem, generate_examples=False, description="A problem", media_type="application/problem+json"
        )
        for status in statuses
    }
