from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from intarsia.engine.config import ENGINE_CONFIG, EngineConfig
from intarsia.errors import ArtifactError


def test_a_saved_config_opens_equal(tmp_path: Path) -> None:
    config = EngineConfig(depth=7, rank_depth=3, text_floor=-1.0, image_floor=0.25, judged_only=True)
    config.save(tmp_path)
    assert EngineConfig.open(tmp_path) == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"depth": 0}, "depth is 0 and rank_depth 200; allowed: 1 or more"),
        ({"rank_depth": -1}, "depth is 200 and rank_depth -1; allowed: 1 or more"),
        ({"text_floor": 1.5}, r"text_floor is 1.5; allowed: -1 to 1"),
        ({"image_floor": float("nan")}, r"image_floor is nan; allowed: -1 to 1"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EngineConfig(**settings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "engine.json does not exist. Fix: run search_fusion"),
        ("{", "engine.json is not an engine config: Expecting .*. Fix: run search_fusion again"),
        ("[]", r"engine.json is not an engine config: engine is \[\]"),
        ('{"deep": 3}', "engine.json is not an engine config: unknown setting engine.deep; did you mean depth?"),
        ('{"depth": 0}', "engine.json is not an engine config: engine: depth is 0"),
    ],
)
def test_a_missing_or_damaged_config_names_the_job_to_run(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / ENGINE_CONFIG).write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError, match=message):
        EngineConfig.open(tmp_path)
