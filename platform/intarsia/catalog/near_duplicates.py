"""Find groups of near-duplicate products.

Two products are near-duplicates when their texts are nearly equal, when they share a description and one title only
adds words to the other, or when they have nearly equal images under nearly the same title. Products with different
numbers are never near-duplicates (64 GB is not 128 GB). A title alone is weak evidence: where a description is missing,
the images must not differ. All products are kept; they only get a group id.

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
"""Two 64-bit hashes are near when at most this many bits differ."""

_BLOCK_BITS = (13, 13, 13, 13, 12)  # 3 differing bits touch at most 3 of 5 blocks: two near hashes agree in at least 2
_MAX_NEIGHBOURS = 64  # compared among hashes that agree in two blocks; bounds the work when many products are alike
_DIFFERENT_IMAGE_BITS = 12  # of 64; images that differ in more show different things, unrelated ones differ in about 32
_SIMILAR_TITLE = 0.5  # shared part of the character trigrams required with a near text
_SAME_TITLE = 0.8  # and with a near image
_WORDS = re.compile(r"[^\W_]+")
_DIGITS = re.compile(r"[0-9]+")
_CHAR_BITS = np.uint64(21)  # a code point; three of them fit into 64 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class DedupKey:
    """The keys of one product by which near-duplicates are found.

    Attributes:
        text_key: digest of `dedup_text` of title and description.
        description_key: digest of the description alone; b"" without one.
        simhash: 64-bit hash of the text of `text_key`; near texts have near hashes.
        numbers_key: digest of the numbers in that text, whatever their order.
        title: `dedup_text` of the title.
        phashes: 64-bit perceptual hashes of the images.
    """

    text_key: bytes
    description_key: bytes
    simhash: int
    numbers_key: bytes
    title: str
    phashes: tuple[int, ...]


def dedup_text(text: str) -> str:
    """The folded letters and digits of a text, without punctuation and symbols.

    >>> dedup_text("NEW: Red  mug!")
    'new red mug'
    """
    return " ".join(_WORDS.findall(fold(text)))


def text_key(text: str) -> bytes:
    """16-byte digest of a text (an output of `dedup_text`)."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def numbers_key(text: str) -> bytes:
    """16-byte digest of the runs of digits in a text, whatever their order."""
    return text_key(" ".join(sorted(_DIGITS.findall(text))))


def simhash(text: str) -> int:
    """64-bit similarity hash: each bit is the majority of that bit over the hashes of the distinct character trigrams.

    Source: Charikar, Similarity estimation techniques from rounding algorithms, STOC 2002, section 3; trigrams mixed by
    splitmix64.
    """
    codes = np.frombuffer(f"  {text} ".encode("utf-32-le"), np.uint32).astype(np.uint64)
    trigrams = np.unique(codes[:-2] | codes[1:-1] << _CHAR_BITS | codes[2:] << (_CHAR_BITS * np.uint64(2)))
    bits = np.unpackbits(_splitmix64(trigrams).view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
    majority = 2 * bits.sum(axis=0, dtype=np.int64) > len(trigrams)
    return int.from_bytes(np.packbits(majority, bitorder="little").tobytes(), "little")


def duplicate_groups(keys: Sequence[DedupKey]) -> NDArray[np.int64]:
    """Group near-duplicates: the connected components of all pairs of near-duplicates.

    Two products are near-duplicates when their numbers are equal and

    - their texts are near and their titles similar (and their images do not differ, unless both have a description), or
    - their descriptions are equal and one title contains nearly all of the other, or
    - two of their images are near and their titles nearly the same.

    Returns:
        int64 [N]: for each product the index of the first member of its group, its own index without duplicates.
    """
    num = len(keys)
    by_text = near_pairs(np.array([key.simhash for key in keys], np.uint64))
    owners = np.repeat(np.arange(num), [len(key.phashes) for key in keys])
    images = np.array([phash for key in keys for phash in key.phashes], np.uint64)
    by_image = np.unique(np.sort(owners[near_pairs(images)], axis=1), axis=0)
    pairs = [(i, j) for i, j in by_text.tolist() if _texts_agree(keys[i], keys[j])]
    pairs += [(i, j) for i, j in _same_description(keys).tolist() if _title_contains(keys[i], keys[j])]
    pairs += [(i, j) for i, j in by_image.tolist() if i != j and _agree(keys[i], keys[j], _SAME_TITLE)]
    if not pairs:
        return np.arange(num)
    ends = np.array(pairs)
    graph = coo_matrix((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(num, num))
    _, labels_N = connected_components(graph, directed=False)
    # labels are 0.. without gaps, so first[label] is the smallest index with that label
    _, first = np.unique(labels_N, return_index=True)
    return np.asarray(first[labels_N], np.int64)


def near_pairs(values_V: NDArray[np.uint64], max_bits: int = NEAR_BITS) -> NDArray[np.int64]:
    """Find the pairs (i < j) of 64-bit values that differ in at most `max_bits` <= 3 bits.

    Exact while at most 64 values agree in two of the five blocks. Beyond that each value is compared with the next 64
    only; equal values are still linked.

    Returns:
        int64 [P, 2], sorted, unique.

    Source: Manku, Jain and Das Sarma, Detecting near-duplicates for web crawling, WWW 2007, section 3.
    """
    assert max_bits <= NEAR_BITS, "the blocks are cut for 3 bits"
    num = len(values_V)
    codes = np.zeros(0, np.int64)  # i * num + j: sorting one number per pair is ten times faster than two
    for mask in _block_masks():
        keys = values_V & mask
        order = np.lexsort((values_V, keys))
        keys, values = keys[order], values_V[order]
        new_codes: list[NDArray[np.int64]] = []
        for step in range(1, min(_MAX_NEIGHBOURS, num - 1) + 1):
            same = keys[step:] == keys[:-step]
            if not same.any():
                break
            first = np.flatnonzero(same)
            first = first[np.bitwise_count(values[first] ^ values[first + step]) <= max_bits]
            left, right = order[first], order[first + step]
            new_codes.append(np.minimum(left, right) * num + np.maximum(left, right))
        codes = np.unique(np.concatenate([codes, *new_codes]))
    return np.stack(np.divmod(codes, max(num, 1)), axis=1)


def _block_masks() -> list[np.uint64]:
    """A mask for every two of the five blocks."""
    starts = np.cumsum([0, *_BLOCK_BITS])
    blocks = [((1 << bits) - 1) << int(start) for bits, start in zip(_BLOCK_BITS, starts, strict=False)]
    return [np.uint64(a | b) for a, b in itertools.combinations(blocks, 2)]


def _texts_agree(a: DedupKey, b: DedupKey) -> bool:
    is_described = bool(a.description_key and b.description_key)
    return (a.text_key == b.text_key or _agree(a, b, _SIMILAR_TITLE)) and (is_described or _images_agree(a, b))


def _title_contains(a: DedupKey, b: DedupKey) -> bool:
    """Whether one title contains nearly all of the other: `NEW red mug!` contains `Red mug`, `Blue mug` does not."""
    trigrams_a, trigrams_b = _trigrams(a.title), _trigrams(b.title)
    is_contained = len(trigrams_a & trigrams_b) >= _SAME_TITLE * min(len(trigrams_a), len(trigrams_b))
    return a.numbers_key == b.numbers_key and is_contained


def _same_description(keys: Sequence[DedupKey]) -> NDArray[np.int64]:
    """Pairs of products with equal descriptions, int64 [P, 2]; products without a description are in no pair."""
    described = np.array([i for i, key in enumerate(keys) if key.description_key], np.int64)
    digests = np.array([int.from_bytes(keys[i].description_key[:8], "little") for i in described], np.uint64)
    return described[near_pairs(digests, 0)]


def _agree(a: DedupKey, b: DedupKey, similarity: float) -> bool:
    """Whether the numbers are equal and the Jaccard similarity of the titles' trigrams is at least `similarity`."""
    if a.numbers_key != b.numbers_key:
        return False
    trigrams_a, trigrams_b = _trigrams(a.title), _trigrams(b.title)
    return len(trigrams_a & trigrams_b) >= similarity * len(trigrams_a | trigrams_b)


def _images_agree(a: DedupKey, b: DedupKey) -> bool:
    if not a.phashes or not b.phashes:
        return True
    return min((x ^ y).bit_count() for x in a.phashes for y in b.phashes) < _DIFFERENT_IMAGE_BITS


def _trigrams(title: str) -> set[str]:
    padded = f"  {title} "
    return {padded[i : i + 3] for i in range(len(padded) - 2)}


def _splitmix64(values_V: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = values_V + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
