"""`make serve` as a process: with Serve's flags, called over HTTP, stopped by a signal."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from intarsia.ids import sha256_file
from intarsia.lake import Lake
from intarsia.release.manifest import FileDigest, Manifest
from serve_apps.environment import is_free
from serve_apps.settings import ServingConfig

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(600)
def test_it_serves_on_localhost_and_stops_cleanly(shop: Lake, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "serve_apps.run", "--lake", str(shop.root), "--port", str(port)]
    settings = [f"journal={tmp_path}", "budgets.text_encoder_ms=30000", "budgets.ranker_ms=30000"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}"}
    running = subprocess.Popen(
        [*command, *settings], cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    stderr_lines: list[str] = []
    try:
        for line in running.stderr:
            stderr_lines.append(line)
            if line.startswith("serving fused at"):
                break
        rest = threading.Thread(target=lambda: stderr_lines.extend(running.stderr or ()), daemon=True)
        rest.start()
        reply = httpx.post(f"http://127.0.0.1:{port}/v1/search", json={"text": "green mug", "limit": 1}, timeout=60)
        assert reply.json()["hits"][0]["title"].startswith("Acorn green mug"), stderr_lines
        refused = httpx.post(f"http://127.0.0.1:{port}/v1/search", content=b"x" * 8_000_001, timeout=60)
        assert (refused.status_code, refused.json()["error"]["field"]) == (413, "body")
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
        rest.join(10)
    finally:
        if running.poll() is None:
            running.kill()
        running.communicate()
    assert stderr_lines[-1] == "stopped\n"
    assert is_free("127.0.0.1", port)
    assert not any("Traceback" in line for line in stderr_lines)


@pytest.mark.timeout(300)
def test_a_release_with_a_broken_ranker_is_reported_in_one_line(shop: Lake, tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    shutil.copytree(shop.root / "releases", lake.root / "releases")
    folder = ServingConfig(lake=lake.root).release_folder()
    model = folder / "ranker" / "model.txt"
    model.unlink()  # a copy, not the link
    model.write_bytes(b"tree of another kind")
    manifest = Manifest.open(folder)
    digest = FileDigest(bytes=model.stat().st_size, sha256=sha256_file(model))
    dataclasses.replace(manifest, files={**manifest.files, "ranker/model.txt": digest}).save(folder)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "serve_apps.run", "--lake", str(lake.root), "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'platform'}:{ROOT}"}
    environment["RAY_SERVE_MAX_PER_REPLICA_RETRY_COUNT"] = "1"  # Serve starts a failing replica three times, 10 s each
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"ArtifactError: release {folder.name} could not be served: ")
    assert "give no reason" not in last
