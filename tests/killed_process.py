"""Processes that tests kill with all they started."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress

import psutil


def kill_session(started: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    """Kill a process that began a session, and all of that session.

    Its process group would not do: Ray's workers are in groups of their own, and outlive a killed driver by some seconds' work.
    """
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(process.pid) == started.pid:
                process.kill()
    started.wait()
