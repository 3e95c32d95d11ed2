"""Image fine-tuning: the tower learns the texts of its images; augmentation depends on seed, step and row only."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.encoders.config import ImageEncoderConfig
from intarsia.encoders.image_folder import save_trained
from intarsia.encoders.inputs import read_pixels
from intarsia.encoders.open import open_image_encoder
from intarsia.errors import ConfigError
from intarsia.training.adapters import AdapterConfig
from intarsia.training.image_pairs import (
    ImagePairsConfig,
    ImagePairsTask,
    ImageTrainingData,
    PixelsConfig,
    augment_pixels,
    open_trainable_image,
)
from intarsia.training.loop import FitConfig, fit_in_process

STILL = PixelsConfig(crop=1.0, flip=0.0, jitter=0.0)
COLOURS = ((200, 30, 30), (30, 160, 40), (30, 40, 190), (210, 200, 40))


def training_data_of(number: int, *, num_held: int) -> ImageTrainingData:
    """Noisy images of one colour each; the text vector of a colour is a unit axis."""
    rng = np.random.default_rng(2)
    colours = rng.integers(0, len(COLOURS), number)
    texts_CT = np.eye(len(COLOURS), 6, dtype=np.float32)
    images = [_image(np.clip(np.array(COLOURS[c]) + rng.integers(-25, 26, 3), 0, 255)) for c in colours]
    held_out_N = np.arange(number) < num_held
    return ImageTrainingData(
        images=images, texts_NT=texts_CT[colours], groups_N=colours.astype(np.int64), held_out_N=held_out_N
    )


def task_of(training_data: ImageTrainingData, **values: object) -> ImagePairsTask:
    trainable = open_trainable_image(ImageEncoderConfig(model="untrained:cnn:1", image_px=32))
    config = ImagePairsConfig(pixels=STILL, **values)  # type: ignore[arg-type]
    return ImagePairsTask(trainable, training_data, config, seed=5)


def test_the_loss_is_info_nce_both_ways_without_equal_texts() -> None:
    training_data = ImageTrainingData(
        images=[b""] * 3,
        texts_NT=np.array([[1, 0], [0, 1], [0, 1]], np.float32),
        groups_N=np.array([0, 1, 1]),
        held_out_N=np.zeros(3, bool),
    )
    vectors_BT = torch.tensor([[0.6, 0.8], [0.0, 1.0], [0.8, 0.6]])
    loss = task_of(training_data, temperature=0.5).loss({"images": vectors_BT}, np.arange(3))
    scores = vectors_BT.numpy() @ training_data.texts_NT.T / 0.5
    rivals = {0: (1, 2), 1: (0,), 2: (0,)}
    total = 0.0
    for i, others in rivals.items():
        for matrix in (scores, scores.T):
            total += -math.log(math.exp(matrix[i, i]) / sum(math.exp(matrix[i, j]) for j in (i, *others)))
    assert float(loss) == pytest.approx(total / 6, rel=1e-5)


def test_after_a_fit_colour_texts_find_images_of_their_colour() -> None:
    training_data = training_data_of(120, num_held=24)
    task = task_of(training_data)
    task.module.eval()
    before = task.measure()["r@1"]
    fitted = fit_in_process(task, FitConfig(epochs=6, batch_size=16, learning_rate=3e-3))
    assert fitted.curve[-1].loss < 0.5 * fitted.curve[0].loss
    assert task.measure()["r@1"] > max(0.9, before)


def test_held_out_images_are_not_trained_on() -> None:
    task = task_of(training_data_of(10, num_held=4))
    assert task.num_examples == 6
    rows = task.inputs(np.arange(6), 0)["pixels_NSS3"]
    held_out_images = training_data_of(10, num_held=4).images[:4]
    for content in held_out_images:
        colour = np.asarray(Image.open(io.BytesIO(content)))[0, 0]
        assert not any(np.array_equal(pixels[16, 16].numpy(), colour) for pixels in rows)


def test_without_held_out_images_nothing_is_measured() -> None:
    assert task_of(training_data_of(4, num_held=0)).measure() == {}


@pytest.mark.parametrize(("stages", "trained"), [(0, 0), (1, 1), (4, 4), (99, 4)])
def test_the_last_stages_are_trained_and_the_head(stages: int, trained: int) -> None:
    task = task_of(training_data_of(4, num_held=0), trained_stages=stages)
    names = [name for name, parameter in task.module.named_parameters() if parameter.requires_grad]
    assert sum(name.endswith(".0.weight") for name in names) == trained
    assert any("head" in name for name in names)


@pytest.mark.parametrize("family", ["clip", "siglip", "chinese_clip"])
@pytest.mark.parametrize("adapter", [AdapterConfig(kind="lora", rank=2), AdapterConfig(kind="upper", num_layers=1)])
def test_adapters_of_a_vision_transformer_are_merged_after_the_fit(
    family: str, adapter: AdapterConfig, tmp_path: Path
) -> None:
    config = ImageEncoderConfig(model=f"untrained:{family}:1")
    trainable, training_data = open_trainable_image(config), training_data_of(12, num_held=0)
    batch = {name: tensor.clone() for name, tensor in trainable.tower.state_dict().items()}
    num_whole = sum(tensor.numel() for tensor in trainable.tower.parameters())
    task = ImagePairsTask(trainable, training_data, ImagePairsConfig(pixels=STILL, adapter=adapter), seed=5)
    assert 0 < sum(p.numel() for p in trainable.tower.parameters() if p.requires_grad) < 0.6 * num_whole
    fit_in_process(task, FitConfig(epochs=2, batch_size=6, learning_rate=1e-2))
    learned_ND = (
        trainable.tower(torch.from_numpy(read_pixels(training_data.images, trainable.image_px))).detach().numpy()
    )
    task.adapters.merge()
    assert trainable.tower.state_dict().keys() == batch.keys()
    save_trained(trainable, None, tmp_path)
    opened = open_image_encoder(ImageEncoderConfig(model=str(tmp_path)))
    np.testing.assert_allclose(opened.encode(training_data.images), learned_ND, atol=1e-5)
    assert not np.allclose(learned_ND, open_image_encoder(config).encode(training_data.images), atol=1e-3)


def test_a_convolutional_network_has_stages_and_no_adapters() -> None:
    with pytest.raises(ConfigError, match=r"adapter kind lora needs a transformer, this tower has none"):
        task_of(training_data_of(4, num_held=0), adapter=AdapterConfig(kind="lora"))


def test_batch_norms_keep_their_statistics_during_the_fit() -> None:
    task = task_of(training_data_of(12, num_held=0))
    before = {n: t.clone() for n, t in task.module.state_dict().items() if "running" in n}
    fit_in_process(task, FitConfig(epochs=1, batch_size=4, learning_rate=1e-3))
    assert before and all(torch.equal(task.module.state_dict()[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ImagePairsConfig(temperature=0.0), r"temperature is 0.0; allowed: above 0"),
        (
            lambda: ImagePairsConfig(adapter=AdapterConfig(kind="adalora")),
            r"adapter.kind is adalora, which is for text",
        ),
        (lambda: ImagePairsConfig(trained_stages=-1), r"trained_stages is -1; allowed: 0 or more"),
        (lambda: PixelsConfig(crop=0.0), r"crop is 0.0; allowed: 0.05 to 1.0"),
        (lambda: PixelsConfig(flip=1.5), r"flip is 1.5; allowed: 0.0 to 1.0"),
        (lambda: PixelsConfig(jitter=1.0), r"jitter is 1.0; allowed: 0.0 to 0.9"),
    ],
)
def test_settings_out_of_range_are_refused(make: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()  # type: ignore[operator]


def test_augmentation_set_to_nothing_changes_nothing(rng: np.random.Generator) -> None:
    pixels_NSS3 = rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    assert np.array_equal(augment_pixels(pixels_NSS3, np.arange(3), 7, STILL, seed=1), pixels_NSS3)


def test_augmentation_depends_on_seed_step_and_row_only(rng: np.random.Generator) -> None:
    pixels_NSS3 = rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    config, rows = PixelsConfig(), np.array([4, 9, 2])
    batch = augment_pixels(pixels_NSS3, rows, 7, config, seed=1)
    single = augment_pixels(pixels_NSS3[1:2], rows[1:2], 7, config, seed=1)
    assert np.array_equal(batch[1], single[0])
    assert not np.array_equal(batch, augment_pixels(pixels_NSS3, rows, 8, config, seed=1))
    assert not np.array_equal(batch, augment_pixels(pixels_NSS3, rows, 7, config, seed=2))


def test_a_mirrored_image_is_mirrored(rng: np.random.Generator) -> None:
    pixels_NSS3 = rng.integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
    flipped = augment_pixels(
        pixels_NSS3, np.zeros(1, np.int64), 0, PixelsConfig(crop=1.0, flip=1.0, jitter=0.0), seed=1
    )
    assert np.array_equal(flipped, pixels_NSS3[:, :, ::-1])


def test_jitter_keeps_grey_images_grey() -> None:
    pixels_NSS3 = np.full((1, 8, 8, 3), 100, np.uint8)
    config = PixelsConfig(crop=1.0, flip=0.0, jitter=0.3)
    augmented = [augment_pixels(pixels_NSS3, np.zeros(1, np.int64), step, config, seed=1) for step in range(8)]
    assert all(len(np.unique(one)) == 1 and 70 <= one.flat[0] <= 130 for one in augmented)
    assert len({int(one.flat[0]) for one in augmented}) > 3


def _image(rgb: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.broadcast_to(rgb.astype(np.uint8), (32, 32, 3)).copy()).save(buffer, "png")
    return buffer.getvalue()
