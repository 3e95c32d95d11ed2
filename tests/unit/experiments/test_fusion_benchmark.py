"""The benchmark of fusion methods on a small shop with real stages, indexes and encoders."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from intarsia.engine.search import product_vectors
from intarsia.errors import ConfigError, DataError
from intarsia.evaluation.method_comparison import ComparisonConfig
from intarsia.evaluation.method_comparison_report import conclusions
from intarsia.evaluation.metrics import ndcg_at_k
from intarsia.evaluation.qrels import grade_orders
from intarsia.experiments.evaluated_systems import fused_orders
from intarsia.experiments.fusion_benchmark import BenchmarkData, MissingImagesPlan, run_benchmark
from intarsia.experiments.fusion_methods import (
    ParallelFit,
    SingleRetriever,
    fit_method,
    fit_sequentially,
    fusion_methods,
    scorer_only,
)
from intarsia.experiments.fusion_training_data import measure_fuser
from intarsia.experiments.missing_images import missing_images_mask, remove_images, shuffle_images
from intarsia.fusion.feature.feature_fuser import FeatureFuser
from intarsia.fusion.feature.imputation import CoPurchaseImputer, NeighbourImputer, impute_mean
from intarsia.fusion.fuser import SpecFuser
from intarsia.fusion.registry import open_fuser
from intarsia.fusion.spec import FusionSpec
from intarsia.fusion.training_data import select_queries
from intarsia.ids import EventId, ProductId, QueryId, ReleaseId, RequestId, fold_of
from intarsia.lake import Lake
from intarsia.records.event import Event, EventKind
from intarsia.records.judgment import SPLITS, JudgedQuery, Judgment
from intarsia.tables.events import EVENTS, event_to_row
from intarsia.tables.judgments import JUDGMENTS, QUERIES, judgment_to_row, query_to_row
from pipelines.compare_fusions import JOB, CompareFusionsConfig, named_imputers, read_benchmark_data, run
from pipelines.job import JobProgress
from tests.unit.engine.small_release import COLOURS, FLOORS, NOON, NUM_PRODUCTS, THINGS, image, shop

QUIET = JobProgress("compare_fusions")
CHEAP = CompareFusionsConfig(
    data_set="corner shop",
    engine=FLOORS,
    kinds=("comb_sum", "weighted"),
    missing=(0.0, 0.5),
    imputers=("nothing", "mean", "neighbours"),
    num_workers=1,
    comparison=ComparisonConfig(num_resamples=50, num_permutations=99),
)


@pytest.fixture(scope="module")
def data() -> BenchmarkData:
    return read_benchmark_data(shop().lake, FLOORS, QUIET)


def shop_retrievers() -> tuple[str, ...]:
    return shop().engine().retrieve.retrievers


def copy_of(lake: Lake, root: Path) -> Lake:
    root.mkdir()
    for name in ("indexes", "query_encoders", "queries", "judgments"):
        (root / name).symlink_to(lake.root / name)
    return Lake(root)


def test_product_vectors_are_unit_means_of_stored_vectors(data: BenchmarkData) -> None:
    stored_VD, rows_V, _ = shop().vectors["image"]
    several = next(row for row in range(NUM_PRODUCTS) if (rows_V == row).sum() == 2)
    mean_D = stored_VD[rows_V == several].mean(axis=0)
    assert data.products.image_NE[several] == pytest.approx(mean_D / np.linalg.norm(mean_D), abs=1e-6)
    for column, (vectors_ND, name) in enumerate(((data.products.text_ND, "text"), (data.products.image_NE, "image"))):
        has_vector_N = np.isin(np.arange(NUM_PRODUCTS), shop().vectors[name][1])
        assert np.array_equal(data.products.has_N2[:, column], has_vector_N)
        assert np.array_equal((vectors_ND != 0).any(axis=1), has_vector_N)


def test_the_candidates_of_a_split_are_those_of_the_stage(data: BenchmarkData) -> None:
    training_data = data.training_data("train")
    assert len(training_data.query_ids) == len(training_data.candidates) == len(training_data.grades) == 3
    for encoded, candidates, grades in zip(
        data.queries["train"].encoded, training_data.candidates, training_data.grades, strict=True
    ):
        assert np.array_equal(data.retrieve.retrieve([encoded])[0].rows_C, candidates.rows_C)
        assert len(grades) == len(candidates.rows_C)


def test_with_judged_only_the_candidates_are_judged_products(data: BenchmarkData) -> None:
    judged_only = dataclasses.replace(data.retrieve, config=dataclasses.replace(FLOORS, judged_only=True))
    for candidates, qrels in zip(data.queries["train"].retrieve(judged_only), data.queries["train"].qrels, strict=True):
        assert np.isin(candidates.rows_C, qrels.rows_J).all()


def test_without_images_only_text_candidates_are_left(data: BenchmarkData) -> None:
    without_images = data.without_images()
    assert not without_images.products.image_NE.any() and not without_images.products.has_N2[:, 1].any()
    for result, full in zip(without_images.candidates["test"], data.candidates["test"], strict=True):
        assert result.retrievers == ("bm25", "text")
        assert set(result.query_vectors) <= {"text"}
        assert ((result.ranks_CR > 0).any(axis=1)).all()
        assert set(result.rows_C) <= set(full.rows_C)


def test_the_metric_of_a_fuser_is_ndcg_of_its_orders(data: BenchmarkData) -> None:
    fuser = SpecFuser(FusionSpec(kind="rrf"))
    values_Q, ms_per_query = measure_fuser(fuser, data.candidates["train"], data.queries["train"].qrels, "ndcg@10")
    orders = fused_orders(data.candidates["train"], fuser)
    expected_Q = ndcg_at_k(grade_orders(orders, data.queries["train"].qrels, 10), 10)
    assert np.array_equal(values_Q, expected_Q, equal_nan=True)
    assert ms_per_query > 0


def test_a_larger_share_of_missing_images_contains_a_smaller_one(data: BenchmarkData) -> None:
    masks = {share: missing_images_mask(data.retrieve.columns, share, 1) for share in (0.0, 0.2, 0.6, 1.0)}
    assert not masks[0.0].any() and masks[1.0].all()
    assert (masks[0.6] >= masks[0.2]).all()
    assert masks[0.6].mean() == pytest.approx(0.6, abs=0.2)
    assert not np.array_equal(masks[0.6], missing_images_mask(data.retrieve.columns, 0.6, 2))
    with pytest.raises(ValueError, match=r"share of missing images is 1.5; allowed: 0 to 1"):
        missing_images_mask(data.retrieve.columns, 1.5, 1)


def test_removing_no_image_changes_nothing(data: BenchmarkData) -> None:
    same, products = remove_images(data.retrieve, np.zeros(NUM_PRODUCTS, np.bool_), {})
    assert np.array_equal(products.image_NE, data.products.image_NE)
    for result, before in zip(data.queries["test"].retrieve(same), data.candidates["test"], strict=True):
        assert np.array_equal(result.rows_C, before.rows_C)
        assert np.array_equal(result.scores_CR, before.scores_CR, equal_nan=True)


def test_a_product_without_image_is_not_retrieved_by_image(data: BenchmarkData) -> None:
    is_missing_N = missing_images_mask(data.retrieve.columns, 0.5, 1)
    stage, products = remove_images(data.retrieve, is_missing_N, {})
    assert not products.has_N2[is_missing_N, 1].any()
    at = shop_retrievers().index("image")
    for result in data.queries["test"].retrieve(stage):
        missing_C = is_missing_N[result.rows_C]
        assert np.isnan(result.scores_CR[missing_C, at]).all()
        assert not result.ranks_CR[missing_C, at].any()
    assert stage.vectors["text"] is data.retrieve.vectors["text"]


def test_an_imputed_image_is_scored_and_real_ones_keep_theirs(data: BenchmarkData) -> None:
    is_missing_N = missing_images_mask(data.retrieve.columns, 0.5, 1)
    stage, products = remove_images(data.retrieve, is_missing_N, {"image": NeighbourImputer(num_neighbours=2)})
    readable_N = data.products.has_N2[:, 0]
    assert products.has_N2[readable_N, 1].all()
    rows = np.arange(NUM_PRODUCTS)
    query_D = next(q.vectors["image"].values_D for q in data.queries["test"].encoded if "image" in q.vectors)
    (now_N, _), (before_N, _) = (s.vectors["image"].score_rows(query_D, rows) for s in (stage, data.retrieve))
    kept_N = data.products.has_N2[:, 1] & ~is_missing_N
    assert np.array_equal(now_N[kept_N], before_N[kept_N])
    assert np.isfinite(now_N[readable_N]).all()
    flat, _ = remove_images(data.retrieve, is_missing_N, {"image": impute_mean})
    imputed_N = is_missing_N | ~data.products.has_N2[:, 1]
    assert len(np.unique(flat.vectors["image"].score_rows(query_D, rows)[0][imputed_N])) == 1


def test_shuffled_images_are_the_same_images_of_other_products(data: BenchmarkData) -> None:
    shuffled = product_vectors(shuffle_images(data.retrieve, 1).vectors)
    assert np.array_equal(shuffled.has_N2, data.products.has_N2)
    assert np.array_equal(shuffled.text_ND, data.products.text_ND)
    assert not np.array_equal(shuffled.image_NE, data.products.image_NE)
    assert np.array_equal(*(np.sort(p.image_NE, axis=0) for p in (shuffled, data.products)))
    assert np.array_equal(product_vectors(shuffle_images(data.retrieve, 1).vectors).image_NE, shuffled.image_NE)


def test_feature_fusion_gives_two_methods_from_one_fit(data: BenchmarkData) -> None:
    settings = {"average": {"num_folds": 0, "joint": {"num_steps": 4, "width": 8, "measure_every": 2}}}
    with_scores, without = fusion_methods(shop_retrievers(), ("average",), settings)[-2:]
    assert (with_scores.name, with_scores.family) == ("average with scores", "column")
    assert (without.name, without.family) == ("average", "feature")
    fitted = fit_method(with_scores, data.training_data("train"), data.training_data("validation"), 1, num_folds=3)
    assert fitted.error == ""
    scorer = scorer_only(without, fitted)
    assert len(scorer.folds) == 3
    assert isinstance(fitted.fuser, FeatureFuser) and isinstance(scorer.fuser, FeatureFuser)
    assert scorer.fuser.scorer is fitted.fuser.scorer
    is_missing_N = missing_images_mask(data.retrieve.columns, 0.7, 1)
    stage, products = remove_images(data.retrieve, is_missing_N, {})
    for method in (fitted, scorer):
        assert method.fuser is not None
        full = fused_orders(data.queries["test"].retrieve(data.retrieve), method.over(data.products))
        assert all(map(np.array_equal, full, fused_orders(data.candidates["test"], method.fuser)))
        missing_Q, _ = measure_fuser(
            method.over(products), data.queries["test"].retrieve(stage), data.queries["test"].qrels, "ndcg@10"
        )
        assert np.isfinite(missing_Q).any()
    failed = dataclasses.replace(fitted, fuser=None, error="no memory")
    assert scorer_only(without, failed).error == "no memory"


def test_the_baselines_are_first_and_each_kind_is_once() -> None:
    all_methods = fusion_methods(shop_retrievers(), (), {})
    names = [method.name for method in all_methods]
    assert names[: len(shop_retrievers()) + 2] == [*shop_retrievers(), "rrf", "equal weights"]
    assert {method.family for method in all_methods[: len(shop_retrievers()) + 2]} == {"baseline"}
    assert len(set(names)) == len(names)
    assert "weighted" in names and "convex" not in names
    selected = fusion_methods(shop_retrievers(), ("comb_mnz",), {"comb_mnz": {"normaliser": "z"}})
    assert selected[-1].name == "comb_mnz"
    assert isinstance(selected[-1].config, FusionSpec) and selected[-1].config.normaliser == "z"


def test_an_unknown_method_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"fusion method 'wieghted' is not known; did you mean weighted\?"):
        fusion_methods(shop_retrievers(), ("wieghted",), {})
    with pytest.raises(ConfigError, match=r"fusion method 'wieghted' is not known; did you mean weighted\?"):
        CompareFusionsConfig(kinds=("wieghted",))


def test_an_unknown_setting_of_a_kind_that_is_not_compared_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting settings.gated.foo; known: kind, joint"):
        CompareFusionsConfig(kinds=("weighted",), settings={"gated": {"foo": 1}})


def test_a_single_retriever_keeps_its_order_and_saves_as_a_weight(data: BenchmarkData, tmp_path: Path) -> None:
    single = SingleRetriever("text")
    for candidates in data.candidates["test"]:
        fused = single.fuse(candidates)
        ranks_C = fused.ranks_CR[:, shop_retrievers().index("text")]
        assert (ranks_C > 0).all()
        assert fused.fused_C is not None
        assert np.array_equal(np.argsort(ranks_C), np.argsort(-fused.fused_C, kind="stable"))
    single.save(tmp_path)
    text_rank = shop_retrievers().index("text")
    texts = [c for c in data.candidates["test"] if (c.ranks_CR[:, text_rank] > 0).any()]
    assert texts
    for candidates, order in zip(texts, fused_orders(texts, open_fuser(tmp_path)), strict=True):
        assert np.array_equal(order, fused_orders([candidates], single)[0])


def test_a_method_that_cannot_be_fitted_has_an_error(data: BenchmarkData) -> None:
    nothing = dataclasses.replace(
        data.training_data("train"), grades=[np.zeros(len(g)) for g in data.training_data("train").grades]
    )
    weighted = fusion_methods(shop_retrievers(), ("weighted",), {})[-1]
    fitted = fit_method(weighted, nothing, nothing, 1, num_folds=3)
    assert fitted.fuser is None
    assert fitted.error.startswith("DataError: judgments: grade is 'none above 0")


def test_parallel_fits_equal_sequential_fits(data: BenchmarkData, tmp_path: Path) -> None:
    def in_this_process(open_worker: Any, tasks: Any) -> Any:
        run_task = open_worker()
        return (pickle.loads(pickle.dumps(run_task(pickle.loads(pickle.dumps(task))))) for task in reversed(tasks))

    small_config = {"num_folds": 0, "joint": {"num_steps": 2, "width": 8, "measure_every": 2}}
    kinds = ("comb_sum", "weighted", "average")
    methods = [m for m in fusion_methods(shop_retrievers(), kinds, {"average": small_config}) if not m.scorer_of]
    train, validation = data.training_data("train"), data.training_data("validation")
    sequential = {fitted.method.name: fitted for fitted in fit_sequentially(methods, train, validation, 1, num_folds=3)}
    parallel = {
        fitted.method.name: fitted
        for fitted in ParallelFit(run_tasks=in_this_process, folder=tmp_path)(
            methods, train, validation, 1, num_folds=3
        )
    }
    assert set(sequential) == set(parallel) == {method.name for method in methods}
    for name, fitted in parallel.items():
        assert fitted.fuser is not None and sequential[name].fuser is not None
        assert (
            len(fitted.folds)
            == len(sequential[name].folds)
            == (3 if name in ("weighted", "average with scores") else 0)
        )
        for fuser, same in zip(
            (fitted.fuser, *fitted.folds), (sequential[name].fuser, *sequential[name].folds), strict=True
        ):
            orders, expected = (
                fused_orders(data.candidates["test"], f)  # type: ignore[arg-type]
                for f in (fuser, same)
            )
            assert all(map(np.array_equal, orders, expected))
    assert list(tmp_path.iterdir()) == []


def test_the_job_writes_its_report(tmp_path: Path) -> None:
    lake = copy_of(shop().lake, tmp_path / "lake")
    counts = run(CHEAP, lake, QUIET)
    folder = lake.current("fusion_comparison").path
    values = json.loads((folder / "fusion_comparison.json").read_text(encoding="utf-8"))
    names = {method["name"] for method in values["methods"]}
    assert {*shop_retrievers(), "rrf", "equal weights", "comb_sum", "weighted", "text only"} <= names
    assert values["chosen"] == counts["chosen"] and counts["failed"] == 0
    assert f"{values['chosen']}, no images" in names
    pairs = {(point["method"], point["imputer"]) for point in values["curve"]}
    assert ("weighted", "neighbours") in pairs and (values["text_only"], "") in pairs
    full = {(p["method"], p["imputer"]): p["mean"] for p in values["curve"] if p["missing"] == 0.0}
    means = {method["name"]: method["test"]["mean"] for method in values["methods"]}
    assert all(full[name, "nothing"] == pytest.approx(means[name]) for name in ("weighted", "rrf", "image"))
    assert (folder / "fusion_comparison.html").is_file() and (folder / "fusion_comparison.md").is_file()


@pytest.mark.slow
def test_the_generator_of_the_adversarial_method_imputes(data: BenchmarkData) -> None:
    small_config = {"num_folds": 0, "joint": {"num_steps": 2, "width": 8, "measure_every": 2}}
    missing = MissingImagesPlan(
        shares=(0.6,), imputers={"nothing": None}, seed=1, generated=True, methods=("adversarial with scores",)
    )
    methods = fusion_methods(shop_retrievers(), ("adversarial",), {"adversarial": small_config})
    result = run_benchmark(methods, data, missing=missing, config=CHEAP.comparison, num_folds=3, seed=1, report=QUIET)
    pairs = {(point.method, point.imputer) for point in result.curve}
    with_scores = {
        (name, imputer) for name in {"adversarial with scores", result.chosen} for imputer in ("nothing", "generated")
    }
    assert pairs == {*with_scores, (result.text_only, "")}
    references = {row.method.name: row.train for row in result.rows if row.method.family == "reference"}
    assert set(references) == {"text only", f"{result.chosen}, no images"}
    assert references[result.text_only] == max(references.values())
    assert result.imputer in ("nothing", "generated")
    plain_methods = fusion_methods(shop_retrievers(), ("comb_sum",), {})
    without = run_benchmark(
        plain_methods, data, missing=missing, config=CHEAP.comparison, num_folds=3, seed=1, report=QUIET
    )
    assert {point.imputer for point in without.curve} == {"nothing", ""}
    assert without.no_curve == (
        "nothing is generated, as the method adversarial, which fits a generator, is not among the methods"
    )
    assert result.no_curve == ""


def test_a_failed_generator_is_reported_and_the_benchmark_goes_on(data: BenchmarkData) -> None:
    missing = MissingImagesPlan(shares=(0.6,), imputers={}, seed=1, generated=True)
    methods = fusion_methods(shop_retrievers(), ("adversarial",), {"adversarial": {"joint": {"num_steps": 2}}})
    without_vectors = dataclasses.replace(
        data, products=dataclasses.replace(data.products, image_NE=np.empty((0, 3), np.float32))
    )
    result = run_benchmark(
        methods, without_vectors, missing=missing, config=CHEAP.comparison, num_folds=3, seed=1, report=QUIET
    )
    assert result.row("adversarial with scores").method.error
    assert result.curve == ()
    assert result.no_curve.startswith("nothing is generated, as the fit of adversarial with scores failed: ")
    assert conclusions(result)[-1] == f"missing images: {result.no_curve}"


def test_without_a_text_only_system_there_are_no_curves(data: BenchmarkData) -> None:
    by_images = [c.only((c.ranks_CR[:, :2] == 0).all(axis=1)) for c in data.candidates["train"]]
    images = dataclasses.replace(data, candidates={**data.candidates, "train": by_images})
    missing = MissingImagesPlan(shares=(0.6,), imputers={"nothing": None}, seed=1)
    methods = fusion_methods(shop_retrievers(), ("comb_sum",), {})
    result = run_benchmark(methods, images, missing=missing, config=CHEAP.comparison, num_folds=3, seed=1, report=QUIET)
    assert result.curve == ()
    assert result.no_curve.startswith("no curves, as the fit of text only failed: DataError: ")


def test_a_fitted_method_is_chosen_by_out_of_fold_train_values(data: BenchmarkData) -> None:
    methods = fusion_methods(shop_retrievers(), ("weighted",), {})
    result = run_benchmark(
        methods,
        data,
        missing=MissingImagesPlan(imputers={}, seed=1),
        config=CHEAP.comparison,
        num_folds=3,
        seed=1,
        report=QUIET,
    )
    queries, candidates, train = data.queries["train"], data.candidates["train"], data.training_data("train")
    values = []
    for at, query_id in enumerate(train.query_ids):
        others = select_queries(
            train, [i for i, other in enumerate(train.query_ids) if fold_of(other, 3) != fold_of(query_id, 3)]
        )
        fuser = methods[-1].fit(others, data.training_data("validation"), 1)
        values.append(measure_fuser(fuser, [candidates[at]], [queries.qrels[at]], "ndcg@10")[0][0])
    assert result.row("weighted").train == pytest.approx(np.nanmean(values))
    assert result.chosen == max(result.rows, key=lambda row: (row.method.family != "reference") * row.train).method.name
    single_Q, _ = measure_fuser(SingleRetriever("text"), candidates, queries.qrels, "ndcg@10")
    assert result.row("text").train == pytest.approx(np.nanmean(single_Q)), (
        "a method without fitted parts is measured as it is"
    )


def test_imputer_bought_together_requires_events(data: BenchmarkData, tmp_path: Path) -> None:
    lake = copy_of(shop().lake, tmp_path / "lake")
    config = dataclasses.replace(CHEAP, imputers=("bought together",))
    with pytest.raises(DataError, match=r"events: kind is 'no such table'"):
        dict(named_imputers(config, lake, data.retrieve))


def shop_with_text_judgments(root: Path) -> Lake:
    """Queries such as "red bag" with an image of that colour: grade 3 for that title, grade 1 for the same colour."""
    lake = copy_of(shop().lake, root)
    for name in ("queries", "judgments"):
        (lake.root / name).unlink()
    words = [(colour, thing) for thing in THINGS for colour in COLOURS]
    queries = [
        JudgedQuery(
            query_id=QueryId(f"q{n:02d}"),
            text=f"{colour} {thing}",
            image=image(colour),
            locale="en",
            split=SPLITS[n % 3],
        )
        for n, (colour, thing) in enumerate(words)
    ]
    judgments = [
        Judgment(
            query_id=query.query_id, product_id=product.product_id, grade=3.0 if product.title == query.text else 1.0
        )
        for query, (colour, _) in zip(queries, words, strict=True)
        for product in shop().products
        if product.title.split()[0] == colour
    ]
    QUERIES.publish(lake, QUERIES.from_rows([query_to_row(query) for query in queries]))
    JUDGMENTS.publish(lake, JUDGMENTS.from_rows([judgment_to_row(judgment) for judgment in judgments]))
    return lake


@pytest.mark.slow
def test_with_shuffled_images_the_choice_is_not_below_text_only(tmp_path: Path) -> None:
    lake = shop_with_text_judgments(tmp_path / "lake")
    small_config = {"num_folds": 0, "joint": {"num_steps": 20, "width": 8, "measure_every": 5}}
    config = dataclasses.replace(
        CHEAP,
        kinds=("comb_sum", "weighted", "gated"),
        settings={"gated": small_config},
        missing=(0.0,),
        imputers=("nothing",),
        images="mixed_up",
        comparison=ComparisonConfig(num_resamples=400, num_permutations=99),
    )
    counts = run(config, lake, QUIET)
    values = json.loads((lake.current("fusion_comparison").path / "fusion_comparison.json").read_text(encoding="utf-8"))
    verdicts = {point["method"]: point["verdict"] for point in values["curve"]}
    assert counts["failed"] == 0
    assert counts["never_below_text_only"] is True
    assert verdicts[values["chosen"]] != "worse"
    assert verdicts["image"] == verdicts["equal weights"] == "worse", "shuffled images hurt methods that read them"


def basket_event(number: int, product_id: str, *, kind: EventKind = "purchase", **who: str) -> Event:
    return Event(
        event_id=EventId(f"e{number}"),
        request_id=RequestId("r"),
        release_id=ReleaseId("r"),
        kind=kind,
        product_id=ProductId(product_id),
        occurred_at=NOON,
        received_at=NOON,
        **who,
    )


def test_pairs_bought_together_come_from_sessions_or_users(data: BenchmarkData, tmp_path: Path) -> None:
    lake = copy_of(shop().lake, tmp_path / "lake")
    bought = [("p001", "s1"), ("p004", "s1"), ("p001", "s2"), ("p004", "s2"), ("p007", "s2"), ("gone", "s2")]
    events = [basket_event(number, product, session_id=session) for number, (product, session) in enumerate(bought)]
    events += [
        basket_event(10 + number, product, user_id="u", kind="add_to_cart")
        for number, product in enumerate(("p010", "p013"))
    ]
    events += [basket_event(20, "p016"), basket_event(21, "p019")]  # no session and no user: no basket
    events += [
        basket_event(30, "p022", session_id="s1", kind="click"),
        basket_event(31, "p025", session_id="s1", kind="view"),
    ]
    EVENTS.publish(lake, EVENTS.from_rows([event_to_row(event) for event in events]))
    config = dataclasses.replace(CHEAP, imputers=("nothing", "bought together"), missing=(0.5,))
    imputer = dict(named_imputers(config, lake, data.retrieve))["bought together"]
    assert isinstance(imputer, CoPurchaseImputer)
    pairs = dict(zip(map(tuple, imputer.pairs_P2.tolist()), imputer.counts_P.tolist(), strict=True))
    assert pairs == {(1, 4): 2.0, (1, 7): 1.0, (4, 7): 1.0, (10, 13): 1.0}
    counts = run(config, lake, QUIET)
    values = json.loads((lake.current("fusion_comparison").path / "fusion_comparison.json").read_text(encoding="utf-8"))
    assert counts["failed"] == 0
    assert {point["imputer"] for point in values["curve"]} == {"nothing", "bought together", ""}
    means = {
        name: {point["method"]: point["mean"] for point in values["curve"] if point["imputer"] == name}
        for name in config.imputers
    }
    assert means["nothing"]["image"] != means["bought together"]["image"]


def test_a_split_without_queries_is_refused(tmp_path: Path) -> None:
    lake = copy_of(shop().lake, tmp_path / "lake")
    rows = [row for row in QUERIES.read(lake.current("queries")).to_pylist() if row["split"] != "validation"]
    (lake.root / "queries").unlink()
    with lake.publish("queries") as folder:
        QUERIES.write_part(QUERIES.from_rows(rows), folder, 0)
    with pytest.raises(DataError, match=r"queries: split is 'no query of split validation'"):
        read_benchmark_data(lake, FLOORS, QUIET)


def test_a_split_without_a_relevant_product_is_refused(tmp_path: Path) -> None:
    lake = copy_of(shop().lake, tmp_path / "lake")
    train = {row["query_id"] for row in QUERIES.read(lake.current("queries")).to_pylist() if row["split"] == "train"}
    rows = JUDGMENTS.read(lake.current("judgments")).to_pylist()
    (lake.root / "judgments").unlink()
    with lake.publish("judgments") as folder:
        graded = [row | ({"grade": 0.0} if row["query_id"] in train else {}) for row in rows]
        JUDGMENTS.write_part(JUDGMENTS.from_rows(graded), folder, 0)
    with pytest.raises(DataError, match=rf"none above 0 for the {len(train)} queries of split train"):
        read_benchmark_data(lake, FLOORS, QUIET)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"missing": (0.0, 1.2)}, r"missing has 1.2; allowed: 0 to 1"),
        ({"imputers": ()}, r"imputers is empty; allowed: at least one"),
        ({"num_workers": -1}, r"num_workers is -1; allowed: 0 or more"),
        ({"num_folds": 1}, r"num_folds is 1; allowed: 2 or more"),
        ({"neighbours": 0}, r"neighbours is 0; allowed: 1 or more"),
        ({"curves_of": ("gatd",)}, r"curves_of has 'gatd', which is not compared; did you mean gated\?"),
        ({"curves_of": ("gated",), "kinds": ("weighted",)}, r"curves_of has 'gated', which is not compared; "),
        (
            {"imputers": ("generated",), "kinds": ("weighted",)},
            r"imputers has only generated, which needs adversarial",
        ),
    ],
)
def test_a_config_refuses_values_out_of_range(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CompareFusionsConfig(**values)


def test_the_job_is_named_after_its_module() -> None:
    assert JOB.name == "compare_fusions"
