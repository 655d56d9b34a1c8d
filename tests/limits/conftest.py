"""A patient client of a real Redis for the shared window."""

from tests.redis.conftest import open_client as open_client  # noqa: PLC0414 - a fixture
from tests.redis.conftest import redis as redis  # noqa: PLC0414 - a fixture
from tests.redis.conftest import silent_server as silent_server  # noqa: PLC0414 - a fixture
