"""Smaller text towers: distillation (a student learns the vectors of its teacher) and pruning (weights, heads, units,
layers).

Distillation reads texts only, no judgments. Pruned weights are set to 0, which shrinks a model only where it is
compressed or run by sparse kernels; removed heads, units and layers make it smaller and faster everywhere. Distil after
pruning.

Measured with MiniLM on 2,500 titles of `fashion15k` and 500 queries, six layers cut to three, change of nDCG@10 of the
cosines after one epoch on 8,600 texts: -0.006 (± 0.018); without the term for cosines within a batch, at a third of the
rate, -0.013 (± 0.019): the difference between the two is not significant. On 3,700 texts without that term: -0.036 (±
0.021); the number of texts matters.

Letters: B texts of a global batch, b of them on one worker, N texts, T tokens, L layers, U inner units, D width.

Source: Hinton et al., arXiv:1503.02531; on sentence vectors: Reimers and Gurevych, EMNLP 2020, arXiv:2004.09813; layers
taken from the teacher: Sanh et al., arXiv:1910.01108; cosines within a batch: Tung and Mori, ICCV 2019,
arXiv:1907.09682.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers.pytorch_utils import Conv1D

from intarsia.encoders.clip import ClipTextTower
from intarsia.encoders.inputs import pad
from intarsia.encoders.pruned_heads import attention_layers, cut_heads, cut_neurons
from intarsia.encoders.torch_encoders import TorchTextEncoder
from intarsia.encoders.transformer import TextTower, TransformerTextEncoder
from intarsia.errors import ConfigError
from intarsia.training.task import Rows, Tensors

_STACKS = ("encoder.layer", "h", "layers")
"""Where models of `transformers` keep their layers: the BERT family, GPT-2, newer models."""
_SPAN = (1, 4)  # words of a span: the length of most queries
_HELD_OUT_SHARE = 0.05
_BATCH_COSINES_WEIGHT = 10.0  # scales a squared difference of cosines to the size of 1 - cosine


class DistillationTask:
    """`TrainingTask`: 1 - cosine of each text's vector to the teacher's, plus the difference of the cosines within a
    batch.

    Args:
        student: trained in place; must be as wide as the teacher.
        texts: read by both; see `with_spans`.
        teacher_ND: the teacher's unit vectors of the texts. The last 5 % of the texts are held out and measured.
    """

    def __init__(self, student: TorchTextEncoder, texts: Sequence[str], teacher_ND: NDArray[np.float32]) -> None:
        if student.dim != teacher_ND.shape[1]:
            raise ConfigError(
                f"the student is {student.dim} wide, its teacher {teacher_ND.shape[1]}; allowed: equal widths"
            )
        self._student = student
        self._tokens = student.tokenizer.ids(texts)
        self._teacher_ND = torch.from_numpy(np.array(teacher_ND))
        num_held_out = max(1, int(len(texts) * _HELD_OUT_SHARE))
        self._held_out_texts, self._held_out_ND = texts[-num_held_out:], teacher_ND[-num_held_out:]
        self._module = _DistilledTower(student.tower)
        self.num_examples = len(texts) - num_held_out

    @property
    def module(self) -> nn.Module:
        """Module with inputs token ids and mask, and output `vectors`."""
        return self._module

    def inputs(self, rows_b: Rows, step: int) -> Tensors:
        """Token ids of the texts, padded, and their mask."""
        ids_bT, mask_bT = pad([self._tokens[row] for row in rows_b], self._student.pad_id)
        return {"ids_NT": torch.from_numpy(ids_bT), "mask_NT": torch.from_numpy(mask_bT)}

    def loss(self, outputs: Tensors, rows_B: Rows) -> torch.Tensor:
        """1 - mean cosine to the teacher + 10 x mean squared difference of the cosines within the batch.

        The second term matters because the order of results depends on cosines between texts.
        """
        student_BD = outputs["vectors"]
        teacher_BD = self._teacher_ND[rows_B].to(student_BD.device)
        difference_BB = student_BD @ student_BD.T - teacher_BD @ teacher_BD.T
        return 1.0 - (student_BD * teacher_BD).sum(dim=1).mean() + _BATCH_COSINES_WEIGHT * difference_BB.square().mean()

    def measure(self) -> Mapping[str, float]:
        """Mean cosine to the teacher on the held-out texts."""
        student_ND = self._student.encode(self._held_out_texts)
        return {"cosine_to_teacher": float(np.vecdot(student_ND, self._held_out_ND).mean())}


def with_spans(texts: Sequence[str], seed: int) -> list[str]:
    """The distinct texts, and a span of one to four words of each, shuffled: queries are shorter than titles."""
    rng = np.random.default_rng(seed)
    distinct = dict.fromkeys(texts)
    for text in tuple(distinct):
        words = text.split()
        length = min(int(rng.integers(_SPAN[0], _SPAN[1] + 1)), len(words))
        start = int(rng.integers(0, len(words) - length + 1))
        distinct.setdefault(" ".join(words[start : start + length]))
    shuffled = list(distinct)
    rng.shuffle(shuffled)
    return shuffled


def keep_layers(teacher: TransformerTextEncoder, layers: Sequence[int]) -> TransformerTextEncoder:
    """A copy of a transformer that keeps some of its layers; `transformers` saves and loads it like any other.

    Args:
        teacher: not changed.
        layers: numbers of the layers to keep, from 0, ascending.

    Raises:
        ConfigError: no layer, a number out of range or out of order, or a model whose layers are not known; as
            `copy_transformer`.
    """
    model = copy_transformer(teacher)
    path, stack = _stack_of(model)
    if not layers or list(layers) != sorted(set(layers)) or layers[0] < 0 or layers[-1] >= len(stack):
        raise ConfigError(f"kept_layers is {list(layers)}; allowed: some of 0 to {len(stack) - 1}, ascending")
    owner = model.get_submodule(path.rpartition(".")[0])
    setattr(owner, path.rpartition(".")[2], nn.ModuleList(stack[number] for number in layers))
    model.config.num_hidden_layers = len(layers)
    return encoder_with(teacher, model)


def copy_transformer(encoder: TorchTextEncoder) -> Any:
    """Copy the transformer of an encoder, to prune it.

    Raises:
        ConfigError: it is one side of a CLIP model, or there is no transformer.
    """
    if isinstance(encoder.tower, TextTower):
        return copy.deepcopy(encoder.tower.transformer)
    if isinstance(encoder.tower, ClipTextTower):
        raise ConfigError(
            "the text side of a CLIP model cannot be pruned: its two sides belong together; choose another tower"
        )
    raise ConfigError(f"a {type(encoder.tower).__name__} has no transformer to prune; choose another tower")


def encoder_with(teacher: TransformerTextEncoder, model: nn.Module) -> TransformerTextEncoder:
    """An encoder with the teacher's tokenizer and pooling and another transformer; its space id is computed from the
    current weights.
    """
    tower = TextTower(model, teacher.config.pooling)
    return TransformerTextEncoder(teacher.config, tower, teacher.tokenizer, teacher.pad_id)


def _stack_of(model: nn.Module) -> tuple[str, nn.ModuleList]:
    for path in _STACKS:
        try:
            stack = model.get_submodule(path)
        except AttributeError:
            continue
        if isinstance(stack, nn.ModuleList):
            return path, stack
    raise ConfigError(
        f"the layers of a {type(model).__name__} were not found; allowed: models that keep them in {_STACKS}"
    )


class _DistilledTower(nn.Module):
    """A tower with named inputs and outputs, as the loop calls it."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, ids_NT: torch.Tensor, mask_NT: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"vectors": self.tower(ids_NT, mask_NT)}


_LINEAR = (nn.Linear, Conv1D)
"""Layers that multiply by a matrix; GPT-2's Conv1D stores it transposed."""


def prune_weights(encoder: TransformerTextEncoder, share: float) -> TransformerTextEncoder:
    """A copy whose smallest weights of matrix products, over all layers together, are 0.

    Args:
        encoder: not changed.
        share: share of the weights of all linear layers, 0 <= share < 1; embeddings and norms are not pruned.

    Raises:
        ConfigError: as `copy_transformer`.

    Source: Han et al., NeurIPS 2015, arXiv:1506.02626 (without the training between rounds).
    """
    assert 0.0 <= share < 1.0
    model = copy_transformer(encoder)
    linear = [module for name, module in model.named_modules() if isinstance(module, _LINEAR) and "pooler" not in name]
    sizes = torch.cat([module.weight.detach().abs().flatten() for module in linear])
    num_zeros = int(share * len(sizes))
    if num_zeros:
        limit = sizes.kthvalue(num_zeros).values
        with torch.no_grad():
            for module in linear:
                module.weight[module.weight.abs() <= limit] = 0.0
    return encoder_with(encoder, model)


def prune_heads(
    encoder: TransformerTextEncoder, num_cut: int, probes: Sequence[str]
) -> tuple[TransformerTextEncoder, NDArray[np.float64]]:
    """A copy without the attention heads whose removal changes the vectors of some texts least; every layer keeps at
    least one head.

    Args:
        encoder: of the BERT family; not changed.
        num_cut: number of heads to remove, over all layers.
        probes: texts of the catalog; they are encoded once per head.

    Returns:
        The copy, and the change of the vectors without each head: 1 - mean cosine, float64 [layers, heads].

    Source: Michel, Levy and Neubig, NeurIPS 2019, arXiv:1905.10650, section 3.2 (each head left out alone).
    """
    model = copy_transformer(encoder)
    change = _change_without_each_head(encoder, model, probes)
    removed: set[tuple[int, int]] = set()
    num_heads = change.shape[1]
    for flat_index in np.argsort(change, axis=None, kind="stable"):
        layer, head = divmod(int(flat_index), num_heads)
        if len(removed) < num_cut and sum(other == layer for other, _ in removed) < num_heads - 1:
            removed.add((layer, head))
    kept = [[head for head in range(num_heads) if (layer, head) not in removed] for layer in range(len(change))]
    cut_heads(model, kept)
    return encoder_with(encoder, model), change


def prune_units(encoder: TransformerTextEncoder, num_kept: int, probes: Sequence[str]) -> TransformerTextEncoder:
    """A copy whose feed-forward blocks keep the most important inner units: mean activation on some texts times the
    norm of the output weights.

    Args:
        encoder: of the BERT family; not changed.
        num_kept: units per layer.
        probes: texts of the catalog.
    """
    model = copy_transformer(encoder)
    attention_layers(model)
    sums = [_ActivationSum() for _ in model.encoder.layer]
    hooks = [
        layer.intermediate.register_forward_hook(activation_sum)
        for layer, activation_sum in zip(model.encoder.layer, sums, strict=True)
    ]
    encoder_with(encoder, model).encode(probes)
    for hook in hooks:
        hook.remove()
    kept = []
    for layer, activation_sum in zip(model.encoder.layer, sums, strict=True):
        importance_U = activation_sum.sum_U * layer.output.dense.weight.detach().norm(dim=0)
        kept.append(sorted(torch.topk(importance_U, num_kept).indices.tolist()))
    cut_neurons(model, kept)
    return encoder_with(encoder, model)


class _ActivationSum:
    """Forward hook that sums the absolute activations of the units of a layer."""

    def __init__(self) -> None:
        self.sum_U: torch.Tensor = torch.zeros(())

    def __call__(self, module: nn.Module, inputs: Any, states_NTU: torch.Tensor) -> None:
        self.sum_U = self.sum_U + states_NTU.abs().sum(dim=(0, 1))


def _change_without_each_head(
    encoder: TransformerTextEncoder, model: Any, probes: Sequence[str]
) -> NDArray[np.float64]:
    full_ND = encoder.encode(probes)
    blocks = attention_layers(model)
    change = np.zeros((len(blocks), blocks[0].self.num_attention_heads))
    trial = encoder_with(encoder, model)
    for number, block in enumerate(blocks):
        weight, width = block.output.dense.weight, block.self.attention_head_size
        for head in range(change.shape[1]):
            columns = slice(head * width, (head + 1) * width)
            with torch.no_grad():
                before = weight[:, columns].clone()
                weight[:, columns] = 0.0
                change[number, head] = 1.0 - float(np.vecdot(trial.encode(probes), full_ND).mean())
                weight[:, columns] = before
    return change
