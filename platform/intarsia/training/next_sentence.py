"""A text and the one that follows it as one input, and which second text is shown: its own, or, half of the time, another's.

What is learned of it is `masked_words.py`'s matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NOT_ASKED = -100
"""What is not to be guessed, as torch's cross-entropy marks it."""
LEAST_TOKENS = 5
"""Of two texts: three marks, and a word of each."""
_OWN = 0.5  # share of the pairs that are shown as they are

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a transformer is shown of one example.

    Attributes:
        ids: mark, text, mark; or mark, text, mark, second text, mark.
        second_from: place of the second text's first token; the length where there is none.
        follows: 1 where the second text is the first one's own, 0 where it is another's, NOT_ASKED where there is none.
    """

    ids: Tokens
    second_from: int
    follows: int

    @property
    def words(self) -> NDArray[np.int64]:
        """Places of tokens that are no marks."""
        return np.array([n for n in range(1, len(self.ids) - 1) if n != self.second_from - 1], np.int64)


def shown_of(
    first: Tokens, second: Tokens | None, seconds: Sequence[Tokens], most: int, rng: np.random.Generator
) -> Shown:
    """An example as it is shown this time.

    Args:
        first: a text between its marks.
        second: the one that follows it, between its marks; none shows the first alone.
        seconds: different ones, from which another is drawn; with fewer than two the own one is always shown.
        most: tokens of a pair; words at the end of the longer text go first. `LEAST_TOKENS` or more.
        rng: of what is drawn; nothing is drawn for a text alone.

    Source: BERT, Devlin et al., NAACL 2019, section 3.1 and appendix A.1, arXiv:1810.04805
    """
    if second is None:
        return Shown(ids=first, second_from=len(first), follows=NOT_ASKED)
    follows = len(seconds) < 2 or rng.random() < _OWN
    if not follows:
        other = seconds[int(rng.integers(len(seconds) - 1))]
        second = seconds[-1] if other == second else other  # the last stands in for the own one
    num_first, num_second = len(first) - 2, len(second) - 2
    while num_first + num_second + 3 > most:
        num_first, num_second = (num_first - 1, num_second) if num_first > num_second else (num_first, num_second - 1)
    start = (*first[: 1 + num_first], first[-1])
    return Shown(ids=(*start, *second[1 : 1 + num_second], second[-1]), second_from=len(start), follows=int(follows))
