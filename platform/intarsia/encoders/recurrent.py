"""Small text towers without attention, as baselines: a bidirectional LSTM, and a deep network over the mean word
vector.

Letters: N texts, T tokens, E width of a token's vector, H width of one direction's state, D width of the vector.

Source: Hochreiter and Schmidhuber, Neural Computation 1997, doi:10.1162/neco.1997.9.8.1735; Schuster and Paliwal, IEEE
TSP 1997, doi:10.1109/78.650093 (both directions); Iyyer et al., ACL 2015, doi:10.3115/v1/P15-1162 (deep averaging
network).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch
from tokenizers import Tokenizer
from torch import nn

from intarsia.encoders.config import TOWER_FILE, TextEncoderConfig
from intarsia.encoders.inputs import TextTokenizer
from intarsia.encoders.pooling import mean_of_tokens, unit_rows
from intarsia.encoders.protocol import digest_arrays, name_space
from intarsia.encoders.torch_encoders import TorchTextEncoder
from intarsia.errors import ArtifactError
from intarsia.ids import sha256_bytes
from intarsia.lake import write_json

_WEIGHTS_FILE, _TOKENS_FILE = "model.safetensors", "tokenizer.json"
_PAD_ID = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurrentShape:
    """Architecture of a tower; `num_layers` counts LSTM layers, or hidden layers over the mean."""

    kind: Literal["bilstm", "dnn"]
    num_tokens: int
    token_width: int = 64
    width: int = 64
    num_layers: int = 1


class BiLstmTower(nn.Module):
    """Word vectors, LSTMs in both directions, mean over tokens, normalisation."""

    def __init__(self, shape: RecurrentShape) -> None:
        super().__init__()
        half = shape.width // 2
        widths_in = [shape.token_width] + [shape.width] * (shape.num_layers - 1)
        self.words = nn.Embedding(shape.num_tokens, shape.token_width)
        self.forwards = nn.ModuleList(nn.LSTM(width, half, batch_first=True) for width in widths_in)
        self.backwards = nn.ModuleList(nn.LSTM(width, half, batch_first=True) for width in widths_in)

    def forward(self, ids_NT: torch.Tensor, mask_NT: torch.Tensor) -> torch.Tensor:
        """Unit vectors [N, D] of int64 ids and mask.

        The backward direction runs forward over each row reversed within its own length, so padding comes last in both
        directions and does not change the states before it. (Packed sequences do the same, but not every exporter
        supports them.)
        """
        reversed_NT = _reversed_positions(mask_NT)
        states_NTE = self.words(ids_NT)
        for ahead, back in zip(self.forwards, self.backwards, strict=True):
            ahead_NTH, _ = ahead(states_NTE)
            back_NTH, _ = back(_gather_rows(states_NTE, reversed_NT))
            states_NTE = torch.cat([ahead_NTH, _gather_rows(back_NTH, reversed_NT)], dim=2)
        return unit_rows(mean_of_tokens(states_NTE, mask_NT))


class DnnTower(nn.Module):
    """Mean word vector, ReLU layers, normalisation; the order of the words is ignored."""

    def __init__(self, shape: RecurrentShape) -> None:
        super().__init__()
        self.words = nn.Embedding(shape.num_tokens, shape.token_width)
        steps: list[nn.Module] = []
        width_in = shape.token_width
        for _ in range(shape.num_layers):
            steps += [nn.Linear(width_in, shape.width), nn.ReLU()]
            width_in = shape.width
        self.layers = nn.Sequential(*steps, nn.Linear(width_in, shape.width))

    def forward(self, ids_NT: torch.Tensor, mask_NT: torch.Tensor) -> torch.Tensor:
        """Unit vectors [N, D] of int64 ids and mask."""
        return unit_rows(self.layers(mean_of_tokens(self.words(ids_NT), mask_NT)))


class RecurrentTextEncoder(TorchTextEncoder):
    """A `TorchTextEncoder` of one of these towers; `save` writes the folder that `open_recurrent` reads."""

    def __init__(
        self, config: TextEncoderConfig, shape: RecurrentShape, tower: nn.Module, tokenizer: Tokenizer
    ) -> None:
        reader = TextTokenizer(tokenizer, max_tokens=config.max_tokens, reading=config.reading, prefix=config.prefix)
        weights = digest_arrays((name, tensor.numpy()) for name, tensor in tower.state_dict().items())
        settings = {
            "reading": config.reading,
            "prefix": config.prefix,
            "tokenizer": sha256_bytes(reader.content().encode()),
            "architecture": asdict(shape),
        }
        super().__init__(config, tower, reader, _PAD_ID, name_space("text", weights, settings))
        self.shape = shape

    def save(self, folder: Path) -> None:
        """Save architecture, weights and tokenizer to a new folder."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / TOWER_FILE, asdict(self.shape))
        safetensors.torch.save_file(self.tower.state_dict(), folder / _WEIGHTS_FILE)
        self.tokenizer.save(folder / _TOKENS_FILE)


def build_recurrent(shape: RecurrentShape) -> nn.Module:
    """Build a tower with random weights."""
    return BiLstmTower(shape) if shape.kind == "bilstm" else DnnTower(shape)


def open_recurrent(config: TextEncoderConfig) -> RecurrentTextEncoder:
    """Open a folder of `RecurrentTextEncoder.save`.

    Raises:
        ArtifactError: weights or tokenizer are missing, or do not match the architecture.
    """
    folder = Path(config.model)
    shape = RecurrentShape(**json.loads((folder / TOWER_FILE).read_text(encoding="utf-8")))
    for name in (_WEIGHTS_FILE, _TOKENS_FILE):
        if not (folder / name).is_file():
            raise ArtifactError(f"{folder / name} is missing; run `intarsia job finetune_text` again")
    tower = build_recurrent(shape)
    try:
        tower.load_state_dict(safetensors.torch.load_file(folder / _WEIGHTS_FILE))
    except RuntimeError as error:
        raise ArtifactError(f"{folder / _WEIGHTS_FILE} does not match {TOWER_FILE}: {error}") from None
    return RecurrentTextEncoder(config, shape, tower, Tokenizer.from_file(str(folder / _TOKENS_FILE)))


def _reversed_positions(mask_NT: torch.Tensor) -> torch.Tensor:
    """Positions that reverse each row within its length and leave its padding; int64 [N, T], its own inverse."""
    positions_NT = torch.arange(mask_NT.shape[1], device=mask_NT.device).expand(mask_NT.shape[0], -1)
    return torch.where(mask_NT == 1, mask_NT.sum(dim=1, keepdim=True) - 1 - positions_NT, positions_NT)


def _gather_rows(rows_NTE: torch.Tensor, at_NT: torch.Tensor) -> torch.Tensor:
    return torch.gather(rows_NTE, 1, at_NT.unsqueeze(2).expand(-1, -1, rows_NTE.shape[2]))
