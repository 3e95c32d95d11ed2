from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from intarsia.encoders.config import TextEncoderConfig
from intarsia.encoders.torch_encoders import TorchTextEncoder
from intarsia.errors import ArtifactError, ConfigError
from intarsia.lake import Lake
from intarsia.tables.judgments import QUERIES
from intarsia.training.model_soup import SoupRecipe, text_tower_soup
from intarsia.training.text_examples import TextExample
from intarsia.training.text_folder import get_arrays, set_arrays
from intarsia.training.text_pairs import EncodeTexts
from intarsia.training.text_training_data import HeldOutNdcg, open_trainable
from pipelines.finetune_text import FinetuneTextConfig, run
from pipelines.job import JobProgress
from tests.judged_shop import fill_with_judged_shop

EXAMPLES = [
    TextExample(
        anchor=f"{colour} bag",
        texts=("red bag", "blue bag", "green mug"),
        grades=grades,
        groups=("",) * 3,
        query_id=colour,
    )
    for colour, grades in (("red", (3.0, 1.0, 0.0)), ("blue", (1.0, 3.0, 0.0)))
]
TOWER = TextEncoderConfig(model="untrained:bert:1", max_tokens=16)
ORDERS = HeldOutNdcg(EXAMPLES)


def tower(shift: float) -> TorchTextEncoder:
    """A tower whose weights are shifted from one starting point."""
    encoder = open_trainable(TOWER)
    rng = np.random.default_rng(int(shift * 100))
    moved = {
        name: (array + shift * rng.normal(size=array.shape)).astype(array.dtype) if array.dtype.kind == "f" else array
        for name, array in get_arrays(encoder).items()
    }
    set_arrays(encoder, moved)
    return encoder


def test_the_uniform_soup_is_the_mean_of_the_weights() -> None:
    towers = [tower(0.01), tower(0.02)]
    first, second = (get_arrays(one) for one in towers)
    mixed = get_arrays(text_tower_soup("soup", tower(0.0), towers, ORDERS))
    for name in first:
        if first[name].dtype.kind == "f":
            np.testing.assert_allclose(mixed[name], (first[name].astype(np.float64) + second[name]) / 2, atol=1e-6)


@pytest.mark.parametrize("recipe", ["greedy_soup", "searched_soup"])
def test_a_validated_soup_is_never_below_its_best_tower(recipe: SoupRecipe) -> None:
    towers = [tower(shift) for shift in (0.01, 0.5, 1.0)]
    single_metrics = [ORDERS(one.encode)["ndcg@10"] for one in towers]
    assert len(set(single_metrics)) > 1
    assert ORDERS(text_tower_soup(recipe, tower(0.0), towers, ORDERS).encode)["ndcg@10"] >= max(single_metrics) - 1e-6


def test_the_searched_soup_finds_the_best_weights() -> None:
    measured_shifts: list[float] = []

    class Likes(HeldOutNdcg):
        """A metric with its maximum at three parts of the first and one of the second."""

        def __call__(self, encode: EncodeTexts) -> Mapping[str, float]:
            shift = float(np.abs(encode(["red bag"]) - wanted_1D).sum())
            measured_shifts.append(shift)
            return {"ndcg@10": -shift}

    towers = [tower(0.0), tower(0.3)]
    ends = [get_arrays(one) for one in towers]
    set_arrays(
        towers[0],
        {
            name: (0.75 * array.astype(np.float64) + 0.25 * ends[1][name]).astype(array.dtype)
            if array.dtype.kind == "f"
            else array
            for name, array in ends[0].items()
        },
    )
    wanted_1D = towers[0].encode(["red bag"])
    set_arrays(towers[0], ends[0])
    mixed = text_tower_soup("searched_soup", tower(0.0), towers, Likes([]))
    assert len(measured_shifts) > 5
    np.testing.assert_allclose(mixed.encode(["red bag"]), wanted_1D, atol=1e-5)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (
            {"folds": 2, "served": "greedy_soup"},
            "served is greedy_soup, which needs judged validation queries",
        ),
        ({"folds": 2, "served": "searched_soup"}, "served is searched_soup, which needs judged validation queries"),
        ({"trials": 3}, "trials is 3, which needs judged validation queries; judge some, or set trials to 0"),
    ],
)
def test_choices_that_need_validation_are_refused_without_it(lake: Lake, chosen: dict[str, Any], words: str) -> None:
    fill_with_judged_shop(lake)
    rows = QUERIES.read(lake.current("queries")).to_pylist()
    QUERIES.publish(lake, QUERIES.from_rows([row for row in rows if row["split"] != "validation"]))
    with pytest.raises(ConfigError, match=words):
        run(FinetuneTextConfig(tower=TOWER, **chosen), lake, JobProgress("finetune_text"))


def test_towers_of_another_architecture_have_no_mean() -> None:
    other = open_trainable(TextEncoderConfig(model="untrained:gpt2:1", max_tokens=16, pooling="last"))
    with pytest.raises(ArtifactError, match="different architectures; average models of one architecture"):
        text_tower_soup("soup", tower(0.0), [tower(0.01), other], ORDERS)
