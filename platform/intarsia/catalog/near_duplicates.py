"""Products that are the same thing twice: nearly equal texts, one description under a title that only has words added, or nearly equal
pictures under nearly the same title. Never when their numbers differ (64 GB is not 128 GB); and a bare title tells little, so where a
description is missing pictures must not contradict. Products stay; they only get the name of their group.

Letters: N products, V values, P pairs.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from intarsia.text import fold

NEAR_BITS = 3
"""Two 64-bit hashes are near when at most so many bits differ."""

_BLOCK_BITS = (13, 13, 13, 13, 12)  # 3 differing bits spoil at most 3 of 5 blocks: two near hashes agree in at least 2
_MAX_NEIGHBOURS = 64  # compared among hashes that agree in two blocks: bounds the work when half a catalog is alike
_CONTRADICT_BITS = 12  # pictures this far apart (of 64 bits) show different things; unrelated ones are about 32 apart
_SIMILAR_TITLE = 0.5  # common share of character trigrams that is enough beside a near text,
_SAME_TITLE = 0.8  # and beside a near picture
_PIECES = re.compile(r"[^\W_]+")
_DIGITS = re.compile(r"[0-9]+")
_CHAR_BITS = np.uint64(21)  # a code point; three of them fit into 64 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class DedupKey:
    """What one product looks like to this module.

    Attributes:
        text_key: digest of the `comparable` title and description: equal texts have equal keys.
        description_key: digest of the description alone; empty where there is none.
        simhash: 64-bit hash of the same text; near texts have near hashes.
        numbers_key: digest of the numbers in the text, in order of size: equal numbers, equal keys.
        title: the `comparable` title.
        phashes: 64-bit perceptual hashes of its pictures.
    """

    text_key: bytes
    description_key: bytes
    simhash: int
    numbers_key: bytes
    title: str
    phashes: tuple[int, ...]


def comparable(text: str) -> str:
    """The folded letters and digits of a text: punctuation and symbols tell no product from another."""
    return " ".join(_PIECES.findall(fold(text)))


def text_key(compared: str) -> bytes:
    """16 bytes that name a comparable text."""
    return hashlib.blake2b(compared.encode(), digest_size=16).digest()


def numbers_key(compared: str) -> bytes:
    """16 bytes that name the runs of digits in a comparable text, whatever their order."""
    return text_key(" ".join(sorted(_DIGITS.findall(compared))))


def simhash(compared: str) -> int:
    """64-bit hash of a comparable text: each bit is the majority of that bit over the hashes of all its different character trigrams.

    Source: Charikar, Similarity estimation techniques from rounding algorithms, STOC 2002, section 3; trigrams mixed by splitmix64.
    """
    codes = np.frombuffer(f"  {compared} ".encode("utf-32-le"), np.uint32).astype(np.uint64)
    trigrams = np.unique(codes[:-2] | codes[1:-1] << _CHAR_BITS | codes[2:] << (_CHAR_BITS * np.uint64(2)))
    bits = np.unpackbits(_splitmix64(trigrams).view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
    majority = 2 * bits.sum(axis=0, dtype=np.int64) > len(trigrams)
    return int.from_bytes(np.packbits(majority, bitorder="little").tobytes(), "little")


def duplicate_groups(looks: Sequence[DedupKey]) -> NDArray[np.int64]:
    """For each product the place of the first member of its group, its own place when it is alone: int64 [N].

    A pair belongs together when its numbers are equal and

    - its texts are near and its titles similar (and its pictures do not contradict, unless both have a description), or
    - its descriptions are equal and one title holds nearly all of the other, or
    - two of its pictures are near and its titles nearly the same.

    Groups are the connected components of the pairs.
    """
    num = len(looks)
    by_text = near_pairs(np.array([look.simhash for look in looks], np.uint64))
    owners = np.repeat(np.arange(num), [len(look.phashes) for look in looks])
    images = np.array([value for look in looks for value in look.phashes], np.uint64)
    by_image = np.unique(np.sort(owners[near_pairs(images)], axis=1), axis=0)
    pairs = [(i, j) for i, j in by_text.tolist() if _texts_agree(looks[i], looks[j])]
    pairs += [(i, j) for i, j in _same_description(looks).tolist() if _is_retouched(looks[i], looks[j])]
    pairs += [(i, j) for i, j in by_image.tolist() if i != j and _agree(looks[i], looks[j], _SAME_TITLE)]
    if not pairs:
        return np.arange(num)
    ends = np.array(pairs)
    graph = coo_matrix((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(num, num))
    _, labels_N = connected_components(graph, directed=False)
    _, first = np.unique(
        labels_N, return_index=True
    )  # labels are 0.. without gaps: first[l] is the smallest place with label l
    return np.asarray(first[labels_N], np.int64)


def near_pairs(values_V: NDArray[np.uint64], max_bits: int = NEAR_BITS) -> NDArray[np.int64]:
    """Pairs (i < j) of 64-bit values of which at most `max_bits` <= 3 bits differ: int64 [P, 2], sorted, each once.

    Exact as long as no more than 64 values agree in two of the five blocks; beyond that each is compared with its next 64, which still
    links equal values.

    Source: Manku, Jain and Das Sarma, Detecting near-duplicates for web crawling, WWW 2007, section 3.
    """
    assert max_bits <= NEAR_BITS, "the blocks are cut for 3 bits"
    num = len(values_V)
    codes = np.zeros(0, np.int64)  # i * num + j: one number per pair is sorted ten times faster than two
    for mask in _block_masks():
        keys = values_V & mask
        order = np.lexsort((values_V, keys))
        keys, values = keys[order], values_V[order]
        found: list[NDArray[np.int64]] = []
        for step in range(1, min(_MAX_NEIGHBOURS, num - 1) + 1):
            same = keys[step:] == keys[:-step]
            if not same.any():
                break
            at = np.flatnonzero(same)
            near = np.bitwise_count(values[at] ^ values[at + step]) <= max_bits
            left, right = order[at[near]], order[at[near] + step]
            found.append(np.minimum(left, right) * num + np.maximum(left, right))
        codes = np.unique(np.concatenate([codes, *found]))
    return np.stack(np.divmod(codes, max(num, 1)), axis=1)


def _block_masks() -> list[np.uint64]:
    """A mask for each two of the five blocks."""
    starts = np.cumsum([0, *_BLOCK_BITS])
    blocks = [((1 << bits) - 1) << int(start) for bits, start in zip(_BLOCK_BITS, starts, strict=False)]
    return [np.uint64(a | b) for a, b in itertools.combinations(blocks, 2)]


def _texts_agree(a: DedupKey, b: DedupKey) -> bool:
    is_described = bool(a.description_key and b.description_key)
    return (a.text_key == b.text_key or _agree(a, b, _SIMILAR_TITLE)) and (is_described or _images_agree(a, b))


def _is_retouched(a: DedupKey, b: DedupKey) -> bool:
    """Whether one title holds nearly all of the other: `NEW red mug!` beside `Red mug`, but not `Blue mug`."""
    ours, theirs = _trigrams(a.title), _trigrams(b.title)
    is_held = len(ours & theirs) >= _SAME_TITLE * min(len(ours), len(theirs))
    return a.numbers_key == b.numbers_key and is_held


def _same_description(looks: Sequence[DedupKey]) -> NDArray[np.int64]:
    """Pairs of products with one description, int64 [P, 2]; none of those without."""
    told = np.array([i for i, look in enumerate(looks) if look.description_key], np.int64)
    keys = np.array([int.from_bytes(looks[i].description_key[:8], "little") for i in told], np.uint64)
    return told[near_pairs(keys, 0)]


def _agree(a: DedupKey, b: DedupKey, similarity: float) -> bool:
    """Whether numbers are equal and at least this share of all different character trigrams of the titles is common (Jaccard)."""
    if a.numbers_key != b.numbers_key:
        return False
    ours, theirs = _trigrams(a.title), _trigrams(b.title)
    return len(ours & theirs) >= similarity * len(ours | theirs)


def _images_agree(a: DedupKey, b: DedupKey) -> bool:
    if not a.phashes or not b.phashes:
        return True
    return min((x ^ y).bit_count() for x in a.phashes for y in b.phashes) < _CONTRADICT_BITS


def _trigrams(title: str) -> set[str]:
    padded = f"  {title} "
    return {padded[i : i + 3] for i in range(len(padded) - 2)}


def _splitmix64(values_V: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = values_V + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
