"""The settings that the three stages of a release share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from intarsia.config import build, check_range, setting, to_jsonable
from intarsia.errors import ArtifactError, ConfigError
from intarsia.lake import write_json

ENGINE_CONFIG = "engine.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Number of candidates per stage, and what counts as a match.

    >>> EngineConfig(depth=100).floor_of("text")
    0.3
    """

    depth: int = setting("candidates that each retriever returns per query", 200)
    rank_depth: int = setting(
        "best fused candidates that the ranker scores; also the last position that paging reaches", 200
    )
    text_floor: float = setting(
        "least cosine of query text and product text for a match; -1: every product matches", 0.3
    )
    image_floor: float = setting(
        "least cosine of query image and product image for a match; -1: every product with an image matches",
        0.3,
    )
    aligned_floor: float = setting(
        "least cosine of query text and product image for a match; 1: no product matches by that alone",
        0.5,
    )
    judged_only: bool = setting(
        "re-ranking protocol for judged queries: only the judged products are candidates; no effect on serving",
        False,
    )

    def __post_init__(self) -> None:
        if self.depth < 1 or self.rank_depth < 1:
            raise ValueError(f"depth is {self.depth} and rank_depth {self.rank_depth}; allowed: 1 or more")
        check_range(self, "text_floor", "image_floor", "aligned_floor", low=-1, high=1)

    def floor_of(self, retriever: str) -> float:
        """Return the least cosine at which a product matches by a vector retriever."""
        floor: float = getattr(self, f"{retriever}_floor")
        return floor

    def save(self, folder: Path) -> None:
        """Write the config to the folder of the artefact that depends on it."""
        write_json(folder / ENGINE_CONFIG, to_jsonable(self))

    @classmethod
    def open(cls, folder: Path) -> EngineConfig:
        """Read the config that an artefact was made with.

        Raises:
            ArtifactError: the file is missing or not JSON, or has unknown settings or values that are not allowed.
        """
        path = folder / ENGINE_CONFIG
        try:
            return build(cls, json.loads(path.read_text(encoding="utf-8")), where="engine")
        except FileNotFoundError:
            raise ArtifactError(f"{path} does not exist. Fix: run search_fusion") from None
        except (json.JSONDecodeError, UnicodeDecodeError, ConfigError) as error:
            raise ArtifactError(f"{path} is not an engine config: {error}. Fix: run search_fusion again") from None
