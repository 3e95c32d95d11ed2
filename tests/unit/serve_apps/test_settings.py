"""Settings of serving: read from `serve run` arguments and Serve config files, refused with the nearest known name."""

from __future__ import annotations

from pathlib import Path

import pytest

from intarsia.errors import ArtifactError, ConfigError
from serve_apps.settings import Budgets, Limits, Replicas, ServingConfig, serving_config


def test_dotted_and_nested_settings_are_the_same() -> None:
    dotted = serving_config({"lake": "/lake", "budgets.ranker_ms": "40", "replicas.num_cpus": 0.1})
    nested = serving_config({"lake": "/lake", "budgets": {"ranker_ms": 40}, "replicas": {"num_cpus": 0.1}})
    assert dotted == nested
    assert dotted.budgets.ranker_ms == 40


def test_names_that_look_like_numbers_stay_names() -> None:
    config = serving_config({"lake": "2026", "release": "007", "journal": "1e3"})
    assert (config.lake.name, config.release, config.journal_folder.name) == ("2026", "007", "1e3")


def test_the_journal_is_in_the_lake_by_default() -> None:
    assert ServingConfig(lake=Path("/lake")).journal_folder == Path("/lake/journal")


def test_the_served_log_is_in_the_lake_by_default() -> None:
    assert ServingConfig(lake=Path("/lake")).served_folder == Path("/lake/served")
    assert serving_config({"lake": "/lake", "served": "7"}).served_folder.name == "7"


def test_without_a_live_release_there_is_nothing_to_serve(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no release is live"):
        ServingConfig(lake=tmp_path).release_folder()
    assert ServingConfig(lake=tmp_path, release="r-1").release_folder() == tmp_path / "releases" / "r-1"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({}, "lake is required"),
        ({"lake": "/l", "topologie": "fused"}, "did you mean topology"),
        ({"lake": "/l", "topology": "split"}, "allowed: 'fused', 'composed'"),
        ({"lake": "/l", "budgets.rank_ms": "1"}, "did you mean ranker_ms"),
        ({"lake": "/l", "budgets.ranker_ms": "-1"}, "ranker_ms is -1; allowed: 0 or more"),
        ({"lake": "/l", "limits.max_hits": "0"}, "max_hits is 0; allowed: 1 or more"),
        ({"lake": "/l", "replicas.ingress": "0"}, "allowed: counts of 1 or more"),
        ({"lake": "/l", "replicas.fuser": "-1"}, "fuser and num_cpus of 0 or more"),
        ({"lake": "/l", "refresh_s": "-1.0"}, "refresh_s is -1.0; allowed: 0 or more"),
        ({"lake": "/l", "served_share": "1.1"}, "served_share is 1.1; allowed: 0 to 1"),
        ({"lake": "/l", "served_share": ".nan"}, "served_share is nan; allowed: 0 to 1"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(args: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        serving_config(args)


def test_defaults_are_allowed_values() -> None:
    assert (Budgets(), Limits(), Replicas()) == (Budgets(), Limits(), Replicas())
