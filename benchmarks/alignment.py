"""Alignment quality: title to image and image to title among the held-out products of a lake, for three projections.

The projections are: untrained; trained on the colour histogram part of the image vectors only; trained on the whole
vectors. Only titles are used for training, no judgments. Products with equal titles count as one.

Then the whole job is timed, with judged pairs and Ray Train, in a lake of its own. The limit is 3 minutes for 15,000
products.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.result_tables import ResultCell, add_json_option, write_rows
from intarsia.encoders.aligned import frequent_words
from intarsia.encoders.colours import ColourHistogram
from intarsia.lake import Lake
from intarsia.maths.unit_vectors import unit_vectors
from intarsia.onray.session import SessionConfig, ray_session
from intarsia.training.alignment import AlignConfig, AlignTask, AlignTrainingData
from intarsia.training.loop import FitConfig, fit_in_process
from pipelines.align_modalities import JOB, AlignModalitiesConfig, read_align_training_data
from pipelines.job import JobProgress

_NAMES = ("r@1", "r@10", "mrr")
_LIMIT_S, _LIMIT_PRODUCTS = 180.0, 15_000


def main() -> int:
    """Print the table and the job's time. The exit status is 1 if the job takes longer than the limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alignment", description=__doc__)
    parser.add_argument(
        "--lake", required=True, type=Path, help="a lake with products, text_embeddings, image_embeddings"
    )
    parser.add_argument("--epochs", type=int, default=10)
    add_json_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = AlignModalitiesConfig()
    heads = replace(config.heads, judged_share=0.0)
    training_data = read_align_training_data(heads, Lake(options.lake))
    fit = replace(config.fit, epochs=options.epochs, checkpoint_every=0)
    print(f"{len(training_data.titles.words)} products with an image, {int(training_data.held_out_N.sum())} held out")
    print(f"{'':<26}{'text to image: R@1   R@10    MRR':<36}image to text: R@1   R@10    MRR")
    untrained = _task(training_data, heads, fit)
    rows = [_row("untrained projection", untrained)]
    _print("untrained projection", untrained, 0.0)
    for name, data in (("trained, colours only", _colours(training_data)), ("trained, whole vectors", training_data)):
        task, start_s = _task(data, heads, fit), time.perf_counter()
        fit_in_process(task, fit)
        _print(name, task, time.perf_counter() - start_s)
        rows.append(_row(name, task))
    write_rows(options.json, rows)
    took_s = _job_s(replace(config, fit=replace(config.fit, epochs=options.epochs)), Lake(options.lake))
    limit_s = _LIMIT_S * max(1.0, len(training_data.titles.words) / _LIMIT_PRODUCTS)
    print(f"the job: {took_s:.0f} s; limit: {limit_s:.0f} s")
    return 1 if took_s > limit_s else 0


def _job_s(config: AlignModalitiesConfig, lake: Lake) -> float:
    """Seconds of the job without Ray's start; it publishes to a temporary lake."""
    with tempfile.TemporaryDirectory() as folder, ray_session(SessionConfig()):
        job_lake = Lake(Path(folder))
        for name in (*JOB.reads, *JOB.optional_reads):
            if lake.has(name):
                (job_lake.root / name).symlink_to((lake.root / name).resolve())
        start_s = time.perf_counter()
        JOB.run(config, job_lake, JobProgress(JOB.name))
        return time.perf_counter() - start_s


def _task(training_data: AlignTrainingData, heads: AlignConfig, fit: FitConfig) -> AlignTask:
    word_index = frequent_words(training_data.titles.words, min_texts=heads.min_texts, max_words=heads.max_words)
    return AlignTask(training_data, heads, word_index, seed=fit.seed)


def _colours(training_data: AlignTrainingData) -> AlignTrainingData:
    """The same training data with only the colour part of the image vectors."""
    part_VK = training_data.images_VE[:, -ColourHistogram().width :]
    return replace(training_data, images_VE=unit_vectors(part_VK))


def _row(name: str, task: AlignTask) -> dict[str, ResultCell]:
    measures = task.measure()
    columns = zip(
        ("t1", "t10", "tm", "i1", "i10", "im"),
        itertools.product(("text_to_image", "image_to_text"), _NAMES),
        strict=True,
    )
    return {"name": name, **{column: measures[f"{way}_{figure}"] for column, (way, figure) in columns}}


def _print(name: str, task: AlignTask, took_s: float) -> None:
    metrics = task.measure()
    ways = [[f"{metrics[f'{way}_{figure}']:6.3f}" for figure in _NAMES] for way in ("text_to_image", "image_to_text")]
    took = f"   {took_s:.0f} s" if took_s else ""
    print(f"{name:<26}{'':<12}{' '.join(ways[0]):<24}{'':<12}{' '.join(ways[1])}{took}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
