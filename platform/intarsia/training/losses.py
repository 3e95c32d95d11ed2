"""Losses on text vectors: order of the graded texts of one anchor, and contrast with the texts of other anchors.

Every function takes a whole batch and returns a scalar mean. `text_pairs.py` computes the vectors.

Letters: B anchors, L texts listed for one anchor, M = B * L texts of the batch, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
import torch.nn.functional as F

from intarsia.config import check_range, setting

RankingKind = Literal["pairs", "list_net", "cosent", "cosine"]
_HIGHEST_GRADE = 3.0
_MASKED = -1e30  # a score that no softmax counts; a row of -inf only would give NaN gradients


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Losses that are added up, and their settings."""

    in_batch: float = setting(
        "weight of the contrast with the texts of other anchors (InfoNCE); 0: off", 0.3, advanced=True
    )
    ranking: float = setting("weight of the order of the graded texts of one anchor; 0: off", 1.0, advanced=True)
    ranking_kind: RankingKind = setting(
        "loss of the order: pairs (RankNet weighted by the difference of grades), list_net, cosent, or cosine "
        "(regression of the cosine on the grade)",
        "pairs",
        advanced=True,
    )
    temperature: float = setting(
        "cosines are divided by it before any softmax; smaller is sharper", 0.05, advanced=True
    )
    learn_temperature: bool = setting("train the temperature with the tower", False, advanced=True)
    log_q: bool = setting("a text that is shown often counts less as a negative (logQ correction)", True, advanced=True)
    mask_false_negatives: bool = setting(
        "do not use texts of other anchors as negatives if they fit this anchor too: same text, same product group, "
        "judged good, same anchor",
        True,
        advanced=True,
    )
    label_smoothing: float = setting("share of the in-batch target that is spread over all texts", 0.0, advanced=True)
    r_drop: float = setting(
        "weight of the difference between two passes with different dropout (R-Drop); 0: one pass", 0.0, advanced=True
    )
    good_grade: float = setting(
        "texts of at least this grade are in-batch positives, weighted by 2^grade - 1", 2.0, advanced=True
    )

    def __post_init__(self) -> None:
        check_range(self, "in_batch", "ranking", "r_drop", low=0.0)
        check_range(self, "label_smoothing", low=0.0, high=1.0)
        check_range(self, "good_grade", low=0.0, high=_HIGHEST_GRADE)
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}; allowed: above 0")
        if not self.in_batch and not self.ranking:
            raise ValueError("in_batch and ranking are both 0: there is no loss; set one of them above 0")


def info_nce(
    scores_BM: torch.Tensor,
    positives_BM: torch.Tensor,
    negatives_BM: torch.Tensor,
    *,
    log_q_M: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Each positive against all negatives of its anchor: -log(e^s+ / (e^s+ + sum e^s-)), weighted.

    Args:
        scores_BM: cosines divided by the temperature.
        positives_BM: weight of each text as a positive of each anchor; 0: not a positive.
        negatives_BM: bool; a text that is neither a positive nor a negative is ignored.
        log_q_M: log of the frequency of each text relative to the mean text; subtracted from the scores.
        label_smoothing: share of the target that is spread evenly over the positive and its negatives.

    Returns:
        The weighted mean over positives; 0 if the batch has none.

    Source: van den Oord et al., arXiv:1807.03748, eq. 4; logQ: Yi et al., RecSys 2019, eq. 3,
    doi:10.1145/3298689.3346996 (there log q itself; a constant added to it changes nothing among in-batch texts, and
    keeps the value of mined negatives at 0).

    >>> scores_BM = torch.zeros(1, 2)
    >>> info_nce(scores_BM, torch.tensor([[1.0, 0.0]]), torch.tensor([[False, True]])).exp().round().item()
    2.0
    """
    logits_BM = scores_BM if log_q_M is None else scores_BM - log_q_M
    rest_B1 = logits_BM.masked_fill(~negatives_BM, _MASKED).logsumexp(dim=1, keepdim=True)
    total_BM = torch.logaddexp(logits_BM, rest_B1)
    losses_BM = total_BM - logits_BM
    if label_smoothing:
        num_B1 = negatives_BM.sum(dim=1, keepdim=True)
        mean_BM = (logits_BM + (logits_BM * negatives_BM).sum(dim=1, keepdim=True)) / (num_B1 + 1)
        losses_BM = (1.0 - label_smoothing) * losses_BM + label_smoothing * (total_BM - mean_BM)
    return _weighted_mean(losses_BM, positives_BM)


def false_negatives(
    positives_BM: torch.Tensor,
    keys_M: torch.Tensor,
    groups_M: torch.Tensor,
    anchors_B: torch.Tensor,
    owners_M: torch.Tensor,
) -> torch.Tensor:
    """Which texts of other anchors fit an anchor, bool [B, M].

    Args:
        positives_BM: weight of each text as a positive, in the anchor's own list.
        keys_M: number of the text; equal texts have equal numbers.
        groups_M: number of the product group; below 0: none.
        anchors_B: number of the anchor's text.
        owners_M: number of the text of the anchor in whose list a text is.
    """
    good_BM = positives_BM > 0
    same_text_MM = keys_M[:, None] == keys_M[None, :]
    same_group_MM = (groups_M[:, None] == groups_M[None, :]) & (groups_M >= 0)[:, None]
    same_MM = (same_text_MM | same_group_MM).to(torch.float32)
    fits_BM = (good_BM.to(torch.float32) @ same_MM) > 0
    return (fits_BM | (anchors_B[:, None] == owners_M[None, :])) & ~good_BM


def pairs_loss(
    scores_BL: torch.Tensor, grades_BL: torch.Tensor, is_present_BL: torch.Tensor, weights_B: torch.Tensor
) -> torch.Tensor:
    """log(1 + e^(s_worse - s_better)) over the pairs of one list, weighted by the difference of their grades.

    Source: RankNet, Burges et al., ICML 2005, eq. 3, doi:10.1145/1102351.1102363; the weights are ours.
    """
    differences_BLL = scores_BL[:, None, :] - scores_BL[:, :, None]
    weights_BLL = (grades_BL[:, :, None] - grades_BL[:, None, :]).clamp(min=0.0)
    weights_BLL = weights_BLL * (is_present_BL[:, :, None] & is_present_BL[:, None, :]) * weights_B[:, None, None]
    return _weighted_mean(F.softplus(differences_BLL), weights_BLL)


def list_net_loss(
    scores_BL: torch.Tensor, grades_BL: torch.Tensor, is_present_BL: torch.Tensor, weights_B: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of the softmax of the grades and that of the scores, the mean over lists.

    Source: ListNet with top-one probabilities, Cao et al., ICML 2007, eq. 2, doi:10.1145/1273496.1273513
    """
    target_BL = grades_BL.masked_fill(~is_present_BL, -torch.inf).softmax(dim=1)
    log_predicted_BL = scores_BL.masked_fill(~is_present_BL, -torch.inf).log_softmax(dim=1)
    losses_B = -(target_BL * log_predicted_BL.masked_fill(~is_present_BL, 0.0)).sum(dim=1)
    return _weighted_mean(losses_B, weights_B)


def cosent_loss(
    scores_BL: torch.Tensor, grades_BL: torch.Tensor, is_present_BL: torch.Tensor, weights_B: torch.Tensor
) -> torch.Tensor:
    """log(1 + sum w e^(s_worse - s_better)) over all pairs of the same list in the batch.

    Source: CoSENT, Su Jianlin, kexue.fm/archives/8847 (2022), eq. 5; there over all pairs, here within one anchor.
    """
    differences_BLL = scores_BL[:, None, :] - scores_BL[:, :, None] + weights_B.log()[:, None, None]
    is_pair_BLL = (
        (grades_BL[:, :, None] > grades_BL[:, None, :]) & is_present_BL[:, :, None] & is_present_BL[:, None, :]
    )
    return torch.cat([differences_BLL.new_zeros(1), differences_BLL[is_pair_BLL]]).logsumexp(dim=0)


def cosine_loss(
    cosines_BL: torch.Tensor, grades_BL: torch.Tensor, is_present_BL: torch.Tensor, weights_B: torch.Tensor
) -> torch.Tensor:
    """Squared difference of the cosine and grade / 3.

    Source: the regression objective of Reimers and Gurevych, EMNLP 2019, section 3, doi:10.18653/v1/D19-1410
    """
    return _weighted_mean((cosines_BL - grades_BL / _HIGHEST_GRADE).square(), is_present_BL * weights_B[:, None])


class RankingLoss(Protocol):
    """A loss of the order of lists."""

    def __call__(
        self,
        scores_BL: torch.Tensor,
        grades_BL: torch.Tensor,
        is_present_BL: torch.Tensor,
        weights_B: torch.Tensor,
        /,
    ) -> torch.Tensor:
        """Scalar loss of scores and grades where `is_present_BL`, each list with its weight."""
        ...


RANKING_LOSSES: Mapping[RankingKind, RankingLoss] = {
    "pairs": pairs_loss,
    "list_net": list_net_loss,
    "cosent": cosent_loss,
    "cosine": cosine_loss,
}


def symmetric_kl(first_BM: torch.Tensor, second_BM: torch.Tensor, is_present_BM: torch.Tensor) -> torch.Tensor:
    """(KL(p||q) + KL(q||p)) / 2 of the softmaxes of two passes over the same texts, mean over rows; 0 if they are
    equal.

    Source: R-Drop, Liang et al., NeurIPS 2021, eq. 2. arXiv:2106.14448
    """
    p_BM, q_BM = (
        scores_BM.masked_fill(~is_present_BM, -torch.inf).log_softmax(dim=1) for scores_BM in (first_BM, second_BM)
    )
    p_BM, q_BM = (log_BM.masked_fill(~is_present_BM, 0.0) for log_BM in (p_BM, q_BM))
    gap_BM = (p_BM.exp() - q_BM.exp()) * (p_BM - q_BM)
    return 0.5 * (gap_BM * is_present_BM).sum(dim=1).mean()


def _weighted_mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    counted = torch.where(weights > 0, values, torch.zeros_like(values))  # a value with weight 0 may be infinite
    return (counted * weights).sum() / weights.sum().clamp(min=torch.finfo(torch.float32).tiny)
