"""Tests of the stand-in itself."""

from slicer_standin.pytest_plugin import *  # noqa: F403
