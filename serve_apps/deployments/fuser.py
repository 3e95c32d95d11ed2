"""The fuser as a deployment: candidates in, the same candidates with one fused score out."""

from __future__ import annotations

from ray import serve

from intarsia.errors import ReleaseMismatch
from intarsia.ids import ReleaseId
from intarsia.records.candidates import Candidates
from serve_apps.service.ingress_release import open_fuser
from serve_apps.service.release_cache import ReleaseCache
from serve_apps.service.stages import StageRejection
from serve_apps.settings import ServingConfig


@serve.deployment
class FuserDeployment:
    """Holds the fusion of the live release, and what it reads of the products."""

    def __init__(self, config: ServingConfig) -> None:
        self._held = ReleaseCache(config, open_fuser)

    async def fuse(self, release_id: ReleaseId, candidates: Candidates) -> Candidates | StageRejection:
        """The candidates of one query, fused."""
        try:
            return self._held.of(release_id).fuse(candidates)
        except ReleaseMismatch as error:
            return StageRejection.of(error)

    async def release(self) -> ReleaseId:
        """The current release."""
        return self._held.current
