"""Gives workers started with this folder on PYTHONPATH the kind of work 'fake' (see fake_task.py)."""

import sys

import fake_task
from DeepVsClassicRegLib.worker import tasks

sys.modules["DeepVsClassicRegLib.worker.fake_task"] = fake_task
tasks.TASKS["fake"] = "fake_task:run"
