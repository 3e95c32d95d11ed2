"""The ingress as a deployment: HTTP in, pages out; in the fused topology the three stages are inside it."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from ray import serve

from serve_apps.process import open_api
from serve_apps.settings import ServingConfig
from serve_apps.stages import ComposedStages


@serve.deployment
@serve.ingress()
class IngressDeployment:
    """Speaks HTTP; given handles of the three stages it asks them, given none it computes itself."""

    def __init__(self, config: ServingConfig, retriever: Any = None, fuser: Any = None, ranker: Any = None) -> None:
        stages = None if retriever is None else ComposedStages(retriever=retriever, fuser=fuser, ranker=ranker)
        self._api = open_api(config, stages)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Ray Serve's name for: the application of this replica."""
        return self._api
