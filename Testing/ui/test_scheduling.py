"""Functions in threads: garbage is collected by no thread while they run."""

from __future__ import annotations

import gc
import threading

import pytest
from DeepVsClassicRegLib.ui.scheduling import BackgroundCall
from panel_helpers import wait


@pytest.fixture
def collecting():
    """Switch automatic garbage collection on for the test."""
    before = gc.isenabled()
    gc.enable()
    yield
    if not before:
        gc.disable()


def test_no_garbage_is_collected_while_functions_run(widget, collecting):
    gates, seen = [threading.Event(), threading.Event()], []
    for number, gate in enumerate(gates):
        BackgroundCall(
            lambda gate=gate, number=number: gate.wait(60) and number, lambda *found: seen.append(found)
        ).start()
    assert not gc.isenabled()
    gates[0].set()
    wait(lambda: seen == [(0, None)])
    assert not gc.isenabled(), "the other function is still running"
    gates[1].set()
    wait(lambda: len(seen) == 2)
    assert gc.isenabled()


def test_an_abandoned_function_gives_it_free_when_it_ends(widget, collecting):
    gate, after = threading.Event(), threading.Event()
    call = BackgroundCall(lambda: gate.wait(60), lambda *_found: None).start()
    call.abandon(after.set)
    assert not gc.isenabled() and not after.is_set()
    gate.set()
    wait(lambda: after.is_set() and gc.isenabled())
    call.abandon(after.clear)
    assert gc.isenabled() and not after.is_set(), "what is abandoned later is removed at once"


def test_it_stays_off_where_the_user_has_switched_it_off(widget, collecting):
    gc.disable()
    seen = []
    BackgroundCall(lambda: 1, lambda *found: seen.append(found)).start()
    wait(lambda: seen)
    assert not gc.isenabled()
