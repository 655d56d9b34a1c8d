"""What Litestar cannot tell about these paths by itself, in the OpenAPI document."""

from dataclasses import dataclass

from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    RequestBody,
    Schema,
)


@dataclass
class LogsOperation(Operation):
    """`GET /api/v1/logs`, which also streams."""

    def __post_init__(self) -> None:
        """Add the media types of `format=csv` and `format=ndjson`."""
        answer = (self.responses or {}).get("200")
        if isinstance(answer, OpenAPIResponse) and answer.content is not None:
            for media_type in ("text/csv", "application/x-ndjson"):
                answer.content[media_type] = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))


@dataclass
class ImportOperation(Operation):
    """`POST /api/v1/logs/import`: lines in, lines out."""

    def __post_init__(self) -> None:
        """Add the form with a record on each line, and say that the answer has lines too."""
        lines = OpenAPIMediaType(schema=Schema(type=OpenAPIType.STRING))
        if isinstance(self.request_body, RequestBody):
            self.request_body.content["application/x-ndjson"] = lines
        answer = (self.responses or {}).get("200")
        if isinstance(answer, OpenAPIResponse):
            answer.content = {"application/x-ndjson": lines}
            answer.description = "A line for each refused record, and one of progress for a thousand or so"
