"""The ingress as a deployment: HTTP in, pages out; in the fused topology the three stages are inside it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from ray import serve

from serve_apps.front import front_opener
from serve_apps.held import Held
from serve_apps.process import open_api
from serve_apps.settings import ServingConfig
from serve_apps.stages import ComposedStages


@serve.deployment
@serve.ingress()
class IngressDeployment:
    """Speaks HTTP; it asks the stages it is given handles of, and computes the others itself."""

    def __init__(self, config: ServingConfig, retriever: Any = None, fuser: Any = None, ranker: Any = None) -> None:
        held = Held(config, front_opener(config))
        stages = None
        if retriever is not None:
            stages = ComposedStages(
                retriever=retriever, fuser=fuser, ranker=ranker, fuser_of=lambda release: held.of(release).fuser
            )
        self._api = open_api(config, stages, held)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Ray Serve's name for: the application of this replica."""
        return self._api
