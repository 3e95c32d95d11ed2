"""What every fuser is."""

from __future__ import annotations

from typing import Protocol

from intarsia.records.candidates import Candidates


class Fuser(Protocol):
    """Gives every candidate one fused score; never adds a candidate, never reads another query's."""

    def fuse(self, candidates: Candidates) -> Candidates:
        """The candidates with `fused_C` set; those beyond the spec's depth are dropped."""
        ...
