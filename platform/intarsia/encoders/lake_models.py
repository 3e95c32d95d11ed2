"""Encoders that jobs of a lake have trained, and the settings that open them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from intarsia.config import build
from intarsia.encoders.config import LAKE_MODEL, ImageEncoderConfig, TextEncoderConfig
from intarsia.errors import ConfigError
from intarsia.lake import Lake

TEXT_TOWERS, IMAGE_TOWERS = ("text_tower", "small_text_tower"), ("image_tower",)
"""Lake entries. `model: lake:text_tower` uses one, with its own settings except batch_size."""
TOWER_SETTINGS, TOWER_CURVE = "training.json", "curve.json"
"""Files in the entry of a trained tower: settings and result of its fit, and its learning curve."""
TOWER_FOLDS = "folds"
"""In the entry of a text tower: a folder per fold of the train queries, with a tower trained without it."""

EncoderConfigT = TypeVar("EncoderConfigT", TextEncoderConfig, ImageEncoderConfig)


def resolve_lake_model(encoder: EncoderConfigT, towers: Sequence[str], lake: Lake) -> EncoderConfigT:
    """Replace `model: lake:<name>` by the folder of that tower and the settings it was trained with; other configs are
    returned unchanged.

    Args:
        encoder: settings of the user.
        towers: lake entries that are allowed here.
        lake: where the entries are.

    Raises:
        ConfigError: the name is not in `towers`.
        ArtifactError: the tower has not been trained.
    """
    if not encoder.model.startswith(LAKE_MODEL):
        return encoder
    name = encoder.model.removeprefix(LAKE_MODEL)
    if name not in towers:
        raise ConfigError(
            f"model is {encoder.model!r}; allowed here: {', '.join(LAKE_MODEL + tower for tower in towers)}"
        )
    entry = lake.current(name)
    stored = entry.notes.get("encoder")  # the folder of an image tower has its own settings
    trained_config = encoder if stored is None else build(type(encoder), stored, where=f"{entry.name}.encoder")
    return replace(trained_config, model=str(entry.path), batch_size=encoder.batch_size)


def lake_model_digest(encoder: TextEncoderConfig, lake: Lake) -> dict[str, str]:
    """The digest of the tower of this lake that a config names, by entry name; empty if it names none.

    Jobs use it to decide whether they are up to date.
    """
    name = encoder.model.removeprefix(LAKE_MODEL)
    return {name: lake.current(name).digest} if encoder.model.startswith(LAKE_MODEL) and lake.has(name) else {}


def text_tower_config(lake: Lake, fold: int | None = None) -> TextEncoderConfig:
    """The encoder config of the lake's text tower: of the serving one, or of the one trained without a fold of the
    train queries.

    Raises:
        ArtifactError: no tower was published.
        ConfigError: it has no such fold.
    """
    entry = lake.current("text_tower")
    num_folds = int(entry.notes["folds"])
    if fold is not None and fold not in range(num_folds):
        raise ConfigError(
            f"fold is {fold}, but the text tower of {lake.root} has {num_folds} folds; set finetune_text.folds"
        )
    folder = entry.path if fold is None else entry.path / TOWER_FOLDS / str(fold)
    config = build(TextEncoderConfig, entry.notes["encoder"], where="text_tower.encoder")
    return replace(config, model=str(folder))
