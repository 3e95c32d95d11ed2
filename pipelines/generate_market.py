"""Generates a market with known truth: the raw input of the demo."""

from __future__ import annotations

import dataclasses
import sys

from intarsia.lake import Lake
from intarsia.simulator.config import MarketConfig
from intarsia.simulator.market import write_market
from pipelines.job import Counts, Job, JobProgress, main


def run(config: MarketConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Write the market as raw files, in the form of a shop's export."""
    with lake.publish("market") as folder:
        summary = write_market(config, folder, progress)
    return dataclasses.asdict(summary)


JOB = Job(
    name="generate_market",
    summary="a seed -> a generated market as raw files (products, images, judged queries, events), with its truth",
    config=MarketConfig,
    writes=("market",),
    needs_ray=False,
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
