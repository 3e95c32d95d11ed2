"""A smaller tower that learns the vectors of a larger one, on texts alone: no judgment is needed.

Letters: B texts of a global batch, b of them on one worker, N texts, T tokens, L layers, D width.
With MiniLM on 2,500 titles of `fashion15k` and 500 queries, six layers cut to three, nDCG@10 of the cosines after one epoch on 8,600 texts:
-0.006 (± 0.018); without the term for cosines within a batch, at a third of the rate, -0.013 (± 0.019): no difference between the two is
proven. On 3,700 texts without that term it is -0.036 (± 0.021): the number of texts counts.

Source: Hinton et al., arXiv:1503.02531; on sentence vectors: Reimers and Gurevych, EMNLP 2020, arXiv:2004.09813; layers taken from the
teacher: Sanh et al., arXiv:1910.01108; cosines within a batch: Tung and Mori, ICCV 2019, arXiv:1907.09682.


What of a transformer can go: its smallest weights (set to 0), its least used heads and inner units (cut out).

Zeros shrink a model only for who compresses it or has sparse kernels; cut heads and units shrink and speed up every runtime. After a cut
`distil.py` teaches the rest what was lost.

Letters: N texts, T tokens, U inner units, D width.
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
"""Where the models of `transformers` keep their layers: BERT and its kin, GPT-2, newer ones."""
_SPAN = (1, 4)  # words of a cut-out span: as long as most queries
_HELD_OUT_SHARE = 0.05
_RELATIONS = 10.0  # brings a squared difference of cosines to the size of 1 - cosine


class DistillationTask:
    """`Learner`: 1 - cosine of each text's vector to the teacher's, and the cosines between the texts of a batch as the teacher has them.

    Args:
        student: trained in place; as wide as the teacher.
        texts: what both read; see `with_spans`.
        teacher_ND: the teacher's unit vectors of the texts, computed once. The last 5 % of the texts are held out and measured.
    """

    def __init__(self, student: TorchTextEncoder, texts: Sequence[str], teacher_ND: NDArray[np.float32]) -> None:
        if student.dim != teacher_ND.shape[1]:
            raise ConfigError(
                f"the student is {student.dim} wide, its teacher {teacher_ND.shape[1]}; they must be equally wide"
            )
        self._student = student
        self._tokens = student.tokenizer.ids(texts)
        self._teacher_ND = torch.from_numpy(np.array(teacher_ND))
        num_held = max(1, int(len(texts) * _HELD_OUT_SHARE))
        self._held_texts, self._held_ND = texts[-num_held:], teacher_ND[-num_held:]
        self._module = _Named(student.tower)
        self.num_examples = len(texts) - num_held

    @property
    def module(self) -> nn.Module:
        """Token ids and mask in, `vectors` out."""
        return self._module

    def inputs(self, rows_b: Rows, step: int) -> Tensors:
        """Tokens of these texts, padded."""
        ids_bT, mask_bT = pad([self._tokens[row] for row in rows_b], self._student.pad_id)
        return {"ids_NT": torch.from_numpy(ids_bT), "mask_NT": torch.from_numpy(mask_bT)}

    def loss(self, outputs: Tensors, rows_B: Rows) -> torch.Tensor:
        """1 - mean cosine to the teacher + 10 x mean squared difference of the cosines within the batch: what orders results is these."""
        found_BD = outputs["vectors"]
        teacher_BD = self._teacher_ND[rows_B].to(found_BD.device)
        off_BB = found_BD @ found_BD.T - teacher_BD @ teacher_BD.T
        return 1.0 - (found_BD * teacher_BD).sum(dim=1).mean() + _RELATIONS * off_BB.square().mean()

    def measure(self) -> Mapping[str, float]:
        """Mean cosine to the teacher on the held-out texts."""
        found_ND = self._student.encode(self._held_texts)
        return {"cosine_to_teacher": float(np.vecdot(found_ND, self._held_ND).mean())}


def with_spans(texts: Sequence[str], seed: int) -> list[str]:
    """The different texts, and of each a span of one to four words, shuffled: queries are shorter than titles."""
    rng = np.random.default_rng(seed)
    found = dict.fromkeys(texts)
    for text in tuple(found):
        words = text.split()
        length = min(int(rng.integers(_SPAN[0], _SPAN[1] + 1)), len(words))
        start = int(rng.integers(0, len(words) - length + 1))
        found.setdefault(" ".join(words[start : start + length]))
    shuffled = list(found)
    rng.shuffle(shuffled)
    return shuffled


def keep_layers(teacher: TransformerTextEncoder, kept: Sequence[int]) -> TransformerTextEncoder:
    """A copy of a transformer with some of its layers, which `transformers` saves and opens as any other.

    Args:
        teacher: stays as it is.
        kept: numbers of the layers to keep, ascending, from 0.

    Raises:
        ConfigError: no layers, layers that do not exist or stand twice, or a model whose layers are not found; as `copied_transformer`.
    """
    model = copy_transformer(teacher)
    place, stack = _stack_of(model)
    if not kept or list(kept) != sorted(set(kept)) or kept[0] < 0 or kept[-1] >= len(stack):
        raise ConfigError(f"kept layers are {list(kept)}; allowed: some of 0 to {len(stack) - 1}, ascending")
    parent = model.get_submodule(place.rpartition(".")[0])
    setattr(parent, place.rpartition(".")[2], nn.ModuleList(stack[number] for number in kept))
    model.config.num_hidden_layers = len(kept)
    return encoder_with(teacher, model)


def copy_transformer(encoder: TorchTextEncoder) -> Any:
    """A copy of the transformer under an encoder, to be cut.

    Raises:
        ConfigError: it belongs to a model of two sides, or there is none.
    """
    if isinstance(encoder.tower, TextTower):
        return copy.deepcopy(encoder.tower.transformer)
    if isinstance(encoder.tower, ClipTextTower):
        raise ConfigError("the text side of a CLIP model stays whole: its two sides belong together; cut another tower")
    raise ConfigError(f"a {type(encoder.tower).__name__} has no transformer that could be cut; take another tower")


def encoder_with(teacher: TransformerTextEncoder, model: nn.Module) -> TransformerTextEncoder:
    """The teacher's reading and pooling over another transformer; its space is named after the weights as they are now."""
    tower = TextTower(model, teacher.config.pooling)
    return TransformerTextEncoder(teacher.config, tower, teacher.tokenizer, teacher.pad_id)


def _stack_of(model: nn.Module) -> tuple[str, nn.ModuleList]:
    for place in _STACKS:
        try:
            stack = model.get_submodule(place)
        except AttributeError:
            continue
        if isinstance(stack, nn.ModuleList):
            return place, stack
    raise ConfigError(
        f"the layers of a {type(model).__name__} are not found; allowed: models that keep them in {_STACKS}"
    )


class _Named(nn.Module):
    """A tower as the loop calls it."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, ids_NT: torch.Tensor, mask_NT: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"vectors": self.tower(ids_NT, mask_NT)}


_LINEAR = (nn.Linear, Conv1D)
"""Layers that multiply with a matrix; GPT-2's hold it turned round."""


def prune_weights(encoder: TransformerTextEncoder, share: float) -> TransformerTextEncoder:
    """A copy whose smallest weights of matrix products, over all layers together, are 0.

    Args:
        encoder: stays as it is.
        share: of the weights of all linear layers, 0 <= share < 1; embeddings and norms are left alone.

    Raises:
        ConfigError: as `copied_transformer`.

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
    """A copy without the heads whose absence moves the vectors of some texts least; every layer keeps one at least.

    Args:
        encoder: a BERT or its kin; stays as it is.
        num_cut: heads that go, over all layers.
        probes: texts of the catalog; one pass over them per head.

    Returns:
        The copy, and of each layer and head how far it moves the vectors: 1 - mean cosine, float64 [layers, heads].

    Source: Michel, Levy and Neubig, NeurIPS 2019, arXiv:1905.10650, section 3.2 (each head left out alone).
    """
    model = copy_transformer(encoder)
    moved = _moved_without(encoder, model, probes)
    gone: set[tuple[int, int]] = set()
    num_heads = moved.shape[1]
    for flat in np.argsort(moved, axis=None, kind="stable"):
        layer, head = divmod(int(flat), num_heads)
        if len(gone) < num_cut and sum(other == layer for other, _ in gone) < num_heads - 1:
            gone.add((layer, head))
    kept = [[head for head in range(num_heads) if (layer, head) not in gone] for layer in range(len(moved))]
    cut_heads(model, kept)
    return encoder_with(encoder, model), moved


def prune_units(encoder: TransformerTextEncoder, num_kept: int, probes: Sequence[str]) -> TransformerTextEncoder:
    """A copy whose feed-forward blocks keep the inner units that say most: mean activation on some texts, by the norm of what it is
    multiplied with.

    Args:
        encoder: a BERT or its kin; stays as it is.
        num_kept: units per layer.
        probes: texts of the catalog.
    """
    model = copy_transformer(encoder)
    attention_layers(model)
    said = [_Said() for _ in model.encoder.layer]
    hooks = [
        layer.intermediate.register_forward_hook(hear) for layer, hear in zip(model.encoder.layer, said, strict=True)
    ]
    encoder_with(encoder, model).encode(probes)
    for hook in hooks:
        hook.remove()
    kept = []
    for layer, hear in zip(model.encoder.layer, said, strict=True):
        worth_U = hear.sum_U * layer.output.dense.weight.detach().norm(dim=0)
        kept.append(sorted(torch.topk(worth_U, num_kept).indices.tolist()))
    cut_neurons(model, kept)
    return encoder_with(encoder, model)


class _Said:
    """Sums what the units of a layer say, without its sign."""

    def __init__(self) -> None:
        self.sum_U: torch.Tensor = torch.zeros(())

    def __call__(self, module: nn.Module, given: Any, states_NTU: torch.Tensor) -> None:
        self.sum_U = self.sum_U + states_NTU.abs().sum(dim=(0, 1))


def _moved_without(encoder: TransformerTextEncoder, model: Any, probes: Sequence[str]) -> NDArray[np.float64]:
    whole_ND = encoder.encode(probes)
    blocks = attention_layers(model)
    moved = np.zeros((len(blocks), blocks[0].self.num_attention_heads))
    trial = encoder_with(encoder, model)
    for number, block in enumerate(blocks):
        weight, width = block.output.dense.weight, block.self.attention_head_size
        for head in range(moved.shape[1]):
            columns = slice(head * width, (head + 1) * width)
            with torch.no_grad():
                before = weight[:, columns].clone()
                weight[:, columns] = 0.0
                moved[number, head] = 1.0 - float(np.vecdot(trial.encode(probes), whole_ND).mean())
                weight[:, columns] = before
    return moved
