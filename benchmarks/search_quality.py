"""Print the result rows of a lake, and write them into the result tables of the manual.

`python -m benchmarks.search_quality --lake LAKE --name NAME [--json FILE] [--missing-json FILE]`

It reads the lake's evaluation (`evaluate_release` wrote it) and measures nothing itself. The row of search quality
has BM25, text vectors, the fused and the ranked order, and the paired difference of the last two; the row of missing
images the ranked order by the share of images that are missing.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.result_tables import ResultRow, add_json_option, interval_cell, write_rows
from intarsia.errors import IntarsiaError
from intarsia.experiments.evaluated_systems import FUSED, RANKED
from intarsia.lake import Lake

_MISSING = re.compile(rf"{RANKED}, (\d+)% of \w+ missing")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the rows, and write them where asked."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search_quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--lake", required=True, type=Path, help="a lake with an evaluation")
    parser.add_argument("--name", required=True, help="name of the row: the data set")
    parser.add_argument("--config", default="", help="config file that made the lake, as the row names it")
    add_json_option(parser)
    add_json_option(parser, "--missing-json")
    options = parser.parse_args(arguments)
    try:
        evaluation = json.loads((Lake(options.lake).current("evaluation").path / "evaluation.json").read_text("utf-8"))
        quality = quality_row(evaluation, options.name, options.config)
        missing = missing_images_row(evaluation, options.name)
        print(json.dumps(quality, ensure_ascii=False))
        print(json.dumps(missing, ensure_ascii=False))
        write_rows(options.json, [quality], merge=True)
        if len(missing) > 1:
            write_rows(options.missing_json, [missing], merge=True)
    except IntarsiaError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def quality_row(evaluation: Mapping[str, Any], name: str, config: str) -> ResultRow:
    """The row of `search_quality.json`, on the headline metric of the evaluation."""
    headline = evaluation["headline"]
    systems = {system: metrics[headline] for system, metrics in evaluation["systems"].items()}
    gain = next(row for row in evaluation["comparisons"] if row["system"] == RANKED and row["baseline"] == FUSED)
    return {
        "name": name,
        "bm25": systems["bm25"]["mean"],
        "text": systems["text"]["mean"],
        "fused": interval_cell(systems[FUSED]),
        "ranked": interval_cell(systems[RANKED]),
        "gain": interval_cell(gain),
        "config": config,
    }


def missing_images_row(evaluation: Mapping[str, Any], name: str) -> ResultRow:
    """The row of `missing_images.json`: percent missing -> mean; the name alone when the catalog has no images."""
    headline = evaluation["headline"]
    row: dict[str, Any] = {"name": name, "0": evaluation["systems"][RANKED][headline]["mean"]}
    for system, metrics in evaluation["systems"].items():
        if match := _MISSING.fullmatch(system):
            row[match[1]] = metrics[headline]["mean"]
    return row if len(row) > 2 else {"name": name}


if __name__ == "__main__":
    sys.exit(main())
