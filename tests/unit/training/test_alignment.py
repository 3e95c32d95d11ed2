from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from intarsia.encoders.aligned import frequent_words
from intarsia.ids import SpaceId, fold_of
from intarsia.training.alignment import AlignConfig, AlignTask, AlignTrainingData, EncodedTexts, retrieval_metrics
from intarsia.training.loop import FitConfig, fit_in_process

COLOURS = ("red", "blue", "green", "black")
THINGS = ("bag", "hat", "mug")
CONFIG = AlignConfig(dim=8, num_folds=2, holdout_share=0.2, min_texts=2)
FIT = FitConfig(epochs=40, batch_size=64, learning_rate=0.02, schedule="cosine", checkpoint_every=0)
ASKED = {"crimson": 0, "navy": 1}
"""Words that occur only in judged queries, and the colour each means."""


def training_data(*, judged: bool = True, seed: int = 0) -> AlignTrainingData:
    """240 products whose image shows colour and thing; every third title has no colour."""
    rng = np.random.default_rng(seed)
    colours, things = rng.integers(len(COLOURS), size=240), rng.integers(len(THINGS), size=240)
    says = np.arange(240) % 3 > 0
    titles = [f"{COLOURS[c]} {THINGS[t]}" if s else THINGS[t] for c, t, s in zip(colours, things, says, strict=True)]
    images = np.concatenate([np.eye(4)[colours], np.eye(3)[things]], axis=1) + 0.1 * rng.normal(size=(240, 7))
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    queries = [f"{word} {thing}" for word in ASKED for thing in THINGS] if judged else []
    wanted = [
        [c == ASKED[q.split()[0]] and THINGS[t] == q.split()[1] for c, t in zip(colours, things, strict=True)]
        for q in queries
    ]
    return AlignTrainingData(
        titles=EncodedTexts(words=titles, vectors_NT=np.ones((240, 2), np.float32)),
        images_VE=images.astype(np.float32),
        owners_V=np.arange(240),
        groups_N=np.unique(np.array(titles), return_inverse=True)[1],
        held_out_N=np.arange(240) % 5 == 0,
        queries=EncodedTexts(words=queries, vectors_NT=np.ones((len(queries), 2), np.float32)),
        query_ids=[f"q{n}" for n in range(len(queries))],
        gains_QN=csr_matrix(np.array(wanted, np.float64).reshape(len(queries), 240)),
    )


def task(data: AlignTrainingData, config: AlignConfig = CONFIG) -> AlignTask:
    words = [*data.titles.words, *data.queries.words]
    return AlignTask(data, config, frequent_words(words, min_texts=config.min_texts, max_words=100), seed=3)


def share_of_colour(fitted: AlignTask, text: str, colour: int, *, seen_by: str | None = None) -> float:
    """The share of images with a colour among the ten nearest to a text."""
    data = training_data()
    one = fitted.alignment(SpaceId("t"), SpaceId("i"))
    scores_N = one.images(data.images_VE) @ one.text(text, np.ones(2, np.float32), train_query_id=seen_by)
    best = np.argsort(-scores_N)[:10]
    return float((data.images_VE[best, :4].argmax(axis=1) == colour).mean())


@pytest.mark.slow
def test_words_find_images_whose_titles_lack_them() -> None:
    data = training_data()
    untrained, fitted = task(data).measure(), task(data)
    fit_in_process(fitted, FIT)
    assert share_of_colour(fitted, "red bag", 0) == share_of_colour(fitted, "blue hat", 1) == 1.0
    metrics = fitted.measure()
    assert metrics["text_to_image_mrr"] > 0.55 > 0.3 > untrained["text_to_image_mrr"]
    assert metrics["image_to_text_r@10"] > untrained["image_to_text_r@10"]


@pytest.mark.slow
def test_fold_heads_do_not_learn_from_the_queries_of_their_fold() -> None:
    data = training_data()
    for_crimson = [n for n, text in enumerate(data.queries.words) if text.startswith("crimson")]
    # all of crimson's queries in one fold, so that its head has never met the word
    ids = [
        next(f"q{i}" for i in range(99) if fold_of(f"q{i}", 2) == (n in for_crimson) and i // 10 == n) for n in range(6)
    ]
    data = replace(data, query_ids=ids)
    fitted = task(data)
    fit_in_process(fitted, FIT)
    assert share_of_colour(fitted, "crimson bag", 0) == 1.0
    assert share_of_colour(fitted, "crimson bag", 0, seen_by=ids[for_crimson[0]]) < 0.7


def test_without_folds_the_serving_head_uses_judged_queries() -> None:
    fitted = task(training_data(), replace(CONFIG, num_folds=0))
    fit_in_process(fitted, FIT)
    assert fitted.alignment(SpaceId("t"), SpaceId("i")).heads.num_folds == 0
    assert share_of_colour(fitted, "crimson bag", 0) == 1.0


def test_without_judged_queries_one_head_learns_from_titles() -> None:
    fitted = task(training_data(judged=False))
    fit_in_process(fitted, FIT)
    assert fitted.alignment(SpaceId("t"), SpaceId("i")).heads.num_folds == 0
    assert share_of_colour(fitted, "green mug", 2) == 1.0


def test_judgments_do_not_change_the_image_head() -> None:
    data = training_data()
    rows = np.arange(task(data).num_examples)
    other = csr_matrix(data.gains_QN[::-1])  # every query means other products
    gradients = []
    for gains in (data.gains_QN, other):
        one = task(replace(data, gains_QN=gains))
        one._products = task(data)._products  # the same pairs are shown
        one.loss(one.module(**one.inputs(rows, 0)), rows).backward()
        gradients.append((one.module.image.weight.grad, one.module.words.grad))
    assert torch.equal(*(image for image, _ in gradients))
    assert not torch.equal(*(words for _, words in gradients))


def test_held_out_products_are_not_trained_on() -> None:
    data = training_data()
    one = task(data)
    shown, queries = one._pairs(np.arange(one.num_examples))
    assert not data.held_out_N[shown].any()
    judged = queries >= 0
    assert judged.mean() == pytest.approx(CONFIG.judged_share, abs=0.01)
    assert (data.gains_QN[queries[judged], shown[judged]] > 0).all()


def test_several_images_of_a_product_are_used_in_turn() -> None:
    data = training_data(judged=False)
    twice = replace(data, images_VE=np.repeat(data.images_VE, 2, axis=0), owners_V=np.repeat(data.owners_V, 2))
    twice.images_VE[1::2] *= -1
    one = task(twice)
    shown = [one.inputs(np.array([7]), step)["images_bE"][0].tolist() for step in range(4)]
    assert shown[0] == shown[2] != shown[1] == shown[3]


def test_retrieval_metrics_ignore_the_own_group() -> None:
    queries = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], np.float32)
    targets = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]], np.float32)
    ranks = [3, 2, 1]  # the third: the second image is as near, but in its own group
    metrics = retrieval_metrics(queries, targets, np.array([0, 1, 1]))
    assert metrics == {"r@1": pytest.approx(1 / 3), "r@10": 1.0, "mrr": pytest.approx(sum(1 / r for r in ranks) / 3)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": 0.0}, "temperature is 0.0; allowed: above 0"),
        ({"num_folds": 1}, "num_folds is 1; allowed: 0, or 2 or more"),
    ],
)
def test_invalid_settings_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AlignConfig(**values)  # type: ignore[arg-type]
