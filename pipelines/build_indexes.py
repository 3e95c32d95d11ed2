"""products, text_embeddings, image_embeddings -> indexes: columns, documents, BM25, and a vector index per modality."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from intarsia.catalog.columns import build_columns, save_columns
from intarsia.catalog.documents import write_documents
from intarsia.config import check_range, setting
from intarsia.encoders.aligned import Alignment
from intarsia.engine.encode import ALIGNED
from intarsia.errors import ReleaseMismatch
from intarsia.index.bm25 import Bm25Config, Bm25Index, PostingsBuilder
from intarsia.index.from_tables import CatalogVectors, Tokeniser, product_row_groups, read_catalog_vectors
from intarsia.index.vector_files import VectorIndexConfig, build_vector_index
from intarsia.lake import Entry, Lake, write_json
from intarsia.names import ENCODED_MODALITIES
from intarsia.onray.workers import RayWorkers
from intarsia.records.product_columns import ProductColumns
from intarsia.tables.embeddings import embeddings_spec
from pipelines.job import Counts, Job, JobProgress, main


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildIndexesConfig:
    """Settings of the lexical and vector indexes."""

    bm25: Bm25Config = setting("lexical search", factory=Bm25Config)
    vectors: VectorIndexConfig = setting("vector search, for texts and images", factory=VectorIndexConfig)
    num_workers: int = setting("worker processes that tokenise texts; 0: one per CPU", 0, advanced=True)

    def __post_init__(self) -> None:
        check_range(self, "num_workers", low=0)


def run(config: BuildIndexesConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Write one artefact with all that retrieval, features and result pages read by row number."""
    products = lake.current("products")
    notes: dict[str, object] = {}
    with lake.publish("indexes", notes) as folder:
        columns = build_columns(products)
        save_columns(columns, folder / "columns")
        write_documents(products, folder)
        space_ids, num_vectors = {}, {}
        for name, table in _vectors(lake, columns):
            build_vector_index(
                config.vectors,
                table.space_id,
                table.vectors_VD,
                table.rows_V,
                columns.num_rows,
                folder / name,
                table.views_V,
            )
            space_ids[name], num_vectors[name] = table.space_id, len(table.rows_V)
            progress(f"{name} vectors", len(table.rows_V), len(table.rows_V))
        bm25 = build_bm25(config, products, columns, progress)
        bm25.save(folder / "bm25")
        manifest = {"num_rows": columns.num_rows, "products_digest": products.digest, "space_ids": space_ids}
        write_json(folder / "manifest.json", manifest)
        notes["num_products"] = columns.num_rows
    return {"products": columns.num_rows, "tokens": len(bm25.vocabulary), "postings": len(bm25.rows)} | {
        f"{name} vectors": count for name, count in num_vectors.items()
    }


def _vectors(lake: Lake, columns: ProductColumns) -> Iterator[tuple[str, CatalogVectors]]:
    """Yield name and vectors of each vector retriever: both encoders' tables, and the images in the aligned space.

    Raises:
        ReleaseMismatch: the alignment was trained on vectors of other encoders.
    """
    space_ids = {}
    for name in ENCODED_MODALITIES:
        entry = lake.current(f"{name}_embeddings")
        table = read_catalog_vectors(embeddings_spec(name), entry, columns.product_ids, every_product=name == "text")
        space_ids[name] = table.space_id
        yield name, table
    if not lake.has("alignment"):
        return
    entry = lake.current("alignment")
    alignment = Alignment.open(entry.path)
    for name, trained_on in (("text", alignment.text_space), ("image", alignment.image_space)):
        if trained_on != space_ids[name]:
            raise ReleaseMismatch(
                f"the alignment is of {name} space {trained_on}, {name}_embeddings are of {space_ids[name]}; "
                "run align_modalities again"
            )
    yield ALIGNED, table._replace(space_id=alignment.space_id, vectors_VD=alignment.images(table.vectors_VD))


def build_bm25(
    config: BuildIndexesConfig, products: Entry, columns: ProductColumns, progress: JobProgress
) -> Bm25Index:
    """Tokenise the products on workers and build the postings; the order of the workers does not matter."""
    ids = np.array(columns.product_ids, dtype=np.str_)
    builder = PostingsBuilder(config.bm25, columns.num_rows)
    workers = RayWorkers(num_workers=config.num_workers)
    num_done = 0
    for tokens in workers(partial(Tokeniser, tuple(config.bm25.weights)), list(product_row_groups(products))):
        builder.add(np.searchsorted(ids, tokens.product_ids), tokens.by_field)
        num_done += len(tokens.product_ids)
        progress("tokens", num_done, columns.num_rows)
    return Bm25Index.of(config.bm25, columns.num_rows, builder.finish())


JOB = Job(
    name="build_indexes",
    summary="clean products and their embeddings -> all that retrieval, features and result pages read by row number",
    config=BuildIndexesConfig,
    reads=("products", "text_embeddings", "image_embeddings"),
    optional_reads=("alignment",),
    writes=("indexes",),
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
