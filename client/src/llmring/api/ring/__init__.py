"""What the specification asks of `LLMRing` and the published 1.4.0 does not have, added to that class.

Nothing that 1.4.0 accepts changes its meaning: there are new arguments and new methods, and without the new
arguments the class works as it did.
"""

import functools
import importlib.util
import inspect
import logging
import os
from collections.abc import Mapping
from typing import Any, Final

from llmring.api.ring.kept import open_kept
from llmring.api.ring.methods import complete, complete_async, export_usage_logs, get_model, list_models
from llmring.api.service import APIService
from llmring.api.settings import default_cache_dir

log = logging.getLogger("llmring.api")

_MARK: Final = "extended_by_llmring_api"


def extend_published() -> bool:
    """Add to `LLMRing` what it does not have. Whether there is such a class; twice does it once."""
    if importlib.util.find_spec("llmring.service") is None:
        return False
    try:
        from llmring.service import LLMRing

        accepted = inspect.signature(LLMRing.__init__).parameters
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        log.warning("LLMRing is left as it is: %s", error)  # a version that is not known here
        return False
    if "api_service" in accepted or hasattr(LLMRing, _MARK):
        return True
    LLMRing.__init__ = _extend_init(LLMRing.__init__)
    for method in (complete, complete_async, list_models, get_model, export_usage_logs):
        if not hasattr(LLMRing, method.__name__):
            setattr(LLMRing, method.__name__, method)
    setattr(LLMRing, _MARK, True)
    return True


def _extend_init(original: Any) -> Any:  # noqa: ANN401 - a method of the package
    signature = inspect.signature(original)

    @functools.wraps(original)
    def init(
        self: Any,  # noqa: ANN401 - an LLMRing
        *args: Any,  # noqa: ANN401
        api_service: APIService | None = None,
        api_url: str | None = None,
        use_local_db: bool | None = None,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        given = dict(signature.bind_partial(self, *args, **kwargs).arguments)
        del given[next(iter(given))]  # self
        service = None if use_local_db else api_service or _open_service(given, api_url)
        self.api_service, self.local_usage = service, None
        if service is None and not use_local_db:
            original(self, *args, **kwargs)
            return
        is_logged = given.get("log_metadata", True)
        if given.get("registry_url") is None:
            given.pop("registry_url", None)
        # Its own logging would warn that it has no server.
        given |= {"log_metadata": False, "log_conversations": False}
        if service is None:
            original(self, **given)
            _keep_locally(self)
            return
        original(self, **(_registry_of(service) | given))
        if "registry_url" not in given:
            # The package's cache knows providers by name alone, whatever registry they came from.
            self.registry.cache_dir = default_cache_dir(self.registry.registry_url) / "ring"
            self.registry.cache_dir.mkdir(parents=True, exist_ok=True)
        if is_logged:
            service.attach(self)

    return init


def _open_service(given: Mapping[str, Any], api_url: str | None) -> APIService | None:
    """The service of `api_url`, or of `LLMRING_API_URL` where no server is named in 1.4.0's own way."""
    if api_url is None and given.get("server_url") is None and not os.environ.get("LLMRING_SERVER_URL"):
        api_url = os.environ.get("LLMRING_API_URL") or None
    return None if api_url is None else APIService(base_url=api_url, api_key=given.get("api_key"))


def _registry_of(service: APIService) -> dict[str, str]:
    """Where the ring takes its models and prices from, unless it is told."""
    from llmring.validation import InputValidator

    url = f"{service.base_url}/registry"
    try:
        InputValidator.validate_registry_url(url)
    except ValueError as error:
        log.warning("the ring keeps its own registry: %s", error)
        return {}
    return {"registry_url": url}


def _keep_locally(ring: Any) -> None:  # noqa: ANN401 - an LLMRing
    from llmring.api.attach import QueueingLog

    ring.local_usage = open_kept()
    ring.log_metadata = True
    ring.logging_service = QueueingLog(ring.local_usage, ring.origin, send_cost=False)
