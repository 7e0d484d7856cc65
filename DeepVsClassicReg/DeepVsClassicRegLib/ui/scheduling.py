"""Functions that are called later: listeners of signals, results of threads, work in idle time."""

from __future__ import annotations

import gc
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import qt

POLL_MS = 15


class Signal:
    """Calls its listeners in the order of their connection.

    Examples
    --------
    >>> changed, seen = Signal(), []
    >>> changed.connect(seen.append)
    >>> changed.emit(3)
    >>> seen
    [3]
    """

    def __init__(self) -> None:
        self._listeners: list[Callable[..., None]] = []

    def connect(self, listener: Callable[..., None]) -> None:
        """Call `listener` from now on."""
        self._listeners.append(listener)

    def disconnect(self, listener: Callable[..., None] | None = None) -> None:
        """Remove a listener, or all of them."""
        self._listeners = [kept for kept in self._listeners if listener is not None and kept != listener]

    def emit(self, *values: Any) -> None:
        """Call every listener; those disconnected meanwhile are not called."""
        for listener in list(self._listeners):
            if listener in self._listeners:
                listener(*values)


class Collection:
    """Python's search for cyclic garbage, which is off while functions run in threads.

    It runs in whichever thread allocates. There it would destroy Qt and VTK objects of the main thread in the middle of
    the event loop, which can end the application.
    """

    def __init__(self) -> None:
        self._lock, self._holders, self._was_on = threading.Lock(), 0, False

    def hold(self) -> None:
        """Switch it off until every holder has released it."""
        with self._lock:
            if not self._holders:
                self._was_on = gc.isenabled()
                gc.disable()
            self._holders += 1

    def release(self) -> None:
        """Switch it on again after the last holder, if it was on."""
        with self._lock:
            self._holders -= 1
            if not self._holders and self._was_on:
                gc.enable()


COLLECTION = Collection()


class BackgroundCall:
    """A function running in a thread; `done` receives its result in the main thread.

    Parameters
    ----------
    function : callable
        Runs in the thread; must use neither Qt nor the scene.
    done : callable
        Called as `done(value, error)` in the main thread; `error` is the exception or None.
    """

    def __init__(self, function: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> None:
        self._function, self._done = function, done
        self._value: Any = None
        self._error: BaseException | None = None
        self._afterwards: Callable[[], None] | None = None
        self._lock, self._ended, self._holds = threading.Lock(), False, False
        self._thread = threading.Thread(target=self._work, name="DeepVsClassicReg files", daemon=True)
        self._timer = qt.QTimer()
        self._timer.interval = POLL_MS
        self._timer.connect("timeout()", self._poll)

    def start(self) -> BackgroundCall:
        """Start the thread."""
        COLLECTION.hold()
        self._holds = True
        self._thread.start()
        self._timer.start()
        return self

    def abandon(self, afterwards: Callable[[], None]) -> None:
        """Do not call `done`; `afterwards` runs once the function has ended and files may be removed."""
        self._timer.stop()
        with self._lock:
            if self._holds and not self._ended:
                self._afterwards = afterwards
                return
        self._release()
        afterwards()

    def _release(self) -> None:
        with self._lock:
            held, self._holds = self._holds, False
        if held:
            COLLECTION.release()

    def _work(self) -> None:
        try:
            self._value = self._function()
        except Exception as error:  # passed to the main thread, which shows or raises it
            self._error = error
        finally:
            with self._lock:
                self._ended, afterwards = True, self._afterwards
            if afterwards is not None:
                afterwards()
                self._release()

    def _poll(self) -> None:
        if self._thread.is_alive():
            return
        self._timer.stop()
        self._release()
        done, value, error = self._done, self._value, self._error
        # The timer's connection keeps this object alive; references to volumes must not stay with it.
        self._function, self._done, self._value = (lambda: None), (lambda _value, _error: None), None
        done(value, error)


class IdleCalls:
    """Runs functions while the event loop is idle, one at a time, so that they do not block the panel."""

    def __init__(self) -> None:
        self._functions: deque[Callable[[], None]] = deque()
        self._timer = qt.QTimer()
        self._timer.interval = 0
        self._timer.connect("timeout()", self._run_next)

    @property
    def pending(self) -> bool:
        """Whether functions are waiting."""
        return bool(self._functions)

    def run(self, *functions: Callable[[], None]) -> None:
        """Run functions soon, in this order, after those already waiting."""
        self._functions.extend(functions)
        self._timer.start()

    def clear(self) -> None:
        """Remove all waiting functions."""
        self._functions.clear()
        self._timer.stop()

    def _run_next(self) -> None:
        if not self._functions:
            self._timer.stop()
            return
        self._functions.popleft()()
