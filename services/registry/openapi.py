"""What the OpenAPI document must be told about publishing and prices.

The handler of a publish reads the body by itself, since a framework's decoding would turn prices into floats
and stop at the first fault; so its description is written here.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from litestar._openapi.schema_generation import SchemaCreator
from litestar.openapi.spec import (
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    Reference,
    RequestBody,
    Schema,
)
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition

_MODEL: Final = Reference(ref="#/components/schemas/Model")
_PROVIDER: Final = Reference(ref="#/components/schemas/Provider")

PUBLISH_BODY: Final = Schema(
    type=OpenAPIType.OBJECT,
    required=["models"],
    properties={
        "models": Schema(
            type=OpenAPIType.ARRAY,
            items=_MODEL,
            min_items=1,
            description="Whole entries; one replaces the entry of the same provider and model name.",
        ),
        "providers": Schema(type=OpenAPIType.OBJECT, additional_properties=_PROVIDER),
        "mode": Schema(
            type=OpenAPIType.STRING,
            enum=["merge", "replace"],
            default="merge",
            description="`merge` keeps the models that are not named, `replace` removes them.",
        ),
        "effective_from": Schema(
            type=OpenAPIType.STRING,
            format=OpenAPIFormat.DATE_TIME,
            description="When it comes into force; at once if absent. In the past, it corrects from then on.",
        ),
        "confirm": Schema(
            type=OpenAPIType.BOOLEAN,
            default=False,
            description="Publish also a price that moves more than tenfold, or to or from zero.",
        ),
        "dry_run": Schema(type=OpenAPIType.BOOLEAN, default=False, description="Only say what would change."),
    },
)


class DecimalsAreNumbers(OpenAPISchemaPlugin):
    """Amounts are JSON numbers, where the framework would describe a Decimal as text."""

    @staticmethod
    def is_plugin_supported_type(value: Any) -> bool:  # noqa: ANN401 - any annotation
        """Whether this describes a type."""
        return value is Decimal

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: SchemaCreator) -> Schema:  # noqa: ARG002 - the plugin's signature
        """Describe a Decimal."""
        return Schema(type=OpenAPIType.NUMBER)


@dataclass
class PublishOperation(Operation):
    """The operation with its body described."""

    def __post_init__(self) -> None:
        """Add the body to what the framework knows of the operation."""
        self.request_body = RequestBody(
            required=True, content={"application/json": OpenAPIMediaType(schema=PUBLISH_BODY)}
        )
