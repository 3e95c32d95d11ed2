"""Training rows equal what serving ranks: the same fusion, cut-off, frame and features."""

from __future__ import annotations

import numpy as np
import pytest

from intarsia.config import build
from intarsia.engine.rank import best_fused
from intarsia.errors import ConfigError
from intarsia.experiments.judged_candidates import JudgedCandidates
from intarsia.features.assemble import Assembler
from intarsia.features.default_set import FEATURES
from intarsia.features.labelled_rows import by_pair
from intarsia.features.stats import ProductStats
from intarsia.fusion.ensemble.cross_fit import CrossFitFuser
from intarsia.fusion.fuser import SpecFuser
from intarsia.fusion.spec import FusionSpec
from intarsia.ids import ProductId, QueryId
from intarsia.records.judgment import JudgedQuery, Judgment
from pipelines.build_training_rows import BuildTrainingRowsConfig, rows_of
from tests.feature_cases import Item, candidates_of, columns_of, encoded_query

SHOP = columns_of([Item(title=title) for title in ("red shoes", "blue shoes", "red dress", "wine glass")])
NAN = float("nan")


def judged_query(number: int, text: str) -> JudgedCandidates:
    return JudgedCandidates(
        judged=JudgedQuery(query_id=QueryId(f"q{number}"), text=text, image=None, locale="en", split="train"),
        encoded=encoded_query(text),
        candidates=candidates_of(
            range(4),
            scores=[[4 - row, 0.1 * row, NAN] for row in range(4)],
            ranks=[[row + 1, 4 - row, 0] for row in range(4)],
        ),
    )


def test_training_rows_equal_the_features_that_serving_computes() -> None:
    judged = [judged_query(n, text) for n, text in enumerate(("red", "blue shoes", "glass"))]
    fuser = SpecFuser(FusionSpec(kind="rrf"))
    assembler = Assembler(SHOP, ProductStats.empty())
    judgments = [Judgment(query_id=QueryId("q1"), product_id=ProductId("p000"), grade=2)]
    tables = list(
        rows_of(
            judged,
            by_pair(judgments),
            fuser=CrossFitFuser(full=fuser),
            rank_depth=3,
            assembler=assembler,
            columns=SHOP,
            config=BuildTrainingRowsConfig(queries_per_part=2),
        )
    )
    assert [table.num_rows for table in tables] == [6, 3]
    for query, table in zip(judged, [tables[0].slice(0, 3), tables[0].slice(3, 3), tables[1]], strict=True):
        kept = best_fused(fuser.fuse(query.candidates), 3)
        served = FEATURES.compute(assembler.assemble([query.encoded], [kept])).values_nF
        by_product = {SHOP.product_ids[row]: served[c].tobytes() for c, row in enumerate(kept.rows_C)}
        columns = np.stack([table[name].to_numpy() for name in FEATURES.names], axis=1)
        stored = {product: columns[n].tobytes() for n, product in enumerate(table["product_id"].to_pylist())}
        assert stored == by_product
    labels = dict(zip(tables[0]["product_id"].to_pylist()[3:], tables[0]["label"].to_pylist()[3:], strict=True))
    assert {product: label for product, label in labels.items() if label} == {"p000": 2}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"queries_per_part": 0}, "queries_per_part is 0; allowed: 1 or more"),
        ({"feature_fingerprint": "abc"}, "feature_fingerprint is abc, this code computes .*; leave the setting out"),
    ],
)
def test_a_wrong_setting_is_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(BuildTrainingRowsConfig, wrong)
