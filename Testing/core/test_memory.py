"""Freed memory that stays in the process, seen from the pages the system had to hand out."""

import ctypes
import platform
import subprocess
import sys
import threading

import numpy as np
import pytest
from DeepVsClassicRegLib.core import device
from DeepVsClassicRegLib.core.device import kept_memory

GLIBC = platform.libc_ver()[0] == "glibc"
COUNT = """
import resource, sys
import numpy as np
from DeepVsClassicRegLib.core.device import kept_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        np.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

usual = faults()
with kept_memory():
    faults()  # the first array is new in any case
    kept = faults()
print(usual, kept, faults())
"""


@pytest.mark.skipif(not GLIBC, reason="only glibc has these settings")
def test_arrays_are_made_from_the_memory_of_those_before():
    answer = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True, timeout=300)
    usual, kept, after = map(int, answer.stdout.split())
    assert kept < usual / 20
    assert after > 10 * kept  # the former habit is back


class Spy:
    """Notes the calls of the C library."""

    def __init__(self):
        self.calls = []

    def mallopt(self, name, value):
        self.calls.append((name, value))

    def malloc_trim(self, _pad):
        self.calls.append("trim")


def test_only_the_outermost_block_changes_the_library(monkeypatch):
    spy = Spy()
    monkeypatch.setattr(device, "_glibc", lambda: spy)

    def work():
        with kept_memory():
            pass

    with kept_memory():
        begun = list(spy.calls)
        other = threading.Thread(target=work)
        other.start()
        other.join()
        work()
        assert spy.calls == begun
    assert spy.calls[-1] == "trim"
    assert len(spy.calls) > len(begun)


def test_an_error_inside_ends_the_block(monkeypatch):
    spy = Spy()
    monkeypatch.setattr(device, "_glibc", lambda: spy)
    with pytest.raises(ZeroDivisionError), kept_memory():
        _ = 1 / 0
    assert spy.calls[-1] == "trim"


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    device._glibc.cache_clear()
    try:
        with kept_memory():
            assert np.ones(3).sum() == 3
    finally:
        device._glibc.cache_clear()


@pytest.mark.skipif(not GLIBC, reason="only glibc has these settings")
def test_the_library_accepts_every_wish():
    library = ctypes.CDLL(None)
    wishes = [(device._MMAP_MAX, 0), (device._TRIM_THRESHOLD, device._NEVER)]
    wishes += [(device._MMAP_MAX, device._USUAL_MAPPINGS), (device._MMAP_THRESHOLD, device._LARGEST_THRESHOLD)]
    assert [library.mallopt(name, value) for name, value in wishes] == [1] * len(wishes)


def test_the_library_leaves_the_process_alone(monkeypatch):
    """It may run inside Slicer, whose memory is not ours to manage."""
    from DeepVsClassicRegLib.core.api import evaluate, register
    from DeepVsClassicRegLib.core.phantom.phantom import make_phantom

    spy = Spy()
    monkeypatch.setattr(device, "_glibc", lambda: spy)
    pair = make_phantom("head", size=24).pair
    evaluate(pair, register(pair, engine="linear", preset="fast", threads=1))
    assert spy.calls == []


def test_the_command_line_keeps_memory(monkeypatch, capsys):
    from DeepVsClassicRegLib.cli.main import main

    spy = Spy()
    monkeypatch.setattr(device, "_glibc", lambda: spy)
    assert main(["engines"]) == 0
    assert spy.calls[0] == (device._MMAP_MAX, 0) and spy.calls[-1] == "trim"
    assert capsys.readouterr().out
