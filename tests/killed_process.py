"""Kills a process with all processes that it started."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress

import psutil


def kill_session(started: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """Kill a process that was started with `start_new_session`, and all processes of its session.

    Killing its process group is not enough: Ray's workers have their own groups, and run for some seconds after the
    driver is killed.
    """
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(process.pid) == started.pid:
                process.kill()
    started.wait()
