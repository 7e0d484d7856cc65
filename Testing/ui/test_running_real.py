"""Runs with the real worker process that end badly: killed, stopped, never started, out of disk, left behind."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest
import slicer
from panel_helpers import node_ids, press, wait, worker_processes


@pytest.fixture
def slow_run(panel, picked, ui):
    """A real run that would take long, computing."""
    form = panel.engines.form
    form.fields["iterations"].widget.text = "9000, 9000, 9000"
    form.fields["iterations"].widget.editingFinished.emit()
    wait(lambda: ui.registerButton.enabled and not panel.checking)
    press(panel)
    wait(lambda: panel.runner.current.state == "computing" and worker_processes())
    yield panel.runner.current
    wait(lambda: not worker_processes())


def test_a_killed_worker_is_reported(panel, slow_run, ui):
    wait(lambda: len(worker_processes()) >= 2)
    os.kill(slow_run.process.pid, signal.SIGKILL)
    wait(lambda: not panel.busy)
    assert slow_run.state == "failed"
    assert "was killed" in ui.stageLabel.text
    assert ui.registerButton.enabled


def test_a_killed_computation_is_reported(panel, slow_run, ui):
    wait(lambda: slow_run.process.session.groups)
    os.kill(slow_run.process.session.groups[1], signal.SIGKILL)
    wait(lambda: not panel.busy)
    assert slow_run.state == "failed"
    assert "SIGKILL" in ui.stageLabel.text


def test_a_real_cancel_ends_the_processes(panel, slow_run, ui):
    ui.registerButton.click()
    wait(lambda: not panel.busy)
    assert slow_run.state == "cancelled"
    assert not worker_processes()


def test_a_worker_that_ignores_the_wish_is_killed(panel, slow_run, ui):
    wait(lambda: slow_run.process.session.groups)
    for process in worker_processes():
        os.kill(process, signal.SIGSTOP)
    slow_run.process.kill_timer.interval = 300
    ui.registerButton.click()
    wait(lambda: not panel.busy)
    assert slow_run.state == "cancelled"


def test_the_module_may_be_reloaded_in_mid_run(same_library, widget, slow_run):
    folder = slow_run.folder
    panel = widget.panel
    widget.onReload()
    fresh = slicer.modules.DeepVsClassicRegWidget
    assert fresh.panel is not panel
    wait(lambda: not worker_processes())
    assert not folder.exists()
    assert type(fresh.panel) is not type(panel), "the library was not reloaded"
    fresh.panel.set_parameter_node(fresh.logic.getParameterNode())
    assert fresh.panel.ui.fixedSelector.currentNode() is not None


def test_the_next_run_uses_the_worker_of_the_last_one(panel, picked, ui):
    found = []
    for _ in range(2):
        press(panel)
        task = panel.runner.current
        wait(lambda: not panel.busy)
        assert task.state == "finished", ui.stageLabel.text
        found.append(task.process.session.groups)
    assert found[0] == found[1] and set(found[0]) == set(worker_processes())


def test_a_program_that_cannot_be_started_is_reported(panel, picked, ui, monkeypatch):
    from DeepVsClassicRegLib.ui import process

    process.end_idle_workers()  # that of an earlier test would take the job
    monkeypatch.setattr(process, "worker_command", lambda: ["/nowhere/PythonSlicer"])
    press(panel)
    wait(lambda: not panel.busy)
    assert "could not be started" in ui.stageLabel.text


def test_quitting_ends_the_worker(widget, slow_run):
    widget.cleanup()
    wait(lambda: not worker_processes())
    assert not slow_run.folder.exists()


@contextlib.contextmanager
def full_disk(*processes, size=20000):
    """Let processes write no more than some bytes per file, as if the disk were full (Linux).

    The limit ends with the block: this process may write its report to a file that is larger already.
    """
    resource = pytest.importorskip("resource")
    if not hasattr(resource, "prlimit"):
        pytest.skip("needs Linux")
    own = resource.getrlimit(resource.RLIMIT_FSIZE)
    for process in processes:
        resource.prlimit(process, resource.RLIMIT_FSIZE, (size, own[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, own)


def test_a_disk_that_is_really_full_while_inputs_are_written(panel, picked, ui, fake):
    before = node_ids()
    with full_disk(os.getpid()):
        press(panel)
        wait(lambda: not panel.busy)
    assert "Could not write" in ui.stageLabel.text and "free space" in ui.stageLabel.text
    assert not fake.processes and node_ids() == before


def test_a_disk_that_is_really_full_while_results_are_written(panel, picked, ui):
    before = node_ids()
    press(panel)
    wait(worker_processes)
    with full_disk(*worker_processes()):  # the process that computes inherits it
        wait(lambda: not panel.busy)
    assert "Could not write" in ui.stageLabel.text or "cut off" in ui.stageLabel.text, ui.stageLabel.text
    assert panel.results.run is None and node_ids() == before and not worker_processes()
