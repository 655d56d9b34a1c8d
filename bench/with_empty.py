"""The program with one handler more in each service, `GET /empty`, which does nothing: to compare with.

Run as `python -m bench.with_empty serve registry`.
"""

from typing import Any

from litestar import Response, get
from litestar.types import ASGIApp

import shared.web.app
from shared.web.app import build_app


@get("/empty", include_in_schema=False)
async def empty() -> Response[bytes]:
    """Answer with nothing."""
    return Response(b"", media_type="application/json")


def _build_app(title: str, handlers: Any, **options: Any) -> ASGIApp:  # noqa: ANN401 - as the original
    return build_app(title, [*handlers, empty], **options)


def main() -> None:
    """Run the program."""
    shared.web.app.build_app = _build_app
    from services.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
