"""Wires one ingress process: open releases, stages, journal, log, and the FastAPI application. Without Ray."""

from __future__ import annotations

from fastapi import FastAPI

from intarsia.engine.search import SearchEngine
from intarsia.ids import ReleaseId
from serve_apps.http.api import build_api
from serve_apps.service.feedback import Feedback
from serve_apps.service.releases import IngressRelease, ReleaseCache, release_loader
from serve_apps.service.search_service import SearchService
from serve_apps.service.served_log import ServedLog
from serve_apps.service.stages import FusedStages, Stages
from serve_apps.settings import ServingConfig


def open_api(
    config: ServingConfig, stages: Stages | None = None, releases: ReleaseCache[IngressRelease] | None = None
) -> FastAPI:
    """Open the application of a config.

    Args:
        config: its topology must be `fused` when no stages are given.
        stages: those of other processes; default: the stages run in this process.
        releases: releases that are open already; default: the release of the config is opened.
    """
    releases = releases or ReleaseCache(config, release_loader(config))
    stages = stages or FusedStages(lambda release_id: _engine(releases, release_id))
    served = ServedLog(config.served_folder, config.served_share)
    search_service = SearchService(
        releases=releases,
        stages=stages,
        budgets=config.budgets,
        num_threads=config.replicas.stage_threads,
        served=served,
    )
    return build_api(
        config=config,
        releases=releases,
        stages=stages,
        search_service=search_service,
        feedback=Feedback(config.journal_folder, config.limits),
        served=served,
    )


def _engine(releases: ReleaseCache[IngressRelease], release_id: ReleaseId) -> SearchEngine:
    engine = releases.get(release_id).engine
    assert engine is not None, "an ingress of the fused topology opens the engine"
    return engine
