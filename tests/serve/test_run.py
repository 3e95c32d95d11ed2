"""`make serve` as people run it: a process with Serve's flags, asked over HTTP, stopped by a signal."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from intarsia.lake import Lake
from serve_apps.environment import is_free

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(600)
def test_it_answers_three_questions_serves_on_localhost_and_stops_cleanly(shop: Lake, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "serve_apps.run", "--lake", str(shop.root), "--port", str(port)]
    settings = [f"journal={tmp_path}", "budgets.text_encoder_ms=30000", "budgets.ranker_ms=30000"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}"}
    running = subprocess.Popen(
        [*command, *settings], cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    said: list[str] = []
    try:
        for line in running.stderr:
            said.append(line)
            if line.startswith("serving fused at"):
                break
        rest = threading.Thread(target=lambda: said.extend(running.stderr or ()), daemon=True)
        rest.start()
        reply = httpx.post(f"http://127.0.0.1:{port}/v1/search", json={"text": "green mug", "limit": 1}, timeout=60)
        assert reply.json()["hits"][0]["title"].startswith("Acorn green mug"), said
        refused = httpx.post(f"http://127.0.0.1:{port}/v1/search", content=b"x" * 8_000_001, timeout=60)
        assert (refused.status_code, refused.json()["error"]["field"]) == (413, "body")
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
        rest.join(10)
    finally:
        if running.poll() is None:
            running.kill()
        running.communicate()
    assert said[-1] == "stopped\n"
    assert is_free("127.0.0.1", port)
    assert not any("Traceback" in line for line in said)
