"""Pools of processes: a cancel ends what is in progress at once, and what waits never begins."""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import FIRST_COMPLETED, wait

import numpy as np
import pytest
from DeepVsClassicRegLib.core.cohort.atlas_tasks import FileRegistration, register_all
from DeepVsClassicRegLib.core.errors import Cancelled, RegistrationError
from DeepVsClassicRegLib.core.images.grid import Grid
from DeepVsClassicRegLib.core.images.io import write_volume
from DeepVsClassicRegLib.core.images.volume import Volume
from DeepVsClassicRegLib.core.process_pool import process_pool
from DeepVsClassicRegLib.core.progress import Progress

FOREVER_S = 3600
LATE_S = 60  # far more than a cancel takes on a busy computer, far less than FOREVER_S


def test_a_cancel_ends_the_processes_at_once():
    before = set(multiprocessing.active_children())
    with pytest.raises(Cancelled), process_pool(2, 1) as pool:
        quick = pool.submit(os.getpid)
        running = [pool.submit(time.sleep, FOREVER_S) for _ in range(6)]
        assert wait([quick], return_when=FIRST_COMPLETED).done and quick.result() != os.getpid()
        canceled = time.monotonic()
        raise Cancelled
    assert time.monotonic() - canceled < LATE_S
    assert set(multiprocessing.active_children()) <= before
    assert all(future.done() for future in running)


def test_a_process_that_dies_is_an_error_with_a_hint():
    with pytest.raises(RegistrationError, match="ended unexpectedly"), process_pool(1, 1) as pool:
        pool.submit(os._exit, 1).result()


def test_threads_of_the_processes_are_limited():
    with process_pool(1, 3) as pool:
        assert pool.submit(os.getenv, "OMP_NUM_THREADS").result() == "3"


@pytest.mark.slow
def test_a_cancel_keeps_finished_registrations_and_ends_the_others(tmp_path):
    rng = np.random.default_rng(0)
    grid = Grid((24, 24, 24), (2.0,) * 3, (0.0,) * 3)
    fixed, moving = (
        write_volume(Volume(rng.normal(size=grid.shape).astype(np.float32), grid), tmp_path / f"{name}.nii.gz")
        for name in ("fixed", "moving")
    )
    endless = {"iterations": (10_000,) * 8, "shrink": (1,) * 8}  # days
    tasks = [
        FileRegistration("first", fixed, moving, tmp_path / "0.h5", "linear:rigid"),
        *(FileRegistration(str(n), fixed, moving, tmp_path / f"{n}.h5", "sitk-demons", endless) for n in range(1, 6)),
    ]
    seen = []
    progress = Progress(lambda update: seen.append(update.stage), cancelled=lambda: "first" in seen)
    with pytest.raises(Cancelled):
        register_all(tasks, workers=2, progress=progress)
    assert [task.is_done for task in tasks] == [True, False, False, False, False, False]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.h5", "0.json", "fixed.nii.gz", "moving.nii.gz"]
