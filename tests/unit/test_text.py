from __future__ import annotations

import pytest

from intarsia.text import clean, detect_locale, fold, has_han, tokens, words


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("ＡＢＣ　１２３", "abc 123"),  # full width
        ("Café Öko", "cafe oko"),
        ("STRASSE straße", "strasse strasse"),
        ("紅色連衣裙", "红色连衣裙"),
        ("乾隆 乾燥", "乾隆 干燥"),  # one character, two readings
        ("薴", "苎"),  # its simplified form has a simplified form
        ("  a \t\n b  ", "a b"),
        ("so\u00adfa 红\u200b色 \ufeffx", "sofa 红色 x"),  # soft hyphen, zero width space, byte order mark
        ("紅\ud800", "红"),  # half a surrogate pair, as JSON can carry it
        ("５㎏ ½", "5kg 1⁄2"),
        ("", ""),
    ],
)
def test_fold_gives_the_comparable_form(written: str, folded: str) -> None:
    assert fold(written) == folded


@pytest.mark.parametrize(
    ("simplified", "traditional"),
    [
        ("红色连衣裙", "紅色連衣裙"),
        ("无线蓝牙耳机", "無線藍牙耳機"),
        ("儿童书包 双肩", "兒童書包 雙肩"),
        ("运动鞋", "運動鞋"),
        ("电饭锅", "電飯鍋"),
    ],
)
def test_traditional_and_simplified_chinese_give_the_same_tokens(simplified: str, traditional: str) -> None:
    assert simplified != traditional
    assert tokens(traditional) == tokens(simplified)
    assert words(traditional) == words(simplified)


def test_full_width_and_half_width_give_the_same_tokens() -> None:
    assert tokens("ＩＰＨＯＮＥ　１５，Ｐｒｏ") == tokens("iphone 15,pro") == ["iphon", "15", "pro"]


@pytest.mark.parametrize(
    ("first", "second"),
    [("shoe", "shoes"), ("run", "running"), ("dress", "Dresses"), ("battery", "batteries"), ("cafe", "Cafés")],
)
def test_english_words_are_reduced_to_their_stem(first: str, second: str) -> None:
    assert words(first) == words(second)
    assert len(words(first)) == 1


def test_words_stay_in_order_and_repeated() -> None:
    assert words("Red shoes, blue SHOES & 红色运动鞋") == ["red", "shoe", "blue", "shoe", "红色", "运动鞋"]


def test_chinese_tokens_are_words_sub_words_characters_and_bigrams() -> None:
    shoe_tokens = tokens("运动鞋")
    assert {"运动", "运动鞋"} <= set(shoe_tokens)
    assert [t for t in shoe_tokens if t.startswith("c:")] == ["c:运", "c:动", "c:鞋"]
    assert [t for t in shoe_tokens if t.startswith("b:")] == ["b:运动", "b:动鞋"]


def test_one_chinese_character_has_no_bigram() -> None:
    assert tokens("鞋") == ["鞋", "c:鞋"]


def test_a_query_matches_a_title_that_is_segmented_differently() -> None:
    assert set(tokens("牙耳")) & set(tokens("蓝牙耳机")) >= {"c:牙", "c:耳", "b:牙耳"}


@pytest.mark.parametrize("text", ["", "   ", "!!! --- ___", "\u200b", "😀", "，。"])
def test_a_text_without_letters_has_no_tokens(text: str) -> None:
    assert tokens(text) == words(text) == []


def test_the_underscore_separates_words_as_the_hyphen_does() -> None:
    assert words("blue_shoes") == words("blue-shoes") == ["blue", "shoe"]


def test_one_chinese_character_makes_a_text_chinese() -> None:
    assert (detect_locale("Nike 鞋"), detect_locale("Nike shoe"), detect_locale("")) == ("zh", "en", "en")
    assert has_han("a鞋") and not has_han("かな ABC")


@pytest.mark.parametrize(
    ("written", "presented"),
    [
        ("  Red\tShoes \n\n New ", "Red Shoes New"),
        ("ＡＢＣ", "ABC"),
        ("紅色 Café", "紅色 Café"),  # script and accents stay
        ("a\x00b\x07c", "a b c"),
        ("so\u00adfa 红\u200b色", "sofa 红色"),
        ("a\u2028b", "a b"),
        ("a\ud800b", "ab"),
        ("\x00", ""),
    ],
)
def test_clean_gives_the_presentable_form(written: str, presented: str) -> None:
    assert clean(written) == presented
