"""The laws of reading text: products and queries are folded alike, however they were written."""

from __future__ import annotations

import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from intarsia.text import clean, fold, tokens, words
from tests.strategies import texts

ANY = texts() | st.text()  # half surrogate pairs too: JSON can carry them
SIMPLIFIED_OF = {"紅": "红", "連": "连", "無": "无", "藍": "蓝", "電": "电", "運": "运", "書": "书", "機": "机"}


@given(ANY)
@example("薴")
@example("乾\ufe00隆")
@example("紅\ud800色")
@example("İ ŉ ǰ")
def test_folding_is_idempotent(text: str) -> None:
    assert fold(fold(text)) == fold(text)


@given(ANY)
def test_a_folded_text_has_the_tokens_of_the_text(text: str) -> None:
    assert tokens(fold(text)) == tokens(text)
    assert words(fold(text)) == words(text)


@given(ANY)
def test_a_product_that_was_cleaned_and_a_query_that_was_not_have_the_same_tokens(text: str) -> None:
    assert tokens(clean(text)) == tokens(text)


@given(ANY)
def test_cleaning_is_idempotent_and_leaves_nothing_that_cannot_be_shown(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co") for c in cleaned)


@given(st.text(st.sampled_from("".join(SIMPLIFIED_OF)), max_size=6))
def test_traditional_is_read_as_simplified(text: str) -> None:
    simplified = "".join(SIMPLIFIED_OF[c] for c in text)
    assert fold(text) == simplified
    assert tokens(text) == tokens(simplified)


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E)))
def test_full_width_is_read_as_half_width(text: str) -> None:
    wide = "".join(chr(ord(c) + 0xFEE0) for c in text)
    assert fold(wide) == fold(text)
    assert tokens(wide) == tokens(text)


@given(ANY)
def test_no_token_is_empty_or_holds_a_space(text: str) -> None:
    for token in (*tokens(text), *words(text)):
        assert token
        assert not any(c.isspace() for c in token)


@given(ANY)
def test_every_word_of_a_text_is_a_token_of_it(text: str) -> None:
    # what the coverage features count is what the index can find
    assert set(words(text)) <= set(tokens(text))


@given(ANY, ANY)
def test_texts_that_a_space_parts_do_not_change_each_others_tokens(first: str, second: str) -> None:
    assert tokens(f"{first} {second}") == tokens(first) + tokens(second)
