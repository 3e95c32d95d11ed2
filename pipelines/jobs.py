"""The names of all jobs."""

from __future__ import annotations

JOB_NAMES = (  # in the order in which `full_run` runs them
    "generate_market",
    "ingest_catalog",
    "ingest_events",
    "ingest_judgments",
    "finetune_text",
    "finetune_image",
    "compress_text",
    "embed_products",
    "align_modalities",
    "export_query_encoders",
    "build_indexes",
    "embed_folds",
    "build_product_stats",
    "search_fusion",
    "build_training_rows",
    "train_ranker",
    "stage_release",
    "evaluate_release",
    "promote_release",
)

CHECK_NAMES = ("compare_fusions", "replay_served")
"""Jobs that are run by name only, not by `full_run`: they compare fusion methods, and check served requests."""
