"""What each part of fine-tuning is worth: the text tower fitted once as it is set, once per change, nDCG@10 of cosines on validation.

`python -m benchmarks.ablation --lake LAKE [--set key=value ...]`, with the settings of `finetune_text`. Every row is a fit in this process,
from the same start. Validation queries measure it and stop nothing (pseudo-labels fit the two numbers of their confidence on them); test
queries are not read. A generated market's pages come from its own record of what was asked. Nothing in the lake is changed.
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

from benchmarks.ablation_rows import DEFAULT, FROZEN, Change, changes_of, chosen
from benchmarks.compression import Task
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
from intarsia.training.text_training_sources import CatalogTexts, read_catalog, read_training_data
from pipelines.finetune_text import FinetuneTextConfig
from pipelines.job import JobProgress, run_command

_NUM_RESAMPLES = 2000
_SHORT = {"fit": {"batch_size": 8, "epochs": 2}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What came of a change: nDCG@10 by query [Q], the mean over the seeds, its difference to the row it is compared with; or why not."""

    name: str
    ndcg_Q: Floats = field(default_factory=lambda: np.empty(0))
    against: str = ""
    difference: PairedDifference | None = None
    examples: Mapping[ExampleSource, int] = field(default_factory=dict)
    took_s: float = 0.0
    left_out: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What every row shares.

    Attributes:
        lake: with products, queries and judgments.
        catalog: its products as texts.
        task: what the rows are measured on.
        seeds: fits of each row.
        aside: folder for what passes from one part of a fit to the next.
        masked_texts: most texts of the catalog that are shown with hidden words.
        progress: told of the steps.
    """

    lake: Lake
    catalog: CatalogTexts
    task: Task
    seeds: Sequence[int]
    aside: Path
    masked_texts: int
    progress: JobProgress

    def frozen(self, tower: TextEncoderConfig) -> Row:
        """The tower before it learned anything."""
        return Row(name=FROZEN, ndcg_Q=self._ndcg(open_text_encoder(tower)))

    def row(self, change: Change, beside: Row) -> Row:
        """The fits of one change, each from the start; a change that this lake or tower has nothing for is left out with the reason."""
        if beside.left_out:
            return Row(name=change.name, left_out=f"{beside.name} is left out")
        start_s, found = time.perf_counter(), []
        try:
            for seed in self.seeds:
                encoder, examples = self._fitted(change, seed)
                found.append(self._ndcg(encoder))
        except ConfigError as error:
            if change.name == DEFAULT:
                raise
            return Row(name=change.name, left_out=str(error))
        ndcg_Q = np.mean(found, axis=0)
        return Row(
            name=change.name,
            ndcg_Q=ndcg_Q,
            against=beside.name,
            difference=paired_bootstrap(ndcg_Q, beside.ndcg_Q, seed=1, num_resamples=_NUM_RESAMPLES),
            examples=examples,
            took_s=time.perf_counter() - start_s,
        )

    def _fitted(self, change: Change, seed: int) -> tuple[Encoder[str], Mapping[ExampleSource, int]]:
        """A tower that learned, and from how many examples of each source; nothing is watched: validation measures alone."""
        config = replace(change.config, fit=replace(change.config.fit, seed=seed, watch="", patience=0))
        start = self._after_masked_words(config) if config.masked_epochs else config.tower
        training_data = read_training_data(
            config.sources, config.augment, self.lake, self.catalog, lambda: open_text_encoder(start), seed
        )
        examples = Counter(one.source for one in training_data.examples)
        if change.needs and change.needs not in examples:
            raise ConfigError(f"no example of {change.needs}")
        path = self.aside / "lessons.json"
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
        fit_in_process(task, config.fit, on_step=self._teller(change.name))
        adapters.merge()
        return encoder, examples

    def _after_masked_words(self, config: FinetuneTextConfig) -> TextEncoderConfig:
        texts = self.catalog.texts
        drawn = np.random.default_rng(config.fit.seed).permutation(len(texts))[: self.masked_texts]
        write_texts(self.aside / "texts.json", [texts[n] for n in np.sort(drawn)])
        fit = replace(config.fit, epochs=config.masked_epochs, batch_size=config.masked_batch_size)
        masked = replace(config.masked, held_out=0)
        task_factory = MaskedLanguageModelTaskFactory(
            tower=config.tower, masked=masked, seed=fit.seed, texts=self.aside / "texts.json"
        )
        encoder, task = task_factory.build()
        fit_in_process(task, fit, on_step=self._teller("masked words"))
        save_text_tower(encoder, self.aside / "knows_the_words")
        return replace(config.tower, model=str(self.aside / "knows_the_words"))

    def _ndcg(self, encoder: Encoder[str]) -> Floats:
        different = list(dict.fromkeys(self.task.titles))
        place = {text: n for n, text in enumerate(different)}
        vectors_ND = encoder.encode(different)[[place[text] for text in self.task.titles]]
        return self.task.ndcg_Q(encoder.encode(list(self.task.queries)), vectors_ND)

    def _teller(self, name: str) -> OnStep:
        return lambda done, total, left_s: self.progress(f"{name}, {left_s:.0f} s to go,", done, total)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 where the lake or a setting does not allow it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__)
    parser.add_argument("--lake", required=True, type=Path, help="a lake with products, queries and judgments")
    parser.add_argument("--seeds", type=int, default=1, help="fits of each row, whose nDCG is averaged by query")
    parser.add_argument("--judged-only", action="store_true", help="order each query's judged products alone")
    parser.add_argument("--gain", choices=tuple(GAINS), default="exponential", help="what a grade is worth")
    parser.add_argument("--masked-texts", type=int, default=1000, help="texts of the row that hides words first")
    parser.add_argument("--only", nargs="+", metavar="WORD", default=("",), help="rows whose names hold one of these")
    parser.add_argument("--set", nargs="+", metavar="key=value", default=(), help="settings of finetune_text")
    options = parser.parse_args(arguments)
    if options.seeds < 1:
        parser.error(f"--seeds is {options.seeds}; allowed: 1 or more")
    torch.set_num_threads(1)
    return run_command(lambda: _print_table(options))


def _print_table(options: argparse.Namespace) -> None:
    lake = Lake(options.lake)
    config = build(FinetuneTextConfig, with_overrides(_SHORT, options.set), where="finetune_text")
    catalog = read_catalog(lake, config.text_fields)
    task = validation_task(lake, catalog, options.gain, judged_only=options.judged_only)
    print(f"{len(task.queries)} validation queries, {len(task.titles)} products, {options.seeds} fits a row")
    fit = config.fit
    print(f"default: {config.tower.model}, {config.adapter.kind}, {fit.epochs} epochs of {fit.batch_size} queries\n")
    print("| change | nDCG@10 | against | difference, 95 % | verdict | examples | s |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            lake=lake,
            catalog=catalog,
            task=task,
            seeds=range(options.seeds),
            aside=Path(folder),
            masked_texts=options.masked_texts,
            progress=JobProgress("ablation"),
        )
        changes = changes_of(with_log_of_market(config, lake, Path(folder) / "asked"))
        for row in ablate(bench, chosen(changes, options.only)):
            print(_line(row), flush=True)


def ablate(bench: Bench, changes: Sequence[Change]) -> Iterator[Row]:
    """The frozen tower, then each change; each stands beside a row before it, the default beside the frozen one."""
    rows = {FROZEN: bench.frozen(changes[0].config.tower)}
    yield rows[FROZEN]
    for change in changes:
        rows[change.name] = bench.row(change, rows[change.against])
        yield rows[change.name]


def validation_task(lake: Lake, catalog: CatalogTexts, gain: Gain, *, judged_only: bool) -> Task:
    """The validation queries that have words, over all products, or over those alone that were judged for one of them."""
    columns = ["query_id", "text", "split"]
    asked = {
        row["query_id"]: row["text"]
        for row in QUERIES.read(lake.current("queries"), columns).to_pylist()
        if row["split"] == "validation" and row["text"]
    }
    grades = {
        (row["query_id"], row["product_id"]): row["grade"]
        for row in JUDGMENTS.read(lake.current("judgments")).to_pylist()
        if row["query_id"] in asked
    }
    judged = {product for _, product in grades}
    products = [one for one in catalog.text_of if one in judged or not judged_only]
    place, number = {one: n for n, one in enumerate(products)}, {one: q for q, one in enumerate(asked)}
    gains_QN, judged_QN = np.zeros((len(asked), len(products))), np.zeros((len(asked), len(products)), np.bool_)
    for (query, product), grade in grades.items():
        if product in place:
            gains_QN[number[query], place[product]] = GAINS[gain](grade)
            judged_QN[number[query], place[product]] = True
    if not gains_QN.any():
        raise ConfigError(f"no validation query of {lake.root} has words and a product that fits; judge some")
    return Task(
        queries=tuple(asked.values()),
        titles=tuple(catalog.text_of[one] for one in products),
        gains_QN=gains_QN,
        judged_QN=judged_QN,
        judged_only=judged_only,
    )


def with_log_of_market(config: FinetuneTextConfig, lake: Lake, folder: Path) -> FinetuneTextConfig:
    """The settings, the generated market's own record of its pages as their log of served requests; as they are for any other shop."""
    clicks = config.sources.clicks
    if clicks.served is not None or not lake.has("market"):
        return config
    columns = ["query_id", "text", "image", "locale"]
    asked = {row["query_id"]: row for row in QUERIES.read(lake.current("queries"), columns).to_pylist()}
    writer = SegmentWriter(folder)
    with (lake.current("market").path / "requests.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    known = [row for row in rows if row["query_id"] in asked]  # the judged queries may be others than the market's
    writer.append(b"".join(encode_line(served_to_row(_served(row, asked[row["query_id"]]))) for row in known))
    writer.close()
    return replace(config, sources=replace(config.sources, clicks=replace(clicks, served=folder)))


def _served(row: Mapping[str, Any], asked: Mapping[str, Any]) -> ServedRequest:
    query = Query(
        request_id=RequestId(row["request_id"]),
        text=asked["text"],
        image=IMAGE_NOT_STORED if asked["image"] else None,
        locale=asked["locale"],
        asked_at=datetime.fromisoformat(row["asked_at"]),
    )
    shown = tuple((place, ProductId(product)) for place, product in enumerate(row["page"], start=1))
    return ServedRequest(query=query, release_id=ReleaseId("generated"), shown=shown)


def _line(row: Row) -> str:
    if row.left_out:
        return f"| {row.name} | | | left out: {row.left_out} | | | |"
    mean = f"{np.nanmean(row.ndcg_Q):.4f}"
    if row.difference is None:
        return f"| {row.name} | {mean} | | | | | |"
    off = row.difference.difference
    examples = ", ".join(f"{count} {source}" for source, count in row.examples.items())
    return (
        f"| {row.name} | {mean} | {row.against} | {off.mean:+.4f} [{off.low:+.4f}, {off.high:+.4f}] | {row.difference.verdict} "
        f"| {examples} | {row.took_s:.0f} |"
    )


if __name__ == "__main__":
    sys.exit(main())
