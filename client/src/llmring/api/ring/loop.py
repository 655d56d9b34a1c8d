"""One event loop for what is waited for, in a thread that stays for the life of the program.

A ring's connections belong to the loop that opened them, so each call must run on the same one.
"""

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_aside(work: Coroutine[Any, Any, T]) -> T:
    """Run it on the loop, and wait for its result."""
    return asyncio.run_coroutine_threadsafe(work, _get_loop()).result()


def _get_loop() -> asyncio.AbstractEventLoop:
    with _lock:
        if os.getpid() not in _loops:  # a forked child has none of its parent's threads
            _loops.clear()
            loop = _loops[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="llmring-api-loop", daemon=True).start()
        return _loops[os.getpid()]


_loops: dict[int, asyncio.AbstractEventLoop] = {}
_lock = threading.Lock()
