"""The formulas of the kinds, worked by hand: unit vectors of two numbers, projections the identity."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from intarsia.fusion.feature.config import FeatureFitConfig, FeatureMethodName
from intarsia.fusion.feature.modules import (
    FEATURE_MODULES,
    FeatureModule,
    MaskedAttention,
    MaskedTokens,
    ModalityTensors,
    VectorWidths,
    masked_mean,
    masked_softmax,
)

EAST, NORTH = (1.0, 0.0), (0.0, 1.0)
DIAGONAL = (math.sqrt(0.5), math.sqrt(0.5))
SCALE = 20.0
Vector = tuple[float, float]


def to_jsonable(kind: FeatureMethodName) -> FeatureModule:
    torch.manual_seed(0)
    module = FEATURE_MODULES[kind](VectorWidths(2, 2), FeatureFitConfig(width=2, num_heads=1, dropout=0.0)).eval()
    module.set_projections(torch.eye(2), torch.eye(2))
    return module


def score(module: FeatureModule, query: Vector, text: Vector | None, image: Vector | None) -> float:
    """Of one query by words and one product, in units of the scale."""
    product = ModalityTensors(
        torch.tensor([[text or (0.0, 0.0)]]),
        torch.tensor([[image or (0.0, 0.0)]]),
        torch.tensor([[[text is not None, image is not None]]]),
    )
    asked = ModalityTensors(torch.tensor([query]), torch.zeros(1, 2), torch.tensor([[True, False]]))
    with torch.no_grad():
        return module.compare(module.read_queries(asked), module.read_products(product)).item() / SCALE


@pytest.mark.parametrize(
    "kind", [kind for kind in FEATURE_MODULES if kind not in ("gated", "common_space", "adversarial")]
)
def test_before_they_have_learned_most_kinds_are_the_cosine_of_means(kind: FeatureMethodName) -> None:
    if kind == "attention":  # its weights depend on the query from the start
        assert score(to_jsonable(kind), DIAGONAL, EAST, NORTH) == pytest.approx(1.0, abs=1e-6)
    else:
        assert score(to_jsonable(kind), EAST, EAST, NORTH) == pytest.approx(math.sqrt(0.5), abs=1e-6)
    assert score(to_jsonable(kind), EAST, EAST, None) == pytest.approx(1.0, abs=1e-6)


def test_average_without_a_image_is_not_the_average_with_zeros() -> None:
    assert score(to_jsonable("average"), DIAGONAL, EAST, None) == pytest.approx(math.sqrt(0.5), abs=1e-6)
    means = masked_mean(MaskedTokens(torch.tensor([[EAST, NORTH]]), torch.tensor([[True, False]])))
    assert means.tolist() == [[1.0, 0.0]]  # not 0.5


def test_weighted_sum_of_two_thirds_text() -> None:
    module = to_jsonable("weighted_sum")
    with torch.no_grad():
        module.product_logits.copy_(torch.tensor([math.log(2.0), 0.0]))
    assert score(module, EAST, EAST, NORTH) == pytest.approx((2 / 3) / math.hypot(2 / 3, 1 / 3), abs=1e-6)
    assert score(module, EAST, None, NORTH) == pytest.approx(0.0, abs=1e-6)


def test_gates_open_as_wide_as_their_logits_say() -> None:
    module = to_jsonable("gated")
    with torch.no_grad():
        module.product_unit.gates.bias.copy_(torch.tensor([math.log(3.0), 0.0, 0.0, 0.0]))
    # first number: gates 3/4 and 1/4; second: 1/2 each; tanh(1) in the first of text, in the second of image
    read_progress = 0.75 * math.tanh(1), 0.5 * math.tanh(1)
    assert score(module, EAST, EAST, NORTH) == pytest.approx(read_progress[0] / math.hypot(*read_progress), abs=1e-6)
    assert score(module, EAST, None, NORTH) == pytest.approx(0.0, abs=1e-6)
    assert score(module, NORTH, None, NORTH) == pytest.approx(1.0, abs=1e-6)  # the gate of one left alone is 1


def test_attention_looks_where_the_query_points() -> None:
    near, far = math.exp(1 / math.sqrt(2)), 1.0  # q . k / sqrt(d) is 1 / sqrt 2 and 0
    share = near / (near + far)
    assert score(to_jsonable("attention"), EAST, EAST, NORTH) == pytest.approx(
        share / math.hypot(share, 1 - share), abs=1e-6
    )


def test_attention_over_a_masked_token_is_attention_without_it() -> None:
    torch.manual_seed(1)
    whole, without = MaskedAttention(8, 2, 3), MaskedAttention(8, 2, 2)
    state = {name: torch.randn_like(value) for name, value in whole.state_dict().items()}
    whole.load_state_dict(state)
    without.load_state_dict(state | {"position_SH": state["position_SH"][[0, 2]]})
    asking, asked = torch.randn(5, 4, 8), torch.randn(5, 3, 8)
    there = torch.tensor([True, False, True]).expand(5, 3)
    with torch.no_grad():
        masked = whole(asking, MaskedTokens(asked, there))
        cut = without(asking, MaskedTokens(asked[:, [0, 2]], there[:, [0, 2]]))
    assert torch.equal(masked, cut)


def test_softmax_over_nothing_is_zeros_and_over_large_numbers_is_finite() -> None:
    logits, there = torch.tensor([[900.0, 1e4], [3.0, 4.0]]), torch.tensor([[True, False], [False, False]])
    assert masked_softmax(logits, there, dim=-1).tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert masked_softmax(torch.tensor([1000.0, 1000.0]), torch.tensor([True, True]), dim=-1).tolist() == [0.5, 0.5]


def test_common_space_weighs_each_pair_that_is_there() -> None:
    module = to_jsonable("common_space")
    with torch.no_grad():
        module.pair_logits_MM.copy_(torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]]).T)
    assert score(module, EAST, EAST, NORTH) == pytest.approx((3 * 1 + 1 * 0) / 4, abs=1e-6)
    assert score(module, EAST, EAST, None) == pytest.approx(1.0, abs=1e-6)


def test_low_rank_factors_multiply_and_a_missing_one_is_one() -> None:
    module = to_jsonable("low_rank")
    unit = module.product_unit
    rank = len(unit.rank_weights_R)
    with torch.no_grad():
        unit.rank_weights_R.copy_(torch.tensor([1.0] + [0.0] * (rank - 1)))
        for factor, weight in zip(unit.factors, (2.0, 3.0), strict=True):
            factor.weight.zero_()
            factor.weight[:2] = weight * torch.eye(2)  # rank 0; the others stay 0
            factor.bias.copy_(torch.tensor([1.0, 1.0] + [0.0] * (2 * rank - 2)))
    both = np.array([0.5 + (2 + 1) * 1, 0.5 + 1 * (3 + 1)])  # mean + (W_t x_t + 1)(W_i x_i + 1)
    assert score(module, EAST, EAST, NORTH) == pytest.approx(both[0] / np.hypot(*both), abs=1e-6)
    alone = np.array([1.0 + (2 + 1), 0.0 + 1])
    assert score(module, EAST, EAST, None) == pytest.approx(alone[0] / np.hypot(*alone), abs=1e-6)


def test_bilinear_pools_four_factors_and_takes_the_signed_root() -> None:
    module = to_jsonable("bilinear")
    with torch.no_grad():
        module.query_factors.weight.fill_(1.0)
        module.product_factors.weight.fill_(1.0)
        module.product_factors.weight[4:] = -1.0
        module.head.weight.copy_(torch.tensor([[0.0, 1.0]]))
    # q = east: each factor 1; p = mean of east and north: +-1; pooled (4, -4), rooted (2, -2), unit length
    expected = math.sqrt(0.5) - math.sqrt(0.5)
    assert score(module, EAST, EAST, NORTH) == pytest.approx(expected, abs=1e-6)


def test_a_generated_image_stands_in_only_where_the_real_one_is_missing() -> None:
    module = to_jsonable("adversarial")
    with torch.no_grad():
        for layer in (module.image_of_text[0], module.image_of_text[2]):
            layer.weight.zero_()
            layer.bias.zero_()
        module.image_of_text[2].bias.copy_(torch.tensor(NORTH))  # every text looks north
    real, made = 1.0, math.exp(-1.0)
    query = math.hypot(real, made)  # the query's own missing picture is made, too: (1, e^-1)
    assert score(module, EAST, EAST, None) == pytest.approx((real * real + made * made) / query**2, abs=1e-6)
    both = (real * real + made * real) / (query * math.sqrt(2))
    assert score(module, EAST, EAST, NORTH) == pytest.approx(both, abs=1e-6)
