"""Smaller text towers: size, ms per query on one thread, nDCG@10 of cosines: `python -m benchmarks.compression --lake
LAKE`.

The lake needs products, queries and judgments. Quantised towers encode queries only, with the catalog vectors of torch;
pruned and distilled towers have other vector spaces and embed the catalog again. They are trained on product titles
only, so all judged queries are used.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy and torch are loaded

import argparse
import platform
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime.quantization
import torch
from numpy.typing import NDArray

from benchmarks.result_tables import ResultRow, add_json_option, interval_cell, write_rows
from intarsia.encoders.config import TextEncoderConfig
from intarsia.encoders.export import export_text_encoder
from intarsia.encoders.onnx_query import OnnxTextEncoder
from intarsia.encoders.open import open_text_encoder
from intarsia.encoders.protocol import Encoder
from intarsia.encoders.transformer import TransformerTextEncoder
from intarsia.evaluation.metrics import GAINS, Gain
from intarsia.evaluation.significance import paired_bootstrap
from intarsia.lake import Lake
from intarsia.maths.arrays import Float32s
from intarsia.maths.ndcg import dcg, ndcg
from intarsia.tables.judgments import JUDGMENTS, QUERIES
from intarsia.tables.products import PRODUCTS
from intarsia.training.compression import (
    DistillationTask,
    encoder_with,
    keep_layers,
    prune_heads,
    prune_units,
    prune_weights,
    with_spans,
)
from intarsia.training.loop import FitConfig, fit_in_process

_DEPTH, _NUM_RESAMPLES, _NUM_PROBES, _NUM_TIMED = 10, 2000, 64, 20
_FIT = FitConfig(epochs=1, batch_size=32, learning_rate=3e-4, checkpoint_every=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalTask:
    """Queries, product titles, gains [Q, N] and whether a pair was judged [Q, N]."""

    queries: tuple[str, ...]
    titles: tuple[str, ...]
    gains_QN: NDArray[np.float64]
    judged_QN: NDArray[np.bool_]
    judged_only: bool

    def ndcg_Q(self, queries_QD: Float32s, titles_ND: Float32s) -> NDArray[np.float64]:
        """nDCG@10 by cosine; NaN for a query without a positive."""
        scores_QN = queries_QD @ titles_ND.T
        if self.judged_only:
            scores_QN = np.where(self.judged_QN, scores_QN, -np.inf)
        top_QK = np.argsort(-scores_QN, axis=1, kind="stable")[:, :_DEPTH]
        ideal_QK = -np.sort(-self.gains_QN, axis=1)[:, :_DEPTH]
        return ndcg(np.take_along_axis(self.gains_QN, top_QK, 1), dcg(ideal_QK))


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerVariant:
    """One form of a tower: its query encoder, the title vectors it is compared with, and its file."""

    name: str
    queries: Encoder[str]
    titles_ND: Float32s
    file: Path


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compression", description=__doc__)
    parser.add_argument("--lake", required=True, type=Path, help="a lake with products, queries and judgments")
    parser.add_argument(
        "--judged-only",
        action="store_true",
        help="rank only the judged products of each query",
    )
    parser.add_argument("--gain", choices=tuple(GAINS), default="exponential", help="gain of a grade")
    parser.add_argument("--quick", action="store_true", help="smoke test with 200 products and 40 queries")
    parser.add_argument("--products", type=int, help="number of products; default: all")
    add_json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    num_products, num_queries = (200, 40) if options.quick else (options.products, None)
    task = read_task(
        Lake(options.lake),
        options.gain,
        judged_only=options.judged_only,
        num_products=num_products,
        num_queries=num_queries,
    )
    teacher = open_text_encoder(TextEncoderConfig())
    assert isinstance(teacher, TransformerTextEncoder)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, one thread, one query at a time")
    print(f"{len(task.titles)} products, {len(task.queries)} queries, MiniLM-L6, {teacher.dim} wide")
    with tempfile.TemporaryDirectory() as folder:
        variants = list(tower_variants(teacher, task, Path(folder)))
        write_rows(options.json, report(variants, task))
    return 0


def tower_variants(teacher: TransformerTextEncoder, task: RetrievalTask, folder: Path) -> Iterator[TowerVariant]:
    """The rows of the table, the original tower first."""
    titles_ND = embedded(teacher, task.titles)
    texts = with_spans(task.titles, seed=1)
    teacher_ND = embedded(teacher, texts)
    probes = texts[:_NUM_PROBES]
    yield from exported("6 layers", teacher, titles_ND, probes, folder / "whole", with_torch=True)
    calibrated = folder / "whole" / "model.calibrated.onnx"
    quantise_calibrated(folder / "whole" / "model.fp32.onnx", calibrated, teacher, probes)
    yield _opened("6 layers, ONNX int8 calibrated", folder / "whole", calibrated.name, titles_ND)
    pruned = prune_weights(teacher, 0.4)
    yield from exported("6 layers, 40 % of weights 0", pruned, embedded(pruned, task.titles), probes, folder / "zeros")
    narrow, _ = prune_heads(teacher, 24, probes)
    narrow = prune_units(narrow, 1024, probes)
    yield from exported(
        "48 of 72 heads, 2/3 of units", narrow, embedded(narrow, task.titles), probes, folder / "narrow"
    )
    for name, student in {
        "48 of 72 heads, 2/3 of units, distilled": narrow,
        "3 layers, distilled": keep_layers(teacher, [0, 2, 5]),
    }.items():
        distilled = distil(student, texts, teacher_ND)
        yield from exported(name, distilled, embedded(distilled, task.titles), probes, folder / name[:1])


def distil(student: TransformerTextEncoder, texts: Sequence[str], teacher_ND: Float32s) -> TransformerTextEncoder:
    """Distil the teacher into a student; the result has its own space id."""
    start_s = time.perf_counter()
    task = DistillationTask(student, texts, teacher_ND)
    before = task.measure()["cosine_to_teacher"]
    result = fit_in_process(task, _FIT)
    print(
        f"  distilled in {result.num_steps} steps on {len(texts)} texts in {time.perf_counter() - start_s:.0f} s: "
        "cosine to the teacher "
        f"{before:.3f} -> {result.figures['cosine_to_teacher']:.3f}",
        flush=True,
    )
    return encoder_with(student, student.tower.transformer)


def exported(
    name: str,
    encoder: TransformerTextEncoder,
    titles_ND: Float32s,
    probes: Sequence[str],
    folder: Path,
    *,
    with_torch: bool = False,
) -> Iterator[TowerVariant]:
    """The forms of a tower: torch if requested, ONNX fp32, and ONNX int8 as it is served."""
    export_text_encoder(encoder, folder, probes=probes[:8], min_cosine=0.0)
    if with_torch:
        yield TowerVariant(
            name=f"{name}, torch fp32", queries=encoder, titles_ND=titles_ND, file=folder / "model.fp32.onnx"
        )
    for precision, label in (("fp32", "ONNX fp32"), ("int8", "ONNX int8 dynamic")):
        yield _opened(f"{name}, {label}", folder, f"model.{precision}.onnx", titles_ND)


def _opened(name: str, folder: Path, file: str, titles_ND: Float32s) -> TowerVariant:
    card: Mapping[str, object] = {
        "space_id": "",
        "dim": titles_ND.shape[1],
        "max_tokens": 128,
        "reading": "clean",
        "prefix": "",
        "files": {"only": file},
    }
    return TowerVariant(
        name=name, queries=OnnxTextEncoder(folder, card, "only"), titles_ND=titles_ND, file=folder / file
    )


def quantise_calibrated(exact: Path, rounded: Path, encoder: TransformerTextEncoder, texts: Sequence[str]) -> None:
    """Static int8 with activation scales calibrated on texts; weights per channel in 7 bits; word embeddings are not
    rounded.
    """

    class Feeds(onnxruntime.quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._ids = iter(encoder.tokenizer.ids(texts))

        def get_next(self) -> dict[str, NDArray[np.int64]] | None:
            ids = next(self._ids, None)
            if ids is None:
                return None
            ids_1T = np.array([ids], np.int64)
            return {"ids": ids_1T, "mask": np.ones_like(ids_1T)}

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        onnxruntime.quantization.quant_pre_process(str(exact), str(prepared), skip_symbolic_shape=True)
        onnxruntime.quantization.quantize_static(
            str(prepared),
            str(rounded),
            Feeds(),
            op_types_to_quantize=["MatMul", "Gemm"],
            per_channel=True,
            reduce_range=True,
            weight_type=onnxruntime.quantization.QuantType.QInt8,
        )


def embedded(encoder: TransformerTextEncoder, texts: Sequence[str]) -> Float32s:
    """Vectors of texts; each distinct text is encoded once."""
    distinct = list(dict.fromkeys(texts))
    vectors = dict(zip(distinct, encoder.encode(distinct), strict=True))
    return np.stack([vectors[text] for text in texts])


def report(variants: Sequence[TowerVariant], task: RetrievalTask) -> list[ResultRow]:
    """Print one line per variant. Queries are timed in turn for all variants, so that other load affects all alike."""
    times_ms = interleaved_ms(task.queries[:_NUM_TIMED], {variant.name: variant.queries.encode for variant in variants})
    first_ms, first_Q = 0.0, np.empty(0)
    rows: list[ResultRow] = []
    print(f"\n{'':<54}{'MB':>6}{'zip MB':>8}{'p50 ms':>8}{'faster':>8}{'nDCG@10':>9}  against the first, 95 %")
    for variant in variants:
        queries_QD = np.concatenate([variant.queries.encode([text]) for text in task.queries])
        ndcg_Q = task.ndcg_Q(queries_QD, variant.titles_ND)
        ndcg_Q = ndcg_Q[~np.isnan(ndcg_Q)]
        p50_ms = float(np.median(times_ms[variant.name]))
        if not first_ms:
            first_ms, first_Q = p50_ms, ndcg_Q
        content = variant.file.read_bytes()
        against = paired_bootstrap(ndcg_Q, first_Q, seed=1, num_resamples=_NUM_RESAMPLES)
        interval = against.difference
        print(
            f"{variant.name:<54}{len(content) / 1e6:6.1f}{len(zlib.compress(content, 1)) / 1e6:8.1f}{p50_ms:8.2f}"
            f"{first_ms / p50_ms:7.1f}x{ndcg_Q.mean():9.4f}  {interval.mean:+.4f} ({interval.low:+.4f} to "
            f"{interval.high:+.4f})",
            flush=True,
        )
        rows.append(
            {
                "name": variant.name,
                "mb": len(content) / 1e6,
                "ms": p50_ms,
                "ratio": first_ms / p50_ms,
                "ndcg": interval_cell(interval) if rows else ndcg_Q.mean(),
                "note": "" if rows else "reference",
            }
        )
    return rows


def interleaved_ms(items: Sequence[str], encode: Mapping[str, Callable[[list[str]], object]]) -> dict[str, list[float]]:
    """Milliseconds per item of each function; the first round warms up."""
    times: dict[str, list[float]] = {name: [] for name in encode}
    for round_number in range(4):
        for item in items:
            for name, call in encode.items():
                start_s = time.perf_counter()
                call([item])
                if round_number:
                    times[name].append((time.perf_counter() - start_s) * 1000)
    return times


def read_task(
    lake: Lake, gain: Gain, *, judged_only: bool, num_products: int | None, num_queries: int | None
) -> RetrievalTask:
    """Read queries, titles and judgments of a lake."""
    titles: dict[str, str] = {}
    for batch in PRODUCTS.batches(lake.current("products"), ["product_id", "title"]):
        titles |= dict(zip(batch["product_id"].to_pylist(), batch["title"].to_pylist(), strict=True))
    row_of = {product: row for row, product in enumerate(list(titles)[:num_products])}
    queries = [row for row in QUERIES.read(lake.current("queries")).to_pylist() if row["text"]][:num_queries]
    numbers = {row["query_id"]: number for number, row in enumerate(queries)}
    gains_QN = np.zeros((len(queries), len(row_of)))
    judged_QN = np.zeros(gains_QN.shape, np.bool_)
    for row in JUDGMENTS.read(lake.current("judgments")).to_pylist():
        if row["query_id"] in numbers and row["product_id"] in row_of:
            cell = numbers[row["query_id"]], row_of[row["product_id"]]
            gains_QN[cell], judged_QN[cell] = GAINS[gain](row["grade"]), True
    return RetrievalTask(
        queries=tuple(row["text"] for row in queries),
        titles=tuple(titles[product] for product in row_of),
        gains_QN=gains_QN,
        judged_QN=judged_QN,
        judged_only=judged_only,
    )


if __name__ == "__main__":
    sys.exit(main())
