from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from intarsia.errors import ArtifactError
from intarsia.fusion.spec import FUSION_FILE, FusionSpec

WEIGHTS = {"bm25": 0.25, "text": 0.75}


@pytest.mark.parametrize(
    "spec",
    [
        FusionSpec(kind="equal"),
        FusionSpec(kind="rrf", weights=WEIGHTS, rrf_k=10, depth=50),
        FusionSpec(
            kind="convex", normaliser="z", missing="renormalise", weights=WEIGHTS, weights_by_kind={"both": WEIGHTS}
        ),
    ],
)
def test_a_saved_and_opened_spec_is_equal(spec: FusionSpec, tmp_path: Path) -> None:
    spec.save(tmp_path)
    assert FusionSpec.open(tmp_path) == spec


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "equal", "weights": WEIGHTS}, "kind equal takes no weights"),
        ({"kind": "rrf", "weights": {"bm25": -1.0}}, r"weight of bm25 \(all\) is -1.0; allowed: 0 or more"),
        ({"kind": "rrf", "weights": {"bm25": 0.0}}, r"all weights \(all\) are 0"),
        ({"kind": "rrf", "weights": WEIGHTS, "weights_by_kind": {"sound": WEIGHTS}}, "weights_by_kind has 'sound'"),
        (
            {"kind": "rrf", "weights": WEIGHTS, "weights_by_kind": {"both": {"bm25": 1.0}}},
            r"weights for both name \['bm25'\], weights for all \['bm25', 'text'\]",
        ),
        ({"kind": "rrf", "rrf_k": 0.0}, "rrf_k is 0.0; allowed: above 0"),
        ({"kind": "rrf", "depth": 0}, "depth is 0; allowed: 1 or more"),
    ],
)
def test_invalid_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FusionSpec(**values)


def test_the_error_for_a_missing_spec_names_the_job(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"fusion.json does not exist. Fix: run search_fusion"):
        FusionSpec.open(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"kind": "rrf", "dept": 3}', '{"kind": "rrf", "depth": 0}'])
def test_a_damaged_or_unknown_spec_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / FUSION_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"fusion.json is not a fusion spec"):
        FusionSpec.open(tmp_path)
