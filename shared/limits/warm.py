"""The window that a process keeps of its own, beside the shared one."""

from shared.limits.memory import SlidingWindow
from shared.limits.port import Key


class WarmWindow(SlidingWindow):
    """A `SlidingWindow` that tells what a second window beside it must know."""

    @property
    def decided_at(self) -> float:
        """The instant that the newest call was taken to have come at, by the callers' clock.

        It is that call's own `now`, unless a later one had come before.
        """
        return self._latest - self._set_back_s

    def tracks(self, key: Key) -> bool:
        """Whether hits of this key are counted here. False also for one that found the map full."""
        return key in self._windows
