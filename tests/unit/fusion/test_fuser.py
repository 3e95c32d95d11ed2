from __future__ import annotations

import numpy as np
import pytest

from intarsia.errors import ReleaseMismatch
from intarsia.fusion.batch import pack
from intarsia.fusion.fuser import SPEC_METHODS, SpecFuser, fuse_batch, query_kinds, query_weights
from intarsia.fusion.spec import FusionSpec
from intarsia.ids import ReleaseId
from intarsia.maths.simplex import simplex_grid
from intarsia.records.candidates import Candidates

NAN = float("nan")


def candidates(scores: dict[str, list[float]], ranks: dict[str, list[int]], *, first_row: int = 10) -> Candidates:
    num = len(next(iter(scores.values())))
    return Candidates(
        release_id=ReleaseId("r-1"),
        rows_C=np.arange(first_row, first_row + num, dtype=np.int64),
        retrievers=tuple(scores),
        scores_CR=np.array(list(scores.values()), np.float32).T.copy(),
        ranks_CR=np.array(list(ranks.values()), np.int32).T.copy(),
        views_C=np.full(num, -1, np.int32),
    )


def fused(spec: FusionSpec, query_candidates: Candidates) -> dict[int, float]:
    """Fused scores by row."""
    result = SpecFuser(spec).fuse(query_candidates)
    assert result.fused_C is not None
    return dict(zip(result.rows_C.tolist(), result.fused_C.tolist(), strict=True))


def test_reciprocal_ranks_add_up_over_retrievers() -> None:
    query = candidates({"bm25": [9.0, 4.0, 1.0], "text": [0.2, 0.9, 0.1]}, {"bm25": [1, 2, 0], "text": [2, 1, 3]})
    expected = {10: 1 / 61 + 1 / 62, 11: 1 / 62 + 1 / 61, 12: 1 / 63}
    assert fused(FusionSpec(kind="rrf"), query) == pytest.approx(expected)


def test_weights_multiply_reciprocal_ranks() -> None:
    query = candidates({"bm25": [9.0, 4.0], "text": [0.2, 0.9]}, {"bm25": [1, 2], "text": [2, 1]})
    spec = FusionSpec(kind="rrf", weights={"bm25": 1.0, "text": 3.0}, rrf_k=1)
    assert fused(spec, query) == pytest.approx({10: 1 / 2 + 3 / 3, 11: 1 / 3 + 3 / 2})


def test_a_convex_fusion_is_the_weighted_mean_of_normalised_scores() -> None:
    query = candidates({"bm25": [10.0, 5.0, 0.0], "text": [0.2, 0.6, 0.4]}, {"bm25": [1, 2, 3], "text": [3, 1, 2]})
    spec = FusionSpec(kind="convex", weights={"bm25": 3.0, "text": 1.0})
    assert fused(spec, query) == pytest.approx({10: 0.75, 11: 0.75 * 0.5 + 0.25, 12: 0.25 * 0.5})


def test_equal_is_convex_with_equal_weights() -> None:
    query = candidates({"bm25": [10.0, 5.0, 0.0], "text": [0.2, 0.6, 0.4]}, {"bm25": [1, 2, 3], "text": [3, 1, 2]})
    convex = FusionSpec(kind="convex", weights={"bm25": 0.5, "text": 0.5})
    assert fused(FusionSpec(kind="equal"), query) == fused(convex, query)


@pytest.mark.parametrize("kind", sorted(SPEC_METHODS))
def test_a_single_hit_has_a_score_above_zero(kind: str) -> None:
    query = candidates({"bm25": [3.0], "text": [0.4]}, {"bm25": [1], "text": [0]})
    assert fused(FusionSpec(kind=kind), query)[10] > 0  # type: ignore[arg-type]


def test_no_candidates_give_no_scores() -> None:
    empty = candidates({"bm25": [], "text": []}, {"bm25": [], "text": []})
    assert [fused(FusionSpec(kind=kind), empty) for kind in SPEC_METHODS] == [{}] * len(SPEC_METHODS)


def test_a_product_without_image_gets_the_mean_image_score_of_the_query() -> None:
    scores = {
        "text": [0.5, 0.5, 0.1, 0.1],
        "image": [0.9, NAN, 0.3, 0.3],
    }  # image scores are 1, 0 and 0 when normalised
    query = candidates(scores, {"text": [1, 2, 3, 4], "image": [1, 0, 2, 3]})
    assert fused(FusionSpec(kind="equal"), query) == pytest.approx({10: 1.0, 11: (1 + 1 / 3) / 2, 12: 0.0, 13: 0.0})


def test_with_missing_lowest_it_gets_the_lowest_image_score() -> None:
    query = candidates({"text": [0.5, 0.5, 0.1], "image": [0.9, NAN, 0.3]}, {"text": [1, 2, 3], "image": [1, 0, 2]})
    assert fused(FusionSpec(kind="equal", missing="lowest"), query) == pytest.approx({10: 1.0, 11: 0.5, 12: 0.0})


def test_with_missing_renormalise_it_is_scored_by_its_text_only() -> None:
    query = candidates({"text": [0.5, 0.5, 0.1], "image": [0.9, NAN, 0.3]}, {"text": [1, 2, 3], "image": [1, 0, 2]})
    spec = FusionSpec(kind="equal", missing="renormalise")
    assert fused(spec, query) == pytest.approx({10: 1.0, 11: 1.0, 12: 0.0})


def test_a_retriever_that_scores_nothing_leaves_its_weight_to_the_others() -> None:
    query = candidates({"bm25": [4.0, 2.0], "image": [NAN, NAN]}, {"bm25": [1, 2], "image": [0, 0]})
    spec = FusionSpec(kind="convex", weights={"bm25": 0.1, "image": 0.9})
    assert fused(spec, query) == pytest.approx({10: 1.0, 11: 0.0})


def test_candidates_below_the_depth_are_dropped_and_their_ranks_ignored() -> None:
    query = candidates({"bm25": [4.0, 2.0, 1.0], "text": [0.1, 0.9, 0.2]}, {"bm25": [1, 2, 3], "text": [3, 1, 2]})
    assert fused(FusionSpec(kind="rrf", depth=1), query) == pytest.approx({10: 1 / 61, 11: 1 / 61})


def test_weights_by_kind_are_chosen_by_the_retrievers_that_score() -> None:
    text = candidates({"bm25": [4.0, 2.0], "image": [NAN, NAN]}, {"bm25": [1, 2], "image": [0, 0]})
    image = candidates({"bm25": [NAN, NAN], "image": [0.3, 0.9]}, {"bm25": [0, 0], "image": [2, 1]})
    both = candidates({"bm25": [4.0, 2.0], "image": [0.3, 0.9]}, {"bm25": [1, 2], "image": [2, 1]})
    batch = pack([text, image, both])
    spec = FusionSpec(
        kind="convex",
        weights={"bm25": 1.0, "image": 1.0},
        weights_by_kind={"both": {"bm25": 0.2, "image": 0.8}},
    )
    assert query_kinds(batch).tolist() == ["text", "image", "both"]
    assert query_weights(spec, batch).T.tolist() == [[1.0, 1.0], [1.0, 1.0], [0.2, 0.8]]
    assert fused(spec, both) == pytest.approx({10: 0.2, 11: 0.8})


def test_an_image_query_gets_results_even_if_images_have_weight_zero() -> None:
    image = candidates({"bm25": [NAN, NAN], "image": [0.3, 0.9]}, {"bm25": [0, 0], "image": [2, 1]})
    spec = FusionSpec(kind="convex", weights={"bm25": 1.0, "image": 0.0})
    assert fused(spec, image) == {10: 0.0, 11: 1.0}


def test_an_absent_retriever_counts_as_one_that_scores_nothing() -> None:
    up = candidates({"bm25": [4.0, 2.0], "text": [0.1, 0.9]}, {"bm25": [1, 2], "text": [2, 1]})
    down = candidates({"bm25": [4.0, 2.0]}, {"bm25": [1, 2]})
    spec = FusionSpec(kind="convex", weights={"bm25": 0.4, "text": 0.6})
    batch = fuse_batch(spec, pack([up, down]))
    assert batch.fused_n.tolist() == pytest.approx([0.4, 0.6, 1.0, 0.0])
    assert fused(spec, down) == {10: 1.0, 11: 0.0}


def test_a_retriever_without_a_weight_in_the_spec_is_refused() -> None:
    query = candidates({"bm25": [4.0], "sound": [0.1]}, {"bm25": [1], "sound": [1]})
    spec = FusionSpec(kind="rrf", weights={"bm25": 1.0, "text": 1.0})
    with pytest.raises(ReleaseMismatch, match=r"no weight for sound, only for bm25, text. Fix: run search_fusion"):
        SpecFuser(spec).fuse(query)


def test_a_negative_rank_is_refused() -> None:
    query = candidates({"bm25": [4.0, 2.0]}, {"bm25": [1, -1]})
    with pytest.raises(ValueError, match=r"rank -1 at candidate 1, retriever bm25"):
        pack([query])


def test_a_hit_without_a_score_is_refused() -> None:
    query = candidates({"bm25": [4.0, NAN]}, {"bm25": [1, 2]})
    with pytest.raises(ValueError, match=r"candidate 1 was returned by bm25 without a score"):
        pack([query])


def test_an_empty_simplex_is_refused() -> None:
    with pytest.raises(ValueError, match=r"num_parts is 0 and num_steps 3"):
        simplex_grid(0, 3)
