"""Properties of folding and tokenising: products and queries match however they are written."""

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
def test_cleaning_does_not_change_the_tokens(text: str) -> None:
    assert tokens(clean(text)) == tokens(text)


@given(ANY)
def test_cleaning_is_idempotent_and_removes_control_characters(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co") for c in cleaned)


@given(st.text(st.sampled_from("".join(SIMPLIFIED_OF)), max_size=6))
def test_traditional_characters_fold_to_simplified(text: str) -> None:
    simplified = "".join(SIMPLIFIED_OF[c] for c in text)
    assert fold(text) == simplified
    assert tokens(text) == tokens(simplified)


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E)))
def test_full_width_folds_to_half_width(text: str) -> None:
    wide = "".join(chr(ord(c) + 0xFEE0) for c in text)
    assert fold(wide) == fold(text)
    assert tokens(wide) == tokens(text)


@given(ANY)
def test_no_token_is_empty_or_contains_a_space(text: str) -> None:
    for token in (*tokens(text), *words(text)):
        assert token
        assert not any(c.isspace() for c in token)


@given(ANY)
def test_every_word_of_a_text_is_a_token_of_it(text: str) -> None:
    # the coverage features count what the index can match
    assert set(words(text)) <= set(tokens(text))


@given(ANY, ANY)
def test_tokens_of_joined_texts_are_those_of_the_parts(first: str, second: str) -> None:
    assert tokens(f"{first} {second}") == tokens(first) + tokens(second)
