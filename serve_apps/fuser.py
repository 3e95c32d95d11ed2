"""The fuser as a deployment: candidates in, the same candidates with one fused score out."""

from __future__ import annotations

from pathlib import Path

from ray import serve

from intarsia.engine.product_vectors import open_encoded_indexes, open_fuse
from intarsia.errors import ReleaseMismatch
from intarsia.fusion.protocol import Fuser
from intarsia.ids import ReleaseId
from intarsia.records.candidates import Candidates
from intarsia.release.manifest import Manifest
from serve_apps.held import Held
from serve_apps.settings import ServingConfig
from serve_apps.stages import Declined


def open_fuser(folder: Path, manifest: Manifest) -> Fuser:
    """The second stage of a release."""
    return open_fuse(folder / "fusion_spec", open_encoded_indexes(folder / "indexes"))


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
