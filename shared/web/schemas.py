"""How special types stand in the OpenAPI document."""

import msgspec
from litestar._openapi.schema_generation import SchemaCreator
from litestar.openapi.spec import OpenAPIType, Schema
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition


class RawSchemaPlugin(OpenAPISchemaPlugin):
    """Describes JSON that is passed on as it is by the schema in its `msgspec.Meta`."""

    @staticmethod
    def is_plugin_supported_type(value: object) -> bool:
        """Whether the type is `msgspec.Raw`."""
        return value is msgspec.Raw

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: SchemaCreator) -> Schema:  # noqa: ARG002
        """The schema that the field's annotation carries."""
        for meta in field_definition.metadata:
            if isinstance(meta, msgspec.Meta) and meta.extra_json_schema:
                kinds = meta.extra_json_schema["type"]
                types = [OpenAPIType(kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)]
                minimum = meta.extra_json_schema.get("minimum")
                return Schema(type=types[0] if len(types) == 1 else types, minimum=minimum)
        return Schema()
