"""The settings that all three stages of one release share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from intarsia.config import build, setting, to_jsonable
from intarsia.errors import ArtifactError, ConfigError
from intarsia.lake import write_json

FILE = "engine.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How deep to look, and what counts as a match."""

    depth: int = setting("candidates each retriever may bring, per query; never the page size", 200)
    rank_depth: int = setting("best fused candidates the ranker scores; also how far paging reaches", 200)
    text_floor: float = setting(
        "cosine from which a product matches by its text alone; -1 lets every product match", 0.3
    )
    image_floor: float = setting(
        "cosine from which a product matches by a picture alone; -1 lets every picture match", 0.3
    )
    aligned_floor: float = setting(
        "cosine of words and picture from which a product matches by that alone; 1 lets none match, the others bring the candidates",
        0.5,
    )
    judged_only: bool = setting(
        "re-ranking protocol: a judged query's candidates are its judged products alone; nothing changes online", False
    )

    def __post_init__(self) -> None:
        if self.depth < 1 or self.rank_depth < 1:
            raise ValueError(f"depth is {self.depth} and rank_depth {self.rank_depth}; allowed: 1 or more")
        for name in ("text_floor", "image_floor", "aligned_floor"):
            if not -1 <= (floor := getattr(self, name)) <= 1:
                raise ValueError(f"{name} is {floor}; allowed: -1..1")

    def floor_of(self, retriever: str) -> float:
        """The cosine from which a vector retriever matches."""
        floor: float = getattr(self, f"{retriever}_floor")
        return floor

    def save(self, folder: Path) -> None:
        """Write it beside the artefact that depends on it."""
        write_json(folder / FILE, to_jsonable(self))

    @classmethod
    def open(cls, folder: Path) -> EngineConfig:
        """The config an artefact was made with.

        Raises:
            ArtifactError: there is none, or it is not JSON, or it holds unknown fields or values that a config refuses.
        """
        path = folder / FILE
        try:
            return build(cls, json.loads(path.read_text(encoding="utf-8")), where="engine")
        except FileNotFoundError:
            raise ArtifactError(f"{path} does not exist; run search_fusion") from None
        except (json.JSONDecodeError, UnicodeDecodeError, ConfigError) as error:
            raise ArtifactError(f"{path} is not an engine config: {error}; run search_fusion again") from None
