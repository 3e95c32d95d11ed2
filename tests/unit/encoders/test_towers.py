"""Towers other than BERT and convolutional networks: inputs, pooling, and folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, processors

from intarsia.encoders.clip import ClipTextTower
from intarsia.encoders.config import USE_MULTILINGUAL, ImageEncoderConfig, TextEncoderConfig
from intarsia.encoders.open import open_image_encoder, open_text_encoder
from intarsia.encoders.pooling import last_token, unit_rows
from intarsia.encoders.recurrent import BiLstmTower, RecurrentShape, RecurrentTextEncoder
from intarsia.encoders.torch_encoders import TorchTextEncoder
from intarsia.encoders.transformer import TransformerTextEncoder
from intarsia.encoders.untrained import UNTRAINED_TEXT_MODELS, byte_tokenizer
from intarsia.errors import ArtifactError, ConfigError
from tests.unit.encoders.kinds import make_image, text_encoder, write_random_bert

CLIP_KINDS = ("clip", "siglip", "chinese_clip")


def write_folder(folder: Path, kind: str, *, words: Tokenizer | None = None, **marks: str) -> Path:
    """Save a small model of a kind with `transformers`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        UNTRAINED_TEXT_MODELS[kind]().save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words or byte_tokenizer(), pad_token="[PAD]", **marks
    ).save_pretrained(folder)
    if kind in CLIP_KINDS:
        transformers.CLIPImageProcessor(do_resize=False).save_pretrained(folder)
    return folder


def without_marks() -> Tokenizer:
    """A tokenizer without special tokens around a text, like GPT-2's."""
    words = byte_tokenizer()
    words.post_processor = processors.ByteLevel(trim_offsets=False)
    return words


def small(model: Path | str, **values: object) -> TextEncoderConfig:
    return TextEncoderConfig(model=str(model), max_tokens=48, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "space_id"),
    [
        (TextEncoderConfig(), "text-a595b87f22a8"),
        (TextEncoderConfig(model=USE_MULTILINGUAL), "text-f5d8aa92f99b"),
        (ImageEncoderConfig(colour_weight=0.0), "image-03cf31b5ff53"),
        (ImageEncoderConfig(), "image-df0b78fce4ac"),
    ],
)
def test_published_space_ids_do_not_change(config: TextEncoderConfig | ImageEncoderConfig, space_id: str) -> None:
    encoder = open_text_encoder(config) if isinstance(config, TextEncoderConfig) else open_image_encoder(config)
    assert encoder.space_id == space_id


def test_the_last_token_is_the_last_that_the_mask_holds() -> None:
    states_NTD = torch.tensor([[[1.0], [2.0], [3.0]], [[4.0], [5.0], [6.0]]])
    assert last_token(states_NTD, torch.tensor([[1, 1, 0], [1, 1, 1]])).tolist() == [[2.0], [6.0]]


def test_cls_pooling_of_a_causal_model_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'untrained:gpt2:1' is a causal model, .* set pooling to last"):
        open_text_encoder(small("untrained:gpt2:1", pooling="cls"))


def test_cls_pooling_of_a_bidirectional_model_is_allowed() -> None:
    vectors_ND = open_text_encoder(small("untrained:bert:1", pooling="cls")).encode(["red", "rose"])
    assert float(vectors_ND[0] @ vectors_ND[1]) < 0.9999


def test_tokens_positions_and_segments_change_a_berts_vectors() -> None:
    encoder = open_text_encoder(small("untrained:bert:1"))
    assert isinstance(encoder, TransformerTextEncoder)
    model = encoder.tower.transformer
    tables, ids_T, segments_T = model.embeddings, torch.tensor([2, 70, 80, 3]), torch.tensor([0, 0, 1, 1])
    with torch.no_grad():
        summed_TD = tables.word_embeddings.weight[ids_T] + tables.token_type_embeddings.weight[segments_T]
        read_1TD = tables(input_ids=ids_T[None], token_type_ids=segments_T[None])
        torch.testing.assert_close(read_1TD[0], tables.LayerNorm(summed_TD + tables.position_embeddings.weight[:4]))
        shown = [
            model(ids_T[None]),
            model(torch.tensor([[2, 70, 81, 3]])),  # another token
            model(torch.tensor([[2, 80, 70, 3]])),  # other places: without them the mean would be the same
            model(ids_T[None], token_type_ids=segments_T[None]),
        ]
        vectors_ND = torch.cat([unit_rows(one.last_hidden_state.mean(dim=1)) for one in shown])
    apart_NN = torch.cdist(vectors_ND, vectors_ND)
    assert (apart_NN + torch.eye(len(shown))).min() > 0.01


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_last_pooling_of_a_causal_model_distinguishes_texts(pooling: str) -> None:
    vectors_ND = open_text_encoder(small("untrained:gpt2:1", pooling=pooling)).encode(["shoe red", "shoe blue"])
    assert float(vectors_ND[0] @ vectors_ND[1]) < 0.9999


def test_gpt2_from_a_folder_appends_its_end_token(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "gpt2", "gpt2", words=without_marks(), eos_token="[SEP]")
    encoder = open_text_encoder(small(folder, pooling="last"))
    assert isinstance(encoder, TransformerTextEncoder)
    empty, word = encoder.tokenizer.ids(["", "a"])
    assert empty == [3] and word[-1] == 3 and len(word) == 2
    assert len(encoder.tokenizer.ids(["a" * 100])[0]) == 48
    assert np.isfinite(encoder.encode([""])).all()


def test_a_tokenizer_without_tokens_for_an_empty_text_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "gpt2", "gpt2", words=without_marks())
    with pytest.raises(ArtifactError, match=r"gives no token for an empty text and has no eos_token"):
        open_text_encoder(small(folder))


def test_weights_that_lack_a_layer_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "bert", "bert")
    drop(folder, "encoder.layer.1.output.dense.weight")
    with pytest.raises(
        ArtifactError, match=r"lack 1 tensors, the first encoder.layer.1.output.dense.weight; they would"
    ):
        open_text_encoder(small(folder))


def test_weights_without_the_pooler_make_one_space_each_time(tmp_path: Path) -> None:
    folder = write_random_bert(tmp_path / "bert")
    drop(folder, "pooler.dense.weight", "pooler.dense.bias")
    spaces = {open_text_encoder(small(folder)).space_id for _ in range(2)}
    assert len(spaces) == 1
    assert spaces != {text_encoder("random_bert_mean").space_id}


@pytest.mark.parametrize("kind", CLIP_KINDS)
def test_both_sides_of_a_clip_folder_have_one_width(tmp_path: Path, kind: str) -> None:
    folder = write_folder(tmp_path / kind, kind)
    text, image = open_text_encoder(small(folder)), open_image_encoder(ImageEncoderConfig(model=str(folder)))
    assert isinstance(text, TorchTextEncoder)
    content = make_image(np.random.default_rng(1), 64, 64)
    assert text.encode(["red"]).shape == image.encode([content]).shape == (1, text.dim)
    assert not any("vision" in name for name, _ in text.tower.named_parameters())
    assert not any("text" in name for name, _ in image.tower.named_parameters())


@pytest.mark.parametrize("kind", CLIP_KINDS)
def test_the_vectors_are_what_the_model_itself_gives(tmp_path: Path, kind: str) -> None:
    folder = write_folder(tmp_path / kind, kind)
    texts = ["red", "a longer text"]
    words = transformers.AutoTokenizer.from_pretrained(folder)
    padding = {"padding": "max_length", "max_length": 256} if kind == "siglip" else {"padding": True}
    inputs = words(texts, return_tensors="pt", **padding)
    inputs = (
        {"input_ids": inputs["input_ids"]}
        if kind == "siglip"
        else {k: inputs[k] for k in ("input_ids", "attention_mask")}
    )
    model = transformers.AutoModel.from_pretrained(folder)
    with torch.inference_mode():
        expected_ND = torch.nn.functional.normalize(model.eval().get_text_features(**inputs).pooler_output).numpy()
    assert np.allclose(open_text_encoder(small(folder)).encode(texts), expected_ND, atol=1e-5)


def test_an_image_is_scaled_as_the_folder_says(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "clip", "clip")
    content = make_image(np.random.default_rng(1), 64, 64)
    before = open_image_encoder(ImageEncoderConfig(model=str(folder)))
    transformers.CLIPImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[1.0, 1.0, 1.0]).save_pretrained(folder)
    after = open_image_encoder(ImageEncoderConfig(model=str(folder)))
    assert before.space_id != after.space_id
    assert not np.allclose(before.encode([content]), after.encode([content]), atol=1e-3)


def test_the_folder_of_one_side_opens_on_that_side_alone(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "clip", "clip")
    encoder = open_text_encoder(small(folder))
    assert isinstance(encoder, TransformerTextEncoder) and isinstance(encoder.tower, ClipTextTower)
    encoder.tower.transformer.save_pretrained(folder)
    assert open_text_encoder(small(folder)).space_id == encoder.space_id
    with pytest.raises(ArtifactError, match=r"image model .* lack \d+ tensors, the first vision_model"):
        open_image_encoder(ImageEncoderConfig(model=str(folder)))


def test_image_models_of_another_kind_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "bert", "bert")
    transformers.CLIPImageProcessor().save_pretrained(folder)
    with pytest.raises(ArtifactError, match=r"is a bert; allowed: clip, siglip, chinese_clip and similar models"):
        open_image_encoder(ImageEncoderConfig(model=str(folder)))
    with pytest.raises(
        ArtifactError, match=r"image model '/nowhere/clip' cannot be loaded: .*preprocessor_config.json"
    ):
        open_image_encoder(ImageEncoderConfig(model="/nowhere/clip"))


def test_bilstm_equals_torch_on_single_texts() -> None:
    torch.manual_seed(1)
    tower = BiLstmTower(RecurrentShape(kind="bilstm", num_tokens=9, token_width=4, width=6)).eval()
    oracle = torch.nn.LSTM(4, 3, batch_first=True, bidirectional=True)
    (ahead, back), own = (tower.forwards[0], tower.backwards[0]), oracle.state_dict()
    for name, tensor in ahead.state_dict().items():
        own[name] = tensor
        own[f"{name}_reverse"] = back.state_dict()[name]
    oracle.load_state_dict(own)
    ids_NT = torch.tensor([[5, 6, 7, 8], [3, 2, 0, 0]])
    with torch.inference_mode():
        found_ND = tower(ids_NT, (ids_NT != 0).long())
        for row, length in enumerate((4, 2)):
            states_1TD, _ = oracle(tower.words(ids_NT[row : row + 1, :length]))
            expected_1D = torch.nn.functional.normalize(states_1TD.mean(dim=1))
            assert torch.allclose(found_ND[row], expected_1D[0], atol=1e-6)


@pytest.mark.parametrize("kind", ["bilstm", "dnn"])
def test_a_tower_without_attention_is_saved_and_opened_unchanged(tmp_path: Path, kind: str) -> None:
    encoder = open_text_encoder(small(f"untrained:{kind}:2"))
    assert isinstance(encoder, RecurrentTextEncoder)
    encoder.save(tmp_path / kind)
    again = open_text_encoder(small(tmp_path / kind))
    assert again.space_id == encoder.space_id
    assert np.array_equal(again.encode(["red shoes", ""]), encoder.encode(["red shoes", ""]))


def test_a_saved_tower_that_is_torn_is_named(tmp_path: Path) -> None:
    for kind in ("bilstm", "dnn"):
        encoder = open_text_encoder(small(f"untrained:{kind}:2"))
        assert isinstance(encoder, RecurrentTextEncoder)
        encoder.save(tmp_path / kind)
    shutil.copy(tmp_path / "dnn" / "model.safetensors", tmp_path / "bilstm" / "model.safetensors")
    with pytest.raises(ArtifactError, match=r"model.safetensors does not match tower.json: "):
        open_text_encoder(small(tmp_path / "bilstm"))
    (tmp_path / "dnn" / "tokenizer.json").unlink()
    with pytest.raises(ArtifactError, match=r"tokenizer.json is missing; run `intarsia job finetune_text` again"):
        open_text_encoder(small(tmp_path / "dnn"))


def test_a_dnn_does_not_know_the_order_of_words_and_a_bilstm_does() -> None:
    for kind, knows in (("dnn", False), ("bilstm", True)):
        one, other = open_text_encoder(small(f"untrained:{kind}:2")).encode(["ab", "ba"])
        assert (float(one @ other) < 0.9999) == knows


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("untrained:gpt:1", r"untrained:gpt does not exist here; did you mean gpt2\?"),
        ("untrained:bert", r"allowed: untrained:bert:<seed> with a whole number"),
        ("untrained:bert:x", r"allowed: untrained:bert:<seed> with a whole number"),
    ],
)
def test_an_unknown_untrained_model_is_refused(model: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        open_text_encoder(small(model))


def test_an_untrained_text_kind_does_not_read_images() -> None:
    with pytest.raises(
        ConfigError, match=r"untrained:bert does not exist here; known: clip, siglip, chinese_clip, cnn"
    ):
        open_image_encoder(ImageEncoderConfig(model="untrained:bert:1"))


def test_one_seed_is_one_space_and_another_seed_another() -> None:
    spaces = [open_text_encoder(small(f"untrained:gpt2:{seed}")).space_id for seed in (1, 1, 2)]
    assert spaces[0] == spaces[1] != spaces[2]


def drop(folder: Path, *names: str) -> None:
    """Remove tensors from the weights of a folder."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    save_file({k: v for k, v in load_file(path).items() if k not in names}, path, metadata={"format": "pt"})
