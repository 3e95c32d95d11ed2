"""The time that HTTP and Ray Serve add to the three stages: in-process, fused, composed, composed with a fuser.

`python -m benchmarks.http_serving --lake LAKE` sends the text queries of the lake's judged test set to the live
release. The servers listen on 127.0.0.1 and are stopped at the end.

Rounds in this process and rounds over HTTP alternate, each a sequence of the same queries, so that both see the
machine in the same state: on a shared machine, the same code can take half as long again a minute later. The added
time is the difference of the medians of a pair of rounds; printed are its median over pairs and, in brackets, the
quartiles.
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
NUM_WARM_UP, NUM_ROUNDS, NUM_PER_ROUND = 40, 20, 25
NUM_CLIENTS, LOAD_S = 16, 8.0
READY_WITHIN_S = 120.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Print p50 and p95 with one client, the time added to the stages, and the throughput of 16 clients."""
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
    local_calls = [partial(engine.search, [query]) for query in queries]
    print(
        f"{os.cpu_count()} CPUs, {engine.columns.num_rows} products, {len(queries)} test queries, "
        f"release {engine.release_id}"
    )
    print(
        f"{'':<10} {'p50 ms':>7} {'p95 ms':>7}  {'in-process p50 ms':>20}  {'added p50':>22}  "
        f"{f'{NUM_CLIENTS} clients, req/s':>18}"
    )
    rate = 1e3 / float(np.mean(_times(local_calls, NUM_ROUNDS * NUM_PER_ROUND)))
    print(f"{'in-process':<10} {'':>61}  {rate:18.0f}  (one thread)")
    for name, settings in GRAPHS.items():
        with _server(lake, settings) as url:
            with httpx.Client(base_url=url, timeout=30) as client:
                http_calls = [partial(_search, client, _body(query)) for query in queries]
                inside_ms, http_ms = _alternate(local_calls, http_calls)
            rate = _throughput(url, queries)
        added = np.median(http_ms, axis=1) - np.median(inside_ms, axis=1)
        low, middle, high = np.percentile(added, [25, 50, 75])
        print(
            f"{name:<10} {np.median(http_ms):7.2f} {np.percentile(http_ms, 95):7.2f}  {np.median(inside_ms):20.2f}  "
            f"{f'{middle:+.2f} [{low:+.2f}, {high:+.2f}]':>22}  {rate:18.0f}"
        )
        rows.append(
            {
                "name": name,
                "p50": float(np.median(http_ms)),
                "inside": float(np.median(inside_ms)),
                "added": {"value": middle, "low": low, "high": high},
                "rate": rate,
            }
        )
    write_rows(options.json, rows)
    return 0


def _alternate(
    local_calls: Sequence[Callable[[], object]], http_calls: Sequence[Callable[[], object]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times of both in ms, each [NUM_ROUNDS, NUM_PER_ROUND]; both rounds of a pair send the same queries."""
    _times(local_calls, NUM_WARM_UP)
    _times(http_calls, NUM_WARM_UP)
    rounds = [
        [_times(calls, NUM_PER_ROUND, first=number * NUM_PER_ROUND) for calls in (local_calls, http_calls)]
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


def _search(client: httpx.Client, body: dict[str, object]) -> None:
    reply = client.post("/v1/search", json=body)
    assert reply.status_code == 200, reply.text


def _throughput(url: str, queries: Sequence[Query]) -> float:
    num_done = [0] * NUM_CLIENTS
    end_s = time.monotonic() + LOAD_S

    def work(number: int) -> None:
        with httpx.Client(base_url=url, timeout=30) as client:
            while time.monotonic() < end_s:
                _search(client, _body(queries[(number + num_done[number]) % len(queries)]))
                num_done[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(NUM_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(num_done) / LOAD_S


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
