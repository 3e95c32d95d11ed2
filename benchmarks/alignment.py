"""Do words find pictures? Titles and pictures of products that taught nothing, among all such products, both ways.

Three ways to project: as it begins, untrained; trained on the colours of pictures alone (the histogram that is a part of every picture's
vector); trained on the whole vector. Only titles teach here, no judgment. Equal titles are one product.

Then the job itself is timed, judged pairs and Ray Train and all, beside the lake. It may take 3 minutes for 15,000 products.
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
from pipelines.align_modalities import JOB, AlignModalitiesConfig, read_alignment_data
from pipelines.job import JobProgress

_NAMES = ("r@1", "r@10", "mrr")
_MOST_S, _FOR_PRODUCTS = 180.0, 15_000


def main() -> int:
    """Print the table and the job's time; the exit status is 1 when the job takes longer than it may."""
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
    training_data = read_alignment_data(heads, Lake(options.lake))
    fit = replace(config.fit, epochs=options.epochs, checkpoint_every=0)
    print(f"{len(training_data.titles.words)} products with a picture, {int(training_data.held_out_N.sum())} held out")
    print(f"{'':<26}{'text to image: R@1   R@10    MRR':<36}image to text: R@1   R@10    MRR")
    untrained = _learner(training_data, heads, fit)
    rows = [_row("untrained projection", untrained)]
    _print("untrained projection", untrained, 0.0)
    for name, shown in (("trained, colours alone", _colours(training_data)), ("trained, whole vectors", training_data)):
        task, start_s = _learner(shown, heads, fit), time.perf_counter()
        fit_in_process(task, fit)
        _print(name, task, time.perf_counter() - start_s)
        rows.append(_row(name, task))
    write_rows(options.json, rows)
    took_s = _job_s(replace(config, fit=replace(config.fit, epochs=options.epochs)), Lake(options.lake))
    most_s = _MOST_S * max(1.0, len(training_data.titles.words) / _FOR_PRODUCTS)
    print(f"the job: {took_s:.0f} s; it may take {most_s:.0f} s")
    return 1 if took_s > most_s else 0


def _job_s(config: AlignModalitiesConfig, lake: Lake) -> float:
    """Seconds of the job without Ray's start; what it publishes goes into a lake of its own."""
    with tempfile.TemporaryDirectory() as folder, ray_session(SessionConfig()):
        beside = Lake(Path(folder))
        for name in (*JOB.reads, *JOB.optional_reads):
            if lake.has(name):
                (beside.root / name).symlink_to((lake.root / name).resolve())
        start_s = time.perf_counter()
        JOB.run(config, beside, JobProgress(JOB.name))
        return time.perf_counter() - start_s


def _learner(training_data: AlignTrainingData, heads: AlignConfig, fit: FitConfig) -> AlignTask:
    places = frequent_words(training_data.titles.words, min_texts=heads.min_texts, max_words=heads.max_words)
    return AlignTask(training_data, heads, places, seed=fit.seed)


def _colours(training_data: AlignTrainingData) -> AlignTrainingData:
    """The same, the pictures' vectors cut down to their last part."""
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
    found = task.measure()
    ways = [[f"{found[f'{way}_{figure}']:6.3f}" for figure in _NAMES] for way in ("text_to_image", "image_to_text")]
    took = f"   {took_s:.0f} s" if took_s else ""
    print(f"{name:<26}{'':<12}{' '.join(ways[0]):<24}{'':<12}{' '.join(ways[1])}{took}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
