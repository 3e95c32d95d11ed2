"""Multimodal product search and recommendation on Ray.

The names below are the public Python interface. They are imported on first use, so that `import intarsia` is quick.

    from intarsia import Query, open_release

    engine = open_release("lake/demo")
    [page] = engine.search([Query(text="red sneakers", limit=3)])
    titles = [document.title for document in engine.documents.get([hit.row for hit in page.hits])]
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"

_MODULE_OF = {
    "ArtifactError": "intarsia.errors",
    "ConfigError": "intarsia.errors",
    "DataError": "intarsia.errors",
    "Filters": "intarsia.records.query",
    "Hit": "intarsia.records.page",
    "IntarsiaError": "intarsia.errors",
    "LoadedCatalog": "intarsia.catalog.load",
    "Page": "intarsia.records.page",
    "Product": "intarsia.records.product",
    "Query": "intarsia.records.query",
    "ReleaseMismatch": "intarsia.errors",
    "SearchEngine": "intarsia.engine.search",
    "load_catalog": "intarsia.catalog.load",
    "open_release": "intarsia.release.bundle",
}

__all__ = [
    "ArtifactError",
    "ConfigError",
    "DataError",
    "Filters",
    "Hit",
    "IntarsiaError",
    "LoadedCatalog",
    "Page",
    "Product",
    "Query",
    "ReleaseMismatch",
    "SearchEngine",
    "__version__",
    "load_catalog",
    "open_release",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'intarsia' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
