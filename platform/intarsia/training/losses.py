"""What is asked of vectors: graded texts near their anchor in the right order, far from the texts of other anchors.

Every function takes whole batches and gives a scalar mean; where vectors come from is `text_pairs.py`'s matter.

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
_NOWHERE = -1e30  # a score that no softmax sees; of -inf alone torch has no gradient


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """Which losses are added up, and their parts."""

    in_batch: float = setting(
        "weight of the contrast with the texts of the other anchors (InfoNCE); 0 leaves it out", 0.3
    )
    ranking: float = setting("weight of the order of the graded texts of one anchor; 0 leaves it out", 1.0)
    ranking_kind: RankingKind = setting(
        "how an order is asked for: pairs (RankNet, weighed by the grades' difference), list_net, cosent, or cosine (the cosine itself "
        "is the grade); does nothing when ranking is 0",
        "pairs",
    )
    temperature: float = setting("cosines are divided by it before any softmax; small sharpens", 0.05)
    learn_temperature: bool = setting("the temperature is a parameter that is trained with the tower", False)
    log_q: bool = setting("a text that is shown often counts less as a negative (logQ correction)", True)
    mask_false_negatives: bool = setting(
        "texts of other anchors that are good here too are no negatives: same text, same product group, judged good, same anchor",
        True,
    )
    label_smoothing: float = setting("share of the in-batch target that is spread over all texts", 0.0)
    r_drop: float = setting(
        "weight of the difference between two passes with other dropout (R-Drop); 0 makes one pass", 0.0
    )
    good_grade: float = setting("texts of at least this grade are in-batch positives, weighed by 2^grade - 1", 2.0)

    def __post_init__(self) -> None:
        check_range(self, "in_batch", "ranking", "r_drop", low=0.0)
        check_range(self, "label_smoothing", low=0.0, high=1.0)
        check_range(self, "good_grade", low=0.0, high=_HIGHEST_GRADE)
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}; allowed: above 0")
        if not self.in_batch and not self.ranking:
            raise ValueError("in_batch and ranking are both 0: nothing is asked of the tower; set one of them")


def info_nce(
    scores_BM: torch.Tensor,
    positives_BM: torch.Tensor,
    negatives_BM: torch.Tensor,
    *,
    log_q_M: torch.Tensor | None = None,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Each positive against all negatives of its anchor: -log(e^s+ / (e^s+ + sum e^s-)), weighed.

    Args:
        scores_BM: cosines over the temperature.
        positives_BM: weight of each text as a positive of each anchor; 0 is none.
        negatives_BM: bool; neither a positive nor a negative is left out of the sum.
        log_q_M: log of how much more often than the average text each text is shown; taken off the scores.
        label_smoothing: share of the target that is spread evenly over the positive and its negatives.

    Returns:
        The weighted mean over positives; 0 when the batch has none.

    Source: van den Oord et al., arXiv:1807.03748, eq. 4; logQ: Yi et al., RecSys 2019, eq. 3, doi:10.1145/3298689.3346996
    (there log q itself; a constant added to it changes nothing among in-batch texts, and lets mined negatives stand at 0).
    """
    logits_BM = scores_BM if log_q_M is None else scores_BM - log_q_M
    rest_B1 = logits_BM.masked_fill(~negatives_BM, _NOWHERE).logsumexp(dim=1, keepdim=True)
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
    """Bool [B, M]: texts that are good for an anchor though they stand in another one's list.

    Args:
        positives_BM: weight of each text as a positive, of the own list.
        keys_M: number of the text; equal texts have equal numbers.
        groups_M: number of the product group, below 0 for none.
        anchors_B: number of the anchor's text.
        owners_M: number of the anchor's text in whose list a text stands.
    """
    good_BM = positives_BM > 0
    same_text_MM = keys_M[:, None] == keys_M[None, :]
    same_group_MM = (groups_M[:, None] == groups_M[None, :]) & (groups_M >= 0)[:, None]
    alike_MM = (same_text_MM | same_group_MM).to(torch.float32)
    reached_BM = (good_BM.to(torch.float32) @ alike_MM) > 0
    return (reached_BM | (anchors_B[:, None] == owners_M[None, :])) & ~good_BM


def pairs_loss(
    scores_BL: torch.Tensor, grades_BL: torch.Tensor, there_BL: torch.Tensor, weights_B: torch.Tensor
) -> torch.Tensor:
    """log(1 + e^(s_worse - s_better)) over the pairs of one list, weighed by the difference of their grades.

    Source: RankNet, Burges et al., ICML 2005, eq. 3, doi:10.1145/1102351.1102363; the weights are ours.
    """
    behind_BLL = scores_BL[:, None, :] - scores_BL[:, :, None]
    weights_BLL = (grades_BL[:, :, None] - grades_BL[:, None, :]).clamp(min=0.0)
    weights_BLL = weights_BLL * (there_BL[:, :, None] & there_BL[:, None, :]) * weights_B[:, None, None]
    return _weighted_mean(F.softplus(behind_BLL), weights_BLL)


def list_net_loss(
    scores_BL: torch.Tensor, grades_BL: torch.Tensor, there_BL: torch.Tensor, weights_B: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of the softmax of the grades and that of the scores, the mean over lists.

    Source: ListNet with top-one probabilities, Cao et al., ICML 2007, eq. 2, doi:10.1145/1273496.1273513
    """
    wanted_BL = grades_BL.masked_fill(~there_BL, -torch.inf).softmax(dim=1)
    log_found_BL = scores_BL.masked_fill(~there_BL, -torch.inf).log_softmax(dim=1)
    losses_B = -(wanted_BL * log_found_BL.masked_fill(~there_BL, 0.0)).sum(dim=1)
    return _weighted_mean(losses_B, weights_B)


def cosent_loss(
    scores_BL: torch.Tensor, grades_BL: torch.Tensor, there_BL: torch.Tensor, weights_B: torch.Tensor
) -> torch.Tensor:
    """log(1 + sum w e^(s_worse - s_better)) over all pairs of the same list in the batch.

    Source: CoSENT, Su Jianlin, kexue.fm/archives/8847 (2022), eq. 5; there over all pairs, here over those with one anchor.
    """
    behind_BLL = scores_BL[:, None, :] - scores_BL[:, :, None] + weights_B.log()[:, None, None]
    asked_BLL = (grades_BL[:, :, None] > grades_BL[:, None, :]) & there_BL[:, :, None] & there_BL[:, None, :]
    return torch.cat([behind_BLL.new_zeros(1), behind_BLL[asked_BLL]]).logsumexp(dim=0)


def cosine_loss(
    cosines_BL: torch.Tensor, grades_BL: torch.Tensor, there_BL: torch.Tensor, weights_B: torch.Tensor
) -> torch.Tensor:
    """Squared difference of the cosine and grade / 3.

    Source: the regression objective of Reimers and Gurevych, EMNLP 2019, section 3, doi:10.18653/v1/D19-1410
    """
    return _weighted_mean((cosines_BL - grades_BL / _HIGHEST_GRADE).square(), there_BL * weights_B[:, None])


class RankingLoss(Protocol):
    """What asks for the order of lists."""

    def __call__(
        self,
        scores_BL: torch.Tensor,
        grades_BL: torch.Tensor,
        there_BL: torch.Tensor,
        weights_B: torch.Tensor,
        /,
    ) -> torch.Tensor:
        """A scalar: of scores and grades where a text is there, each list with its weight."""
        ...


RANKING_LOSSES: Mapping[RankingKind, RankingLoss] = {
    "pairs": pairs_loss,
    "list_net": list_net_loss,
    "cosent": cosent_loss,
    "cosine": cosine_loss,
}


def symmetric_kl(first_BM: torch.Tensor, second_BM: torch.Tensor, there_BM: torch.Tensor) -> torch.Tensor:
    """(KL(p||q) + KL(q||p)) / 2 of the softmaxes of two passes over the same texts, the mean over rows; 0 when they agree.

    Source: R-Drop, Liang et al., NeurIPS 2021, eq. 2. arXiv:2106.14448
    """
    p_BM, q_BM = (
        scores_BM.masked_fill(~there_BM, -torch.inf).log_softmax(dim=1) for scores_BM in (first_BM, second_BM)
    )
    p_BM, q_BM = (log_BM.masked_fill(~there_BM, 0.0) for log_BM in (p_BM, q_BM))
    gap_BM = (p_BM.exp() - q_BM.exp()) * (p_BM - q_BM)
    return 0.5 * (gap_BM * there_BM).sum(dim=1).mean()


def _weighted_mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    counted = torch.where(weights > 0, values, torch.zeros_like(values))  # what weighs nothing may be infinite
    return (counted * weights).sum() / weights.sum().clamp(min=torch.finfo(torch.float32).tiny)
