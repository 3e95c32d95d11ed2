"""How text is folded and split, Chinese and English: products and queries are read through these functions alone.

What a field means, and which fields are indexed, is `catalog/` and `index/`'s matter.
"""

from __future__ import annotations

import functools
import logging
import re
import unicodedata

import jieba
import opencc
import Stemmer

Locale = str
"""BCP 47 language of a text, `zh` or `en`; tokens do not depend on it (shops mix both in one title)."""

_HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_PIECE = re.compile(rf"[{_HAN}]+|[^\W_{_HAN}]+", re.UNICODE)
_HAS_HAN = re.compile(rf"[{_HAN}]")
_SPACE = re.compile(r"\s+")
_UNSEEN = ("Mn", "Cf", "Cs")
"""Marks above letters, invisible characters (soft hyphen, zero width space, byte order mark) and half a surrogate pair."""

_MAX_PASSES = 4  # the simplifier's tables chain in one known place (薴 -> 苧 -> 苎)


def fold(text: str) -> str:
    """The comparable form of a text: NFKC (full width becomes half width), lower case, simplified Chinese, no accents,
    no invisible characters, single spaces.

    Idempotent: fold(fold(t)) == fold(t). Half a surrogate pair, which JSON can carry, is dropped.
    """
    folded = _fold_once(text)
    for _ in range(_MAX_PASSES):
        if folded.isascii() or (again := _fold_once(folded)) == folded:
            break
        folded = again
    return folded


def words(text: str) -> list[str]:
    """The words of a text in order: English stems (Snowball), Chinese words (jieba); repeated words stay.

    What people would call the words: coverage features and word-level matching read these.
    """
    return [word if _HAS_HAN.match(word) else _stem(word) for word in unstemmed_words(text)]


def unstemmed_words(text: str) -> list[str]:
    """The folded words of a text in order, as a person would type them."""
    found: list[str] = []
    for piece in _PIECE.findall(fold(text)):
        found.extend(_han_words(piece) if _HAS_HAN.match(piece) else [piece])
    return found


def tokens(text: str) -> list[str]:
    """The lexical index's tokens: `words`, and for Chinese also every sub-word jieba knows, each character and each character bigram.

    Characters and bigrams beside words find what the segmenter cut differently in the query and in the title. A token appears once for
    each way it was found.
    """
    found: list[str] = []
    for piece in _PIECE.findall(fold(text)):
        if _HAS_HAN.match(piece):
            found.extend(_segmenter().lcut_for_search(piece, HMM=False))
            found.extend(f"c:{char}" for char in piece)
            found.extend(f"b:{piece[i : i + 2]}" for i in range(len(piece) - 1))
        else:
            found.append(_stem(piece))
    return found


def has_han(text: str) -> bool:
    """Whether a text holds at least one Chinese character."""
    return _HAS_HAN.search(text) is not None


def detect_locale(text: str) -> Locale:
    """`zh` when the text holds a Chinese character, else `en`."""
    return "zh" if has_han(text) else "en"


def clean(text: str) -> str:
    """The presentable form of a text: NFKC, control characters out, single spaces; case and script stay as the shop wrote them."""
    normal = unicodedata.normalize("NFKC", text)
    seen = (c for c in normal if unicodedata.category(c) not in ("Cf", "Cs"))  # a soft hyphen does not split its word
    kept = "".join(" " if unicodedata.category(c) in ("Cc", "Co", "Zl", "Zp") else c for c in seen)
    return _SPACE.sub(" ", kept).strip()


def _fold_once(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    if not folded.isascii():
        decomposed = unicodedata.normalize("NFD", folded)
        folded = unicodedata.normalize("NFC", "".join(c for c in decomposed if unicodedata.category(c) not in _UNSEEN))
        if _HAS_HAN.search(folded):
            folded = _simplifier().convert(folded)
    return _SPACE.sub(" ", folded).strip()


@functools.lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    return str(_stemmer().stemWord(word))


def _han_words(piece: str) -> list[str]:
    return list(_segmenter().cut(piece, HMM=False))


@functools.cache
def _stemmer() -> Stemmer.Stemmer:
    return Stemmer.Stemmer("english")


@functools.cache
def _simplifier() -> opencc.OpenCC:
    return opencc.OpenCC("t2s")


@functools.cache
def _segmenter() -> jieba.Tokenizer:
    jieba.setLogLevel(logging.WARNING)
    segmenter = jieba.Tokenizer()
    segmenter.initialize()
    return segmenter
