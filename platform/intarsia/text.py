"""Fold and tokenise Chinese and English text. Products and queries use the same functions."""

from __future__ import annotations

import functools
import logging
import re
import unicodedata

import jieba
import opencc
import Stemmer

Locale = str
"""Language of a text, `zh` or `en`. Tokens do not depend on it, since shops mix both in one title."""

_HAN = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
_RUN = re.compile(rf"[{_HAN}]+|[^\W_{_HAN}]+", re.UNICODE)
_HAS_HAN = re.compile(rf"[{_HAN}]")
_SPACE = re.compile(r"\s+")
_DROPPED_CATEGORIES = ("Mn", "Cf", "Cs")
"""Accents, invisible characters (soft hyphen, zero width space, byte order mark) and half a surrogate pair."""

_MAX_PASSES = 4  # the tables of the simplifier chain in one known case (薴 -> 苧 -> 苎)


def fold(text: str) -> str:
    """Convert a text to its comparable form.

    Applies NFKC (full width to half width), lower case and simplified Chinese; removes accents and invisible
    characters; collapses spaces. Half a surrogate pair, which JSON can carry, is dropped. Idempotent: fold(fold(t)) ==
    fold(t).

    >>> fold("Ｃａｆé  紅色")
    'cafe 红色'
    """
    folded = _fold_once(text)
    for _ in range(_MAX_PASSES):
        if folded.isascii() or (refolded := _fold_once(folded)) == folded:
            break
        folded = refolded
    return folded


def words(text: str) -> list[str]:
    """The words of a text in order, with repeats: English stems (Snowball) and Chinese words (jieba).

    >>> words("Red shoes 运动鞋")
    ['red', 'shoe', '运动鞋']
    """
    return [word if _HAS_HAN.match(word) else _stem(word) for word in unstemmed_words(text)]


def unstemmed_words(text: str) -> list[str]:
    """The folded words of a text in order, without stemming."""
    text_words: list[str] = []
    for run in _RUN.findall(fold(text)):
        text_words.extend(_han_words(run) if _HAS_HAN.match(run) else [run])
    return text_words


def tokens(text: str) -> list[str]:
    """The tokens of the lexical index: `words`, and for Chinese also sub-words, characters and character bigrams.

    Characters and bigrams match when the segmenter splits the query and the title differently. A token occurs once per
    way it was produced.

    >>> tokens("运动鞋")
    ['运动', '运动鞋', 'c:运', 'c:动', 'c:鞋', 'b:运动', 'b:动鞋']
    """
    text_tokens: list[str] = []
    for run in _RUN.findall(fold(text)):
        if _HAS_HAN.match(run):
            text_tokens.extend(_segmenter().lcut_for_search(run, HMM=False))
            text_tokens.extend(f"c:{char}" for char in run)
            text_tokens.extend(f"b:{run[i : i + 2]}" for i in range(len(run) - 1))
        else:
            text_tokens.append(_stem(run))
    return text_tokens


def has_han(text: str) -> bool:
    """Whether a text contains a Chinese character."""
    return _HAS_HAN.search(text) is not None


def detect_locale(text: str) -> Locale:
    """`zh` when the text contains a Chinese character, else `en`."""
    return "zh" if has_han(text) else "en"


def clean(text: str) -> str:
    """Convert a text to the form for display: NFKC, no control characters, single spaces; case and script are kept."""
    normal = unicodedata.normalize("NFKC", text)
    # a soft hyphen (Cf) must not split its word
    visible = (c for c in normal if unicodedata.category(c) not in ("Cf", "Cs"))
    kept = "".join(" " if unicodedata.category(c) in ("Cc", "Co", "Zl", "Zp") else c for c in visible)
    return _SPACE.sub(" ", kept).strip()


def _fold_once(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    if not folded.isascii():
        decomposed = unicodedata.normalize("NFD", folded)
        kept = "".join(c for c in decomposed if unicodedata.category(c) not in _DROPPED_CATEGORIES)
        folded = unicodedata.normalize("NFC", kept)
        if _HAS_HAN.search(folded):
            folded = _simplifier().convert(folded)
    return _SPACE.sub(" ", folded).strip()


@functools.lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    return str(_stemmer().stemWord(word))


def _han_words(run: str) -> list[str]:
    return list(_segmenter().cut(run, HMM=False))


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
