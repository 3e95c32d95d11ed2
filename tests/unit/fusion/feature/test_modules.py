"""The formulas of the methods, computed by hand: unit vectors of two numbers, projections the identity."""

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
Point = tuple[float, float]


def make_module(kind: FeatureMethodName) -> FeatureModule:
    torch.manual_seed(0)
    module = FEATURE_MODULES[kind](VectorWidths(2, 2), FeatureFitConfig(width=2, num_heads=1, dropout=0.0)).eval()
    module.set_projections(torch.eye(2), torch.eye(2))
    return module


def score(module: FeatureModule, query: Point, text: Point | None, image: Point | None) -> float:
    """Score of one text query and one product, in units of the scale."""
    product = ModalityTensors(
        torch.tensor([[text or (0.0, 0.0)]]),
        torch.tensor([[image or (0.0, 0.0)]]),
        torch.tensor([[[text is not None, image is not None]]]),
    )
    query_vectors = ModalityTensors(torch.tensor([query]), torch.zeros(1, 2), torch.tensor([[True, False]]))
    with torch.no_grad():
        return module.compare(module.read_queries(query_vectors), module.read_products(product)).item() / SCALE


@pytest.mark.parametrize(
    "kind", [kind for kind in FEATURE_MODULES if kind not in ("gated", "common_space", "adversarial")]
)
def test_untrained_most_methods_are_the_cosine_of_means(kind: FeatureMethodName) -> None:
    if kind == "attention":  # its weights depend on the query from the start
        assert score(make_module(kind), DIAGONAL, EAST, NORTH) == pytest.approx(1.0, abs=1e-6)
    else:
        assert score(make_module(kind), EAST, EAST, NORTH) == pytest.approx(math.sqrt(0.5), abs=1e-6)
    assert score(make_module(kind), EAST, EAST, None) == pytest.approx(1.0, abs=1e-6)


def test_the_average_of_one_modality_is_not_an_average_with_zeros() -> None:
    assert score(make_module("average"), DIAGONAL, EAST, None) == pytest.approx(math.sqrt(0.5), abs=1e-6)
    means = masked_mean(MaskedTokens(torch.tensor([[EAST, NORTH]]), torch.tensor([[True, False]])))
    assert means.tolist() == [[1.0, 0.0]]  # not 0.5


def test_weighted_sum_of_two_thirds_text() -> None:
    module = make_module("weighted_sum")
    with torch.no_grad():
        module.product_logits.copy_(torch.tensor([math.log(2.0), 0.0]))
    assert score(module, EAST, EAST, NORTH) == pytest.approx((2 / 3) / math.hypot(2 / 3, 1 / 3), abs=1e-6)
    assert score(module, EAST, None, NORTH) == pytest.approx(0.0, abs=1e-6)


def test_gates_follow_their_logits() -> None:
    module = make_module("gated")
    with torch.no_grad():
        module.product_unit.gates.bias.copy_(torch.tensor([math.log(3.0), 0.0, 0.0, 0.0]))
    # first number: gates 3/4 and 1/4; second: 1/2 each; tanh(1) in the first of text, in the second of image
    fused = 0.75 * math.tanh(1), 0.5 * math.tanh(1)
    assert score(module, EAST, EAST, NORTH) == pytest.approx(fused[0] / math.hypot(*fused), abs=1e-6)
    assert score(module, EAST, None, NORTH) == pytest.approx(0.0, abs=1e-6)
    assert score(module, NORTH, None, NORTH) == pytest.approx(1.0, abs=1e-6)  # the gate of a single modality is 1


def test_attention_weighs_the_token_that_is_near_the_query() -> None:
    high, low = math.exp(1 / math.sqrt(2)), 1.0  # q . k / sqrt(d) is 1 / sqrt 2 and 0
    weight = high / (high + low)
    assert score(make_module("attention"), EAST, EAST, NORTH) == pytest.approx(
        weight / math.hypot(weight, 1 - weight), abs=1e-6
    )


def test_attention_ignores_a_masked_token() -> None:
    torch.manual_seed(1)
    attention, without_token = MaskedAttention(8, 2, 3), MaskedAttention(8, 2, 2)
    state = {name: torch.randn_like(value) for name, value in attention.state_dict().items()}
    attention.load_state_dict(state)
    without_token.load_state_dict(state | {"position_SH": state["position_SH"][[0, 2]]})
    queries, keys = torch.randn(5, 4, 8), torch.randn(5, 3, 8)
    mask = torch.tensor([True, False, True]).expand(5, 3)
    with torch.no_grad():
        masked = attention(queries, MaskedTokens(keys, mask))
        reduced = without_token(queries, MaskedTokens(keys[:, [0, 2]], mask[:, [0, 2]]))
    assert torch.equal(masked, reduced)


def test_the_softmax_of_an_empty_mask_is_zeros_and_large_logits_are_finite() -> None:
    logits, mask = torch.tensor([[900.0, 1e4], [3.0, 4.0]]), torch.tensor([[True, False], [False, False]])
    assert masked_softmax(logits, mask, dim=-1).tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert masked_softmax(torch.tensor([1000.0, 1000.0]), torch.tensor([True, True]), dim=-1).tolist() == [0.5, 0.5]


def test_common_space_weighs_the_existing_pairs() -> None:
    module = make_module("common_space")
    with torch.no_grad():
        module.pair_logits_MM.copy_(torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]]).T)
    assert score(module, EAST, EAST, NORTH) == pytest.approx((3 * 1 + 1 * 0) / 4, abs=1e-6)
    assert score(module, EAST, EAST, None) == pytest.approx(1.0, abs=1e-6)


def test_low_rank_factors_multiply_and_a_missing_factor_is_one() -> None:
    module = make_module("low_rank")
    unit = module.product_unit
    rank = len(unit.rank_weights_R)
    with torch.no_grad():
        unit.rank_weights_R.copy_(torch.tensor([1.0] + [0.0] * (rank - 1)))
        for factor, weight in zip(unit.factors, (2.0, 3.0), strict=True):
            factor.weight.zero_()
            factor.weight[:2] = weight * torch.eye(2)  # rank 0; the others stay 0
            factor.bias.copy_(torch.tensor([1.0, 1.0] + [0.0] * (2 * rank - 2)))
    with_image = np.array([0.5 + (2 + 1) * 1, 0.5 + 1 * (3 + 1)])  # mean + (W_t x_t + 1)(W_i x_i + 1)
    assert score(module, EAST, EAST, NORTH) == pytest.approx(with_image[0] / np.hypot(*with_image), abs=1e-6)
    text_only = np.array([1.0 + (2 + 1), 0.0 + 1])
    assert score(module, EAST, EAST, None) == pytest.approx(text_only[0] / np.hypot(*text_only), abs=1e-6)


def test_bilinear_pools_four_factors_and_takes_the_signed_root() -> None:
    module = make_module("bilinear")
    with torch.no_grad():
        module.query_factors.weight.fill_(1.0)
        module.product_factors.weight.fill_(1.0)
        module.product_factors.weight[4:] = -1.0
        module.head.weight.copy_(torch.tensor([[0.0, 1.0]]))
    # q = east: each factor 1; p = mean of east and north: +-1; pooled (4, -4), rooted (2, -2), unit length
    expected = math.sqrt(0.5) - math.sqrt(0.5)
    assert score(module, EAST, EAST, NORTH) == pytest.approx(expected, abs=1e-6)


def test_a_generated_image_is_used_only_if_the_real_one_is_missing() -> None:
    module = make_module("adversarial")
    with torch.no_grad():
        for layer in (module.image_of_text[0], module.image_of_text[2]):
            layer.weight.zero_()
            layer.bias.zero_()
        module.image_of_text[2].bias.copy_(torch.tensor(NORTH))  # every text generates NORTH
    real, generated = 1.0, math.exp(-1.0)
    query = math.hypot(real, generated)  # the query's own missing image is generated, too: (1, e^-1)
    assert score(module, EAST, EAST, None) == pytest.approx((real * real + generated * generated) / query**2, abs=1e-6)
    with_image = (real * real + generated * real) / (query * math.sqrt(2))
    assert score(module, EAST, EAST, NORTH) == pytest.approx(with_image, abs=1e-6)
