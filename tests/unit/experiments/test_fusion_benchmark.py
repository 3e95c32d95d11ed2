"""The arena and what it stands on, on the corner shop: real stages, indexes and encoders."""

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
from intarsia.evaluation.method_comparison import ArenaConfig
from intarsia.evaluation.method_comparison_report import said
from intarsia.evaluation.metrics import ndcg_at_k
from intarsia.evaluation.qrels import grade_orders
from intarsia.experiments.evaluated_systems import fused_orders
from intarsia.experiments.fusion_benchmark import BenchmarkData, Missing, hold
from intarsia.experiments.fusion_methods import Alone, fit, methods, scorer_alone
from intarsia.experiments.fusion_training_data import measure
from intarsia.experiments.missing_images import lacks_images, mix_images, take_images
from intarsia.experiments.parallel_fit import FitBeside, fit_in_turn
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
from pipelines.compare_fusions import JOB, CompareFusionsConfig, named_imputers, open_ring, run
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
    arena=ArenaConfig(num_resamples=50, num_permutations=99),
)


@pytest.fixture(scope="module")
def ring() -> BenchmarkData:
    return open_ring(shop().lake, FLOORS, QUIET)


def shop_retrievers() -> tuple[str, ...]:
    return shop().engine().retrieve.retrievers


def copy_of(lake: Lake, root: Path) -> Lake:
    root.mkdir()
    for name in ("indexes", "query_encoders", "queries", "judgments"):
        (root / name).symlink_to(lake.root / name)
    return Lake(root)


def test_product_vectors_are_unit_means_of_what_is_stored(ring: BenchmarkData) -> None:
    stored_VD, rows_V, _ = shop().vectors["image"]
    several = next(row for row in range(NUM_PRODUCTS) if (rows_V == row).sum() == 2)
    mean_D = stored_VD[rows_V == several].mean(axis=0)
    assert ring.products.image_NE[several] == pytest.approx(mean_D / np.linalg.norm(mean_D), abs=1e-6)
    for column, (vectors_ND, name) in enumerate(((ring.products.text_ND, "text"), (ring.products.image_NE, "image"))):
        there_N = np.isin(np.arange(NUM_PRODUCTS), shop().vectors[name][1])
        assert np.array_equal(ring.products.has_N2[:, column], there_N)
        assert np.array_equal((vectors_ND != 0).any(axis=1), there_N)


def test_the_candidates_of_a_split_are_those_of_the_stage(ring: BenchmarkData) -> None:
    training_data = ring.training_data("train")
    assert len(training_data.query_ids) == len(training_data.candidates) == len(training_data.grades) == 3
    for each, one, grades in zip(
        ring.asked["train"].encoded, training_data.candidates, training_data.grades, strict=True
    ):
        assert np.array_equal(ring.retrieve.retrieve([each])[0].rows_C, one.rows_C)
        assert len(grades) == len(one.rows_C)


def test_only_judged_products_compete_where_the_protocol_says_so(ring: BenchmarkData) -> None:
    judged_only = dataclasses.replace(ring.retrieve, config=dataclasses.replace(FLOORS, judged_only=True))
    for found, qrels in zip(ring.asked["train"].of(judged_only), ring.asked["train"].qrels, strict=True):
        assert np.isin(found.rows_C, qrels.rows_J).all()


def test_without_images_nothing_of_a_image_is_left(ring: BenchmarkData) -> None:
    blind = ring.without_images()
    assert not blind.products.image_NE.any() and not blind.products.has_N2[:, 1].any()
    for found, whole in zip(blind.candidates["test"], ring.candidates["test"], strict=True):
        assert found.retrievers == ("bm25", "text")
        assert set(found.query_vectors) <= {"text"}
        assert ((found.ranks_CR > 0).any(axis=1)).all()
        assert set(found.rows_C) <= set(whole.rows_C)


def test_measuring_a_fuser_is_ndcg_of_its_orders(ring: BenchmarkData) -> None:
    fuser = SpecFuser(FusionSpec(kind="rrf"))
    values_Q, ms_per_query = measure(fuser, ring.candidates["train"], ring.asked["train"].qrels, "ndcg@10")
    orders = fused_orders(ring.candidates["train"], fuser)
    expected_Q = ndcg_at_k(grade_orders(orders, ring.asked["train"].qrels, 10), 10)
    assert np.array_equal(values_Q, expected_Q, equal_nan=True)
    assert ms_per_query > 0


def test_more_missing_images_are_others_and_the_same_again(ring: BenchmarkData) -> None:
    lacks = {share: lacks_images(ring.retrieve.columns, share, 1) for share in (0.0, 0.2, 0.6, 1.0)}
    assert not lacks[0.0].any() and lacks[1.0].all()
    assert (lacks[0.6] >= lacks[0.2]).all()
    assert lacks[0.6].mean() == pytest.approx(0.6, abs=0.2)
    assert not np.array_equal(lacks[0.6], lacks_images(ring.retrieve.columns, 0.6, 2))
    with pytest.raises(ValueError, match=r"share of missing pictures is 1.5; allowed: 0 to 1"):
        lacks_images(ring.retrieve.columns, 1.5, 1)


def test_taking_nothing_away_changes_nothing(ring: BenchmarkData) -> None:
    same, products = take_images(ring.retrieve, np.zeros(NUM_PRODUCTS, np.bool_), {})
    assert np.array_equal(products.image_NE, ring.products.image_NE)
    for found, before in zip(ring.asked["test"].of(same), ring.candidates["test"], strict=True):
        assert np.array_equal(found.rows_C, before.rows_C)
        assert np.array_equal(found.scores_CR, before.scores_CR, equal_nan=True)


def test_a_product_whose_image_is_gone_is_not_found_by_images(ring: BenchmarkData) -> None:
    lacks_N = lacks_images(ring.retrieve.columns, 0.5, 1)
    stage, products = take_images(ring.retrieve, lacks_N, {})
    assert not products.has_N2[lacks_N, 1].any()
    at = shop_retrievers().index("image")
    for found in ring.asked["test"].of(stage):
        gone_C = lacks_N[found.rows_C]
        assert np.isnan(found.scores_CR[gone_C, at]).all()
        assert not found.ranks_CR[gone_C, at].any()
    assert stage.vectors["text"] is ring.retrieve.vectors["text"]


def test_an_imputed_image_is_found_and_real_ones_keep_their_scores(ring: BenchmarkData) -> None:
    lacks_N = lacks_images(ring.retrieve.columns, 0.5, 1)
    stage, products = take_images(ring.retrieve, lacks_N, {"image": NeighbourImputer(num_neighbours=2)})
    readable_N = ring.products.has_N2[:, 0]
    assert products.has_N2[readable_N, 1].all()
    rows = np.arange(NUM_PRODUCTS)
    query_D = next(one.vectors["image"].values_D for one in ring.asked["test"].encoded if "image" in one.vectors)
    (now_N, _), (before_N, _) = (one.vectors["image"].score_rows(query_D, rows) for one in (stage, ring.retrieve))
    kept_N = ring.products.has_N2[:, 1] & ~lacks_N
    assert np.array_equal(now_N[kept_N], before_N[kept_N])
    assert np.isfinite(now_N[readable_N]).all()
    flat, _ = take_images(ring.retrieve, lacks_N, {"image": impute_mean})
    filled_N = lacks_N | ~ring.products.has_N2[:, 1]
    assert len(np.unique(flat.vectors["image"].score_rows(query_D, rows)[0][filled_N])) == 1


def test_mixed_up_images_are_the_same_images_of_others(ring: BenchmarkData) -> None:
    mixed = product_vectors(mix_images(ring.retrieve, 1).vectors)
    assert np.array_equal(mixed.has_N2, ring.products.has_N2)
    assert np.array_equal(mixed.text_ND, ring.products.text_ND)
    assert not np.array_equal(mixed.image_NE, ring.products.image_NE)
    assert np.array_equal(*(np.sort(one.image_NE, axis=0) for one in (mixed, ring.products)))
    assert np.array_equal(product_vectors(mix_images(ring.retrieve, 1).vectors).image_NE, mixed.image_NE)


def test_feature_fusion_enters_beside_the_retrievers_and_alone_from_one_fit(ring: BenchmarkData) -> None:
    settings = {"average": {"num_folds": 0, "joint": {"num_steps": 4, "width": 8, "measure_every": 2}}}
    beside, alone = methods(shop_retrievers(), ("average",), settings)[-2:]
    assert (beside.name, beside.family, alone.name, alone.family) == ("average beside", "column", "average", "feature")
    fitted = fit(beside, ring.training_data("train"), ring.training_data("validation"), 1, num_folds=3)
    assert fitted.error == ""
    by_itself = scorer_alone(alone, fitted)
    assert len(by_itself.folds) == 3
    assert isinstance(fitted.fuser, FeatureFuser) and isinstance(by_itself.fuser, FeatureFuser)
    assert by_itself.fuser.scorer is fitted.fuser.scorer
    lacks_N = lacks_images(ring.retrieve.columns, 0.7, 1)
    stage, products = take_images(ring.retrieve, lacks_N, {})
    for one in (fitted, by_itself):
        assert one.fuser is not None
        whole = fused_orders(ring.asked["test"].of(ring.retrieve), one.reading(ring.products))
        assert all(map(np.array_equal, whole, fused_orders(ring.candidates["test"], one.fuser)))
        blind_Q, _ = measure(one.reading(products), ring.asked["test"].of(stage), ring.asked["test"].qrels, "ndcg@10")
        assert np.isfinite(blind_Q).any()
    failed = dataclasses.replace(fitted, fuser=None, error="no chalk")
    assert scorer_alone(alone, failed).error == "no chalk"


def test_the_baselines_stand_first_and_each_kind_once() -> None:
    everyone = methods(shop_retrievers(), (), {})
    names = [one.name for one in everyone]
    assert names[: len(shop_retrievers()) + 2] == [*shop_retrievers(), "rrf", "equal weights"]
    assert {one.family for one in everyone[: len(shop_retrievers()) + 2]} == {"baseline"}
    assert len(set(names)) == len(names)
    assert "weighted" in names and "convex" not in names
    some = methods(shop_retrievers(), ("comb_mnz",), {"comb_mnz": {"normaliser": "z"}})
    assert [one.name for one in some][-1] == "comb_mnz"
    assert isinstance(some[-1].config, FusionSpec) and some[-1].config.normaliser == "z"


def test_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"fusion kind 'wieghted' is not known; did you mean weighted\?"):
        methods(shop_retrievers(), ("wieghted",), {})
    with pytest.raises(ConfigError, match=r"fusion kind 'wieghted' is not known; did you mean weighted\?"):
        CompareFusionsConfig(kinds=("wieghted",))


def test_a_setting_that_its_kind_does_not_have_is_refused_even_if_the_kind_does_not_enter() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting settings.gated.foo; known: kind, joint"):
        CompareFusionsConfig(kinds=("weighted",), settings={"gated": {"foo": 1}})


def test_a_retriever_alone_keeps_its_order_and_saves_as_its_weight(ring: BenchmarkData, tmp_path: Path) -> None:
    alone = Alone("text")
    for each in ring.candidates["test"]:
        fused = alone.fuse(each)
        ranks_C = fused.ranks_CR[:, shop_retrievers().index("text")]
        assert (ranks_C > 0).all()
        assert fused.fused_C is not None
        assert np.array_equal(np.argsort(ranks_C), np.argsort(-fused.fused_C, kind="stable"))
    alone.save(tmp_path)
    texts = [each for each in ring.candidates["test"] if (each.ranks_CR[:, shop_retrievers().index("text")] > 0).any()]
    assert texts
    for each, order in zip(texts, fused_orders(texts, open_fuser(tmp_path)), strict=True):
        assert np.array_equal(order, fused_orders([each], alone)[0])


def test_a_contender_that_cannot_be_fitted_says_why(ring: BenchmarkData) -> None:
    nothing = dataclasses.replace(
        ring.training_data("train"), grades=[np.zeros(len(g)) for g in ring.training_data("train").grades]
    )
    weighted = methods(shop_retrievers(), ("weighted",), {})[-1]
    fitted = fit(weighted, nothing, nothing, 1, num_folds=3)
    assert fitted.fuser is None
    assert fitted.error.startswith("DataError: judgments: grade is 'none above 0")


def test_fits_of_workers_are_those_of_this_process(ring: BenchmarkData, tmp_path: Path) -> None:
    def serial_workers(open_worker: Any, pieces: Any) -> Any:
        work = open_worker()
        return (pickle.loads(pickle.dumps(work(pickle.loads(pickle.dumps(piece))))) for piece in reversed(pieces))

    light = {"num_folds": 0, "joint": {"num_steps": 2, "width": 8, "measure_every": 2}}
    kinds = ("comb_sum", "weighted", "average")
    entering = [one for one in methods(shop_retrievers(), kinds, {"average": light}) if not one.scorer_of]
    train, validation = ring.training_data("train"), ring.training_data("validation")
    here = {one.method.name: one for one in fit_in_turn(entering, train, validation, 1, num_folds=3)}
    away = {
        one.method.name: one
        for one in FitBeside(work=serial_workers, folder=tmp_path)(entering, train, validation, 1, num_folds=3)
    }
    assert set(here) == set(away) == {one.name for one in entering}
    for name, fitted in away.items():
        assert fitted.fuser is not None and here[name].fuser is not None
        assert len(fitted.folds) == len(here[name].folds) == (3 if name in ("weighted", "average beside") else 0)
        for fuser, same in zip((fitted.fuser, *fitted.folds), (here[name].fuser, *here[name].folds), strict=True):
            one, other = (fused_orders(ring.candidates["test"], each) for each in (fuser, same))  # type: ignore[arg-type]
            assert all(map(np.array_equal, one, other))
    assert list(tmp_path.iterdir()) == []


def test_the_job_writes_its_report(tmp_path: Path) -> None:
    lake = copy_of(shop().lake, tmp_path / "lake")
    counts = run(CHEAP, lake, QUIET)
    folder = lake.current("fusion_arena").path
    values = json.loads((folder / "arena.json").read_text(encoding="utf-8"))
    names = {one["name"] for one in values["methods"]}
    assert {*shop_retrievers(), "rrf", "equal weights", "comb_sum", "weighted", "text only"} <= names
    assert values["chosen"] == counts["chosen"] and counts["failed"] == 0
    assert f"{values['chosen']}, no pictures" in names
    pairs = {(one["method"], one["imputer"]) for one in values["curve"]}
    assert ("weighted", "neighbours") in pairs and (values["text_only"], "") in pairs
    whole = {(one["method"], one["imputer"]): one["mean"] for one in values["curve"] if one["missing"] == 0.0}
    means = {one["name"]: one["test"]["mean"] for one in values["methods"]}
    assert all(whole[name, "nothing"] == pytest.approx(means[name]) for name in ("weighted", "rrf", "image"))
    assert (folder / "arena.html").is_file() and (folder / "arena.md").is_file()


@pytest.mark.slow
def test_the_generator_of_the_adversarial_contender_fills_gaps(ring: BenchmarkData) -> None:
    light = {"num_folds": 0, "joint": {"num_steps": 2, "width": 8, "measure_every": 2}}
    missing = Missing(
        shares=(0.6,), imputers={"nothing": None}, seed=1, generated=True, methods=("adversarial beside",)
    )
    entering = methods(shop_retrievers(), ("adversarial",), {"adversarial": light})
    found = hold(entering, ring, missing=missing, config=CHEAP.arena, num_folds=3, seed=1, report=QUIET)
    drawn = {(one.method, one.imputer) for one in found.curve}
    beside = {(name, imputer) for name in {"adversarial beside", found.chosen} for imputer in ("nothing", "generated")}
    assert drawn == {*beside, (found.text_only, "")}
    witnesses = {row.entrant.name: row.train for row in found.rows if row.entrant.family == "witness"}
    assert set(witnesses) == {"text only", f"{found.chosen}, no pictures"}
    assert witnesses[found.text_only] == max(witnesses.values())
    assert found.imputer in ("nothing", "generated")
    plain_ones = methods(shop_retrievers(), ("comb_sum",), {})
    without = hold(plain_ones, ring, missing=missing, config=CHEAP.arena, num_folds=3, seed=1, report=QUIET)
    assert {one.imputer for one in without.curve} == {"nothing", ""}
    assert without.no_curve == "nothing is generated, as the kind adversarial, which learns to generate, did not enter"
    assert found.no_curve == ""


def test_a_generator_that_could_not_be_fitted_is_told_and_the_arena_goes_on(ring: BenchmarkData) -> None:
    missing = Missing(shares=(0.6,), imputers={}, seed=1, generated=True)
    entering = methods(shop_retrievers(), ("adversarial",), {"adversarial": {"joint": {"num_steps": 2}}})
    unlearnt = dataclasses.replace(
        ring, products=dataclasses.replace(ring.products, image_NE=np.empty((0, 3), np.float32))
    )
    found = hold(entering, unlearnt, missing=missing, config=CHEAP.arena, num_folds=3, seed=1, report=QUIET)
    assert found.row("adversarial beside").entrant.error
    assert found.curve == ()
    assert found.no_curve.startswith("nothing is generated, as the fit of adversarial beside failed: ")
    assert said(found)[-1] == f"missing pictures: {found.no_curve}"


def test_without_a_text_only_system_there_are_no_curves_and_it_is_said(ring: BenchmarkData) -> None:
    found_by_images = [one.only((one.ranks_CR[:, :2] == 0).all(axis=1)) for one in ring.candidates["train"]]
    images = dataclasses.replace(ring, candidates={**ring.candidates, "train": found_by_images})
    missing = Missing(shares=(0.6,), imputers={"nothing": None}, seed=1)
    entering = methods(shop_retrievers(), ("comb_sum",), {})
    found = hold(entering, images, missing=missing, config=CHEAP.arena, num_folds=3, seed=1, report=QUIET)
    assert found.curve == ()
    assert found.no_curve.startswith("no curves, as the fit of text only failed: DataError: ")


def test_a_fitted_contender_is_chosen_by_what_fits_say_that_did_not_see_the_query(ring: BenchmarkData) -> None:
    entering = methods(shop_retrievers(), ("weighted",), {})
    found = hold(
        entering, ring, missing=Missing(imputers={}, seed=1), config=CHEAP.arena, num_folds=3, seed=1, report=QUIET
    )
    asked, candidates, train = ring.asked["train"], ring.candidates["train"], ring.training_data("train")
    values = []
    for at, query_id in enumerate(train.query_ids):
        others = select_queries(
            train, [i for i, other in enumerate(train.query_ids) if fold_of(other, 3) != fold_of(query_id, 3)]
        )
        fuser = entering[-1].fit(others, ring.training_data("validation"), 1)
        values.append(measure(fuser, [candidates[at]], [asked.qrels[at]], "ndcg@10")[0][0])
    assert found.row("weighted").train == pytest.approx(np.nanmean(values))
    assert found.chosen == max(found.rows, key=lambda row: (row.entrant.family != "witness") * row.train).entrant.name
    alone_Q, _ = measure(Alone("text"), candidates, asked.qrels, "ndcg@10")
    assert found.row("text").train == pytest.approx(np.nanmean(alone_Q)), "what is not fitted is measured as it is"


def test_companions_need_events(ring: BenchmarkData, tmp_path: Path) -> None:
    lake = copy_of(shop().lake, tmp_path / "lake")
    config = dataclasses.replace(CHEAP, imputers=("bought together",))
    with pytest.raises(DataError, match=r"events: kind is 'no such table'"):
        dict(named_imputers(config, lake, ring.retrieve))


def shop_that_asks_for_its_words(root: Path) -> Lake:
    """Asked for "red bag" and so on with a picture of that colour: what is called so is relevant, what shares the colour a little."""
    lake = copy_of(shop().lake, root)
    for name in ("queries", "judgments"):
        (lake.root / name).unlink()
    asked = [(colour, thing) for thing in THINGS for colour in COLOURS]
    queries = [
        JudgedQuery(
            query_id=QueryId(f"q{n:02d}"),
            text=f"{colour} {thing}",
            image=image(colour),
            locale="en",
            split=SPLITS[n % 3],
        )
        for n, (colour, thing) in enumerate(asked)
    ]
    judgments = [
        Judgment(
            query_id=query.query_id, product_id=product.product_id, grade=3.0 if product.title == query.text else 1.0
        )
        for query, (colour, _) in zip(queries, asked, strict=True)
        for product in shop().products
        if product.title.split()[0] == colour
    ]
    QUERIES.publish(lake, QUERIES.from_rows([query_to_row(one) for one in queries]))
    JUDGMENTS.publish(lake, JUDGMENTS.from_rows([judgment_to_row(one) for one in judgments]))
    return lake


@pytest.mark.slow
def test_where_images_are_noise_the_choice_is_not_below_text_only(tmp_path: Path) -> None:
    lake = shop_that_asks_for_its_words(tmp_path / "lake")
    light = {"num_folds": 0, "joint": {"num_steps": 20, "width": 8, "measure_every": 5}}
    config = dataclasses.replace(
        CHEAP,
        kinds=("comb_sum", "weighted", "gated"),
        settings={"gated": light},
        missing=(0.0,),
        imputers=("nothing",),
        images="mixed_up",
        arena=ArenaConfig(num_resamples=400, num_permutations=99),
    )
    counts = run(config, lake, QUIET)
    values = json.loads((lake.current("fusion_arena").path / "arena.json").read_text(encoding="utf-8"))
    verdicts = {one["method"]: one["verdict"] for one in values["curve"]}
    assert counts["failed"] == 0
    assert counts["never_below_text_only"] is True
    assert verdicts[values["chosen"]] != "worse"
    assert verdicts["image"] == verdicts["equal weights"] == "worse", "the pictures do mislead who believes them"


def in_basket(number: int, product_id: str, *, kind: EventKind = "purchase", **who: str) -> Event:
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


def test_companions_come_from_the_baskets_of_sessions_and_of_users_without_one(
    ring: BenchmarkData, tmp_path: Path
) -> None:
    lake = copy_of(shop().lake, tmp_path / "lake")
    bought = [("p001", "s1"), ("p004", "s1"), ("p001", "s2"), ("p004", "s2"), ("p007", "s2"), ("gone", "s2")]
    events = [in_basket(number, product, session_id=session) for number, (product, session) in enumerate(bought)]
    events += [
        in_basket(10 + number, product, user_id="u", kind="add_to_cart")
        for number, product in enumerate(("p010", "p013"))
    ]
    events += [in_basket(20, "p016"), in_basket(21, "p019")]  # of nobody: no basket
    events += [
        in_basket(30, "p022", session_id="s1", kind="click"),
        in_basket(31, "p025", session_id="s1", kind="view"),
    ]
    EVENTS.publish(lake, EVENTS.from_rows([event_to_row(one) for one in events]))
    config = dataclasses.replace(CHEAP, imputers=("nothing", "bought together"), missing=(0.5,))
    companions = dict(named_imputers(config, lake, ring.retrieve))["bought together"]
    assert isinstance(companions, CoPurchaseImputer)
    pairs = dict(zip(map(tuple, companions.pairs_P2.tolist()), companions.counts_P.tolist(), strict=True))
    assert pairs == {(1, 4): 2.0, (1, 7): 1.0, (4, 7): 1.0, (10, 13): 1.0}
    counts = run(config, lake, QUIET)
    values = json.loads((lake.current("fusion_arena").path / "arena.json").read_text(encoding="utf-8"))
    assert counts["failed"] == 0
    assert {one["imputer"] for one in values["curve"]} == {"nothing", "bought together", ""}
    means = {
        imputer: {one["method"]: one["mean"] for one in values["curve"] if one["imputer"] == imputer}
        for imputer in config.imputers
    }
    assert means["nothing"]["image"] != means["bought together"]["image"]


def test_a_split_without_queries_is_refused(tmp_path: Path) -> None:
    lake = copy_of(shop().lake, tmp_path / "lake")
    rows = [row for row in QUERIES.read(lake.current("queries")).to_pylist() if row["split"] != "validation"]
    (lake.root / "queries").unlink()
    with lake.publish("queries") as folder:
        QUERIES.write_part(QUERIES.from_rows(rows), folder, 0)
    with pytest.raises(DataError, match=r"queries: split is 'no query of split validation'"):
        open_ring(lake, FLOORS, QUIET)


def test_a_split_without_a_relevant_product_is_refused(tmp_path: Path) -> None:
    lake = copy_of(shop().lake, tmp_path / "lake")
    train = {row["query_id"] for row in QUERIES.read(lake.current("queries")).to_pylist() if row["split"] == "train"}
    rows = JUDGMENTS.read(lake.current("judgments")).to_pylist()
    (lake.root / "judgments").unlink()
    with lake.publish("judgments") as folder:
        graded = [row | ({"grade": 0.0} if row["query_id"] in train else {}) for row in rows]
        JUDGMENTS.write_part(JUDGMENTS.from_rows(graded), folder, 0)
    with pytest.raises(DataError, match=rf"none above 0 for the {len(train)} queries of split train"):
        open_ring(lake, FLOORS, QUIET)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"missing": (0.0, 1.2)}, r"missing has 1.2; allowed: 0 to 1"),
        ({"imputers": ()}, r"imputers is empty; allowed: at least one"),
        ({"num_workers": -1}, r"num_workers is -1; allowed: 0 or more"),
        ({"num_folds": 1}, r"num_folds is 1; allowed: 2 or more"),
        ({"neighbours": 0}, r"neighbours is 0; allowed: 1 or more"),
        ({"curves_of": ("gatd",)}, r"curves_of has 'gatd', which does not enter; did you mean gated\?"),
        ({"curves_of": ("gated",), "kinds": ("weighted",)}, r"curves_of has 'gated', which does not enter; "),
        (
            {"imputers": ("generated",), "kinds": ("weighted",)},
            r"imputers has generated alone, which needs adversarial",
        ),
    ],
)
def test_a_config_refuses_what_cannot_be(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CompareFusionsConfig(**values)


def test_the_job_is_named_after_its_module() -> None:
    assert JOB.name == "compare_fusions"
