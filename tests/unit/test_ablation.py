"""The ablation table, on a shop that a small tower learns in seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.ablation import main, validation_task, with_log_of_market
from benchmarks.ablation_rows import DEFAULT_ROW, FROZEN_ROW, WHOLE_TOWER_ROW, changes_of, select_changes
from benchmarks.compression import RetrievalTask
from intarsia.events.judged_sets import QueriesMapping, read_queries
from intarsia.lake import Lake
from intarsia.simulator.config import MarketConfig
from intarsia.simulator.market import write_market
from intarsia.tables.judgments import JUDGMENTS, QUERIES, query_to_row
from intarsia.tables.served_requests import read_served
from intarsia.training.adapters import AdapterConfig
from intarsia.training.losses import LossConfig
from intarsia.training.text_pairs import TextPairsConfig
from intarsia.training.text_training_sources import SourcesConfig, read_catalog
from pipelines.finetune_text import FinetuneTextConfig
from tests.clicked_shop import fill_with_visits
from tests.judged_shop import TITLES, fill_with_judged_shop, split_of
from tests.oracles import ndcg_by_definition

pytestmark = pytest.mark.slow

SMALL = (
    "tower.model=untrained:bert:3",
    "tower.max_tokens=16",
    "fit.epochs=3",
    "fit.batch_size=4",
    "fit.learning_rate=0.003",
)
PAGE = ("p04", "p05", "p06", "p07")


def table_of(printed: str) -> dict[str, list[str]]:
    """The cells behind each row's name."""
    lines = [line.strip("| ").split(" | ") for line in printed.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in lines[1:]}


def test_every_change_has_a_row(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    fill_with_visits(fill_with_judged_shop(lake), [("cups", PAGE, ["p05"])] * 3)
    before = {path: path.stat().st_mtime_ns for path in lake.root.rglob("*") if path.is_file()}
    settings = (*SMALL, "adapter.kind=upper", "adapter.num_layers=2")
    assert main(["--lake", str(lake.root), "--masked-texts", "8", "--set", *settings]) == 0
    rows = table_of(capsys.readouterr().out)
    config = FinetuneTextConfig(adapter=AdapterConfig(kind="upper"))
    assert list(rows) == [FROZEN_ROW, *(change.name for change in changes_of(config))]
    assert (
        rows[DEFAULT_ROW][0] != rows[FROZEN_ROW][0] and rows[DEFAULT_ROW][1] == FROZEN_ROW
    )  # it learned, and is compared with what it was
    assert rows["whole tower, FGM 0.5"][1] == WHOLE_TOWER_ROW and rows["clicks, no judgment"][1] == FROZEN_ROW
    assert "1 clicks" in rows["and clicks"][4] and "judged" not in rows["clicks, no judgment"][4]
    assert "left out: no example of pseudo" in " ".join(rows["and pseudo-labels"])  # every product was judged
    differences = [cells[2] for name, cells in rows.items() if name != DEFAULT_ROW and cells[1:2] == [DEFAULT_ROW]]
    assert len(set(differences)) > 3, "the changes change something"
    assert before == {path: path.stat().st_mtime_ns for path in lake.root.rglob("*") if path.is_file()}


def test_rows_can_be_selected_and_seeds_are_averaged(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    fill_with_judged_shop(lake)
    tables = []
    for seeds in ("1", "2"):
        assert main(["--lake", str(lake.root), "--only", "InfoNCE", "--seeds", seeds, "--set", *SMALL]) == 0
        tables.append(table_of(capsys.readouterr().out))
    assert [list(rows) for rows in tables] == [[FROZEN_ROW, DEFAULT_ROW, "without InfoNCE"]] * 2
    assert tables[0][FROZEN_ROW] == tables[1][FROZEN_ROW] and tables[0][DEFAULT_ROW][0] != tables[1][DEFAULT_ROW][0]


def test_a_change_takes_away_what_the_default_has() -> None:
    base = FinetuneTextConfig(
        pairs=TextPairsConfig(loss=LossConfig(r_drop=0.5)), sources=SourcesConfig(use=("judgments", "fields"))
    )
    changes = {change.name: change for change in changes_of(base)}
    assert changes["without R-Drop"].config.pairs.loss.r_drop == 0
    assert changes["without a product's own fields"].config.sources.use == ("judgments",)
    assert (
        changes["FGM 0.5"].against == DEFAULT_ROW and WHOLE_TOWER_ROW not in changes
    )  # the default is the whole tower
    assert len(changes) == len(changes_of(base)), "every row has its own name"
    only = FinetuneTextConfig(pairs=TextPairsConfig(loss=LossConfig(in_batch=0.0)))
    assert not [change for change in changes_of(only) if "InfoNCE" in change.name]
    upper = changes_of(FinetuneTextConfig(adapter=AdapterConfig(kind="upper")))
    assert [change.name for change in select_changes(upper, ("FGM",))] == [
        DEFAULT_ROW,
        WHOLE_TOWER_ROW,
        "whole tower, FGM 0.5",
    ]


@pytest.mark.parametrize("judged_only", [True, False])
def test_only_validation_queries_are_measured(lake: Lake, judged_only: bool) -> None:
    fill_with_judged_shop(lake)
    task: RetrievalTask = validation_task(lake, read_catalog(lake, ("title",)), "exponential", judged_only=judged_only)
    validation_rows = [n for n in range(len(TITLES)) if split_of(n) == "validation"]
    assert task.queries == tuple(f"a {TITLES[n]}" for n in validation_rows)
    assert task.titles == TITLES and task.judged_QN.all()
    cosines_QN = np.random.default_rng(1).random((len(validation_rows), len(TITLES)), np.float32)
    grades = {0.0: 0.0, 1.0: 1.0, 7.0: 3.0}
    expected = [
        ndcg_by_definition(list(np.argsort(-cosines_Q)), {n: grades[gain] for n, gain in enumerate(gains_N)}, 10)
        for cosines_Q, gains_N in zip(cosines_QN, task.gains_QN, strict=True)
    ]
    assert task.ndcg_Q(cosines_QN, np.eye(len(TITLES), dtype=np.float32)) == pytest.approx(expected)


def test_no_fit_at_all_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--lake", "anywhere", "--seeds", "0"])
    assert "--seeds is 0; allowed: 1 or more" in capsys.readouterr().err


def test_a_lake_with_nothing_to_measure_on_is_refused(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    fill_with_judged_shop(lake)
    JUDGMENTS.publish(lake, JUDGMENTS.from_rows([]))
    assert main(["--lake", str(lake.root)]) == 1
    assert "no validation query of" in capsys.readouterr().err


def test_a_default_that_cannot_be_fitted_stops_the_table(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    fill_with_judged_shop(lake)
    assert main(["--lake", str(lake.root), "--set", *SMALL, "adapter.kind=upper", "adapter.num_layers=9"]) == 1
    assert "num_layers is 9" in capsys.readouterr().err


def test_a_generated_markets_pages_become_its_log(lake: Lake, tmp_path: Path) -> None:
    with lake.publish("market") as folder:
        write_market(MarketConfig(num_products=30, num_queries=40, num_sessions=20, image_px=32), folder)
    market_dir = lake.current("market").path
    rows = [json.loads(line) for line in (market_dir / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    queries = read_queries(enumerate(rows, start=1), QueriesMapping(), market_dir)
    removed_id = queries.pop(1).query_id  # the judged queries need not be the market's
    QUERIES.publish(lake, QUERIES.from_rows([query_to_row(query) for query in queries]))
    config = with_log_of_market(FinetuneTextConfig(), lake, tmp_path / "served")
    assert config.sources.clicks.served == tmp_path / "served"
    requests = [json.loads(line) for line in (market_dir / "requests.jsonl").read_text(encoding="utf-8").splitlines()]
    assert removed_id in {row["query_id"] for row in requests}
    requests = [row for row in requests if row["query_id"] != removed_id]
    served_requests = list(read_served(tmp_path / "served"))
    assert [(served.request_id, [product for _, product in served.shown]) for served in served_requests] == [
        (row["request_id"], row["page"]) for row in requests
    ]
    query_of = {query.query_id: query for query in queries}
    assert [served.query.text for served in served_requests] == [query_of[row["query_id"]].text for row in requests]
    assert {served.query.image is not None for served in served_requests} == {True, False}
    unchanged = with_log_of_market(config, lake, tmp_path / "unused")
    assert unchanged is config and not (tmp_path / "unused").exists()
