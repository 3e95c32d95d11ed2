"""Losses against arithmetic by hand and against plain loops."""

from __future__ import annotations

import math

import pytest
import torch

from intarsia.training.losses import (
    RANKING_LOSSES,
    LossConfig,
    RankingKind,
    cosent_loss,
    cosine_loss,
    false_negatives,
    info_nce,
    list_net_loss,
    pairs_loss,
    symmetric_kl,
)

YES, ONE = torch.tensor([[True, True, True]]), torch.ones(1)


def test_info_nce_of_one_positive_and_one_negative_matches_its_formula() -> None:
    scores_BM = torch.tensor([[2.0, 1.0]])
    loss = info_nce(scores_BM, torch.tensor([[1.0, 0.0]]), torch.tensor([[False, True]]))
    assert loss.item() == pytest.approx(-math.log(math.e**2 / (math.e**2 + math.e)))


def test_positives_of_info_nce_are_averaged_and_do_not_compete() -> None:
    scores_BM = torch.tensor([[2.0, 0.5, 1.0, 9.0]])
    loss = info_nce(scores_BM, torch.tensor([[3.0, 1.0, 0.0, 0.0]]), torch.tensor([[False, False, True, False]]))
    first, second = math.log(1 + math.e ** (1.0 - 2.0)), math.log(1 + math.e ** (1.0 - 0.5))
    assert loss.item() == pytest.approx((3 * first + second) / 4)


def test_a_text_that_is_shown_twice_as_often_counts_half_as_a_negative() -> None:
    positives_BM, negatives_BM = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[False, True, True]])
    log_q_M = torch.tensor([0.0, math.log(2.0), 0.0])
    loss = info_nce(torch.zeros(1, 3), positives_BM, negatives_BM, log_q_M=log_q_M)
    assert loss.item() == pytest.approx(math.log(1 + 0.5 + 1))


def test_a_constant_in_log_q_changes_nothing() -> None:
    scores_BM, positives_BM = torch.randn(4, 8, generator=torch.Generator().manual_seed(1)), torch.eye(4).repeat(1, 2)
    negatives_BM = positives_BM == 0
    to_jsonable = info_nce(scores_BM, positives_BM, negatives_BM)
    assert info_nce(scores_BM, positives_BM, negatives_BM, log_q_M=torch.full((8,), 3.0)).item() == pytest.approx(
        to_jsonable.item()
    )


def test_label_smoothing_spreads_its_share_evenly() -> None:
    scores_BM = torch.tensor([[2.0, 1.0, 0.0]])
    loss = info_nce(
        scores_BM, torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[False, True, True]]), label_smoothing=0.3
    )
    log_p = torch.log_softmax(scores_BM[0], dim=0)
    assert loss.item() == pytest.approx(-(0.7 * log_p[0] + 0.3 * log_p.mean()).item())


def test_a_batch_without_negatives_or_positives_has_loss_0() -> None:
    for positives_BM in (torch.tensor([[1.0, 1.0]]), torch.zeros(1, 2)):
        scores_BM = torch.tensor([[0.3, 0.1]], requires_grad=True)
        loss = info_nce(scores_BM, positives_BM, torch.zeros(1, 2, dtype=torch.bool))
        loss.backward()
        assert loss.item() == 0.0
        assert scores_BM.grad is not None and torch.isfinite(scores_BM.grad).all()


def test_false_negatives_have_the_same_text_group_or_anchor() -> None:
    positives_BM = torch.tensor([[1.0, 0, 0, 0, 0], [0, 0.0, 1, 1, 0], [0, 0, 0, 0, 1]])
    keys_M, groups_M = torch.tensor([7, 8, 7, 9, 5]), torch.tensor([-1, -1, -1, 4, 4])
    anchors_B, owners_M = torch.tensor([0, 1, 0]), torch.tensor([0, 0, 1, 1, 0])
    result = false_negatives(positives_BM, keys_M, groups_M, anchors_B, owners_M)
    assert result.tolist() == [
        [False, True, True, False, True],  # text 7 again; both lists of anchor 0
        [True, False, False, False, True],  # text 7 again; group 4
        [True, True, False, True, False],  # lists of anchor 0; group 4
    ]


def test_pairs_loss_weighs_each_pair_by_the_difference_of_its_grades() -> None:
    loss = pairs_loss(torch.tensor([[1.0, 0.0, 0.5]]), torch.tensor([[0.0, 2.0, 3.0]]), YES, ONE)
    wanted = (2 * math.log(1 + math.e**1) + 3 * math.log(1 + math.e**0.5) + 1 * math.log(1 + math.e**-0.5)) / 6
    assert loss.item() == pytest.approx(wanted)


def test_list_net_is_the_cross_entropy_of_two_softmaxes() -> None:
    grades_BL, scores_BL = torch.tensor([[0.0, 2.0, 3.0]]), torch.tensor([[1.0, 0.0, 0.5]])
    wanted = -(grades_BL.softmax(1) * scores_BL.log_softmax(1)).sum()
    assert list_net_loss(scores_BL, grades_BL, YES, ONE).item() == pytest.approx(wanted.item())


def test_cosent_pools_the_pairs_of_all_lists() -> None:
    scores_BL, grades_BL = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 1.0], [0.0, 3.0]])
    loss = cosent_loss(scores_BL, grades_BL, torch.ones(2, 2, dtype=torch.bool), torch.ones(2))
    assert loss.item() == pytest.approx(math.log(1 + math.e**1 + math.e**-2))


def test_cosine_loss_regresses_on_a_third_of_the_grade() -> None:
    loss = cosine_loss(torch.tensor([[0.5, 1.0]]), torch.tensor([[3.0, 3.0]]), YES[:, :2], ONE)
    assert loss.item() == pytest.approx(0.125)


@pytest.mark.parametrize("kind", RANKING_LOSSES)
def test_empty_positions_change_nothing(kind: RankingKind) -> None:
    scores_BL, grades_BL = torch.tensor([[0.3, 0.9, 0.1]]), torch.tensor([[3.0, 0.0, 1.0]])
    loss = RANKING_LOSSES[kind](scores_BL, grades_BL, YES, ONE)
    wider = RANKING_LOSSES[kind](
        torch.cat([scores_BL, torch.tensor([[0.7]])], dim=1),
        torch.cat([grades_BL, torch.tensor([[2.0]])], dim=1),
        torch.tensor([[True, True, True, False]]),
        ONE,
    )
    assert wider.item() == pytest.approx(loss.item())


@pytest.mark.parametrize("kind", RANKING_LOSSES)
def test_a_better_order_costs_less(kind: RankingKind) -> None:
    grades_BL = torch.tensor([[3.0, 1.0, 0.0]])
    good, bad = torch.tensor([[0.9, 0.4, 0.1]]), torch.tensor([[0.1, 0.4, 0.9]])
    loss = RANKING_LOSSES[kind]
    assert loss(good, grades_BL, YES, ONE) < loss(bad, grades_BL, YES, ONE)


def test_symmetric_kl_is_the_mean_of_both_directions() -> None:
    first_BM, second_BM = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[0.0, 0.0, 2.0]])
    p, q = first_BM.softmax(1), second_BM.softmax(1)
    wanted = 0.5 * ((p * (p / q).log()).sum() + (q * (q / p).log()).sum())
    assert symmetric_kl(first_BM, second_BM, YES).item() == pytest.approx(wanted.item())
    assert symmetric_kl(first_BM, first_BM, YES).item() == 0.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0; allowed: above 0"),
        ({"in_batch": 0.0, "ranking": 0.0}, "in_batch and ranking are both 0"),
        ({"r_drop": -1.0}, "r_drop is -1.0"),
        ({"label_smoothing": 1.5}, "label_smoothing is 1.5"),
    ],
)
def test_invalid_settings_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LossConfig(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", RANKING_LOSSES)
def test_a_list_of_weight_0_is_ignored(kind: RankingKind) -> None:
    scores_BL = torch.tensor([[0.1, 0.4, 0.3], [0.9, -0.2, 0.5]])
    grades_BL = torch.tensor([[3.0, 0.0, 1.0], [0.0, 3.0, 2.0]])
    is_present_BL = YES.expand(2, 3)
    loss = RANKING_LOSSES[kind]
    even = loss(scores_BL, grades_BL, is_present_BL, torch.ones(2))
    first = loss(scores_BL, grades_BL, is_present_BL, torch.tensor([1.0, 0.0]))
    assert first.item() == pytest.approx(loss(scores_BL[:1], grades_BL[:1], YES, ONE).item())
    light = loss(scores_BL, grades_BL, is_present_BL, torch.tensor([1.0, 0.2]))
    assert min(first, even) < light < max(first, even)
