"""Why brokers turn us away: by a login or a certificate that is not right, which no waiting cures.

The library tells the reason in its log alone, as an error among all its reconnects that fail. Whoever waits
for Kafka says once that it is away; so of the library's log only such reasons are passed on.
"""

import logging
import ssl
import time
from typing import Final

from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

_REASONS: Final = (
    ssl.SSLError,
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
_EVERY_S: Final = 60.0

_log = logging.getLogger(__name__)


class _Refusals(logging.Handler):
    """Passes reasons on, one of a kind a minute."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._told_at: dict[type, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        for reason in record.args or ():
            if isinstance(reason, _REASONS) and now >= self._told_at.get(type(reason), -_EVERY_S) + _EVERY_S:
                self._told_at[type(reason)] = now
                _log.warning("Kafka turns us away: %s", reason)


def tell_refusals() -> None:
    """Let the library's log say no more than that."""
    library = logging.getLogger("aiokafka")
    library.setLevel(logging.ERROR)
    library.propagate = False
    library.addHandler(_Refusals())
