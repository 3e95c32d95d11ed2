from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from intarsia.catalog.near_duplicates import (
    DedupKey,
    comparable,
    duplicate_groups,
    near_pairs,
    numbers_key,
    simhash,
    text_key,
)

_LONG = "This shirt is made of soft cotton that keeps its colour in every wash and dries within an hour on the line outside."


def _look(title: str, description: str = "", phashes: tuple[int, ...] = ()) -> DedupKey:
    name, told = comparable(title), comparable(description)
    text = f"{name}\n{told}"
    return DedupKey(
        text_key=text_key(text),
        description_key=text_key(told) if told else b"",
        simhash=simhash(text),
        numbers_key=numbers_key(text),
        title=name,
        phashes=phashes,
    )


def test_equal_texts_are_one_group_named_by_their_first_member() -> None:
    looks = [_look("Red mug"), _look("Blue lamp"), _look("ＲＥＤ mug"), _look("red  mug")]
    assert duplicate_groups(looks).tolist() == [0, 1, 0, 0]


def test_nearly_equal_texts_under_similar_titles_are_one_group() -> None:
    shirt = _look("Cotton shirt", _LONG)
    nearly = replace(_look("Cotton shirts", f"{_LONG} Nice."), simhash=shirt.simhash ^ 0b10101)
    further = replace(nearly, simhash=shirt.simhash ^ (0b1111 << 30))
    other_title = replace(nearly, title="wool coat")
    assert duplicate_groups([shirt, nearly]).tolist() == [0, 0]
    assert duplicate_groups([shirt, further]).tolist() == [0, 1]
    assert duplicate_groups([shirt, other_title]).tolist() == [0, 1]


def test_one_description_under_a_title_with_words_added_is_one_group_and_another_colour_is_not() -> None:
    titles = (
        "Muji red cotton shirt",
        "NEW Muji red cotton shirt!",
        "Muji red cotton shirt - free shipping",
        "Muji blue cotton shirt",
    )
    assert duplicate_groups([_look(title, _LONG) for title in titles]).tolist() == [0, 0, 0, 3]
    assert duplicate_groups([_look(title) for title in titles]).tolist() == [0, 1, 2, 3]
    shown = [_look(title, _LONG, (image,)) for title, image in zip(titles[:2], (0, 2**64 - 1), strict=True)]
    assert duplicate_groups(shown).tolist() == [0, 0]  # another view of it


def test_images_that_show_different_things_part_equal_titles_without_descriptions() -> None:
    looks = [_look("Ring", phashes=(0,)), _look("Ring", phashes=(2**64 - 1,)), _look("Ring", phashes=(1, 2**32 - 1))]
    assert duplicate_groups(looks).tolist() == [0, 1, 0]


def test_near_images_under_nearly_the_same_title_are_one_group() -> None:
    same = [_look("Lotto white sports shoes", phashes=(5,)), _look("Lotto white sport shoes", "Light.", phashes=(4,))]
    assert duplicate_groups(same).tolist() == [0, 0]
    assert duplicate_groups([same[0], _look("Lotto tracksuit", phashes=(5,))]).tolist() == [0, 1]


def test_different_numbers_are_different_products() -> None:
    looks = [_look("Phone 64 GB", _LONG, (1,)), _look("Phone 128 GB", _LONG, (1,)), _look("GB 64 phone", _LONG, (1,))]
    assert duplicate_groups(looks).tolist() == [0, 1, 2]
    assert numbers_key("5 cm x 6") == numbers_key("6 x 5 cm") != numbers_key("5 x 5")


def test_a_group_is_linked_through_its_members() -> None:
    looks = [_look("Cup", phashes=(0,)), _look("Cup", phashes=(0b111,)), _look("Cup", phashes=(0b111111,))]
    assert duplicate_groups(looks).tolist() == [0, 0, 0]


@pytest.mark.parametrize("num", [0, 1])
def test_nothing_and_one_product_have_no_duplicates(num: int) -> None:
    assert duplicate_groups([_look("Cup")] * num).tolist() == [0] * num


def test_near_pairs_are_those_of_comparing_all_with_all() -> None:
    rng = np.random.default_rng(3)
    values = rng.integers(0, 2**63, 300, np.uint64)
    for i in range(0, 300, 3):  # every third nearly repeats the one before: 0 to 4 bits flipped
        flips = rng.choice(64, int(rng.integers(0, 5)), replace=False)
        values[i] = values[i - 1] ^ np.uint64(sum(1 << int(bit) for bit in flips))
    found = {tuple(pair) for pair in near_pairs(values).tolist()}
    assert found == {
        (i, j) for i in range(300) for j in range(i + 1, 300) if (int(values[i]) ^ int(values[j])).bit_count() <= 3
    }


def test_a_crowd_of_equal_hashes_stays_linked() -> None:
    looks = [_look("Same thing")] * 700
    assert set(duplicate_groups(looks).tolist()) == {0}


def test_one_changed_word_in_a_long_text_flips_few_bits_and_another_text_many() -> None:
    changed, other = (
        _LONG.replace("hour", "day"),
        "Solid oak table with four legs and a drawer for cutlery, oiled by hand.",
    )
    assert (simhash(_LONG) ^ simhash(changed)).bit_count() <= 10
    assert (simhash(_LONG) ^ simhash(other)).bit_count() > 15
