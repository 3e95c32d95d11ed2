from __future__ import annotations

import numpy as np
import pytest

from intarsia.experiments.missing_images import missing_images_mask, release_without_images
from tests.unit.engine.small_release import ask, image, rows_of, shop

SHOP = shop()
ENGINE = SHOP.engine()


def test_a_release_without_images_retrieves_by_text_only() -> None:
    with_missing_images = release_without_images(ENGINE, SHOP.release, 1.0, seed=3)
    candidates = with_missing_images.retrieve.retrieve([with_missing_images.encoders.encode(ask("red bag"))])[0]
    scores = dict(zip(candidates.retrievers, candidates.scores_CR.T, strict=True))
    assert np.isnan(scores["image"]).all() and np.isnan(scores["aligned"]).all()
    assert np.isfinite(scores["bm25"]).all()
    assert (with_missing_images.columns.num_images == 0).all() and (ENGINE.columns.num_images > 0).any()
    assert rows_of(with_missing_images.search([ask("red bag")])[0])
    assert not rows_of(with_missing_images.search([ask(image=image("red"))])[0])


def test_a_share_of_zero_changes_nothing() -> None:
    same = release_without_images(ENGINE, SHOP.release, 0.0, seed=3)
    query = ask("red bag", image=image("red"))
    assert rows_of(same.search([query])[0]) == rows_of(ENGINE.search([query])[0])


def test_a_larger_share_contains_a_smaller_one() -> None:
    some_N, more_N = (missing_images_mask(ENGINE.columns, share, 3) for share in (0.25, 0.75))
    assert 0 < some_N.sum() < more_N.sum() < len(more_N)
    assert not (some_N & ~more_N).any()
    assert some_N.tolist() != missing_images_mask(ENGINE.columns, 0.25, 4).tolist()


def test_a_share_outside_0_to_1_is_refused() -> None:
    with pytest.raises(ValueError, match=r"share of missing images is 1\.5; allowed: 0 to 1"):
        missing_images_mask(ENGINE.columns, 1.5, 3)
