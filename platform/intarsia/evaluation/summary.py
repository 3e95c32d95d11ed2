"""An evaluation without a page: as lines for a terminal, and as JSON-able values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from intarsia.config import to_jsonable
from intarsia.evaluation.evaluate import Evaluation
from intarsia.evaluation.report import format_interval, format_p
from intarsia.ids import QueryId


def lines_of(evaluation: Evaluation) -> list[str]:
    """The headline metric of every system, and every comparison with its verdict."""
    lines = [f"{'system':<22} {evaluation.headline} [95 %]"]
    lines += [f"{row.name:<22} {format_interval(row.metrics[evaluation.headline])}" for row in evaluation.systems]
    for row in evaluation.comparisons:
        gain = row.paired.difference
        lines.append(
            f"{row.system} minus {row.baseline}: {gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] "
            f"p {format_p(row.p_holm)} {row.paired.verdict}"
        )
    return lines


def json_of(evaluation: Evaluation, query_ids: Sequence[QueryId]) -> dict[str, object]:
    """Every metric, every comparison, and the headline metric query by query: None where a query has no positive."""
    return {
        "headline": evaluation.headline,
        "systems": {row.name: to_jsonable(row.metrics) | {"coverage": row.coverage} for row in evaluation.systems},
        "comparisons": [
            {
                "system": r.system,
                "baseline": r.baseline,
                "verdict": r.paired.verdict,
                "p_holm": None if np.isnan(r.p_holm) else r.p_holm,
                **to_jsonable(r.paired.difference),
            }
            for r in evaluation.comparisons
        ],
        "query_ids": list(query_ids),
        "values": {
            name: [None if np.isnan(value) else float(value) for value in values_Q]
            for name, values_Q in evaluation.values.items()
        },
    }
