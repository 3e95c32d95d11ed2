"""Ablation of fine-tuning: the text tower fitted with the given settings, and once per change; nDCG@10 of cosines on
validation.

`python -m benchmarks.ablation --lake LAKE [--set key=value ...]`, with the settings of `finetune_text`. Every row is a
fit in this process from the same start. Validation queries only measure it (pseudo-labels also calibrate their
confidence on them); test queries are not read. Pages of a generated market come from its own request record. The lake
is not changed.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy and torch are loaded

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.ablation_rows import DEFAULT_ROW, FROZEN_ROW, Change, changes_of, select_changes
from benchmarks.compression import RetrievalTask
from intarsia.config import build
from intarsia.config_file import with_overrides
from intarsia.encoders.config import TextEncoderConfig
from intarsia.encoders.open import open_text_encoder
from intarsia.encoders.protocol import Encoder
from intarsia.errors import ConfigError
from intarsia.evaluation.metrics import GAINS, Gain
from intarsia.evaluation.significance import PairedDifference, paired_bootstrap
from intarsia.ids import ProductId, ReleaseId, RequestId
from intarsia.lake import Lake
from intarsia.maths.arrays import Floats
from intarsia.records.query import Query
from intarsia.records.served import IMAGE_NOT_STORED, ServedRequest
from intarsia.tables.judgments import JUDGMENTS, QUERIES
from intarsia.tables.segments import SegmentWriter, encode_line
from intarsia.tables.served_requests import served_to_row
from intarsia.training.loop import OnStep, fit_in_process
from intarsia.training.text_examples import ExampleSource
from intarsia.training.text_folder import save_text_tower
from intarsia.training.text_training_data import MaskedLanguageModelTaskFactory, TextTaskFactory, write_texts
from intarsia.training.text_training_sources import CatalogTexts, read_catalog, read_text_training_data
from pipelines.finetune_text import FinetuneTextConfig
from pipelines.job import JobProgress, run_command

_NUM_RESAMPLES = 2000
_SHORT_FIT = {"fit": {"batch_size": 8, "epochs": 2}}


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationRow:
    """Result of a change: nDCG@10 by query [Q], mean over the seeds, and its difference to the reference row.

    `left_out` is the reason if the change could not be measured.
    """

    name: str
    ndcg_Q: Floats = field(default_factory=lambda: np.empty(0))
    against: str = ""
    difference: PairedDifference | None = None
    examples: Mapping[ExampleSource, int] = field(default_factory=dict)
    took_s: float = 0.0
    left_out: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationRunner:
    """Runs the fits of all rows.

    Attributes:
        lake: with products, queries and judgments.
        catalog: its products as texts.
        task: queries and judgments that the rows are measured on.
        seeds: seeds of the fits of each row.
        work_dir: folder for temporary files.
        masked_texts: largest number of texts of the masked-language-model pre-training.
        progress: called with the steps done.
    """

    lake: Lake
    catalog: CatalogTexts
    task: RetrievalTask
    seeds: Sequence[int]
    work_dir: Path
    masked_texts: int
    progress: JobProgress

    def frozen(self, tower: TextEncoderConfig) -> AblationRow:
        """The row of the tower before training."""
        return AblationRow(name=FROZEN_ROW, ndcg_Q=self._ndcg(open_text_encoder(tower)))

    def row(self, change: Change, reference: AblationRow) -> AblationRow:
        """Fit one change with each seed; a change that this lake or tower does not support is left out, with the
        reason.
        """
        if reference.left_out:
            return AblationRow(name=change.name, left_out=f"{reference.name} is left out")
        start_s, ndcg_by_seed = time.perf_counter(), []
        try:
            for seed in self.seeds:
                encoder, examples = self._fitted(change, seed)
                ndcg_by_seed.append(self._ndcg(encoder))
        except ConfigError as error:
            if change.name == DEFAULT_ROW:
                raise
            return AblationRow(name=change.name, left_out=str(error))
        ndcg_Q = np.mean(ndcg_by_seed, axis=0)
        return AblationRow(
            name=change.name,
            ndcg_Q=ndcg_Q,
            against=reference.name,
            difference=paired_bootstrap(ndcg_Q, reference.ndcg_Q, seed=1, num_resamples=_NUM_RESAMPLES),
            examples=examples,
            took_s=time.perf_counter() - start_s,
        )

    def _fitted(self, change: Change, seed: int) -> tuple[Encoder[str], Mapping[ExampleSource, int]]:
        """A fine-tuned tower, and its number of examples by source; validation queries are not watched."""
        config = replace(change.config, fit=replace(change.config.fit, seed=seed, watch="", patience=0))
        start = self._pretrained(config) if config.masked_epochs else config.tower
        training_data = read_text_training_data(
            config.sources, config.augment, self.lake, self.catalog, lambda: open_text_encoder(start), seed
        )
        examples = Counter(example.source for example in training_data.examples)
        if change.needs and change.needs not in examples:
            raise ConfigError(f"no example of {change.needs}")
        path = self.work_dir / "training_data.json"
        replace(training_data, held_out=()).write(path)
        task_factory = TextTaskFactory(
            tower=start,
            pairs=config.pairs,
            adapter=config.adapter,
            augment=config.augment,
            fit=config.fit,
            training_data=path,
        )
        encoder, task, adapters = task_factory.build()
        fit_in_process(task, config.fit, on_step=self._progress_of(change.name))
        adapters.merge()
        return encoder, examples

    def _pretrained(self, config: FinetuneTextConfig) -> TextEncoderConfig:
        texts = self.catalog.texts
        drawn = np.random.default_rng(config.fit.seed).permutation(len(texts))[: self.masked_texts]
        write_texts(self.work_dir / "texts.json", [texts[n] for n in np.sort(drawn)])
        fit = replace(config.fit, epochs=config.masked_epochs, batch_size=config.masked_batch_size)
        masked = replace(config.masked, held_out=0)
        task_factory = MaskedLanguageModelTaskFactory(
            tower=config.tower, masked=masked, seed=fit.seed, texts=self.work_dir / "texts.json"
        )
        encoder, task = task_factory.build()
        fit_in_process(task, fit, on_step=self._progress_of("pre-training"))
        save_text_tower(encoder, self.work_dir / "pretrained")
        return replace(config.tower, model=str(self.work_dir / "pretrained"))

    def _ndcg(self, encoder: Encoder[str]) -> Floats:
        distinct = list(dict.fromkeys(self.task.titles))
        row_of = {text: n for n, text in enumerate(distinct)}
        vectors_ND = encoder.encode(distinct)[[row_of[text] for text in self.task.titles]]
        return self.task.ndcg_Q(encoder.encode(list(self.task.queries)), vectors_ND)

    def _progress_of(self, name: str) -> OnStep:
        return lambda done, total, left_s: self.progress(f"{name}, {left_s:.0f} s to go,", done, total)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; the exit status is 1 if the lake or a setting is not valid."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__)
    parser.add_argument("--lake", required=True, type=Path, help="a lake with products, queries and judgments")
    parser.add_argument("--seeds", type=int, default=1, help="fits per row; their nDCG is averaged by query")
    parser.add_argument("--judged-only", action="store_true", help="rank only the judged products of each query")
    parser.add_argument("--gain", choices=tuple(GAINS), default="exponential", help="gain of a grade")
    parser.add_argument(
        "--masked-texts", type=int, default=1000, help="texts of the row with masked-language-model pre-training"
    )
    parser.add_argument(
        "--only", nargs="+", metavar="WORD", default=("",), help="only rows whose name contains one of these"
    )
    parser.add_argument("--set", nargs="+", metavar="key=value", default=(), help="settings of finetune_text")
    options = parser.parse_args(arguments)
    if options.seeds < 1:
        parser.error(f"--seeds is {options.seeds}; allowed: 1 or more")
    torch.set_num_threads(1)
    return run_command(lambda: _print_table(options))


def _print_table(options: argparse.Namespace) -> None:
    lake = Lake(options.lake)
    config = build(FinetuneTextConfig, with_overrides(_SHORT_FIT, options.set), where="finetune_text")
    catalog = read_catalog(lake, config.text_fields)
    task = validation_task(lake, catalog, options.gain, judged_only=options.judged_only)
    print(f"{len(task.queries)} validation queries, {len(task.titles)} products, {options.seeds} fits a row")
    fit = config.fit
    print(f"default: {config.tower.model}, {config.adapter.kind}, {fit.epochs} epochs of {fit.batch_size} queries\n")
    print("| change | nDCG@10 | against | difference, 95 % | verdict | examples | s |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        runner = AblationRunner(
            lake=lake,
            catalog=catalog,
            task=task,
            seeds=range(options.seeds),
            work_dir=Path(folder),
            masked_texts=options.masked_texts,
            progress=JobProgress("ablation"),
        )
        changes = changes_of(with_log_of_market(config, lake, Path(folder) / "served"))
        for row in ablate(runner, select_changes(changes, options.only)):
            print(_line(row), flush=True)


def ablate(runner: AblationRunner, changes: Sequence[Change]) -> Iterator[AblationRow]:
    """Yield the frozen tower, then each change with its difference to an earlier row."""
    rows = {FROZEN_ROW: runner.frozen(changes[0].config.tower)}
    yield rows[FROZEN_ROW]
    for change in changes:
        rows[change.name] = runner.row(change, rows[change.against])
        yield rows[change.name]


def validation_task(lake: Lake, catalog: CatalogTexts, gain: Gain, *, judged_only: bool) -> RetrievalTask:
    """The validation queries that have text, over all products or only those judged for one of them."""
    columns = ["query_id", "text", "split"]
    queries = {
        row["query_id"]: row["text"]
        for row in QUERIES.read(lake.current("queries"), columns).to_pylist()
        if row["split"] == "validation" and row["text"]
    }
    grades = {
        (row["query_id"], row["product_id"]): row["grade"]
        for row in JUDGMENTS.read(lake.current("judgments")).to_pylist()
        if row["query_id"] in queries
    }
    judged = {product for _, product in grades}
    products = [key for key in catalog.text_of if key in judged or not judged_only]
    row_of, query_row = {key: n for n, key in enumerate(products)}, {key: q for q, key in enumerate(queries)}
    gains_QN, judged_QN = np.zeros((len(queries), len(products))), np.zeros((len(queries), len(products)), np.bool_)
    for (query, product), grade in grades.items():
        if product in row_of:
            gains_QN[query_row[query], row_of[product]] = GAINS[gain](grade)
            judged_QN[query_row[query], row_of[product]] = True
    if not gains_QN.any():
        raise ConfigError(f"no validation query of {lake.root} has words and a product that fits; judge some")
    return RetrievalTask(
        queries=tuple(queries.values()),
        titles=tuple(catalog.text_of[key] for key in products),
        gains_QN=gains_QN,
        judged_QN=judged_QN,
        judged_only=judged_only,
    )


def with_log_of_market(config: FinetuneTextConfig, lake: Lake, folder: Path) -> FinetuneTextConfig:
    """Use the request record of a generated market as the log of served requests; other configs stay unchanged."""
    clicks = config.sources.clicks
    if clicks.served is not None or not lake.has("market"):
        return config
    columns = ["query_id", "text", "image", "locale"]
    query_of = {row["query_id"]: row for row in QUERIES.read(lake.current("queries"), columns).to_pylist()}
    writer = SegmentWriter(folder)
    with (lake.current("market").path / "requests.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    known = [row for row in rows if row["query_id"] in query_of]  # the judged queries may not be the market's
    writer.append(b"".join(encode_line(served_to_row(_served(row, query_of[row["query_id"]]))) for row in known))
    writer.close()
    return replace(config, sources=replace(config.sources, clicks=replace(clicks, served=folder)))


def _served(row: Mapping[str, Any], query_row: Mapping[str, Any]) -> ServedRequest:
    query = Query(
        request_id=RequestId(row["request_id"]),
        text=query_row["text"],
        image=IMAGE_NOT_STORED if query_row["image"] else None,
        locale=query_row["locale"],
        asked_at=datetime.fromisoformat(row["asked_at"]),
    )
    shown = tuple((position, ProductId(product)) for position, product in enumerate(row["page"], start=1))
    return ServedRequest(query=query, release_id=ReleaseId("generated"), shown=shown)


def _line(row: AblationRow) -> str:
    if row.left_out:
        return f"| {row.name} | | | left out: {row.left_out} | | | |"
    mean = f"{np.nanmean(row.ndcg_Q):.4f}"
    if row.difference is None:
        return f"| {row.name} | {mean} | | | | | |"
    interval = row.difference.difference
    examples = ", ".join(f"{count} {source}" for source, count in row.examples.items())
    return (
        f"| {row.name} | {mean} | {row.against} | {interval.mean:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}] | "
        f"{row.difference.verdict} | {examples} | {row.took_s:.0f} |"
    )


if __name__ == "__main__":
    sys.exit(main())
