"""The retriever as a deployment: a query's vectors and words in, candidates out."""

from __future__ import annotations

from pathlib import Path

from ray import serve

from intarsia.engine.config import EngineConfig
from intarsia.engine.retrieve import RetrieveStage
from intarsia.engine.search import open_retrieve
from intarsia.errors import DataError, ReleaseMismatch
from intarsia.ids import ReleaseId
from intarsia.records.candidates import Candidates
from intarsia.records.query import EncodedQuery
from intarsia.release.manifest import Manifest
from serve_apps.held import Held
from serve_apps.settings import ServingConfig
from serve_apps.stages import Declined, Threads


def open_retriever(folder: Path, manifest: Manifest) -> RetrieveStage:
    """The first stage of a release."""
    return open_retrieve(folder / "indexes", config=EngineConfig.open(folder / "fusion_spec"), release_id=manifest.id)


@serve.deployment
class RetrieverDeployment:
    """Holds the indexes of the live release."""

    def __init__(self, config: ServingConfig) -> None:
        self._held = Held(config, open_retriever)
        self._threads = Threads(config.replicas.stage_threads)

    async def retrieve(self, release_id: ReleaseId, query: EncodedQuery) -> Candidates | Declined:
        """The candidates of one query."""
        try:
            return (await self._threads.run(self._held.of(release_id).retrieve, [query]))[0]
        except (ReleaseMismatch, DataError) as error:
            return Declined.of(error)

    async def release(self) -> ReleaseId:
        """The current release."""
        return self._held.current
