"""The Python client of LLMRing API. See `APIService`, and `docs/client.md` in the project."""

from llmring.api.exceptions import (
    APIAuthenticationError,
    APIConfigurationError,
    APIConflictError,
    APIError,
    APINetworkError,
    APINotFoundError,
    APIPermissionError,
    APIQuotaExceededError,
    APIRateLimitError,
    APIServerError,
    APIUnavailableError,
    APIValidationError,
    FieldError,
)
from llmring.api.offline import Judgement
from llmring.api.queue import QueueState
from llmring.api.ring import extend_published
from llmring.api.service import APIService, AsyncAPIService, SyncAPIService

__version__ = "0.1.0"

__all__ = [
    "APIService",
    "AsyncAPIService",
    "SyncAPIService",
    "Judgement",
    "QueueState",
    "APIError",
    "APIAuthenticationError",
    "APIConfigurationError",
    "APIConflictError",
    "APINetworkError",
    "APINotFoundError",
    "APIPermissionError",
    "APIQuotaExceededError",
    "APIRateLimitError",
    "APIServerError",
    "APIUnavailableError",
    "APIValidationError",
    "FieldError",
]

extend_published()
