"""Retriever, fuser and ranker as Ray Serve deployments, for the composed topology.

A stage that does not hold the requested release, or rejects the query, returns a `StageRejection`.
"""

from __future__ import annotations

from pathlib import Path

from ray import serve

from intarsia.catalog.documents import Documents
from intarsia.engine.config import EngineConfig
from intarsia.engine.rank import Ranked, RankStage
from intarsia.engine.retrieve import RetrieveStage
from intarsia.engine.search import open_rank, open_retrieve
from intarsia.errors import DataError, ReleaseMismatch
from intarsia.ids import ReleaseId
from intarsia.records.candidates import Candidates
from intarsia.records.query import EncodedQuery, Query, QueryVector
from intarsia.release.manifest import Manifest
from serve_apps.service.releases import ReleaseCache, open_release_fuser, warm_up_queries
from serve_apps.service.stages import StageRejection
from serve_apps.settings import ServingConfig


@serve.deployment
class RetrieverDeployment:
    """Holds the indexes of the live release."""

    def __init__(self, config: ServingConfig) -> None:
        self._releases = ReleaseCache(config, open_retriever)

    async def retrieve(self, release_id: ReleaseId, query: EncodedQuery) -> Candidates | StageRejection:
        """Return the candidates of one query."""
        try:
            return self._releases.get(release_id).retrieve([query])[0]
        except (ReleaseMismatch, DataError) as error:
            return StageRejection.from_error(error)

    async def release(self) -> ReleaseId:
        """Return the current release."""
        return self._releases.current


@serve.deployment
class FuserDeployment:
    """Holds the fuser of the live release."""

    def __init__(self, config: ServingConfig) -> None:
        self._releases = ReleaseCache(config, open_release_fuser)

    async def fuse(self, release_id: ReleaseId, candidates: Candidates) -> Candidates | StageRejection:
        """Return the candidates with a fused score."""
        try:
            return self._releases.get(release_id).fuse(candidates)
        except ReleaseMismatch as error:
            return StageRejection.from_error(error)

    async def release(self) -> ReleaseId:
        """Return the current release."""
        return self._releases.current


@serve.deployment
class RankerDeployment:
    """Holds the features and the ranker of the live release."""

    def __init__(self, config: ServingConfig) -> None:
        self._releases = ReleaseCache(config, open_ranker)

    async def rank(self, release_id: ReleaseId, query: Query, candidates: Candidates) -> Ranked | StageRejection:
        """Return the final order of one query's candidates."""
        try:
            return self._releases.get(release_id).rank([query], [candidates])[0]
        except ReleaseMismatch as error:
            return StageRejection.from_error(error)

    async def release(self) -> ReleaseId:
        """Return the current release."""
        return self._releases.current


def open_retriever(folder: Path, manifest: Manifest) -> RetrieveStage:
    """Open the retrieve stage of a release and warm it up: the first Chinese query loads a dictionary."""
    config = EngineConfig.open(folder / "fusion_spec")
    stage = open_retrieve(folder / "indexes", config=config, release_id=manifest.id)
    stage.retrieve(_encoded_titles(folder, stage))
    return stage


def open_ranker(folder: Path, manifest: Manifest) -> RankStage:
    """Open the rank stage of a release and warm it up; features read what retrieval reads."""
    retrieve = open_retriever(folder, manifest)
    fuser = open_release_fuser(folder, manifest)
    stage = open_rank(folder, retrieve)
    titles = _encoded_titles(folder, retrieve)
    candidates = [fuser.fuse(retrieved) for retrieved in retrieve.retrieve(titles)]
    stage.rank([encoded.query for encoded in titles], candidates)
    return stage


def _encoded_titles(folder: Path, stage: RetrieveStage) -> list[EncodedQuery]:
    """Titles of the catalog as queries, with the stored vectors of their own products: a stage has no encoders."""
    encoded = []
    for row, query in warm_up_queries(Documents.open(folder / "indexes")):
        stored = {name: (index.space_id, index.vectors_of(row)) for name, index in stage.vectors.items()}
        vectors = {
            name: QueryVector(space_id=space_id, values_D=vectors_VD[0])
            for name, (space_id, vectors_VD) in stored.items()
            if len(vectors_VD)
        }
        encoded.append(EncodedQuery(query=query, vectors=vectors))
    return encoded
