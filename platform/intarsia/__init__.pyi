from intarsia.catalog.load import LoadedCatalog as LoadedCatalog
from intarsia.catalog.load import load_catalog as load_catalog
from intarsia.engine.search import SearchEngine as SearchEngine
from intarsia.errors import ArtifactError as ArtifactError
from intarsia.errors import ConfigError as ConfigError
from intarsia.errors import DataError as DataError
from intarsia.errors import IntarsiaError as IntarsiaError
from intarsia.errors import ReleaseMismatch as ReleaseMismatch
from intarsia.records.page import Hit as Hit
from intarsia.records.page import Page as Page
from intarsia.records.product import Product as Product
from intarsia.records.query import Filters as Filters
from intarsia.records.query import Query as Query
from intarsia.release.bundle import open_release as open_release

__version__: str
__all__: list[str]
