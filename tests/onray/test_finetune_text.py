"""finetune_text on a small shop: the serving tower, and the towers of the folds."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from intarsia.catalog.columns import build_columns, save_columns
from intarsia.config import to_jsonable
from intarsia.encoders.config import TextEncoderConfig
from intarsia.encoders.lake_models import TOWER_CURVE, TOWER_SETTINGS, text_tower_config
from intarsia.encoders.open import open_query_encoder, open_text_encoder
from intarsia.errors import ConfigError, ReleaseMismatch
from intarsia.experiments.out_of_fold_retrieval import QUERY_ENCODER, TEXT_INDEX
from intarsia.index.vector_files import open_vector_index
from intarsia.lake import Lake
from intarsia.onray.torch_training import TorchWorkersConfig
from intarsia.training.adapters import AdapterConfig
from intarsia.training.loop import FitConfig
from intarsia.training.masked_language_model import MaskedLanguageModelConfig
from intarsia.training.text_folder import save_text_tower
from intarsia.training.text_pairs import TextPairsConfig
from intarsia.training.text_training_data import open_trainable
from pipelines import embed_folds
from pipelines.finetune_text import FinetuneTextConfig, run
from pipelines.job import JobProgress
from tests.judged_shop import TITLES, fill_with_judged_shop
from tune_spaces.finetuning_space import FinetuningSpaceConfig

pytestmark = pytest.mark.usefixtures("cluster")

CONFIG = FinetuneTextConfig(
    tower=TextEncoderConfig(model="untrained:bert:3", max_tokens=24),
    pairs=TextPairsConfig(texts_per_anchor=6),
    fit=FitConfig(epochs=6, batch_size=4, learning_rate=3e-3, watch="ndcg@10"),
    workers=TorchWorkersConfig(max_failures=0),
)


def quiet(step: str, done: int, total: int) -> None:
    pass


def test_a_pretrained_tower_improves_on_validation(lake: Lake) -> None:
    fill_with_judged_shop(lake)
    config = replace(
        CONFIG, masked_epochs=1, masked=MaskedLanguageModelConfig(held_out=4), fit=replace(CONFIG.fit, epochs=20)
    )
    counts = run(config, lake, quiet)
    assert counts["judged_examples"] == 9
    assert counts["validation_ndcg@10"] > counts["validation_ndcg@10_before"]
    encoder = open_text_encoder(text_tower_config(lake))
    assert encoder.encode(TITLES).shape == (len(TITLES), 64)
    curves = json.loads((lake.current("text_tower").path / TOWER_CURVE).read_text(encoding="utf-8"))
    assert curves["masked_words"][-1]["figures"]["minus_loss"] < 0
    figures = [point["figures"]["ndcg@10"] for point in curves["tower"] if point["figures"]]
    settings = json.loads((lake.current("text_tower").path / TOWER_SETTINGS).read_text(encoding="utf-8"))
    assert settings["validation"]["after"]["ndcg@10"] == pytest.approx(max(figures), abs=1e-6)
    with pytest.raises(ConfigError, match=r"fold is 0, but the text tower of .* has 0 folds"):
        text_tower_config(lake, 0)
    assert not list((lake.root / "finetune_text").iterdir())


def test_two_workers_fit_adapters_that_are_merged(lake: Lake) -> None:
    fill_with_judged_shop(lake)
    config = replace(
        CONFIG,
        adapter=AdapterConfig(kind="lora", rank=4),
        workers=replace(CONFIG.workers, num_workers=2),
        fit=replace(CONFIG.fit, epochs=1, watch=""),
    )
    run(config, lake, quiet)
    towers = (open_trainable(config).tower for config in (CONFIG.tower, text_tower_config(lake)))
    begun, ended = (tower.state_dict() for tower in towers)
    assert begun.keys() == ended.keys()
    changed = {name for name in begun if not begun[name].equal(ended[name])}
    assert changed and all(name.endswith(("query.weight", "value.weight")) for name in changed)


def test_the_best_settings_of_a_search_fit_the_tower(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    fill_with_judged_shop(lake)
    fit = replace(CONFIG.fit, epochs=3, learning_rate=0.5)  # it forgets all it knew
    space = FinetuningSpaceConfig(learning_rates=(1e-7, 1e-3), batch_sizes=(4,))
    counts = run(replace(CONFIG, fit=fit, space=space, trials=2, num_at_once=1), lake, quiet)
    settings = json.loads((lake.current("text_tower").path / TOWER_SETTINGS).read_text(encoding="utf-8"))
    own, sampled = settings["search"]["trials"]
    assert (own["point"]["learning_rate"], own["point"]["temperature"]) == (0.5, CONFIG.pairs.loss.temperature)
    assert (settings["search"]["kept"], counts["trials"], counts["kept_trial"]) == (1, 2, 1)
    assert sampled["figures"]["ndcg@10"] > own["figures"]["ndcg@10"]
    assert sampled["figures"]["epochs"] == 3
    assert counts["validation_ndcg@10"] == pytest.approx(sampled["figures"]["ndcg@10"], abs=1e-5), "the same fit"
    curve = json.loads((lake.current("text_tower").path / TOWER_CURVE).read_text(encoding="utf-8"))["tower"]
    assert max(point["learning_rate"] for point in curve) == pytest.approx(sampled["point"]["learning_rate"])
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["trial", "ndcg@10", "epochs", "settings"]
    assert shown[2].startswith(f"1      {sampled['figures']['ndcg@10']:.4f}")
    assert [line.endswith("<- kept") for line in shown] == [False, False, True]
    assert not list(lake.root.glob(".*"))


def test_each_fold_tower_embeds_the_catalog_and_queries(lake: Lake) -> None:
    fill_with_judged_shop(lake)
    towers = [open_trainable(TextEncoderConfig(model=f"untrained:bert:{seed}", max_tokens=24)) for seed in range(2)]
    served = "text-served"
    notes = {"encoder": to_jsonable(CONFIG.tower), "folds": 2, "text_fields": ["title"], "space_id": served}
    with lake.publish("text_tower", notes) as folder:
        for fold, encoder in enumerate(towers):
            save_text_tower(encoder, folder / "folds" / str(fold))
    with lake.publish("indexes") as folder:
        save_columns(build_columns(lake.current("products")), folder / "columns")
    with lake.publish("text_embeddings", {"text_fields": ["title"], "space_id": "text-of-old"}):
        pass
    with pytest.raises(
        ReleaseMismatch, match=r"embedded in space text-of-old, the tower of these folds makes text-served"
    ):
        embed_folds.run(embed_folds.EmbedFoldsConfig(), lake, JobProgress("embed_folds"))
    with lake.publish("text_embeddings", {"text_fields": ["title"], "space_id": served}):
        pass
    assert embed_folds.run(embed_folds.EmbedFoldsConfig(), lake, JobProgress("embed_folds")) == {
        "folds": 2,
        "products": len(TITLES),
        "texts": len(TITLES),
    }
    for fold, encoder in enumerate(towers):
        fold_dir = lake.current("fold_indexes").path / str(fold)
        index, query_side = (
            open_vector_index(fold_dir / TEXT_INDEX),
            open_query_encoder(fold_dir / QUERY_ENCODER, "fp32"),
        )
        assert index.space_id == query_side.space_id
        wanted_ND = encoder.encode(TITLES)
        for row in (0, 7, 15):  # the products are numbered as their titles are listed
            np.testing.assert_allclose(index.vectors_of(row)[0], wanted_ND[row], atol=1e-5)
        items = ["a red bag"]
        np.testing.assert_allclose(query_side.encode(items), encoder.encode(items), atol=1e-5)  # type: ignore[arg-type]


def test_a_tower_without_folds_embeds_none(lake: Lake) -> None:
    with lake.publish("text_tower", {"encoder": to_jsonable(CONFIG.tower), "folds": 0, "text_fields": ["title"]}):
        pass
    with pytest.raises(ConfigError, match="text_tower has no folds"):
        embed_folds.run(embed_folds.EmbedFoldsConfig(), lake, JobProgress("embed_folds"))
