"""A generated shop with known truth: the demo's raw input."""

from __future__ import annotations

import dataclasses
import sys

from intarsia.lake import Lake
from intarsia.simulator.config import MarketConfig
from intarsia.simulator.market import write_market
from pipelines.job import Counts, Job, JobProgress, main


def run(config: MarketConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Draw the market into the lake's `market` folder, as raw as a shop's own export."""
    with lake.publish("market") as folder:
        summary = write_market(config, folder, progress)
    return dataclasses.asdict(summary)


JOB = Job(
    name="generate_market",
    summary="a seed -> a generated shop as raw input (products, pictures, judged queries, shoppers), with its truth",
    config=MarketConfig,
    writes=("market",),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
