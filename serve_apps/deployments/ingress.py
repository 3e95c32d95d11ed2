"""The ingress as a deployment: HTTP in, pages out; in the fused topology the three stages are inside it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from ray import serve

from serve_apps.app import open_api
from serve_apps.service.ingress_release import release_loader
from serve_apps.service.release_cache import ReleaseCache
from serve_apps.service.stages import ComposedStages
from serve_apps.settings import ServingConfig


@serve.deployment
@serve.ingress()
class IngressDeployment:
    """Speaks HTTP; it asks the stages it is given handles of, and computes the others itself."""

    def __init__(self, config: ServingConfig, retriever: Any = None, fuser: Any = None, ranker: Any = None) -> None:
        held = ReleaseCache(config, release_loader(config))
        stages = None
        if retriever is not None:
            stages = ComposedStages(
                retriever=retriever, fuser=fuser, ranker=ranker, fuser_of=lambda release: held.of(release).fuser
            )
        self._api = open_api(config, stages, held)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Ray Serve's name for: the application of this replica."""
        return self._api
