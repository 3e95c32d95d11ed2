from __future__ import annotations

import numpy as np
import pytest

from intarsia.experiments.missing_images import lacks_images, release_without_images
from tests.unit.engine.small_release import ask, image, rows_of, shop

SHOP = shop()
ENGINE = SHOP.engine()


def test_a_release_without_any_image_answers_words_by_words_alone() -> None:
    with_missing_images = release_without_images(ENGINE, SHOP.release, 1.0, seed=3)
    found = with_missing_images.retrieve.retrieve([with_missing_images.encoders.encode(ask("red bag"))])[0]
    scores = dict(zip(found.retrievers, found.scores_CR.T, strict=True))
    assert np.isnan(scores["image"]).all() and np.isnan(scores["aligned"]).all()
    assert np.isfinite(scores["bm25"]).all()
    assert (with_missing_images.columns.num_images == 0).all() and (ENGINE.columns.num_images > 0).any()
    assert rows_of(with_missing_images.search([ask("red bag")])[0])
    assert not rows_of(with_missing_images.search([ask(image=image("red"))])[0])


def test_without_a_share_nothing_changes() -> None:
    same = release_without_images(ENGINE, SHOP.release, 0.0, seed=3)
    query = ask("red bag", image=image("red"))
    assert rows_of(same.search([query])[0]) == rows_of(ENGINE.search([query])[0])


def test_a_larger_share_takes_the_images_of_a_smaller_and_more() -> None:
    some_N, more_N = (lacks_images(ENGINE.columns, share, 3) for share in (0.25, 0.75))
    assert 0 < some_N.sum() < more_N.sum() < len(more_N)
    assert not (some_N & ~more_N).any()
    assert some_N.tolist() != lacks_images(ENGINE.columns, 0.25, 4).tolist()


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"share of missing pictures is 1\.5; allowed: 0 to 1"):
        lacks_images(ENGINE.columns, 1.5, 3)
