"""Behaviour counts per product. `StatsLedger.fold` adds events; `StatsLedger.as_of` reads the counts as of a time.

Letters: E events, P products with events, K counted kinds, N products of a catalog.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from intarsia.errors import ArtifactError
from intarsia.ids import ProductId
from intarsia.lake import write_json
from intarsia.records.event import Event

COUNTED_KINDS = ("impression", "view", "click", "add_to_cart", "purchase")
"""Event kinds that are counted, in the order of the columns of `counts_PK`; other kinds are ignored."""
_KIND_CODE = {kind: code for code, kind in enumerate(COUNTED_KINDS)}
_HEADER, _COUNTS, _LEDGER = "stats.json", "counts.npz", "ledger.npz"
_FORMAT = 1
_EPOCH = datetime.fromtimestamp(0, UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductStats:
    """Counts per product over the events received until `as_of`; a product that is missing here had no event.

    Attributes:
        product_ids: ids of the P products.
        counts_PK: number of events by kind, in the order of `COUNTED_KINDS`.
        dwell_ms_P: total time spent, in milliseconds.
        dwells_P: number of events with a time spent.
        as_of: None if no event was ever read.
    """

    product_ids: tuple[ProductId, ...]
    counts_PK: NDArray[np.int64]
    dwell_ms_P: NDArray[np.int64]
    dwells_P: NDArray[np.int64]
    as_of: datetime | None

    @classmethod
    def empty(cls) -> ProductStats:
        """Stats of a shop without recorded events: every count is unknown, not zero."""
        return StatsLedger.empty().as_of(None)

    def columns(self, product_ids: Sequence[ProductId]) -> dict[str, NDArray[np.float64]]:
        """float64 [N] for each kind, and for `dwell_ms`, the mean time spent (NaN without any).

        All NaN if no event was ever read.
        """
        if self.as_of is None:
            return {name: np.full(len(product_ids), np.nan) for name in (*COUNTED_KINDS, "dwell_ms")}
        position_of = {product_id: position for position, product_id in enumerate(self.product_ids)}
        position_N = np.array([position_of.get(product_id, -1) for product_id in product_ids], np.int64)
        known_N = position_N >= 0
        counts = {name: np.zeros(len(product_ids)) for name in COUNTED_KINDS}
        for k, name in enumerate(COUNTED_KINDS):
            counts[name][known_N] = self.counts_PK[position_N[known_N], k]
        dwell_N = np.full(len(product_ids), np.nan)
        dwells = self.dwells_P[position_N[known_N]]
        sums = self.dwell_ms_P[position_N[known_N]].astype(np.float64)
        dwell_N[known_N] = np.divide(sums, dwells, out=np.full(len(sums), np.nan), where=dwells > 0)
        return {**counts, "dwell_ms": dwell_N}

    def save(self, folder: Path) -> None:
        """Write the counts and their time."""
        np.savez(
            folder / _COUNTS,
            product_ids=np.array(self.product_ids, dtype=np.str_),
            counts_PK=self.counts_PK,
            dwell_ms_P=self.dwell_ms_P,
            dwells_P=self.dwells_P,
        )
        as_of = None if self.as_of is None else self.as_of.isoformat()
        write_json(folder / _HEADER, {"format": _FORMAT, "kinds": list(COUNTED_KINDS), "as_of": as_of})

    @classmethod
    def open(cls, folder: Path) -> ProductStats:
        """Read the counts of a `product_stats` artefact.

        Raises:
            ArtifactError: it is missing, or was written by another version.
        """
        try:
            header = json.loads((folder / _HEADER).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ArtifactError(f"{folder} contains no product stats. Fix: run build_product_stats") from None
        if header["format"] != _FORMAT or header["kinds"] != list(COUNTED_KINDS):
            raise ArtifactError(
                f"{folder} contains product stats of format {header['format']} with kinds "
                f"{', '.join(header['kinds'])}; this version reads format {_FORMAT} with {', '.join(COUNTED_KINDS)}. "
                "Fix: run build_product_stats again"
            )
        with np.load(folder / _COUNTS) as arrays:
            return cls(
                product_ids=tuple(ProductId(p) for p in arrays["product_ids"].tolist()),
                counts_PK=arrays["counts_PK"],
                dwell_ms_P=arrays["dwell_ms_P"],
                dwells_P=arrays["dwells_P"],
                as_of=None if header["as_of"] is None else datetime.fromisoformat(header["as_of"]),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsLedger:
    """All events so far, each once, in a compact form; stats as of any time are computed from it.

    Arrays are sorted by event digest, so equal sets of events give equal ledgers in any order of arrival.
    """

    digests_E: NDArray[np.uint64]
    received_us_E: NDArray[np.int64]
    products_E: NDArray[np.str_]
    kinds_E: NDArray[np.int8]
    dwell_ms_E: NDArray[np.int64]  # -1: the event has none

    @classmethod
    def empty(cls) -> StatsLedger:
        """A ledger without events."""
        return cls(
            digests_E=np.empty(0, np.uint64),
            received_us_E=np.empty(0, np.int64),
            products_E=np.empty(0, np.str_),
            kinds_E=np.empty(0, np.int8),
            dwell_ms_E=np.empty(0, np.int64),
        )

    def fold(self, *events: Event) -> StatsLedger:
        """Add events; an event whose id is known changes nothing. Adding many at once is cheaper."""
        return self.fold_all(events)

    def fold_all(self, events: Iterable[Event]) -> StatsLedger:
        """Add a batch of events. Of two different events with one id, the one received first counts."""
        counted = [event for event in events if event.kind in _KIND_CODE]
        if not counted:
            return self
        added = StatsLedger(
            digests_E=np.array([_digest(event.event_id) for event in counted], np.uint64),
            received_us_E=np.array([_microseconds(event.received_at) for event in counted], np.int64),
            products_E=np.array([str(event.product_id) for event in counted], dtype=np.str_),
            kinds_E=np.array([_KIND_CODE[event.kind] for event in counted], np.int8),
            dwell_ms_E=np.array([-1 if e.dwell_ms is None else e.dwell_ms for e in counted], np.int64),
        )
        return self._joined(added)

    def as_of(self, moment: datetime | None) -> ProductStats:
        """Counts over the events received at `moment` or before; None: over all events."""
        known_E = np.ones(len(self.digests_E), np.bool_)
        if moment is not None:
            known_E = self.received_us_E <= _microseconds(moment)
        elif len(known_E):
            moment = _EPOCH + int(self.received_us_E.max()) * _MICROSECOND
        products, position_E = np.unique(self.products_E[known_E], return_inverse=True)
        num_products, num_kinds = len(products), len(COUNTED_KINDS)
        cell_E = position_E * num_kinds + self.kinds_E[known_E]
        has_dwell_E = self.dwell_ms_E[known_E] >= 0
        dwell_P = np.zeros(num_products, np.int64)
        np.add.at(dwell_P, position_E[has_dwell_E], self.dwell_ms_E[known_E][has_dwell_E])
        return ProductStats(
            product_ids=tuple(ProductId(p) for p in products.tolist()),
            counts_PK=np.bincount(cell_E, minlength=num_products * num_kinds).reshape(num_products, num_kinds),
            dwell_ms_P=dwell_P,
            dwells_P=np.bincount(position_E[has_dwell_E], minlength=num_products),
            as_of=moment,
        )

    def save(self, folder: Path) -> None:
        """Write the ledger into the folder of the stats, for the next `fold`."""
        np.savez_compressed(folder / _LEDGER, **{name: getattr(self, name) for name in self.__dataclass_fields__})

    @classmethod
    def open(cls, folder: Path) -> StatsLedger:
        """Read the ledger of a `product_stats` artefact.

        Raises:
            ArtifactError: it is missing.
        """
        try:
            with np.load(folder / _LEDGER) as arrays:
                return cls(**{name: arrays[name] for name in cls.__dataclass_fields__})
        except FileNotFoundError:
            raise ArtifactError(f"{folder} contains no event ledger. Fix: run build_product_stats") from None

    def _joined(self, added: StatsLedger) -> StatsLedger:
        both = {name: np.concatenate([getattr(self, name), getattr(added, name)]) for name in self.__dataclass_fields__}
        # sorted by all fields, so that of two different events with one id the same one is kept in any order of arrival
        order = np.lexsort(
            (both["dwell_ms_E"], both["products_E"], both["kinds_E"], both["received_us_E"], both["digests_E"])
        )
        digests = both["digests_E"][order]
        first = order[np.concatenate([[True], digests[1:] != digests[:-1]])]
        return StatsLedger(**{name: values[first] for name, values in both.items()})


def _digest(event_id: str) -> int:
    return int.from_bytes(blake2b(event_id.encode(), digest_size=8).digest(), "big")


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
