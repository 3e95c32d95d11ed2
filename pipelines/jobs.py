"""The jobs in the order of the flow: the one list that `full_run`, the list of jobs and the tests walk."""

from __future__ import annotations

JOB_NAMES = (
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
"""Jobs beside the flow, asked for by name: they compare what could serve, and check what does. `full_run` passes them over."""
