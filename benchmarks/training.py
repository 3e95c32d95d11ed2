"""A training step on Ray Train against the same step in plain PyTorch, and two workers against one: `python -m
benchmarks.training`.

The task is contrastive: a BERT of MiniLM's shape with random weights embeds two texts per example, with in-batch
negatives. Start-up is not measured: a step lasts from one call of `inputs` to the next. Throughput and the exit status
are by the wall clock; the CPU time of the process is printed too, since other load on the machine affects it less.

Letters: B examples of a global batch, b of them on one worker, T tokens.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import median

import torch
import transformers
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from benchmarks.result_tables import ResultRow, add_json_option, write_rows
from intarsia.onray.session import SessionConfig, ray_session
from intarsia.onray.torch_training import TorchWorkersConfig, train_on_workers
from intarsia.training.loop import FitConfig, fit_in_process
from intarsia.training.task import Rows, Tensors

_NUM_WARM = 5  # warm-up steps, which still allocate memory
_NUM_WORDS = 30_522
_MIN_RATIO = 0.85


class _TwoTexts(nn.Module):
    def __init__(self, num_layers: int) -> None:
        super().__init__()
        shape = transformers.BertConfig(
            vocab_size=_NUM_WORDS,
            hidden_size=384,
            num_hidden_layers=num_layers,
            num_attention_heads=12,
            intermediate_size=1536,
        )
        self.tower = transformers.BertModel(shape, add_pooling_layer=False)

    def forward(self, left_bT: torch.Tensor, right_bT: torch.Tensor) -> dict[str, torch.Tensor]:
        states = self.tower(input_ids=torch.cat([left_bT, right_bT])).last_hidden_state.mean(dim=1)
        left_bD, right_bD = normalize(states, dim=1).chunk(2)
        return {"left": left_bD, "right": right_bD}


class _ContrastiveTask:
    """Records the time of each call of `inputs`, and writes the times to a file at the last step."""

    def __init__(self, *, num_steps: int, batch_size: int, num_layers: int, num_tokens: int, times: Path) -> None:
        torch.manual_seed(0)
        self.module = _TwoTexts(num_layers)
        self.num_examples = num_steps * batch_size
        self._num_steps, self._times, self._num_tokens = num_steps, times, num_tokens
        self._input_times_s: list[tuple[float, float]] = []

    def inputs(self, rows_b: Rows, step: int) -> Tensors:
        self._input_times_s.append((time.monotonic(), time.process_time()))
        if step + 1 == self._num_steps:
            self._times.mkdir(parents=True, exist_ok=True)
            (self._times / f"{os.getpid()}.json").write_text(json.dumps(self._input_times_s), encoding="utf-8")
        drawn = torch.Generator().manual_seed(step)
        left, right = torch.randint(_NUM_WORDS, (2, len(rows_b), self._num_tokens), generator=drawn)
        return {"left_bT": left, "right_bT": right}

    def loss(self, outputs: Tensors, rows_B: Rows) -> torch.Tensor:
        return cross_entropy(outputs["left"] @ outputs["right"].T / 0.05, torch.arange(len(rows_B)))

    def measure(self) -> Mapping[str, float]:
        return {}


def _plain(task: _ContrastiveTask, config: FitConfig) -> None:
    """A plain PyTorch loop without a library."""
    optimiser = torch.optim.AdamW(task.module.parameters(), lr=config.learning_rate, fused=True)
    rows_N = torch.randperm(task.num_examples, generator=torch.Generator().manual_seed(config.seed)).numpy()
    num_steps = task.num_examples // config.batch_size
    task.module.train()
    for step in range(num_steps):
        rows_B = rows_N[step * config.batch_size : (step + 1) * config.batch_size]
        optimiser.param_groups[0]["lr"] = config.learning_rate * (1.0 - step / num_steps)
        loss = task.loss(task.module(**task.inputs(rows_B, step)), rows_B)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(task.module.parameters(), config.max_grad_norm)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        loss.item()


def _step_ms(times: Path) -> tuple[float, float]:
    """Median wall-clock and CPU milliseconds of a step, of the slowest worker."""
    step_ms = []
    for file in times.iterdir():
        input_times_s = json.loads(file.read_text("utf-8"))[_NUM_WARM:]
        pairs = list(itertools.pairwise(input_times_s))
        wall, cpu = (1000 * median(after[kind] - before[kind] for before, after in pairs) for kind in (0, 1))
        step_ms.append((wall, cpu))
    return max(wall for wall, _ in step_ms), max(cpu for _, cpu in step_ms)


def main() -> int:
    """Measure and print. The exit status is 1 if one Ray Train worker has too low a throughput."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--steps", type=int, default=60, help="steps of each fit")
    parser.add_argument("--batch-size", type=int, default=32, help="examples of a global batch")
    parser.add_argument("--layers", type=int, default=6, help="layers of the transformer")
    parser.add_argument("--tokens", type=int, default=16, help="tokens of a text")
    add_json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = FitConfig(epochs=1, batch_size=options.batch_size)
    with tempfile.TemporaryDirectory() as folder, ray_session(SessionConfig(num_cpus=max(2, os.cpu_count() or 2))):
        root = Path(folder)
        make_task = partial(
            _ContrastiveTask,
            num_steps=options.steps,
            batch_size=options.batch_size,
            num_layers=options.layers,
            num_tokens=options.tokens,
        )
        _plain(make_task(times=root / "plain"), config)
        fit_in_process(make_task(times=root / "here"), config)
        for num_workers in (1, 2):
            name = f"ray-{num_workers}"
            workers = TorchWorkersConfig(num_workers=num_workers)
            train_on_workers(partial(make_task, times=root / name), config, workers, root / "storage")
        measured = {name: _step_ms(root / name) for name in ("plain", "here", "ray-1", "ray-2")}
    write_rows(options.json, _rows(measured, options.batch_size), merge=True)
    return _report(measured, options.batch_size)


_LOOPS = {
    "plain": "plain PyTorch, one process",
    "here": "intarsia's loop, one process",
    "ray-1": "Ray Train, 1 worker",
    "ray-2": "Ray Train, 2 workers",
}


def _rows(measured: Mapping[str, tuple[float, float]], batch_size: int) -> list[ResultRow]:
    """Rows of `training_speed.json`; it has columns for batches of 32 and 128."""
    wall_ms = {name: wall for name, (wall, _) in measured.items()}
    ratios = {"ray-1": wall_ms["plain"] / wall_ms["ray-1"], "ray-2": wall_ms["ray-1"] / wall_ms["ray-2"]}
    return [
        {"name": _LOOPS[name], f"b{batch_size}": wall_ms[name], f"r{batch_size}": ratios.get(name)}
        for name in ("plain", "ray-1", "ray-2")
    ]


def _report(measured: Mapping[str, tuple[float, float]], batch_size: int) -> int:
    plain_wall, plain_cpu = measured["plain"]
    print(f"one thread per process, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")
    print(f"{'':30}{'ms/step':>9}{'examples/s':>12}{'of plain':>10}{'CPU ms':>9}{'of plain':>10}")
    for name, (wall, cpu) in measured.items():
        ratio, cpu_ratio = plain_wall / wall, plain_cpu / cpu
        print(
            f"{_LOOPS[name]:30}{wall:9.1f}{batch_size * 1000 / wall:12.1f}{ratio:10.2f}{cpu:9.1f}{cpu_ratio:10.2f}",
            flush=True,
        )
    two = measured["ray-1"][0] / measured["ray-2"][0]
    print(f"two workers have {two:.2f} times the throughput of one")
    throughput, by_cpu = plain_wall / measured["ray-1"][0], plain_cpu / measured["ray-1"][1]
    print(f"Ray Train gives {throughput:.2f} of plain PyTorch's throughput; by CPU time alone it would be {by_cpu:.2f}")
    if throughput < _MIN_RATIO:
        print(f"throughput too low; allowed: {_MIN_RATIO} or more")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
