"""The ranker as a deployment: fused candidates in, their final order out."""

from __future__ import annotations

from pathlib import Path

from ray import serve

from intarsia.engine.rank import Ranked, RankStage
from intarsia.engine.search import open_rank
from intarsia.errors import ReleaseMismatch
from intarsia.ids import ReleaseId
from intarsia.records.candidates import Candidates
from intarsia.records.query import EncodedQuery
from intarsia.release.manifest import Manifest
from serve_apps.deployments.retriever import encoded_titles, open_retriever
from serve_apps.service.ingress_release import open_fuser
from serve_apps.service.release_cache import ReleaseCache
from serve_apps.service.stages import StageRejection
from serve_apps.settings import ServingConfig


def open_ranker(folder: Path, manifest: Manifest) -> RankStage:
    """The third stage of a release, warm; features read the columns and vectors that retrieval reads."""
    retrieve = open_retriever(folder, manifest)
    stage = open_rank(folder, retrieve)
    queries = encoded_titles(folder, retrieve)
    stage.rank(queries, [open_fuser(folder, manifest).fuse(found) for found in retrieve.retrieve(queries)])
    return stage


@serve.deployment
class RankerDeployment:
    """Holds features and ranker of the live release."""

    def __init__(self, config: ServingConfig) -> None:
        self._held = ReleaseCache(config, open_ranker)

    async def rank(self, release_id: ReleaseId, query: EncodedQuery, candidates: Candidates) -> Ranked | StageRejection:
        """The final order of one query's candidates."""
        try:
            return self._held.of(release_id).rank([query], [candidates])[0]
        except ReleaseMismatch as error:
            return StageRejection.of(error)

    async def release(self) -> ReleaseId:
        """The current release."""
        return self._held.current
