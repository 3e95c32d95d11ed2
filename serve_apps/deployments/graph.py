"""The ingress deployment and the served graph.

`serve run serve_apps.deployments.graph:build_app lake=... topology=fused`, or the same through `search.yaml`. Both
topologies run the same stages and return the same bytes.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve import Application, Deployment

from serve_apps.app import open_api
from serve_apps.deployments.stages import FuserDeployment, RankerDeployment, RetrieverDeployment
from serve_apps.service.releases import ReleaseCache, release_loader
from serve_apps.service.stages import ComposedStages
from serve_apps.settings import Replicas, ServingConfig, serving_config

APP_NAME = "search"


@serve.deployment
@serve.ingress()
class IngressDeployment:
    """HTTP in, pages out; runs the stages itself unless it gets handles of their deployments."""

    def __init__(self, config: ServingConfig, retriever: Any = None, fuser: Any = None, ranker: Any = None) -> None:
        releases = ReleaseCache(config, release_loader(config))
        stages = None
        if retriever is not None:
            stages = ComposedStages(
                retriever=retriever,
                fuser=fuser,
                ranker=ranker,
                fuser_of=lambda release_id: releases.get(release_id).fuser,
            )
        self._api = open_api(config, stages, releases)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Return the ASGI application of this replica; Ray Serve calls it."""
        return self._api


def build_app(args: dict[str, Any]) -> Application:
    """Build the application from settings as a mapping; see `ServingConfig` (`budgets.ranker_ms` or nested groups)."""
    return bind(serving_config(args))


def bind(config: ServingConfig) -> Application:
    """Bind the deployments of a config: the ingress alone (fused), or with the stages behind it (composed)."""
    replicas = config.replicas
    ingress = _sized(IngressDeployment, "Ingress", replicas.ingress, replicas)
    if config.topology == "fused":
        return ingress.bind(config)
    return ingress.bind(
        config,
        _sized(RetrieverDeployment, "Retriever", replicas.retriever, replicas).bind(config),
        _sized(FuserDeployment, "Fuser", replicas.fuser, replicas).bind(config) if replicas.fuser else None,
        _sized(RankerDeployment, "Ranker", replicas.ranker, replicas).bind(config),
    )


def _sized(deployment: Deployment, name: str, num_replicas: int, replicas: Replicas) -> Deployment:
    return deployment.options(
        name=name,
        num_replicas=num_replicas,
        max_ongoing_requests=replicas.max_ongoing_requests,
        ray_actor_options={"num_cpus": replicas.num_cpus},
    )
