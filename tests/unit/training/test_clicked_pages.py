"""The request log joined to the events: which pages become examples, and which do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from intarsia.encoders.config import TextEncoderConfig
from intarsia.encoders.open import open_text_encoder
from intarsia.errors import ConfigError
from intarsia.ids import ProductId
from intarsia.lake import Lake
from intarsia.training.clicks import ClicksConfig, read_click_examples
from intarsia.training.text_augmentation import AugmentConfig
from intarsia.training.text_training_data import TextTrainingData
from intarsia.training.text_training_sources import SourceName, SourcesConfig, read_catalog, read_text_training_data
from pipelines.finetune_text import JOB, FinetuneTextConfig
from tests.clicked_shop import fill_with_visits
from tests.judged_shop import TITLES, fill_with_judged_shop, split_of

PAGE = ("p04", "p05", "p06", "p07")  # blue bag, mug, lamp, dress


def training_data_of(lake: Lake, clicks: ClicksConfig, *use: SourceName) -> TextTrainingData:
    config = SourcesConfig(use=use or ("clicks",), clicks=clicks)
    tower = TextEncoderConfig(model="untrained:bert:3", max_tokens=24)
    return read_text_training_data(
        config, AugmentConfig(), lake, read_catalog(lake, ("title",)), lambda: open_text_encoder(tower), 1
    )


def test_a_click_ranks_the_clicked_product_above_skipped_ones(lake: Lake) -> None:
    fill_with_visits(fill_with_judged_shop(lake), [("a cup", PAGE, ["p05"]), ("a CUP", PAGE, ["p05"])])
    training_data = training_data_of(lake, ClicksConfig(weight=0.3, least_seen=2))
    assert [(one.anchor, one.texts, one.grades) for one in training_data.examples] == [
        ("a cup", ("blue bag", "blue mug"), (0.0, 3.0))
    ]
    assert (training_data.examples[0].weight, training_data.examples[0].query_id) == (0.3, "")


def test_texts_of_validation_and_test_queries_are_excluded(lake: Lake) -> None:
    fill_with_judged_shop(lake)
    fill_with_visits(lake, [(f"A {title}", PAGE, ["p05"]) for title in TITLES])
    examples = training_data_of(lake, ClicksConfig(least_seen=1)).examples
    train = [n for n in range(len(TITLES)) if split_of(n) == "train"]
    assert sorted((one.anchor, one.query_id) for one in examples) == sorted(
        (f"A {TITLES[n]}", f"q{n:02d}") for n in train
    )


def test_a_text_shared_by_two_train_queries_is_excluded(lake: Lake) -> None:
    fill_with_visits(fill_with_judged_shop(lake), [(asked, PAGE, ["p05"]) for asked in ("cups", "bins", "lights")])
    train = [("Cups", "q1"), ("CUPS", "q2"), ("bins", "q4"), ("bins", "q5"), ("lights", "q3")]
    texts = {ProductId("p05"): "blue mug", ProductId("p06"): "lamp"}
    examples = read_click_examples(ClicksConfig(least_seen=1), lake, texts, {}, train)
    assert [(one.anchor, one.query_id) for one in examples] == [("lights", "q3")]


def test_new_events_matter_only_if_clicks_are_a_source(lake: Lake) -> None:
    fill_with_visits(fill_with_judged_shop(lake), [("cups", PAGE, ["p05"])])
    judged, clicked = (FinetuneTextConfig(sources=SourcesConfig(use=(use,))) for use in ("judgments", "clicks"))
    assert JOB.extra_inputs(lake, judged) == {}
    assert JOB.extra_inputs(lake, clicked) == {"events": lake.current("events").digest}


def test_events_after_until_are_ignored(lake: Lake) -> None:
    fill_with_visits(fill_with_judged_shop(lake), [("cups", PAGE, ["p05"]), ("lights", PAGE, ["p06"])])
    examples = training_data_of(
        lake, ClicksConfig(least_seen=1, until="2026-05-04T12:00:00+00:00")
    ).examples  # of Monday
    assert [one.anchor for one in examples] == ["cups"]
    assert len(training_data_of(lake, ClicksConfig(least_seen=1)).examples) == 2
    assert {
        one.source for one in training_data_of(lake, ClicksConfig(least_seen=1), "judgments", "clicks").examples
    } == {
        "judged",
        "clicks",
    }


def test_missing_events_or_pages_are_refused(lake: Lake, tmp_path: Path) -> None:
    fill_with_judged_shop(lake)
    with pytest.raises(ConfigError, match=r"clicks needs events, but .* has none; run ingest_events"):
        training_data_of(lake, ClicksConfig())
    fill_with_visits(lake, [("cups", PAGE, ["p05"])])
    with pytest.raises(ConfigError, match=r"no page of the log in .* was seen 3 times and taken; set clicks\.served"):
        training_data_of(lake, ClicksConfig())
    with pytest.raises(ConfigError, match=r"no page of the log in .*elsewhere"):
        training_data_of(lake, ClicksConfig(served=tmp_path / "elsewhere", least_seen=1))


def test_clicks_of_queries_with_an_image_are_ignored(lake: Lake) -> None:
    fill_with_visits(fill_with_judged_shop(lake), [("cups", PAGE, ["p05"])], with_image=True)
    with pytest.raises(ConfigError, match="no page of the log"):
        training_data_of(lake, ClicksConfig(least_seen=1))


def test_invalid_click_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="until is '2026-05-04', without a time zone"):
        ClicksConfig(until="2026-05-04")
    with pytest.raises(ValueError, match=r"weight is -1.0; allowed: 0"):
        ClicksConfig(weight=-1.0)
    with pytest.raises(ValueError, match="least_seen is 0; allowed: 1"):
        ClicksConfig(least_seen=0)
