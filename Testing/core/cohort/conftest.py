"""A cohort of small files, and a dask cluster within this process."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from DeepVsClassicRegLib.core.cohort.cluster import ClusterOptions


@pytest.fixture(scope="session")
def cluster():
    """Return the options for a cluster of threads that all tests share."""
    distributed = pytest.importorskip("distributed")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        dashboard_address="127.0.0.1:0",
        memory_limit=0,
        silence_logs=logging.CRITICAL,
    ) as started:
        yield ClusterOptions(scheduler=started.scheduler_address)


@pytest.fixture
def make_list(tmp_path):
    """Return a function that writes a manifest with `count` pairs."""
    nib = pytest.importorskip("nibabel")
    import numpy as np

    def write(count: int) -> Path:
        nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.float32), np.eye(4)), tmp_path / "fixed.nii.gz")
        lines = ["id,fixed,moving,group"]
        for number in range(count):
            name = f"moving{number}.nii.gz"
            nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.float32), np.eye(4)), tmp_path / name)
            lines.append(f"p{number},fixed.nii.gz,{name},{'ab'[number % 2]}")
        path = tmp_path / "pairs.csv"
        path.write_text("\n".join(lines), encoding="utf-8")
        return path

    return write


@pytest.fixture
def calls(tmp_path):
    """Return a function that gives the pairs computed since the last call."""

    def read() -> list[str]:
        path = tmp_path / "calls"
        found = sorted(path.read_text(encoding="utf-8").split()) if path.exists() else []
        path.unlink(missing_ok=True)
        return found

    return read
