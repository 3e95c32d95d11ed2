"""What HTTP and Ray Serve add to the three stages: in-process, fused and composed (without and with a fuser of its own), in one run.

`python -m benchmarks.http_serving --lake LAKE` asks the live release the test queries of the lake's judged set, those of text alone. The
servers listen on 127.0.0.1 and stop by themselves.

Rounds in this process and rounds over HTTP take turns, each of them queries back to back, so that both meet the machine in the same state:
on a shared one the same code can take half as long again a minute later. What is added is the difference of the two medians of a pair of
rounds; the middle of these, and the middle half of them in brackets.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.result_tables import ResultRow, add_json_option, write_rows
from intarsia.experiments.judged_candidates import as_query, read_judged
from intarsia.lake import Lake
from intarsia.records.query import Query
from intarsia.release.bundle import open_bundle
from intarsia.release.pointer import Pointer
from serve_apps.environment import is_free

GRAPHS = {
    "fused": ("--topology", "fused"),
    "composed": ("--topology", "composed"),
    "+ a fuser": ("--topology", "composed", "replicas.fuser=1"),
}
NUM_WARM, NUM_ROUNDS, NUM_ASKED = 40, 20, 25
NUM_CLIENTS, LOAD_S = 16, 8.0
READY_WITHIN_S = 120.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Print p50 and p95 with one client, what is added to the stages, and the throughput of 16 clients."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.http_serving",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--lake", required=True, type=Path, help="a lake with a live release and judged queries")
    add_json_option(parser)
    options = parser.parse_args(arguments)
    lake = Lake(options.lake)
    rows: list[ResultRow] = []
    queries = [as_query(q, datetime.now(UTC)) for q in read_judged(lake, ["test"])[0] if q.kind == "text"]
    engine = open_bundle(Pointer(lake.root / "releases").live_folder())
    inside = [partial(engine.search, [query]) for query in queries]
    print(
        f"{os.cpu_count()} CPUs, {engine.columns.num_rows} products, {len(queries)} test queries, release {engine.release_id}"
    )
    print(
        f"{'':<10} {'p50 ms':>7} {'p95 ms':>7}  {'beside it in-process':>20}  {'added p50':>22}  {f'{NUM_CLIENTS} clients, req/s':>18}"
    )
    rate = 1e3 / float(np.mean(_times(inside, NUM_ROUNDS * NUM_ASKED)))
    print(f"{'in-process':<10} {'':>61}  {rate:18.0f}  (one thread)")
    for name, settings in GRAPHS.items():
        with _server(lake, settings) as url:
            with httpx.Client(base_url=url, timeout=30) as client:
                asked = [partial(_ask, client, _body(query)) for query in queries]
                inside_ms, asked_ms = _in_turns(inside, asked)
            rate = _throughput(url, queries)
        added = np.median(asked_ms, axis=1) - np.median(inside_ms, axis=1)
        low, middle, high = np.percentile(added, [25, 50, 75])
        print(
            f"{name:<10} {np.median(asked_ms):7.2f} {np.percentile(asked_ms, 95):7.2f}  {np.median(inside_ms):20.2f}  "
            f"{f'{middle:+.2f} [{low:+.2f}, {high:+.2f}]':>22}  {rate:18.0f}"
        )
        rows.append(
            {
                "name": name,
                "p50": float(np.median(asked_ms)),
                "inside": float(np.median(inside_ms)),
                "added": {"value": middle, "low": low, "high": high},
                "rate": rate,
            }
        )
    write_rows(options.json, rows)
    return 0


def _in_turns(
    inside: Sequence[Callable[[], object]], asked: Sequence[Callable[[], object]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times of both, ms, each [NUM_ROUNDS, NUM_ASKED]; a pair of rounds asks the same queries."""
    _times(inside, NUM_WARM)
    _times(asked, NUM_WARM)
    rounds = [
        [_times(calls, NUM_ASKED, first=number * NUM_ASKED) for calls in (inside, asked)]
        for number in range(NUM_ROUNDS)
    ]
    both = np.array(rounds)
    return both[:, 0], both[:, 1]


def _times(calls: Sequence[Callable[[], object]], num: int, *, first: int = 0) -> list[float]:
    times_ms = []
    for number in range(first, first + num):
        start_s = time.perf_counter()
        calls[number % len(calls)]()
        times_ms.append((time.perf_counter() - start_s) * 1e3)
    return times_ms


def _body(query: Query) -> dict[str, object]:
    return {"text": query.text, "limit": query.limit}


def _ask(client: httpx.Client, body: dict[str, object]) -> None:
    reply = client.post("/v1/search", json=body)
    assert reply.status_code == 200, reply.text


def _throughput(url: str, queries: Sequence[Query]) -> float:
    done = [0] * NUM_CLIENTS
    end_s = time.monotonic() + LOAD_S

    def work(number: int) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            while time.monotonic() < end_s:
                _ask(client, _body(queries[(number + done[number]) % len(queries)]))
                done[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(NUM_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / LOAD_S


@contextmanager
def _server(lake: Lake, settings: Sequence[str]) -> Iterator[str]:
    port = next(port for port in range(8100, 8200) if is_free("127.0.0.1", port))
    arguments = ["--lake", str(lake.root), "--port", str(port), *settings]
    process = subprocess.Popen([sys.executable, "-m", "serve_apps.run", *arguments], stdout=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline_s = time.monotonic() + READY_WITHIN_S
        while not _is_ready(url):
            assert process.poll() is None, "the server ended"
            assert time.monotonic() < deadline_s, f"{url} is not ready after {READY_WITHIN_S:.0f} s"
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    sys.exit(main())
