"""products, text_tower, indexes -> `fold_indexes`: vectors and query encoder of each fold's text tower.

The tower of a fold was trained without the train queries of that fold. Fusion and ranker train on the cosines of these
towers, see `experiments/out_of_fold_retrieval.py`. The release serves the tower that was trained on all train queries.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from intarsia.catalog.columns import open_columns
from intarsia.config import check_range, setting
from intarsia.encoders.inputs import product_text
from intarsia.encoders.lake_models import text_tower_config
from intarsia.encoders.open import open_text_encoder
from intarsia.errors import ConfigError, ReleaseMismatch
from intarsia.experiments.out_of_fold_retrieval import FOLDS_MANIFEST, QUERY_ENCODER, TEXT_INDEX
from intarsia.ids import ProductId, SpaceId, sha256_bytes
from intarsia.index.vector_files import VectorIndexConfig, build_vector_index
from intarsia.lake import Lake, write_json
from intarsia.onray.encoding import EncoderActors, encode_texts
from intarsia.tables.products import COLUMNS_WITHOUT_IMAGE_BYTES, PRODUCTS, row_to_product
from pipelines.job import Counts, Job, JobProgress, main

_PROBES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedFoldsConfig:
    """Index and encoding settings of the folds; use those of the tower that serves."""

    vectors: VectorIndexConfig = setting("vector index, as in build_indexes", factory=VectorIndexConfig)
    min_int8_cosine: float = setting("as in export_query_encoders", 0.98, advanced=True)
    num_workers: int = setting("encoder actors, one CPU each; results do not depend on it", 2)
    unit_size: int = setting("texts per unit of work", 128, advanced=True)

    def __post_init__(self) -> None:
        check_range(self, "num_workers", "unit_size", low=1)
        check_range(self, "min_int8_cosine", low=0, high=1)


def run(config: EmbedFoldsConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Embed the catalog once per fold, and export each fold's query encoder."""
    from intarsia.encoders.export import export_text_encoder  # torch: seconds that --help does not need

    num_folds = int(lake.current("text_tower").notes["folds"])
    if not num_folds:
        raise ConfigError("text_tower has no folds; set finetune_text.folds to 2 or more, or leave embed_folds out")
    digest_of, texts = _texts(lake)
    product_ids = open_columns(lake.current("indexes").path / "columns").product_ids
    actors = EncoderActors(num=config.num_workers)
    served = lake.current("text_embeddings").notes["space_id"]
    tower_space = lake.current("text_tower").notes["space_id"]
    if tower_space != served:
        raise ReleaseMismatch(
            f"the catalog is embedded in space {served}, the tower of these folds makes {tower_space}; run "
            "embed_products with text.model lake:text_tower, and what follows, first"
        )
    with lake.publish(
        "fold_indexes", {"folds": num_folds, "space_id": served, "products": lake.current("products").digest}
    ) as folder:
        write_json(folder / FOLDS_MANIFEST, {"num_rows": len(product_ids)})
        for fold in range(num_folds):
            encoder_config = text_tower_config(lake, fold)
            report = functools.partial(progress, f"fold {fold}, texts", total=len(texts))
            vectors = encode_texts(encoder_config, texts, unit_size=config.unit_size, actors=actors, on_encoded=report)
            vectors_ND = np.stack([vectors[digest_of[ProductId(product_id)]] for product_id in product_ids])
            encoder = open_text_encoder(encoder_config)
            fold_folder: Path = folder / str(fold)
            space_id: SpaceId = encoder.space_id
            build_vector_index(
                config.vectors,
                space_id,
                vectors_ND,
                np.arange(len(vectors_ND)),
                len(vectors_ND),
                fold_folder / TEXT_INDEX,
            )
            export_text_encoder(
                encoder,
                fold_folder / QUERY_ENCODER,
                probes=list(texts.values())[:_PROBES],
                min_cosine=config.min_int8_cosine,
            )
    return {"folds": num_folds, "products": len(product_ids), "texts": len(texts)}


def _texts(lake: Lake) -> tuple[dict[ProductId, str], dict[str, str]]:
    """Digest by product and text by digest, of the text fields that the served tower embedded."""
    fields = lake.current("text_embeddings").notes["text_fields"]
    digest_of: dict[ProductId, str] = {}
    texts: dict[str, str] = {}
    for batch in PRODUCTS.batches(lake.current("products"), COLUMNS_WITHOUT_IMAGE_BYTES):
        for row in batch.to_pylist():
            text = product_text(row_to_product(row)[0], fields)
            digest_of[row["product_id"]] = digest = sha256_bytes(text.encode())
            texts[digest] = text
    return digest_of, texts


JOB = Job(
    name="embed_folds",
    summary="the text tower of each fold of the train queries -> its vectors of the catalog, and its query encoder",
    config=EmbedFoldsConfig,
    reads=("products", "text_embeddings", "text_tower", "indexes"),
    writes=("fold_indexes",),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
