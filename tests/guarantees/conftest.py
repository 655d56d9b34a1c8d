"""Fixtures of other folders, used as they are."""

from tests.event_log.conftest import (  # noqa: F401 - likewise
    address,
    database,
    kind,
    log,
    open_log,
    positions,
    results,
    topic,
)
from tests.live.conftest import account, data_dir, operator, server  # noqa: F401 - likewise
