"""Fine-tuning of a text tower: the task that draws graded texts per anchor, encodes them, and computes the losses.

Losses: see `losses.py`. Examples: see `text_examples.py`.

Letters: B examples of a global batch, b of them on one worker, L texts per example, M = B * L, n texts of a worker, T
tokens, D width.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from intarsia.config import check_range, setting
from intarsia.encoders.inputs import pad
from intarsia.encoders.torch_encoders import TorchTextEncoder
from intarsia.training.adapters import Adapters
from intarsia.training.losses import RANKING_LOSSES, LossConfig, false_negatives, info_nce, symmetric_kl
from intarsia.training.task import Rows, Tensors
from intarsia.training.text_augmentation import TextAugmenter
from intarsia.training.text_examples import NO_GROUP, TextExample, draw_evenly

EncodeTexts = Callable[[Sequence[str]], NDArray[np.float32]]
TowerMetrics = Callable[[EncodeTexts], Mapping[str, float]]
"""Metrics of a tower on held-out examples, given its encode function."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPairsConfig:
    """Texts per example, and the losses."""

    texts_per_anchor: int = setting("texts of an example in one step, drawn evenly over its grades", 12, advanced=True)
    loss: LossConfig = setting("losses of the texts", factory=LossConfig, advanced=True)
    dropout: float | None = setting(
        "dropout rate of the tower during training; default: that of the model", None, advanced=True
    )

    def __post_init__(self) -> None:
        check_range(self, "texts_per_anchor", low=1)
        if self.dropout is not None:
            check_range(self, "dropout", low=0.0, high=1.0)


class PairTower(nn.Module):
    """The tower and the temperature: token ids of anchors and texts in, unit vectors out.

    Other data of each text that the loss needs passes through unchanged, so that it is gathered with the vectors.
    """

    def __init__(self, tower: nn.Module, config: LossConfig) -> None:
        super().__init__()
        self.tower = tower
        self._passes_twice = config.r_drop > 0
        self.log_temperature = nn.Parameter(
            torch.tensor(math.log(config.temperature)), requires_grad=config.learn_temperature
        )

    def forward(
        self,
        anchor_ids: torch.Tensor,
        anchor_mask: torch.Tensor,
        text_ids: torch.Tensor,
        text_mask: torch.Tensor,
        **facts: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Encode anchors and texts.

        Ids and masks are int64, [b, T] of the anchors and [b, L, T] of the texts. `facts` contains `is_present`, bool
        [b, L], and data of the texts.
        """
        is_present_bL = facts["is_present"]
        token_inputs = (anchor_ids, anchor_mask, text_ids[is_present_bL], text_mask[is_present_bL])
        outputs = dict(facts)
        for suffix in ("", "_again") if self._passes_twice and self.training else ("",):
            anchors_bD, texts_nD = self.tower(*token_inputs[:2]), self.tower(*token_inputs[2:])
            texts_bLD = texts_nD.new_zeros((*is_present_bL.shape, texts_nD.shape[1]))
            texts_bLD[is_present_bL] = texts_nD
            outputs[f"anchors{suffix}"], outputs[f"texts{suffix}"] = anchors_bD, texts_bLD
        return outputs


class TextPairsTask:
    """`TrainingTask` of a text tower.

    Args:
        encoder: its tower is trained in place.
        examples: training examples.
        config: texts per example, and losses.
        adapters: which weights of the tower are trained; None: all.
        augment: augments the texts of each step.
        figures: metrics for `measure`; None: no metrics.
        seed: of all random draws.
    """

    def __init__(
        self,
        encoder: TorchTextEncoder,
        examples: Sequence[TextExample],
        config: TextPairsConfig,
        *,
        adapters: Adapters | None = None,
        augment: TextAugmenter | None = None,
        figures: TowerMetrics | None = None,
        seed: int = 0,
    ) -> None:
        self._encoder, self._examples, self._config = encoder, list(examples), config
        self._adapters, self._augment, self._figures, self._seed = adapters, augment, figures, seed
        self._pair_tower = PairTower(encoder.tower, config.loss)
        self._anchor_number = _numbers(example.anchor for example in self._examples)
        self._text_number = _numbers(text for example in self._examples for text in example.texts)
        self._group_number = _numbers(
            group for example in self._examples for group in example.groups if group != NO_GROUP
        )
        self._log_q = _log_shares(self._examples)

    @property
    def module(self) -> nn.Module:
        """A `PairTower`."""
        return self._pair_tower

    @property
    def num_examples(self) -> int:
        """Anchors with their lists."""
        return len(self._examples)

    def inputs(self, rows_b: Rows, step: int) -> Tensors:
        """Tokens of the anchors and of L texts each, and data of the texts.

        `is_present` is False past the end of a list.
        """
        b, L = len(rows_b), self._config.texts_per_anchor
        grades_bL, is_present_bL = np.zeros((b, L), np.float32), np.zeros((b, L), np.bool_)
        keys_bL, groups_bL = np.full((b, L), -1, np.int64), np.full((b, L), -1, np.int64)
        log_q_bL, weights_b = np.zeros((b, L), np.float32), np.zeros(b, np.float32)
        anchors_b, anchors, texts = np.zeros(b, np.int64), [], []
        for i, row in enumerate(rows_b):
            example = self._examples[row]
            rng = np.random.default_rng((self._seed, step, int(row)))
            anchors.append(self._augmented(example.anchor, step, int(row), 0))
            anchors_b[i], weights_b[i] = self._anchor_number[example.anchor], example.weight
            for position, n in enumerate(draw_evenly(example.grades, L, rng)):
                text = example.texts[n]
                texts.append(self._augmented(text, step, int(row), 1 + n))
                grades_bL[i, position], is_present_bL[i, position] = example.grades[n], True
                keys_bL[i, position], log_q_bL[i, position] = self._text_number[text], self._log_q[text]
                groups_bL[i, position] = self._group_number.get(example.groups[n], -1)
        anchor_ids_bT, anchor_mask_bT = self._tokens(anchors)
        ids_nT, mask_nT = self._tokens(texts)
        text_ids_bLT = np.zeros((b, L, ids_nT.shape[1]), np.int64)
        text_mask_bLT = np.zeros_like(text_ids_bLT)
        text_ids_bLT[is_present_bL], text_mask_bLT[is_present_bL] = ids_nT, mask_nT
        arrays = {
            "anchor_ids": anchor_ids_bT,
            "anchor_mask": anchor_mask_bT,
            "text_ids": text_ids_bLT,
            "text_mask": text_mask_bLT,
            "is_present": is_present_bL,
            "grades": grades_bL,
            "keys": keys_bL,
            "groups": groups_bL,
            "log_q": log_q_bL,
            "weights": weights_b,
            "anchor_keys": anchors_b,
        }
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    def loss(self, outputs: Tensors, rows_B: Rows) -> torch.Tensor:
        """Weighted sum of in-batch contrast and order within each list; with R-Drop the mean of two passes and their
        difference.
        """
        config = self._config.loss
        passes = ["", "_again"] if "anchors_again" in outputs else [""]
        scores = [_cosines(outputs[f"anchors{suffix}"], outputs[f"texts{suffix}"]) for suffix in passes]
        total = torch.stack([self._one_pass(cosines_BM, outputs) for cosines_BM in scores]).mean()
        if len(passes) == 2:
            is_present_BM = outputs["is_present"].flatten()[None, :].expand_as(scores[0])
            temperature = self._pair_tower.log_temperature.exp()
            total = total + config.r_drop * symmetric_kl(
                scores[0] / temperature, scores[1] / temperature, is_present_BM
            )
        return total if self._adapters is None else total + self._adapters.penalty()

    def after_step(self, step: int, num_steps: int) -> None:
        if self._adapters is not None:
            self._adapters.after_step(step)

    def extra_state(self) -> dict[str, Any]:
        return {} if self._adapters is None else self._adapters.extra_state()

    def load_extra_state(self, state: Mapping[str, Any]) -> None:
        if self._adapters is not None:
            self._adapters.load_extra_state(state)

    def measure(self) -> Mapping[str, float]:
        return self._figures(self._encoder.encode) if self._figures is not None else {}

    def _one_pass(self, cosines_BM: torch.Tensor, outputs: Tensors) -> torch.Tensor:
        config, temperature = self._config.loss, self._pair_tower.log_temperature.exp()
        grades_BL, is_present_BL = outputs["grades"], outputs["is_present"]
        total = cosines_BM.new_zeros(())
        if config.ranking:
            own_BL = cosines_BM.view(len(grades_BL), *grades_BL.shape).diagonal(dim1=0, dim2=1).T
            scaled_BL = own_BL if config.ranking_kind == "cosine" else own_BL / temperature
            order = RANKING_LOSSES[config.ranking_kind](scaled_BL, grades_BL, is_present_BL, outputs["weights"])
            total = total + config.ranking * order
        if config.in_batch:
            positives_BM, negatives_BM = self._positives_and_negatives(outputs)
            log_q_M = outputs["log_q"].flatten() if config.log_q else None
            total = total + config.in_batch * info_nce(
                cosines_BM / temperature,
                positives_BM,
                negatives_BM,
                log_q_M=log_q_M,
                label_smoothing=config.label_smoothing,
            )
        return total

    def _positives_and_negatives(self, outputs: Tensors) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight of each text as a positive [B, M], and whether it is a negative, bool [B, M], for each anchor."""
        config, grades_BL, is_present_BL = self._config.loss, outputs["grades"], outputs["is_present"]
        B, L = grades_BL.shape
        own_BM = torch.eye(B, dtype=torch.bool, device=grades_BL.device).repeat_interleave(L, dim=1)
        gains_BL = (
            (torch.exp2(grades_BL) - 1.0)
            * (grades_BL >= config.good_grade)
            * is_present_BL
            * outputs["weights"][:, None]
        )
        positives_BM = own_BM * gains_BL.flatten()[None, :]
        bad_BM = own_BM & (grades_BL == 0).flatten()[None, :]
        negatives_BM = (~own_BM | bad_BM) & is_present_BL.flatten()[None, :]
        if config.mask_false_negatives:
            owners_M = outputs["anchor_keys"].repeat_interleave(L)
            keys_M, groups_M = outputs["keys"].flatten(), outputs["groups"].flatten()
            also_good_BM = false_negatives(positives_BM, keys_M, groups_M, outputs["anchor_keys"], owners_M)
            negatives_BM = negatives_BM & (~also_good_BM | bad_BM)
        return positives_BM, negatives_BM

    def _augmented(self, text: str, *seeds: int) -> str:
        return text if self._augment is None else self._augment(text, self._seed, *seeds)

    def _tokens(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return pad(self._encoder.tokenizer.ids(texts), self._encoder.pad_id)


def _cosines(anchors_BD: torch.Tensor, texts_BLD: torch.Tensor) -> torch.Tensor:
    return anchors_BD @ texts_BLD.flatten(0, 1).T


def _numbers(names: Iterable[str]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for name in names:
        numbers.setdefault(name, len(numbers))
    return numbers


def _log_shares(examples: Sequence[TextExample]) -> dict[str, float]:
    """Log of the number of lists with a text, relative to the mean text; 0 for all if all are listed equally often."""
    counts = Counter(text for example in examples for text in example.texts)
    mean = sum(counts.values()) / max(len(counts), 1)
    return {text: math.log(count / mean) for text, count in counts.items()}
