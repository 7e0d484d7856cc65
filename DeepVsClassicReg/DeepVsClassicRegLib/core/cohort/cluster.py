"""Connection to the scheduler of dask: on this machine, at an address, or a batch system through dask-jobqueue."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..errors import RegistrationError, SettingsError, did_you_mean

LOCAL = "local"
# Batch systems -> class of dask_jobqueue.
BATCH = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "sge": "SGECluster",
    "lsf": "LSFCluster",
    "htcondor": "HTCondorCluster",
    "oar": "OARCluster",
}
INSTALL = 'pip install "dask[distributed]" dask-jobqueue bokeh pandas pyarrow filelock'
PACKAGES = ("distributed", "filelock", "pandas", "psutil", "pyarrow")
CONNECT_S = 30.0
# Lost workers are replaced, and their pairs run again, this many times before a pair counts as failed.
LOSSES = 3


@dataclass(frozen=True)
class ClusterOptions:
    """Where the pairs of a cohort are computed.

    Attributes
    ----------
    scheduler : str
        'local', a batch system ('slurm', 'pbs', ...), or the address of a running scheduler ('tcp://host:8786').
    workers : int
        Number of workers; each registers one pair at a time. Not used with an address.
    threads : int
        CPU threads of each worker, 0 for all cores divided by the workers.
    memory : str
        Memory of each job of a batch system, such as '8GB'.
    walltime : str
        Time of each job of a batch system, such as '12:00:00'.
    batch : mapping
        Further options of the class of dask-jobqueue, such as queue or account.
    processes : bool
        Whether local workers are processes of their own. They only wait for the processes of the jobs, so threads of
        this process are the default; scripts with worker processes need `if __name__ == "__main__":`.
    dashboard : str
        Address of the dashboard of a local scheduler; port 0 is any free one.
    """

    scheduler: str = LOCAL
    workers: int = 1
    threads: int = 0
    memory: str = ""
    walltime: str = ""
    batch: Mapping[str, Any] = field(default_factory=dict)
    processes: bool = False
    dashboard: str = "127.0.0.1:0"

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise SettingsError(f"workers is {self.workers}, expected 1 or more.")
        if self.threads < 0:
            raise SettingsError(f"threads is {self.threads}, expected 0 (all cores) or more.")
        if self.scheduler not in (LOCAL, *BATCH) and "://" not in self.scheduler:
            raise SettingsError(
                f"There is no scheduler '{self.scheduler}'.",
                hint=f"{did_you_mean(self.scheduler, (LOCAL, *BATCH))} An address is like tcp://host:8786.",
            )

    @property
    def is_address(self) -> bool:
        """Whether this is a scheduler that someone else has started."""
        return "://" in self.scheduler


def require_dask() -> None:
    """Raise `RegistrationError` with the command that installs dask when it is missing."""
    for name in PACKAGES:
        if importlib.util.find_spec(name) is None:
            raise RegistrationError(f"Cohorts need {name}, which is not installed.", hint=INSTALL)


@contextmanager
def connected(options: ClusterOptions) -> Iterator[Any]:
    """Provide a client of the scheduler; what was started for it is ended after the block.

    Raises
    ------
    RegistrationError
        When dask is not installed, no scheduler answers, or the batch system does not take jobs.
    """
    require_dask()
    import dask
    from distributed import Client

    with dask.config.set(_configuration()):
        if options.is_address:
            client = _client_of(options.scheduler)
            try:
                yield client
            finally:
                client.close(timeout=5)
            return
        with _cluster(options) as cluster, Client(cluster, set_as_default=False) as client:
            yield client


def dashboard_link(client: Any, options: ClusterOptions) -> str:
    """Return the address of the scheduler's dashboard; '' when it has none, for example without bokeh."""
    link = str(client.dashboard_link or "")
    if not link or importlib.util.find_spec("bokeh") is None:
        return ""
    if options.scheduler != LOCAL:
        return link
    # dask names this computer by its public address, where a local dashboard does not listen.
    port = client.cluster.scheduler.services["dashboard"].port
    return f"http://{options.dashboard.rpartition(':')[0] or 'localhost'}:{port}/status"


def reconnect(options: ClusterOptions, *, timeout_s: float) -> Any:
    """Return a new client of a scheduler that was restarted; `RegistrationError` when it does not answer in time."""
    return _client_of(options.scheduler, timeout_s)


def _configuration() -> dict[str, Any]:
    return {
        "distributed.scheduler.allowed-failures": LOSSES,
        # A pair is computed in processes of its own, with limits of its own.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.memory.terminate": False,
        "distributed.worker.daemon": False,
        "distributed.worker.profile.enabled": False,
        # Workers would move pairs between each other for nothing.
        "distributed.scheduler.work-stealing": False,
        "distributed.admin.low-level-log-length": 0,
    }


def _client_of(address: str, timeout_s: float = CONNECT_S) -> Any:
    from distributed import Client

    try:
        return Client(address, timeout=timeout_s, set_as_default=False)
    except (OSError, ValueError) as error:
        raise RegistrationError(
            f"No scheduler answers at {address} ({error}).",
            hint="Start one with `dask scheduler`, and workers with `dask worker ADDRESS`, or use --scheduler local.",
        ) from error


def _cluster(options: ClusterOptions) -> Any:
    if options.scheduler == LOCAL:
        return _local_cluster(options)
    if importlib.util.find_spec("dask_jobqueue") is None:
        raise RegistrationError(
            f"The scheduler '{options.scheduler}' needs dask-jobqueue, which is not installed.", hint=INSTALL
        )
    kind = getattr(importlib.import_module("dask_jobqueue"), BATCH[options.scheduler])
    walltime = {"walltime": options.walltime} if options.walltime else {}
    try:
        cluster = kind(
            cores=max(1, options.threads),
            processes=1,
            memory=options.memory or "8GB",
            worker_extra_args=["--nthreads", "1"],
            **walltime,
            **options.batch,
        )
    except (TypeError, ValueError, OSError) as error:
        raise RegistrationError(
            f"dask-jobqueue did not accept the options of '{options.scheduler}': {error}.",
            hint="See its documentation for queue, account and walltime.",
        ) from error
    cluster.scale(options.workers)
    return cluster


def _local_cluster(options: ClusterOptions) -> Any:
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=options.workers,
        threads_per_worker=1,
        processes=options.processes,
        memory_limit=0,
        dashboard_address=options.dashboard,
        silence_logs=logging.CRITICAL,
    )
