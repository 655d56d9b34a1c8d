"""The services that a program holds: one that waits, one that is awaited, and one that does either.

Their calls are those of `llmring.api.calls`, and have the same names and arguments everywhere.
"""

from llmring.api.service.awaited import AsyncAPIService
from llmring.api.service.blocking import SyncAPIService
from llmring.api.service.either import APIService, is_looping

__all__ = ["APIService", "AsyncAPIService", "SyncAPIService", "is_looping"]
