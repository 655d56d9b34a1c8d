"""Where the server is, which key opens it, and where this machine keeps what must survive the program."""

import hashlib
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from llmring.api.exceptions import APIConfigurationError

DEFAULT_URL: Final = "https://api.llmring.ai"
APP: Final = "llmring-api"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What one service was set up with.

    Attributes:
        base_url: without a slash at its end.
        debug: log requests and answers at the level DEBUG, never the key.
        timeout_s: for one request, connecting included.
        max_connections: kept open to the server at once.
        cache_dir: of documents that can be fetched again; None keeps them in memory alone.
        registry_ttl_s: for how long the current registry is taken as it is.
        registry_version: the version that is meant where none is named; None is the current one.
        queue_path: of the usage that is not sent yet; None keeps it in memory alone.
    """

    base_url: str
    api_key: str | None = field(repr=False)
    debug: bool
    timeout_s: float
    max_connections: int
    cache_dir: Path | None
    registry_ttl_s: float
    registry_version: str | None
    queue_path: Path | None


def read_url(base_url: str | None) -> str:
    """The address given, that of `LLMRING_API_URL`, or the public one.

    Raises:
        APIConfigurationError: it is no address of a server, or has a user or a password in it, which would be
            shown wherever the address is.
    """
    url = (base_url or os.environ.get("LLMRING_API_URL") or DEFAULT_URL).strip().rstrip("/")
    try:
        parts = urlsplit(url)
    except ValueError:
        # What it raises repeats the address, with a password that may be in it.
        raise APIConfigurationError("base_url must be like https://api.llmring.ai") from None
    if "@" in url:  # also where it is not read as userinfo: a slip must not show what was meant as one
        raise APIConfigurationError("base_url must be an address without a user, a password or any other @")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise APIConfigurationError(f"base_url must be like https://api.llmring.ai, not {url!r}")
    return url


def read_key(api_key: str | None) -> str | None:
    """The key given, or that of `LLMRING_API_KEY`.

    Raises:
        APIConfigurationError: it cannot be sent in a header.
    """
    key = (api_key or os.environ.get("LLMRING_API_KEY") or "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise APIConfigurationError("api_key must be printable ASCII without blanks")
    return key or None


def default_cache_dir(base_url: str) -> Path:
    """A folder for this server's documents. `LLMRING_API_CACHE_DIR` replaces the system's place."""
    return _home("LLMRING_API_CACHE_DIR", "XDG_CACHE_HOME", ".cache", "Caches") / _digest(base_url)


def default_queue_path(base_url: str, api_key: str | None) -> Path:
    """A file for this server and key: what one account has not sent yet must not go to another one.

    `LLMRING_API_STATE_DIR` replaces the system's place.
    """
    folder = _home("LLMRING_API_STATE_DIR", "XDG_STATE_HOME", ".local/state", "Application Support")
    return folder / f"usage-{_digest(f'{base_url} {api_key or str()}')}.sqlite3"


def default_local_path() -> Path:
    """The file of `LLMRing(use_local_db=True)`."""
    folder = _home("LLMRING_API_STATE_DIR", "XDG_STATE_HOME", ".local/state", "Application Support")
    return folder / "local-usage.sqlite3"


def _home(variable: str, xdg: str, unix: str, mac: str) -> Path:
    own = os.environ.get(variable)
    if own:
        return Path(own)
    if sys.platform == "win32":  # pragma: no cover - another system
        return Path(os.environ.get("LOCALAPPDATA") or Path.home()) / APP
    if sys.platform == "darwin":  # pragma: no cover - another system
        return Path.home() / "Library" / mac / APP
    named = os.environ.get(xdg)
    return (Path(named) if named and Path(named).is_absolute() else Path.home() / unix) / APP


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
