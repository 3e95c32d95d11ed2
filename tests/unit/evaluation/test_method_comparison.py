from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from intarsia.evaluation.significance import paired_bootstrap
from intarsia.evaluation.method_comparison import MethodComparison, ComparisonConfig, ComparedMethod, curve_point, judge
from intarsia.evaluation.method_comparison_report import ComparisonSetting, lines_of, said, write_comparison_report
from intarsia.evaluation.report import format_p
from intarsia.evaluation.significance import holm, permutation_p_values
from intarsia.ids import QueryId
from tests.unit.evaluation.test_report import Tags

NAN = float("nan")
CONFIG = ComparisonConfig(num_resamples=500, num_permutations=999)
NUM = 50


def entrants(rng: np.random.Generator) -> list[ComparedMethod]:
    """Two baselines, one clear gain, one that is only noise on the weaker baseline, one that failed; query 0 has no positive."""
    base_Q = np.append(NAN, rng.uniform(0.2, 0.5, NUM))
    noise_Q = np.append(0.0, rng.normal(0.0, 0.05, NUM))

    def entrant(name: str, family: str, values_Q: np.ndarray, **more: object) -> ComparedMethod:
        all_Q = {"train_Q": values_Q, "validation_Q": values_Q, "test_Q": values_Q}
        return ComparedMethod(name=name, family=family, ms_per_query=0.5, **{**all_Q, **more})  # type: ignore[arg-type]

    return [
        entrant("bm25", "baseline", base_Q - 0.1),
        entrant("rrf", "baseline", base_Q),
        entrant("gain", "score", base_Q + 0.2 + noise_Q, said="min_max, bm25 0.40 | text 0.60", fit_s=2.0),
        entrant("twin of rrf", "feature", base_Q + noise_Q - np.nanmean(noise_Q) / 2, fit_s=120.0),
        entrant("blind", "witness", base_Q + 0.9),
        ComparedMethod(name="broken", family="column", error="ValueError: no picture"),
    ]


@pytest.fixture
def arena(rng: np.random.Generator) -> MethodComparison:
    """Judged, with curves of the chosen one that fall below text only at 90 %."""
    found = judge(entrants(rng), metric="ndcg@10", references=("bm25", "rrf", "rrf"), config=CONFIG)
    base_Q = np.append(NAN, rng.uniform(0.4, 0.5, NUM))
    curve = [
        curve_point("gain", imputer, share, base_Q + 0.1 - drop * share, base_Q, CONFIG)
        for imputer, drop in (("nothing", 0.3), ("mean", 0.05))
        for share in (0.0, 0.9)
    ]
    curve += [curve_point("text only", "", share, base_Q, base_Q, CONFIG) for share in (0.0, 0.9)]
    share = paired_bootstrap(base_Q + 0.1, base_Q, seed=1, num_resamples=100)
    return dataclasses.replace(found, curve=tuple(curve), imputer="nothing", text_only="text only", image_share=share)


def test_the_best_on_unseen_train_queries_is_chosen_and_a_witness_cannot_be(arena: MethodComparison) -> None:
    assert arena.chosen == "gain"
    assert arena.best_baseline == "rrf"
    assert arena.references == ("bm25", "rrf")
    assert [row.entrant.name for row in arena.rows][:2] == ["blind", "gain"]
    assert arena.rows[-1].entrant.name == "broken"
    assert arena.num_queries == NUM


def test_what_validation_alone_flatters_is_not_chosen(rng: np.random.Generator) -> None:
    some = entrants(rng)
    base_Q = some[1].train_Q
    assert base_Q is not None
    flattered = dataclasses.replace(some[2], name="stopped there", train_Q=base_Q - 0.1, validation_Q=base_Q + 0.5)
    found = judge([*some[:3], flattered], metric="ndcg@10", references=("rrf",), config=CONFIG)
    assert found.chosen == "gain"
    assert [row.entrant.name for row in found.rows][-1] != "gain"
    assert found.row("stopped there").validation > found.row("gain").validation
    assert found.row("stopped there").train == pytest.approx(found.row("rrf").train - 0.1)


def test_each_contender_is_set_beside_each_baseline_with_holms_correction(arena: MethodComparison) -> None:
    gain, twin = arena.row("gain"), arena.row("twin of rrf")
    assert set(gain.against) == {"bm25", "rrf"}
    raw = [
        permutation_p_values(
            (row.entrant.test_Q - arena.row("rrf").entrant.test_Q)[:, None], seed=CONFIG.seed, num_permutations=999
        )[0]  # type: ignore[operator]
        for row in (gain, twin)
    ]
    assert [row.against["rrf"].p for row in (gain, twin)] == raw
    assert [row.against["rrf"].p_holm for row in (gain, twin)] == holm(np.array(raw)).tolist()
    assert gain.against["rrf"].verdict == "better"
    assert twin.against["rrf"].verdict == "no difference"
    assert twin.against["bm25"].verdict == "better"
    assert all(not arena.row(name).against for name in ("bm25", "rrf", "blind", "broken"))


def test_what_is_worse_beyond_chance_is_called_so(rng: np.random.Generator) -> None:
    some = entrants(rng)
    worse = dataclasses.replace(some[0], name="loser", family="score")
    assert (
        judge([*some, worse], metric="ndcg@10", references=("rrf",), config=CONFIG).row("loser").against["rrf"].verdict
        == "worse"
    )


def test_of_equal_contenders_the_first_is_chosen(rng: np.random.Generator) -> None:
    some = entrants(rng)[:3]
    later = dataclasses.replace(some[2], name="as good, less simple")
    assert judge([*some, later], metric="ndcg@10", references=("bm25",), config=CONFIG).chosen == "gain"
    alone = judge(some[:2], metric="ndcg@10", references=("bm25",), config=CONFIG)
    assert (alone.chosen, dict(alone.row("rrf").against)) == ("rrf", {})


def test_where_the_choice_falls_below_text_only_is_known(arena: MethodComparison) -> None:
    assert [one.missing for one in arena.below_text_only] == [0.9]
    assert dataclasses.replace(arena, imputer="mean").below_text_only == ()
    assert "below text only at 90% missing" in said(arena)[-1]
    assert "nowhere below text only" in said(dataclasses.replace(arena, imputer="mean"))[-1]


def test_a_reference_that_was_not_measured_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match=r"reference \['broken'\] was not measured; measured: bm25, rrf"):
        judge(entrants(rng), metric="ndcg@10", references=("bm25", "broken"), config=CONFIG)


def test_an_alpha_that_is_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match=r"alpha is 1.0; allowed: between 0 and 1"):
        ComparisonConfig(alpha=1.0)


def test_the_report_names_everyone_and_fetches_nothing(arena: MethodComparison, tmp_path: Path) -> None:
    setting = ComparisonSetting(
        data_set="shop & co", num_products=70, num_train=9, num_validation=8, command="python -m x", notes=("a | b",)
    )
    query_ids = [QueryId(f"q{number}") for number in range(NUM + 1)]
    write_comparison_report(arena, setting, query_ids, tmp_path)
    page = (tmp_path / "arena.html").read_text(encoding="utf-8")
    tags = Tags(page)
    assert tags.open == [] and tags.fetched == []
    markdown = (tmp_path / "arena.md").read_text(encoding="utf-8")
    for row in arena.rows:
        assert row.entrant.name in markdown and row.entrant.name in page
    assert "failed: ValueError: no picture" in markdown
    assert r"bm25 0.40 \| text 0.60" in markdown
    assert "| gain | nothing | " in markdown and "*" in markdown.split("| gain | nothing | ")[1].splitlines()[0]
    values = json.loads((tmp_path / "arena.json").read_text(encoding="utf-8"))
    assert values["chosen"] == "gain" and values["never_below_text_only"] is False
    assert len(values["query_ids"]) == len(values["values"]["gain"]) == NUM + 1 and values["values"]["gain"][0] is None
    assert {one["name"]: one["error"] for one in values["methods"]}["broken"] == "ValueError: no picture"
    again = tmp_path / "again"
    write_comparison_report(arena, setting, query_ids, again)
    for name in ("arena.md", "arena.html", "arena.json"):
        assert (again / name).read_bytes() == (tmp_path / name).read_bytes()


def test_the_lines_hold_every_contender(arena: MethodComparison) -> None:
    lines = lines_of(arena)
    assert any(line.startswith("broken") and "no picture" in line for line in lines)
    assert any(line.startswith("gain") and "better" in line for line in lines)
    assert any(line.startswith("chosen by train queries that its fit did not see: gain") for line in lines)
    assert any(line.startswith("gain against the same without pictures: +0.100") for line in lines)


def test_small_p_values_are_not_zero() -> None:
    assert [format_p(p) for p in (0.0004, 0.02, 1.0, NAN)] == ["< 0.001", "0.020", "1.000", "–"]
