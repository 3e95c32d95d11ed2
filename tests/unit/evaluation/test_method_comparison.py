from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from intarsia.evaluation.method_comparison import (
    ComparedMethod,
    ComparisonConfig,
    MethodComparison,
    compare_methods,
    missing_images_point,
)
from intarsia.evaluation.method_comparison_report import (
    ComparisonSetting,
    comparison_lines,
    conclusions,
    write_comparison_report,
)
from intarsia.evaluation.report import format_p
from intarsia.evaluation.significance import holm, paired_bootstrap, permutation_p_values
from intarsia.ids import QueryId
from tests.unit.evaluation.test_report import Tags

NAN = float("nan")
CONFIG = ComparisonConfig(num_resamples=500, num_permutations=999)
NUM = 50


def measured_methods(rng: np.random.Generator) -> list[ComparedMethod]:
    """Two baselines, one gain, one noisy baseline, one reference, one failure; query 0 has no relevant product."""
    base_Q = np.append(NAN, rng.uniform(0.2, 0.5, NUM))
    noise_Q = np.append(0.0, rng.normal(0.0, 0.05, NUM))

    def method(name: str, family: str, values_Q: np.ndarray, **more: object) -> ComparedMethod:
        all_Q = {"train_Q": values_Q, "validation_Q": values_Q, "test_Q": values_Q}
        return ComparedMethod(name=name, family=family, ms_per_query=0.5, **{**all_Q, **more})  # type: ignore[arg-type]

    return [
        method("bm25", "baseline", base_Q - 0.1),
        method("rrf", "baseline", base_Q),
        method("gain", "score", base_Q + 0.2 + noise_Q, description="min_max, bm25 0.40 | text 0.60", fit_s=2.0),
        method("rrf with noise", "feature", base_Q + noise_Q - np.nanmean(noise_Q) / 2, fit_s=120.0),
        method("no images", "reference", base_Q + 0.9),
        ComparedMethod(name="broken", family="column", error="ValueError: no image"),
    ]


@pytest.fixture
def comparison(rng: np.random.Generator) -> MethodComparison:
    """A comparison with curves; the chosen method falls below text only at 90 %."""
    result = compare_methods(measured_methods(rng), metric="ndcg@10", baselines=("bm25", "rrf", "rrf"), config=CONFIG)
    base_Q = np.append(NAN, rng.uniform(0.4, 0.5, NUM))
    curve = [
        missing_images_point("gain", imputer, share, base_Q + 0.1 - drop * share, base_Q, CONFIG)
        for imputer, drop in (("nothing", 0.3), ("mean", 0.05))
        for share in (0.0, 0.9)
    ]
    curve += [missing_images_point("text only", "", share, base_Q, base_Q, CONFIG) for share in (0.0, 0.9)]
    share = paired_bootstrap(base_Q + 0.1, base_Q, seed=1, num_resamples=100)
    return dataclasses.replace(result, curve=tuple(curve), imputer="nothing", text_only="text only", image_gain=share)


def test_the_best_on_train_is_chosen_and_a_reference_never(comparison: MethodComparison) -> None:
    assert comparison.chosen == "gain"
    assert comparison.best_baseline == "rrf"
    assert comparison.baselines == ("bm25", "rrf")
    assert [row.method.name for row in comparison.rows][:2] == ["no images", "gain"]
    assert comparison.rows[-1].method.name == "broken"
    assert comparison.num_queries == NUM


def test_validation_values_do_not_decide_the_choice(rng: np.random.Generator) -> None:
    methods = measured_methods(rng)
    base_Q = methods[1].train_Q
    assert base_Q is not None
    optimistic = dataclasses.replace(
        methods[2], name="good on validation", train_Q=base_Q - 0.1, validation_Q=base_Q + 0.5
    )
    result = compare_methods([*methods[:3], optimistic], metric="ndcg@10", baselines=("rrf",), config=CONFIG)
    assert result.chosen == "gain"
    assert [row.method.name for row in result.rows][-1] != "gain"
    assert result.row("good on validation").validation > result.row("gain").validation
    assert result.row("good on validation").train == pytest.approx(result.row("rrf").train - 0.1)


def test_each_method_is_compared_with_each_baseline_by_holm(comparison: MethodComparison) -> None:
    gain, noise = comparison.row("gain"), comparison.row("rrf with noise")
    assert set(gain.against) == {"bm25", "rrf"}
    raw = [
        permutation_p_values(
            (row.method.test_Q - comparison.row("rrf").method.test_Q)[:, None], seed=CONFIG.seed, num_permutations=999
        )[0]  # type: ignore[operator]
        for row in (gain, noise)
    ]
    assert [row.against["rrf"].p for row in (gain, noise)] == raw
    assert [row.against["rrf"].p_holm for row in (gain, noise)] == holm(np.array(raw)).tolist()
    assert gain.against["rrf"].verdict == "better"
    assert noise.against["rrf"].verdict == "no difference"
    assert noise.against["bm25"].verdict == "better"
    assert all(not comparison.row(name).against for name in ("bm25", "rrf", "no images", "broken"))


def test_a_significantly_worse_method_is_worse(rng: np.random.Generator) -> None:
    methods = measured_methods(rng)
    worse = dataclasses.replace(methods[0], name="loser", family="score")
    assert (
        compare_methods([*methods, worse], metric="ndcg@10", baselines=("rrf",), config=CONFIG)
        .row("loser")
        .against["rrf"]
        .verdict
        == "worse"
    )


def test_of_equal_methods_the_first_is_chosen(rng: np.random.Generator) -> None:
    methods = measured_methods(rng)[:3]
    later = dataclasses.replace(methods[2], name="as good, less simple")
    assert compare_methods([*methods, later], metric="ndcg@10", baselines=("bm25",), config=CONFIG).chosen == "gain"
    only_baselines = compare_methods(methods[:2], metric="ndcg@10", baselines=("bm25",), config=CONFIG)
    assert (only_baselines.chosen, dict(only_baselines.row("rrf").against)) == ("rrf", {})


def test_points_below_text_only_are_reported(comparison: MethodComparison) -> None:
    assert [item.missing for item in comparison.below_text_only] == [0.9]
    assert dataclasses.replace(comparison, imputer="mean").below_text_only == ()
    assert "below text only at 90% missing" in conclusions(comparison)[-1]
    assert "nowhere below text only" in conclusions(dataclasses.replace(comparison, imputer="mean"))[-1]


def test_a_baseline_that_was_not_measured_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match=r"baseline \['broken'\] was not measured; measured: bm25, rrf"):
        compare_methods(measured_methods(rng), metric="ndcg@10", baselines=("bm25", "broken"), config=CONFIG)


def test_an_alpha_outside_0_to_1_is_refused() -> None:
    with pytest.raises(ValueError, match=r"alpha is 1.0; allowed: between 0 and 1"):
        ComparisonConfig(alpha=1.0)


def test_the_report_names_every_method_and_is_self_contained(comparison: MethodComparison, tmp_path: Path) -> None:
    setting = ComparisonSetting(
        data_set="shop & co", num_products=70, num_train=9, num_validation=8, command="python -m x", notes=("a | b",)
    )
    query_ids = [QueryId(f"q{number}") for number in range(NUM + 1)]
    write_comparison_report(comparison, setting, query_ids, tmp_path)
    page = (tmp_path / "fusion_comparison.html").read_text(encoding="utf-8")
    tags = Tags(page)
    assert tags.open == [] and tags.external == []
    markdown = (tmp_path / "fusion_comparison.md").read_text(encoding="utf-8")
    for row in comparison.rows:
        assert row.method.name in markdown and row.method.name in page
    assert "failed: ValueError: no image" in markdown
    assert r"bm25 0.40 \| text 0.60" in markdown
    assert "| gain | nothing | " in markdown and "*" in markdown.split("| gain | nothing | ")[1].splitlines()[0]
    values = json.loads((tmp_path / "fusion_comparison.json").read_text(encoding="utf-8"))
    assert values["chosen"] == "gain" and values["never_below_text_only"] is False
    assert len(values["query_ids"]) == len(values["values"]["gain"]) == NUM + 1 and values["values"]["gain"][0] is None
    assert {item["name"]: item["error"] for item in values["methods"]}["broken"] == "ValueError: no image"
    again = tmp_path / "again"
    write_comparison_report(comparison, setting, query_ids, again)
    for name in ("fusion_comparison.md", "fusion_comparison.html", "fusion_comparison.json"):
        assert (again / name).read_bytes() == (tmp_path / name).read_bytes()


def test_the_lines_have_every_method(comparison: MethodComparison) -> None:
    lines = comparison_lines(comparison)
    assert any(line.startswith("broken") and "no image" in line for line in lines)
    assert any(line.startswith("gain") and "better" in line for line in lines)
    assert any(line.startswith("chosen on out-of-fold train queries: gain") for line in lines)
    assert any(line.startswith("gain against the same without images: +0.100") for line in lines)


def test_small_p_values_are_not_zero() -> None:
    assert [format_p(p) for p in (0.0004, 0.02, 1.0, NAN)] == ["< 0.001", "0.020", "1.000", "–"]
