"""The jobs in the order of the flow: the one list that `full_run`, the list of jobs and the tests walk."""

from __future__ import annotations

JOB_NAMES = (
    "generate_market",
    "ingest_catalog",
    "ingest_events",
    "ingest_judgments",
    "embed_products",
    "export_query_encoders",
    "build_indexes",
    "build_product_stats",
    "search_fusion",
    "build_training_rows",
    "train_ranker",
    "stage_release",
    "evaluate_release",
    "promote_release",
)

CHECK_NAMES = ("replay_served",)
"""Jobs beside the flow, asked for by name: they check what is being served. `full_run` passes them over."""
