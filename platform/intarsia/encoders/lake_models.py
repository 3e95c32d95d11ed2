"""Encoders that jobs of a lake have trained: which there are, and the settings that open them. Who trains them is `pipelines/`' matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from intarsia.config import build
from intarsia.encoders.config import LAKE_MODEL, ImageEncoderConfig, TextEncoderConfig
from intarsia.errors import ConfigError
from intarsia.lake import Lake

TEXT_TOWERS, IMAGE_TOWERS = ("text_tower", "small_text_tower"), ("image_tower",)
"""Lake entries; `model: lake:text_tower` takes one, and its own settings but for batch_size."""
FOLDS = "folds"
"""In a text tower's entry: a folder per fold of the train queries, with a tower that did not see it."""

EncoderConfigT = TypeVar("EncoderConfigT", TextEncoderConfig, ImageEncoderConfig)


def resolve_lake_model(encoder: EncoderConfigT, towers: Sequence[str], lake: Lake) -> EncoderConfigT:
    """The settings with the folder of a tower that was trained in this lake, where they name one; it reads as it did when it learned.

    Args:
        encoder: the settings a user wrote.
        towers: the entries that may be named here.
        lake: where they are.

    Raises:
        ConfigError: no tower that may be named here has that name.
        ArtifactError: it was not trained yet.
    """
    if not encoder.model.startswith(LAKE_MODEL):
        return encoder
    name = encoder.model.removeprefix(LAKE_MODEL)
    if name not in towers:
        raise ConfigError(f"model is {encoder.model!r}; allowed here: {', '.join(LAKE_MODEL + one for one in towers)}")
    entry = lake.current(name)
    told = entry.notes.get("encoder")  # an image tower's folder says all itself
    own = encoder if told is None else build(type(encoder), told, where=f"{entry.name}.encoder")
    return replace(own, model=str(entry.path), batch_size=encoder.batch_size)


def lake_model_digest(encoder: TextEncoderConfig, lake: Lake) -> dict[str, str]:
    """The digest of the tower of this lake that the settings name, as what decides whether a job is up to date; empty if they name none."""
    name = encoder.model.removeprefix(LAKE_MODEL)
    return {name: lake.current(name).digest} if encoder.model.startswith(LAKE_MODEL) and lake.has(name) else {}


def text_tower_config(lake: Lake, fold: int | None = None) -> TextEncoderConfig:
    """The encoder settings of the lake's tower: of the one that serves, or of the one that did not see a fold of the train queries.

    Raises:
        ArtifactError: no tower was published.
        ConfigError: it has no such fold.
    """
    entry = lake.current("text_tower")
    num_folds = int(entry.notes["folds"])
    if fold is not None and fold not in range(num_folds):
        raise ConfigError(
            f"the tower of {lake.root} has {num_folds} folds, fold {fold} was asked for; set finetune_text.folds"
        )
    folder = entry.path if fold is None else entry.path / FOLDS / str(fold)
    config = build(TextEncoderConfig, entry.notes["encoder"], where="text_tower.encoder")
    return replace(config, model=str(folder))
