"""The fuser as a deployment: candidates in, the same candidates with one fused score out."""

from __future__ import annotations

from ray import serve

from intarsia.errors import ReleaseMismatch
from intarsia.ids import ReleaseId
from intarsia.records.candidates import Candidates
from serve_apps.front import open_fuser
from serve_apps.held import Held
from serve_apps.settings import ServingConfig
from serve_apps.stages import Declined


@serve.deployment
class FuserDeployment:
    """Holds the fusion of the live release, and what it reads of the products."""

    def __init__(self, config: ServingConfig) -> None:
        self._held = Held(config, open_fuser)

    async def fuse(self, release_id: ReleaseId, candidates: Candidates) -> Candidates | Declined:
        """The candidates of one query, fused."""
        try:
            return self._held.of(release_id).fuse(candidates)
        except ReleaseMismatch as error:
            return Declined.of(error)

    async def release(self) -> ReleaseId:
        """The current release."""
        return self._held.current
