from __future__ import annotations

import numpy as np
import pytest

from intarsia.fusion.feature import fit
from intarsia.fusion.feature.fit import initial_projections
from intarsia.fusion.feature.scorer import ModalityArrays


def test_images_start_where_their_texts_lie_and_a_part_of_a_large_catalog_says_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(2)
    text_nD = rng.normal(size=(400, 6)) * [5, 4, 3, 0.1, 0.1, 0.1]
    image_nE = text_nD[:, :3] @ rng.normal(size=(3, 4))  # pictures say what the long directions of texts say
    whole = ModalityArrays(text_nD.astype(np.float32), image_nE.astype(np.float32), np.ones((400, 2), np.bool_))
    text_DH, image_EH = initial_projections(whole, 3, np.random.default_rng(0))
    assert np.abs(whole.image @ image_EH - whole.text @ text_DH).max() < 0.1
    monkeypatch.setattr(fit, "MAX_INITIAL_PRODUCTS", 100)
    again_DH, _ = initial_projections(whole, 3, np.random.default_rng(0))
    overlap = np.linalg.svd(text_DH.T @ again_DH, compute_uv=False)
    assert overlap.min() > 0.99
    assert not np.array_equal(text_DH, again_DH)
