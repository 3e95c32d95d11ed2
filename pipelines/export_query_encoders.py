"""text_embeddings, image_embeddings -> query_encoders: the encoders of these tables as ONNX models for queries."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from intarsia.config import build, check_range, setting
from intarsia.encoders.aligned import Alignment
from intarsia.encoders.config import ImageEncoderConfig, TextEncoderConfig
from intarsia.encoders.open import open_image_encoder, open_text_encoder
from intarsia.encoders.protocol import Encoder
from intarsia.engine.encode import ALIGNED
from intarsia.errors import ReleaseMismatch
from intarsia.lake import Entry, Lake
from intarsia.tables.products import PRODUCTS
from pipelines.job import Counts, Job, JobProgress, main


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """How the exported encoders are checked. `embed_products` chooses the encoders."""

    num_probes: int = setting(
        "titles, and images, on which the export is compared with the original", 64, advanced=True
    )
    min_int8_cosine: float = setting("serve fp32 instead of int8 if their mean cosine is below", 0.98, advanced=True)

    def __post_init__(self) -> None:
        check_range(self, "num_probes", low=1)
        check_range(self, "min_int8_cosine", low=0, high=1)


def run(config: ExportConfig, lake: Lake, progress: JobProgress) -> Counts:
    """Open the encoders that embed_products used, export them for queries, and compare the two."""
    # imports torch, which takes seconds that --help does not need
    from intarsia.encoders.export import export_image_encoder, export_text_encoder

    texts, images = lake.current("text_embeddings"), lake.current("image_embeddings")
    text = open_text_encoder(build(TextEncoderConfig, texts.notes["encoder"], where="text_embeddings.encoder"))
    image = open_image_encoder(build(ImageEncoderConfig, images.notes["encoder"], where="image_embeddings.encoder"))
    _check_space(text, texts)
    _check_space(image, images)
    titles, image_bytes = _probes(lake.current("products"), config.num_probes)
    notes: dict[str, object] = {"text": text.space_id, "image": image.space_id}
    with lake.publish("query_encoders", notes) as folder:
        card = export_text_encoder(text, folder / "text", probes=titles, min_cosine=config.min_int8_cosine)
        progress("exported", 1, 2)
        image_card = export_image_encoder(image, folder / "image", probes=image_bytes)
        progress("exported", 2, 2)
        if lake.has("alignment"):
            Alignment.open(lake.current("alignment").path).serving().save(Path(folder) / ALIGNED)
        megabytes = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 1e6
    return _figures("text", card) | _figures("image", image_card) | {"megabytes": round(megabytes, 1)}


def _check_space(encoder: Encoder[str] | Encoder[bytes], embeddings: Entry) -> None:
    if encoder.space_id != embeddings.notes["space_id"]:
        raise ReleaseMismatch(
            f"{embeddings.name} are of space {embeddings.notes['space_id']}, but the encoder of the same settings is "
            f"now {encoder.space_id}: its weights or the code changed; run `intarsia job embed_products` first"
        )


def _probes(products: Entry, num_probes: int) -> tuple[list[str], list[bytes]]:
    titles: list[str] = []
    images: list[bytes] = []
    for batch in PRODUCTS.batches(products, ["title", "images"], num_rows=64):
        for row in batch.to_pylist():
            titles.append(row["title"])
            images.extend(image["bytes"] for image in (row["images"] or ())[:1])
        if len(titles) >= num_probes and len(images) >= num_probes:
            break
    return titles[:num_probes], images[:num_probes]


def _figures(modality: str, card: Mapping[str, object]) -> dict[str, object]:
    names = ("space_id", "dim", "fp32_cosine_to_torch", "int8_cosine_to_fp32", "int8_is")
    return {f"{modality}_{name}": card[name] for name in names if name in card}


JOB = Job(
    name="export_query_encoders",
    summary="the encoders -> the same as ONNX models for queries, int8 where it is accurate enough",
    config=ExportConfig,
    reads=("products", "text_embeddings", "image_embeddings"),
    optional_reads=("alignment",),
    writes=("query_encoders",),
    needs_ray=False,
    run=run,
)

if __name__ == "__main__":
    sys.exit(main(JOB))
