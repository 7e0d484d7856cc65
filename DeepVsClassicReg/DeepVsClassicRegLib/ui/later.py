"""Small pieces of work, one per turn of the event loop, so that none of them adds up to a pause."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import qt


class Later:
    """Runs functions one by one when the event loop is free."""

    def __init__(self) -> None:
        self._functions: deque[Callable[[], None]] = deque()
        self._timer = qt.QTimer()
        self._timer.interval = 0
        self._timer.connect("timeout()", self._run_next)

    @property
    def pending(self) -> bool:
        """Whether something is still to be run."""
        return bool(self._functions)

    def run(self, *functions: Callable[[], None]) -> None:
        """Run functions soon, in this order, after what waits already."""
        self._functions.extend(functions)
        self._timer.start()

    def clear(self) -> None:
        """Forget what waits."""
        self._functions.clear()
        self._timer.stop()

    def _run_next(self) -> None:
        if not self._functions:
            self._timer.stop()
            return
        self._functions.popleft()()
