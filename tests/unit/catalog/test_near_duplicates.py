from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from intarsia.catalog.near_duplicates import (
    DedupKey,
    dedup_text,
    duplicate_groups,
    near_pairs,
    numbers_key,
    simhash,
    text_key,
)

_LONG = (
    "This shirt is made of soft cotton that keeps its colour in every wash and dries within an hour on the line "
    "outside."
)


def _key(title: str, description: str = "", phashes: tuple[int, ...] = ()) -> DedupKey:
    name, folded = dedup_text(title), dedup_text(description)
    text = f"{name}\n{folded}"
    return DedupKey(
        text_key=text_key(text),
        description_key=text_key(folded) if folded else b"",
        simhash=simhash(text),
        numbers_key=numbers_key(text),
        title=name,
        phashes=phashes,
    )


def test_equal_texts_form_a_group_named_by_its_first_member() -> None:
    keys = [_key("Red mug"), _key("Blue lamp"), _key("ＲＥＤ mug"), _key("red  mug")]
    assert duplicate_groups(keys).tolist() == [0, 1, 0, 0]


def test_near_texts_with_similar_titles_form_a_group() -> None:
    shirt = _key("Cotton shirt", _LONG)
    nearly = replace(_key("Cotton shirts", f"{_LONG} Nice."), simhash=shirt.simhash ^ 0b10101)
    further = replace(nearly, simhash=shirt.simhash ^ (0b1111 << 30))
    other_title = replace(nearly, title="wool coat")
    assert duplicate_groups([shirt, nearly]).tolist() == [0, 0]
    assert duplicate_groups([shirt, further]).tolist() == [0, 1]
    assert duplicate_groups([shirt, other_title]).tolist() == [0, 1]


def test_equal_descriptions_form_a_group_when_a_title_only_adds_words() -> None:
    titles = (
        "Muji red cotton shirt",
        "NEW Muji red cotton shirt!",
        "Muji red cotton shirt - free shipping",
        "Muji blue cotton shirt",
    )
    assert duplicate_groups([_key(title, _LONG) for title in titles]).tolist() == [0, 0, 0, 3]
    assert duplicate_groups([_key(title) for title in titles]).tolist() == [0, 1, 2, 3]
    pair = [_key(title, _LONG, (image,)) for title, image in zip(titles[:2], (0, 2**64 - 1), strict=True)]
    assert duplicate_groups(pair).tolist() == [0, 0]  # another view of it


def test_different_images_separate_equal_titles_without_descriptions() -> None:
    keys = [_key("Ring", phashes=(0,)), _key("Ring", phashes=(2**64 - 1,)), _key("Ring", phashes=(1, 2**32 - 1))]
    assert duplicate_groups(keys).tolist() == [0, 1, 0]


def test_near_images_with_nearly_equal_titles_form_a_group() -> None:
    same = [_key("Lotto white sports shoes", phashes=(5,)), _key("Lotto white sport shoes", "Light.", phashes=(4,))]
    assert duplicate_groups(same).tolist() == [0, 0]
    assert duplicate_groups([same[0], _key("Lotto tracksuit", phashes=(5,))]).tolist() == [0, 1]


def test_different_numbers_are_different_products() -> None:
    keys = [_key("Phone 64 GB", _LONG, (1,)), _key("Phone 128 GB", _LONG, (1,)), _key("GB 64 phone", _LONG, (1,))]
    assert duplicate_groups(keys).tolist() == [0, 1, 2]
    assert numbers_key("5 cm x 6") == numbers_key("6 x 5 cm") != numbers_key("5 x 5")


def test_a_group_is_linked_through_its_members() -> None:
    keys = [_key("Cup", phashes=(0,)), _key("Cup", phashes=(0b111,)), _key("Cup", phashes=(0b111111,))]
    assert duplicate_groups(keys).tolist() == [0, 0, 0]


@pytest.mark.parametrize("num", [0, 1])
def test_zero_or_one_product_has_no_duplicates(num: int) -> None:
    assert duplicate_groups([_key("Cup")] * num).tolist() == [0] * num


def test_near_pairs_equal_those_of_comparing_all_values() -> None:
    rng = np.random.default_rng(3)
    values = rng.integers(0, 2**63, 300, np.uint64)
    for i in range(0, 300, 3):  # every third nearly repeats the one before: 0 to 4 bits flipped
        flips = rng.choice(64, int(rng.integers(0, 5)), replace=False)
        values[i] = values[i - 1] ^ np.uint64(sum(1 << int(bit) for bit in flips))
    pairs = {tuple(pair) for pair in near_pairs(values).tolist()}
    assert pairs == {
        (i, j) for i in range(300) for j in range(i + 1, 300) if (int(values[i]) ^ int(values[j])).bit_count() <= 3
    }


def test_many_equal_hashes_stay_linked() -> None:
    keys = [_key("Same thing")] * 700
    assert set(duplicate_groups(keys).tolist()) == {0}


def test_one_changed_word_flips_few_bits_and_another_text_many() -> None:
    changed, other = (
        _LONG.replace("hour", "day"),
        "Solid oak table with four legs and a drawer for cutlery, oiled by hand.",
    )
    assert (simhash(_LONG) ^ simhash(changed)).bit_count() <= 10
    assert (simhash(_LONG) ^ simhash(other)).bit_count() > 15
