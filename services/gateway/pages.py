"""The pages that the gateway answers itself: the index, the documentation, logins and passwords."""

import base64
import hashlib
from importlib import resources

import msgspec
from litestar.types import HTTPScope, Send

from shared.runtime.front import RenderMetrics, send_metrics
from shared.web.asgi import send_answer


class Index:
    """`GET /`: what this is, and where to go on."""

    def __init__(self, version: str) -> None:
        self._encoded = msgspec.json.encode(
            {
                "name": "LLMRing API",
                "version": version,
                "documentation": "/docs",
                "openapi": "/openapi.json",
                "endpoints": {
                    "health": "/health",
                    "registry": "/registry.json",
                    "register": "/api/v1/register",
                    "login": "/api/v1/login",
                    "log": "/api/v1/log",
                    "logs": "/api/v1/logs",
                    "stats": "/api/v1/stats",
                    "receipts": "/api/v1/receipts",
                    "receipt_keys": "/api/v1/receipts/public-keys.json",
                    "webhooks": "/api/v1/webhooks",
                },
            }
        )

    async def show(self, scope: HTTPScope, send: Send) -> None:  # noqa: ARG002 - every page takes the request
        """Answer."""
        await send_answer(send, 200, self._encoded)


class ScriptedPage:
    """One page with nothing from outside: `/docs`, which reads `/openapi.json`, `/login`, `/password-reset`.

    Script and style stand in the page and are allowed by their hash alone (CSP level 3), so that nothing that
    finds its way into the page can run.

    Args:
        name: of its files.
    """

    def __init__(self, name: str) -> None:
        folder = resources.files("services.gateway") / "docs"
        style = (folder / "docs.css").read_text("utf-8")
        script = (folder / f"{name}.js").read_text("utf-8")
        page = (folder / f"{name}.html").read_text("utf-8")
        self._page = page.replace("/*style*/", style).replace("/*script*/", script).encode()
        self._policy = (
            f"default-src 'none'; script-src '{_csp_hash(script)}'; style-src '{_csp_hash(style)}'; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ).encode()

    async def show(self, scope: HTTPScope, send: Send) -> None:  # noqa: ARG002 - every page takes the request
        """Answer."""
        headers = [(b"content-security-policy", self._policy), (b"cache-control", b"public, max-age=300")]
        html = (b"content-type", b"text/html; charset=utf-8")
        await send_answer(send, 200, self._page, headers, content_type=html)


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


class MetricsPage:
    """The public `/metrics`, where the operator wants it.

    Args:
        render_metrics: the metrics: text and content type.
    """

    def __init__(self, render_metrics: RenderMetrics) -> None:
        self._render_metrics = render_metrics

    async def show(self, scope: HTTPScope, send: Send) -> None:  # noqa: ARG002 - every page takes the request
        """Send it."""
        await send_metrics(send, self._render_metrics)
