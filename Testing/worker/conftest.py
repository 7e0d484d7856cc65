"""Job folders and clients for real worker processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from DeepVsClassicRegLib.core.device import Compute
from DeepVsClassicRegLib.core.job import Job
from DeepVsClassicRegLib.worker.client import WorkerClient

FAKES = Path(__file__).parent / "fakes"


@pytest.fixture
def fakes() -> dict[str, str]:
    """Return an environment in which workers know the kind of work 'fake'."""
    return {**os.environ, "PYTHONPATH": str(FAKES), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.fixture
def make_client(tmp_path, fakes):
    """Return a function that makes a client for a kind of fake work; none outlives its test."""
    clients = []

    def make(what: str, folder: Path | None = None, **changes) -> WorkerClient:
        place = folder or tmp_path / "job"
        place.mkdir(exist_ok=True)
        job = Job(task="fake", inputs={}, options={"what": what}, compute=Compute(threads=1), **changes)
        job.write(place)
        client = WorkerClient(place, environment=fakes)
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.kill()
