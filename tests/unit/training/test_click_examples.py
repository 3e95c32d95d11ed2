"""Click examples against grades computed by hand; and set_dropout."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from intarsia.encoders.config import TextEncoderConfig
from intarsia.ids import ProductId
from intarsia.training.adapters import set_dropout
from intarsia.training.clicks import ClickedPage, build_click_examples
from intarsia.training.text_examples import TextExample
from intarsia.training.text_pairs import TextPairsConfig
from intarsia.training.text_training_data import open_trainable

A, B, C, D = (ProductId(name) for name in "abcd")
TEXT_OF = {A: "red bag", B: "blue bag", C: "red mug", D: ""}


def page(text: str, shown: tuple[ProductId, ...], *taken: ProductId) -> ClickedPage:
    return ClickedPage(text=text, shown=shown, taken=frozenset(taken))


def examples(*pages: ClickedPage, least_seen: int = 1, **query_ids: str) -> list[TextExample]:
    return build_click_examples(
        pages,
        TEXT_OF,
        {A: "g"},
        weight=0.5,
        least_seen=least_seen,
        query_ids={k.lower(): v for k, v in query_ids.items()},
    )


def test_grades_are_click_shares_of_pages_above_the_last_click() -> None:
    result = examples(
        page("Bags", (C, B, A), B),  # c and b seen; a stands below the last click: nobody knows
        page("bags ", (A, B, C), A),  # a seen
        page("bags", (B, A, C), A),  # b and a seen
        page("bags", (B, A, C)),  # nothing taken: says nothing
    )
    # taken / seen: a 2/2, b 1/2, c 0/1; the best is 3, the others in proportion: b 1.5, rounded to the even 2
    assert [(example.anchor, example.texts, example.grades) for example in result] == [
        ("Bags", ("red bag", "blue bag", "red mug"), (3.0, 2.0, 0.0))
    ]
    assert (result[0].groups, result[0].weight, result[0].source) == (("g", "", ""), 0.5, "clicks")


def test_position_on_the_page_does_not_change_the_grade() -> None:
    result = examples(page("bags", (A, B), A), page("bags", (A, B), A), page("bags", (A, B), A, B))
    assert result[0].grades == (3.0, 3.0)  # three clicks against one, yet b was taken whenever it was surely seen


def test_few_pages_unknown_products_and_unclicked_queries_give_no_example() -> None:
    assert not examples(page("bags", (A, B), B), least_seen=2)
    assert not examples(page("bags", (D, ProductId("gone")), D), page(" ", (A,), A))
    seen_twice = examples(page("bags", (C, A), A), page("bags", (C, B), B), least_seen=2)
    assert not seen_twice  # c was seen twice and never taken, the others once


def test_a_query_equal_to_a_train_query_has_its_id() -> None:
    result = examples(page("BAGS", (A,), A), page("mugs", (C,), C), bags="q7")
    assert [(example.anchor, example.query_id) for example in result] == [("BAGS", "q7"), ("mugs", "")]


@pytest.mark.parametrize("kind", ["bert", "gpt2", "clip", "chinese_clip"])
def test_set_dropout_sets_the_rate_of_every_tower(kind: str) -> None:
    tower = open_trainable(TextEncoderConfig(model=f"untrained:{kind}:1", max_tokens=16)).tower
    ids, mask = torch.tensor([[2, 9, 8, 3]]), torch.ones(1, 4, dtype=torch.int64)
    for share, differs in ((0.0, False), (0.5, True)):
        set_dropout(tower, share)
        passes = [tower.train()(ids, mask) for _ in range(2)]
        assert torch.equal(*passes) is not differs


def test_a_single_recurrent_layer_has_no_dropout() -> None:
    for num_layers, share in ((1, 0.0), (2, 0.4)):
        layers = nn.LSTM(4, 4, num_layers=num_layers)
        set_dropout(nn.Sequential(layers, nn.Dropout(0.1)), 0.4)
        assert layers.dropout == share


def test_a_dropout_rate_above_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"dropout is 1.5; allowed: 0.0"):
        TextPairsConfig(dropout=1.5)
