"""Training data of finetune_text, without workers: sources, held-out metrics, folds, errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from intarsia.encoders.config import USE_MULTILINGUAL, TextEncoderConfig
from intarsia.encoders.lake_models import text_tower_config
from intarsia.encoders.open import open_text_encoder
from intarsia.encoders.protocol import Encoder
from intarsia.errors import ArtifactError, ConfigError
from intarsia.ids import fold_of
from intarsia.lake import Lake
from intarsia.tables.products import PRODUCTS, product_to_row, row_to_product
from intarsia.training.adapters import AdapterConfig
from intarsia.training.loop import FitConfig
from intarsia.training.losses import LossConfig
from intarsia.training.masked_language_model import MaskedLanguageModelConfig
from intarsia.training.text_augmentation import AugmentConfig
from intarsia.training.text_examples import NegativesConfig, TextExample
from intarsia.training.text_pairs import TextPairsConfig
from intarsia.training.text_training_data import (
    HeldOutNdcg,
    MaskedLanguageModelTaskFactory,
    TextTaskFactory,
    TextTrainingData,
    open_trainable,
    write_texts,
)
from intarsia.training.text_training_sources import SourcesConfig, judged_split, read_catalog, read_text_training_data
from pipelines.finetune_text import FinetuneTextConfig, _Run, run
from pipelines.job import JobProgress
from tests.judged_shop import TITLES, fill_with_judged_shop, split_of
from tests.oracles import ndcg_by_definition

TOWER = TextEncoderConfig(model="untrained:bert:3", max_tokens=24)


def training_data_of(lake: Lake, augment: AugmentConfig | None = None, **settings: object) -> TextTrainingData:
    def open_tower() -> Encoder[str]:
        return open_text_encoder(TOWER)

    config = SourcesConfig(**settings)  # type: ignore[arg-type]
    return read_text_training_data(
        config, augment or AugmentConfig(), lake, read_catalog(lake, ("title",)), open_tower, 1
    )


def test_only_train_queries_are_examples_and_test_is_not_read(lake: Lake) -> None:
    training_data = training_data_of(fill_with_judged_shop(lake))
    anchors = {
        split: {f"a {title}" for n, title in enumerate(TITLES) if split_of(n) == split}
        for split in ("train", "validation")
    }
    assert {example.anchor for example in training_data.examples} == anchors["train"]
    assert {example.anchor for example in training_data.held_out} == anchors["validation"]
    assert all(len(example.texts) == len(TITLES) for example in training_data.examples)


def test_without_fold_removes_its_queries_only(lake: Lake) -> None:
    training_data = training_data_of(fill_with_judged_shop(lake), use=("judgments", "fields"))
    for fold in range(3):
        remaining = training_data.without_fold(fold, 3)
        assert all(fold_of(example.query_id, 3) != fold for example in remaining.examples if example.query_id)
        assert sum(example.source == "fields" for example in remaining.examples) == sum(
            example.source == "fields" for example in training_data.examples
        )
        assert not remaining.held_out
    seen = [
        example.query_id
        for fold in range(3)
        for example in training_data.examples
        if example not in training_data.without_fold(fold, 3).examples
    ]
    assert sorted(seen) == sorted(example.query_id for example in training_data.examples if example.query_id)


def test_field_examples_are_sampled_and_get_negatives(lake: Lake) -> None:
    training_data = training_data_of(
        fill_with_judged_shop(lake),
        use=("fields",),
        most_fields=5,
        negatives=NegativesConfig(bm25=1, model=2, most_of_positive=1.0),
    )
    assert len(training_data.examples) == 5
    assert all(example.anchor.startswith("Our ") and example.grades[0] == 3.0 for example in training_data.examples)
    assert all(
        set(example.grades[1:]) <= {0.0} and len(set(example.texts)) == len(example.texts)
        for example in training_data.examples
    )
    assert max(len(example.texts) for example in training_data.examples) >= 2


def test_pseudo_labels_need_validation_pairs_of_both_sides(lake: Lake) -> None:
    fill_with_judged_shop(lake)
    result = training_data_of(lake, use=("judgments", "pseudo"), pseudo_confidence=0.0)
    assert {example.source for example in result.examples} == {"judged"}  # every product was judged for every query
    judgments = lake.root / "judgments"
    (judgments / "current.json").unlink()
    with pytest.raises(ConfigError, match="pseudo needs judged validation pairs"):
        training_data_of(lake, use=("pseudo",))


def test_products_without_a_text_are_skipped(lake: Lake) -> None:
    fill_with_judged_shop(lake)
    products = [row_to_product(row)[0] for row in PRODUCTS.read(lake.current("products")).to_pylist()]
    bare = [replace(example, category_path=()) if n < 6 else example for n, example in enumerate(products)]
    PRODUCTS.publish(lake, PRODUCTS.from_rows([product_to_row(example, []) for example in bare]))
    catalog = read_catalog(lake, ("category",))
    config = SourcesConfig(use=("judgments", "pseudo"), pseudo_confidence=0.0)
    training_data = read_text_training_data(config, AugmentConfig(), lake, catalog, lambda: open_text_encoder(TOWER), 1)
    assert {len(example.texts) for example in (*training_data.examples, *training_data.held_out)} == {len(TITLES) - 6}
    assert all("" not in example.texts for example in (*training_data.examples, *training_data.held_out))


def test_titles_with_descriptions_are_pairs(lake: Lake, tmp_path: Path) -> None:
    fill_with_judged_shop(lake)
    assert read_catalog(lake, ("title",)).pairs == []  # nothing there is described
    products = [row_to_product(row)[0] for row in PRODUCTS.read(lake.current("products")).to_pylist()]
    rows = [
        replace(example, description=f"of {example.title.split()[1]}s") if n < 6 else example
        for n, example in enumerate(products)
    ]
    PRODUCTS.publish(lake, PRODUCTS.from_rows([product_to_row(example, []) for example in rows]))
    catalog = read_catalog(lake, ("title",))
    assert catalog.pairs == sorted((title, f"of {title.split()[1]}s") for title in TITLES[:6])
    write_texts(tmp_path / "texts.json", catalog.texts, catalog.pairs)
    for next_sentence, num_examples in ((False, len(TITLES)), (True, len(TITLES) + 6)):
        masked = MaskedLanguageModelConfig(held_out=0, next_sentence=next_sentence)
        task = MaskedLanguageModelTaskFactory(tower=TOWER, masked=masked, seed=1, texts=tmp_path / "texts.json")
        first, second = task(), task()
        assert first.num_examples == num_examples
        for name, tensor in first.module.state_dict().items():
            assert tensor.equal(second.module.state_dict()[name]), name


def test_augmentation_gets_its_words_and_brands(lake: Lake) -> None:
    fill_with_judged_shop(lake)
    training_data = training_data_of(lake, AugmentConfig(replace_words=0.1, drop_named=0.1))
    assert "dress" in training_data.vocabulary and training_data.brands == ["Acorn"]
    assert not training_data_of(lake).vocabulary


def test_a_source_without_examples_is_refused(lake: Lake) -> None:
    fill_with_judged_shop(lake)
    with pytest.raises(ConfigError, match=r"sources\.use is fields, which gives no example"):
        training_data_of(lake, use=("fields",), anchor_fields=("description",))
    (lake.root / "queries" / "current.json").unlink()
    assert judged_split(lake, read_catalog(lake, ("title",)), "train") == []


def test_training_data_is_read_back_from_its_file(lake: Lake, tmp_path: Path) -> None:
    training_data = training_data_of(fill_with_judged_shop(lake), AugmentConfig(replace_words=0.1))
    training_data.write(tmp_path / "training_data.json")
    read_back = TextTrainingData.read(tmp_path / "training_data.json")
    assert read_back.examples == training_data.examples and read_back.held_out == training_data.held_out
    assert list(read_back.vocabulary) == list(training_data.vocabulary)


def test_two_workers_build_equal_tasks(lake: Lake, tmp_path: Path) -> None:
    training_data_of(fill_with_judged_shop(lake)).write(tmp_path / "training_data.json")
    task = TextTaskFactory(
        tower=TOWER,
        pairs=TextPairsConfig(loss=LossConfig(r_drop=0.1)),
        adapter=AdapterConfig(kind="lora"),
        augment=AugmentConfig(delete_words=0.2),
        fit=FitConfig(seed=5),
        training_data=tmp_path / "training_data.json",
    )
    first, second = task(), task()
    rows_b = np.arange(3)
    for name, tensor in first.module.state_dict().items():
        assert tensor.equal(second.module.state_dict()[name]), name
    for name, tensor in first.inputs(rows_b, 2).items():
        assert tensor.equal(second.inputs(rows_b, 2)[name])
    assert first.num_examples == 9
    assert dict(first.module.eval() and first.measure()) == dict(second.module.eval() and second.measure())


def test_held_out_metric_is_the_mean_ndcg_of_the_cosines() -> None:
    examples = [
        TextExample(anchor="x", texts=("a", "b", "c"), grades=(0.0, 3.0, 1.0), groups=("",) * 3),
        TextExample(anchor="y", texts=("a", "c"), grades=(2.0, 0.0), groups=("",) * 2),
        TextExample(anchor="y", texts=("a",), grades=(0.0,), groups=("",)),  # nothing good: tells no two towers apart
    ]
    places = {"a": 0.0, "b": 0.5, "c": 1.0, "x": 0.0, "y": 1.0}

    def encode(texts: object) -> np.ndarray:
        angles = np.array([places[text] for text in texts])  # type: ignore[attr-defined]
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

    result = HeldOutNdcg(examples)(encode)
    # cosines fall with the angle between: x is nearest to a, then b, c; y to c, then a
    expected = [
        ndcg_by_definition([0, 1, 2], {0: 0.0, 1: 3.0, 2: 1.0}, 10),
        ndcg_by_definition([1, 0], {0: 2.0, 1: 0.0}, 10),
    ]
    assert result == {"ndcg@10": pytest.approx(np.mean(expected))}
    assert HeldOutNdcg(examples[2:])(encode) == {}


def test_a_fold_that_leaves_no_example_is_refused(lake: Lake, tmp_path: Path) -> None:
    job_run = _Run(
        config=FinetuneTextConfig(),
        start=TOWER,
        staging=tmp_path,
        run_dir=tmp_path,
        lake=lake,
        progress=JobProgress("finetune_text"),
    )
    with pytest.raises(ConfigError, match=r"folds/0 has no training examples; lower folds"):
        job_run.fit("folds/0", TextTrainingData(examples=()))


def test_what_torch_does_not_run_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be trained, because torch does not run it"):
        open_trainable(replace(TOWER, model=USE_MULTILINGUAL))


def test_finetune_text_cannot_start_from_its_own_output(lake: Lake) -> None:
    own = FinetuneTextConfig(tower=TextEncoderConfig(model="lake:text_tower"))
    with pytest.raises(ConfigError, match=r"model is 'lake:text_tower'; allowed here: lake:small_text_tower$"):
        run(own, lake, JobProgress("finetune_text"))


def test_a_lake_without_a_tower_says_so(lake: Lake) -> None:
    with pytest.raises(ArtifactError, match="text_tower is not in the lake"):
        text_tower_config(lake)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FinetuneTextConfig(folds=1), "folds is 1"),
        (lambda: FinetuneTextConfig(text_fields=()), "text_fields is empty"),
        (lambda: SourcesConfig(use=()), "use is empty"),
        (lambda: SourcesConfig(use=("fields",), anchor_fields=()), "anchor_fields is empty"),
    ],
)
def test_invalid_settings_are_refused(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()  # type: ignore[operator]
