"""The retriever as a deployment: a query's vectors and words in, candidates out."""

from __future__ import annotations

from pathlib import Path

from ray import serve

from intarsia.catalog.documents import Documents
from intarsia.engine.config import EngineConfig
from intarsia.engine.retrieve import RetrieveStage
from intarsia.engine.search import open_retrieve
from intarsia.errors import DataError, ReleaseMismatch
from intarsia.ids import ReleaseId
from intarsia.records.candidates import Candidates
from intarsia.records.query import EncodedQuery, QueryVector
from intarsia.release.manifest import Manifest
from serve_apps.service.ingress_release import real_queries
from serve_apps.service.release_cache import ReleaseCache
from serve_apps.service.stages import StageRejection
from serve_apps.settings import ServingConfig


def open_retriever(folder: Path, manifest: Manifest) -> RetrieveStage:
    """The first stage of a release, warm: the first Chinese words load a dictionary, the first vectors touch their files."""
    config = EngineConfig.open(folder / "fusion_spec")
    stage = open_retrieve(folder / "indexes", config=config, release_id=manifest.id)
    stage.retrieve(encoded_titles(folder, stage))
    return stage


def encoded_titles(folder: Path, stage: RetrieveStage) -> list[EncodedQuery]:
    """A few titles of the catalog as queries, with the stored vectors of their own products."""
    encoded = []
    for row, query in real_queries(Documents.open(folder / "indexes")):
        stored = {name: (index.space_id, index.vectors_of(row)) for name, index in stage.vectors.items()}
        vectors = {
            name: QueryVector(space_id=space, values_D=found[0])
            for name, (space, found) in stored.items()
            if len(found)
        }
        encoded.append(EncodedQuery(query=query, vectors=vectors))
    return encoded


@serve.deployment
class RetrieverDeployment:
    """Holds the indexes of the live release."""

    def __init__(self, config: ServingConfig) -> None:
        self._held = ReleaseCache(config, open_retriever)

    async def retrieve(self, release_id: ReleaseId, query: EncodedQuery) -> Candidates | StageRejection:
        """The candidates of one query."""
        try:
            return self._held.of(release_id).retrieve([query])[0]
        except (ReleaseMismatch, DataError) as error:
            return StageRejection.of(error)

    async def release(self) -> ReleaseId:
        """The current release."""
        return self._held.current
