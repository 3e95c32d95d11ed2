"""Text augmentation: how much is changed, how often, and equal results for equal seeds."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from intarsia.errors import ArtifactError
from intarsia.training.text_augmentation import AugmentConfig, TextAugmenter, back_translate

TEXT = "Acorn red leather bag"


def augmented(config: AugmentConfig, times: int = 400, **arguments: object) -> list[list[str]]:
    augment = TextAugmenter(config, **arguments)  # type: ignore[arg-type]
    return [augment(TEXT, 1, seed).split() for seed in range(times)]


def test_off_leaves_every_text_as_it_is() -> None:
    augment = TextAugmenter(AugmentConfig())
    assert augment.is_off
    assert augment("  as   it is ", 1) == "  as   it is "


def test_the_same_seeds_give_the_same_text_and_others_another() -> None:
    augment = TextAugmenter(AugmentConfig(delete_words=0.5))
    assert augment(TEXT, 4, 2) == augment(TEXT, 4, 2)
    assert len({augment(TEXT, 4, seed) for seed in range(30)}) > 3


def test_deletion_leaves_out_its_share_and_never_all() -> None:
    lengths = [len(words) for words in augmented(AugmentConfig(delete_words=0.25))]
    assert sum(lengths) / len(lengths) == pytest.approx(3.0, abs=0.15)
    assert min(len(words) for words in augmented(AugmentConfig(delete_words=1.0), times=20)) == 1


def test_replacement_takes_words_of_the_vocabulary_in_its_share() -> None:
    results = [word for words in augmented(AugmentConfig(replace_words=0.5), vocabulary=["hat"]) for word in words]
    assert results.count("hat") / len(results) == pytest.approx(0.5, abs=0.05)
    assert augmented(AugmentConfig(replace_words=1.0), times=1) == [
        TEXT.split()
    ]  # without a vocabulary there is nothing to take


def test_colours_and_brands_are_dropped_from_the_share_of_texts() -> None:
    results = augmented(AugmentConfig(drop_named=0.5), brands=["Acorn"])
    without = ["leather", "bag"]
    assert all(words in (TEXT.split(), without) for words in results)
    assert results.count(without) / len(results) == pytest.approx(0.5, abs=0.08)
    assert TextAugmenter(AugmentConfig(drop_named=1.0))("red", 0) == "red"  # a text of nothing else stays
    assert TextAugmenter(AugmentConfig(drop_named=1.0))("红色 双肩包", 0) == "双肩包"


def test_back_translations_are_shown_in_their_share() -> None:
    config = AugmentConfig(back_translated=0.5, translate_out="a", translate_back="b")
    results = [" ".join(words) for words in augmented(config, paraphrase={TEXT: "a bag"})]
    assert set(results) == {TEXT, "a bag"}
    assert results.count("a bag") / len(results) == pytest.approx(0.5, abs=0.08)


def test_back_translation_goes_through_both_models_and_is_the_same_again(tmp_path: Path) -> None:
    out, back = (str(_small_translator(tmp_path / name, seed)) for name, seed in (("out", 1), ("back", 2)))
    results = back_translate([TEXT, "red"], out, back, batch_size=1, max_tokens=6)
    assert list(results) == [TEXT, "red"]
    assert results == back_translate([TEXT, "red"], out, back, batch_size=1, max_tokens=6)


def test_a_translation_model_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"translation model .*nowhere.* cannot be loaded"):
        back_translate(["red"], str(tmp_path / "nowhere"), "x")


def test_back_translation_without_models_is_refused() -> None:
    with pytest.raises(ValueError, match="set translate_out and translate_back"):
        AugmentConfig(back_translated=0.1)


def _small_translator(folder: Path, seed: int) -> Path:
    names = ["<pad>", "</s>", "<unk>", "red", "bag", "leather", "acorn", "sac", "rouge"]
    words = Tokenizer(models.WordLevel({name: n for n, name in enumerate(names)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=words, **marks).save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shape = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_layers": 1, "num_heads": 2, "vocab_size": len(names)}
        model = transformers.T5ForConditionalGeneration(transformers.T5Config(**shape, decoder_start_token_id=0))
    model.save_pretrained(folder)
    return folder
