"""The state machine that the command line and the panel share, fed by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from DeepVsClassicRegLib.core.errors import Cancelled, RegistrationError
from DeepVsClassicRegLib.worker.protocol import CANCEL, encode
from DeepVsClassicRegLib.worker.session import Session


def test_success_needs_exit_0_and_a_result(tmp_path):
    assert Session(tmp_path).finish(0).state == "failed"
    (tmp_path / "result.json").write_text(json.dumps({"files": {"warped": "w.nii.gz"}}), encoding="utf-8")
    outcome = Session(tmp_path).finish(0)
    assert outcome.ok and outcome.code == 0 and outcome.files == {"warped": tmp_path / "out" / "w.nii.gz"}
    for code in (1, 2, 3, 77, -9, None):
        assert not Session(tmp_path).finish(code).ok
    assert not Session(tmp_path).finish(0, killed=True).ok


def test_half_a_result_is_no_result(tmp_path):
    (tmp_path / "result.json").write_text('{"files": {"war', encoding="utf-8")
    outcome = Session(tmp_path).finish(0)
    assert outcome.state == "failed" and "without a result" in outcome.message


def test_progress_and_notes(tmp_path):
    session = Session(tmp_path)
    assert session.state == "waiting"
    session.feed(encode("progress", fraction=0.5, stage="Affine", metric=-1.5))
    session.feed(encode("progress", fraction=0.25, stage="Late"))
    session.feed(encode("note", text="Look out."))
    assert (session.state, session.fraction, session.stage, session.metric) == ("running", 0.5, "Late", None)
    assert session.notes == ["Look out."]


def test_user_error(tmp_path):
    session = Session(tmp_path)
    session.feed(encode("error", cause="user", message="No such file: a.", hint="Check the path."))
    session.feed_log(b"line one\nline")
    outcome = session.finish(2)
    assert (outcome.state, outcome.code, outcome.hint) == ("rejected", 2, "Check the path.")
    assert outcome.log == ("line one", "line")
    with pytest.raises(RegistrationError, match="No such file"):
        outcome.require()


def test_cancel_and_kill(tmp_path):
    session = Session(tmp_path)
    assert session.cancel() == CANCEL and session.state == "cancelling"
    outcome = session.finish(-9, killed=True)
    assert outcome.state == "cancelled" and outcome.code == 3
    with pytest.raises(Cancelled):
        outcome.require()
    session.cancel()
    assert session.state == "cancelled" and session.finish(0) is outcome


def test_not_started_and_killed(tmp_path):
    assert "could not be started: no" in Session(tmp_path).not_started("no").message
    outcome = Session(tmp_path).finish(None, killed=True)
    assert outcome.state == "failed" and outcome.code == 1
    with pytest.raises(RuntimeError):
        outcome.require()


def test_nothing_of_a_killed_worker_is_left(tmp_path):
    """What QProcess cannot do: end the worker's children after the worker itself was killed."""
    (tmp_path / "tmp").mkdir()
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True) as orphan:
        session = Session(tmp_path)
        session.feed(encode("started", pid=orphan.pid, group=None))
        session.finish(9, killed=True)
        assert orphan.wait(60) == -signal.SIGKILL
    assert not (tmp_path / "tmp").exists()


def test_foreign_process_ids_are_not_killed(tmp_path):
    session = Session(tmp_path)
    session.feed(encode("started", pid=1, group=os.getpgrp()) + encode("started", pid="x", group=-5))
    session.kill(0)
