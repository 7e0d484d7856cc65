"""Gives processes started with this folder on PYTHONPATH the engines 'stuck' and 'broken', and small disks."""

import os
import sys

import fake_engines
from DeepVsClassicRegLib.core.engines import catalogue

sys.modules["DeepVsClassicRegLib.core.engines.fake_engines"] = fake_engines
catalogue.ENGINES.update(stuck="fake_engines:Stuck", broken="fake_engines:Broken")

if "FAKE_DISK_BYTES" in os.environ:
    import resource

    limit = int(os.environ["FAKE_DISK_BYTES"])
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
