"""What one ingress process holds, put together: the open release, its stages, the journal, and the application over them. No Ray in it."""

from __future__ import annotations

from fastapi import FastAPI

from intarsia.engine.search import SearchEngine
from intarsia.ids import ReleaseId
from serve_apps.http.api import build_api
from serve_apps.service.feedback import Feedback
from serve_apps.service.ingress_release import IngressRelease, release_loader
from serve_apps.service.release_cache import ReleaseCache
from serve_apps.service.search_service import SearchService
from serve_apps.service.served_log import ServedLog
from serve_apps.service.stages import FusedStages, Stages
from serve_apps.settings import ServingConfig


def open_api(
    config: ServingConfig, stages: Stages | None = None, held: ReleaseCache[IngressRelease] | None = None
) -> FastAPI:
    """The application of one config, over the release that is live now.

    Args:
        config: its topology must be `fused` when no stages are given.
        stages: those of other processes; without them the stages are opened in this one.
        held: releases that are open already; without them the live one is opened.
    """
    held = held or ReleaseCache(config, release_loader(config))
    stages = stages or FusedStages(lambda release_id: _engine(held, release_id))
    served = ServedLog(config.served_folder, config.served_share)
    answerer = SearchService(
        held=held, stages=stages, budgets=config.budgets, num_threads=config.replicas.stage_threads, served=served
    )
    feedback = Feedback(config.journal_folder, config.limits)
    return build_api(config=config, held=held, stages=stages, answerer=answerer, feedback=feedback, served=served)


def _engine(held: ReleaseCache[IngressRelease], release_id: ReleaseId) -> SearchEngine:
    engine = held.of(release_id).engine
    assert engine is not None, "a fused front opens the stages"
    return engine
