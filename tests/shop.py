"""A small shop with a real release: encoders, indexes, features and trees over 49 generated products.

It is built in seconds, without Ray. One product is hostile: markup in its title, slashes and quotes in its id.
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import io
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lightgbm
import numpy as np
from PIL import Image, ImageDraw

from intarsia.catalog.columns import build_columns, save_columns
from intarsia.catalog.documents import write_documents
from intarsia.encoders.config import EFFICIENTNET_LITE0, USE_MULTILINGUAL, ImageEncoderConfig, TextEncoderConfig
from intarsia.encoders.export import export_image_encoder, export_text_encoder
from intarsia.encoders.open import open_image_encoder, open_text_encoder
from intarsia.engine.config import EngineConfig
from intarsia.engine.retrieve import stored_spaces
from intarsia.engine.search import PARTS, open_assembler, open_fuse, open_query_encoders, open_retrieve
from intarsia.features.default_set import FEATURES
from intarsia.features.stats import ProductStats
from intarsia.fusion.fuser import SpecFuser
from intarsia.fusion.protocol import Fuser
from intarsia.fusion.spec import FusionSpec
from intarsia.ids import ProductId, ReleaseId, RequestId, sha256_bytes
from intarsia.index.bm25 import Bm25Config, Bm25Index, PostingsBuilder
from intarsia.index.from_tables import field_texts
from intarsia.index.vector_files import VectorIndexConfig, build_vector_index
from intarsia.lake import Lake, write_json
from intarsia.ranking.lightgbm_ranker import RankerModel, WeightedTrees, save_ranker
from intarsia.records.product import ImageRef, Money, Product
from intarsia.records.query import Query
from intarsia.release.bundle import Provenance, write_bundle
from intarsia.release.pointer import Pointer
from intarsia.tables.products import PRODUCTS, product_to_row
from intarsia.text import tokens

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOSTILE_TITLE = "<script>window.hacked = 1</script> red cotton bag <img src=x onerror='window.hacked=2'>"
HOSTILE_ID = "bag/<0>&'\"/images/1"

_COLOURS = {"red": "红色", "blue": "蓝色", "green": "绿色", "black": "黑色"}
_THINGS = {"bag": "双肩包", "dress": "连衣裙", "mug": "马克杯", "lamp": "台灯"}
_PATHS = {
    "bag": ("Bags", "Backpacks"),
    "dress": ("Apparel", "Dresses"),
    "mug": ("Home", "Mugs"),
    "lamp": ("Home", "Lamps"),
}
_BRANDS = ("Acorn", "Luma", "青竹")


def products() -> list[tuple[Product, tuple[bytes, ...]]]:
    """The catalog with its images, ordered by id."""
    shop = [_hostile()]
    for number, (thing, colour, brand) in enumerate(
        (thing, colour, brand) for thing in _THINGS for colour in _COLOURS for brand in _BRANDS
    ):
        is_zh = brand == "青竹"
        title = f"{brand} {_COLOURS[colour]} {_THINGS[thing]}" if is_zh else f"{brand} {colour} {thing} no {number}"
        images = tuple(make_image(thing, colour, shade) for shade in range(number % 3))
        shop.append(_product(f"p{number:03d}", title, thing, colour, brand, images, number))
    return sorted(shop, key=lambda product: product[0].product_id)


def make_image(thing: str, colour: str, shade: int = 0) -> bytes:
    """A PNG of a thing: its shape in its colour."""
    canvas = Image.new("RGB", (96, 96), (245 - 10 * shade, 244, 240))
    draw = ImageDraw.Draw(canvas)
    if thing == "mug":
        draw.ellipse((20, 20, 76, 76), fill=colour)
    elif thing == "dress":
        draw.polygon([(48, 8), (88, 88), (8, 88)], fill=colour)
    elif thing == "lamp":
        draw.rectangle((42, 10, 54, 90), fill=colour)
    else:
        draw.rounded_rectangle((14, 24, 82, 84), 14, fill=colour)
    file = io.BytesIO()
    canvas.save(file, "PNG")
    return file.getvalue()


@functools.cache
def small_shop() -> Lake:
    """A lake with one live release, built once per test process; tests must not change it."""
    folder = Path(tempfile.mkdtemp(prefix="intarsia-shop-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    lake = Lake(folder)
    make_release(lake)
    return lake


def make_release(lake: Lake, *, weight_of_words: float = 0.6) -> ReleaseId:
    """Stage a release of the shop and make it live; another weight gives another release."""
    text = open_text_encoder(TextEncoderConfig(model=USE_MULTILINGUAL))
    image = open_image_encoder(ImageEncoderConfig(model=EFFICIENTNET_LITE0, image_px=64))
    shop = products()
    with lake.publish("products") as folder:
        PRODUCTS.write_part(PRODUCTS.from_rows([product_to_row(p, b) for p, b in shop]), folder, 0)
    table = lake.current("products")
    with lake.publish("query_encoders") as folder:
        export_text_encoder(text, folder / "text", probes=[p.title for p, _ in shop[:4]], min_cosine=0.0)
        export_image_encoder(image, folder / "image", probes=[make_image("mug", "red")])
    with lake.publish("indexes") as folder:
        columns = build_columns(table)
        save_columns(columns, folder / "columns")
        write_documents(table, folder)
        _bm25([p for p, _ in shop]).save(folder / "bm25")
        rows_V = np.array([row for row, (_, images) in enumerate(shop) for _ in images], np.int64)
        views_VD = image.encode([content for _, images in shop for content in images])
        build_vector_index(VectorIndexConfig(), image.space_id, views_VD, rows_V, len(shop), folder / "image")
        titles_ND = text.encode([p.title for p, _ in shop])
        build_vector_index(
            VectorIndexConfig(), text.space_id, titles_ND, np.arange(len(shop)), len(shop), folder / "text"
        )
        write_json(
            folder / "manifest.json",
            {
                "num_rows": len(shop),
                "products_digest": table.digest,
                "space_ids": {"text": text.space_id, "image": image.space_id},
            },
        )
    with lake.publish("product_stats") as folder:
        ProductStats.empty().save(folder)
    return make_next_release(lake, weight_of_words=weight_of_words)


def make_next_release(lake: Lake, *, weight_of_words: float) -> ReleaseId:
    """Fit fuser and ranker again over the existing indexes, stage the release and make it live."""
    weights = {"bm25": weight_of_words, "text": 0.4, "image": 0.5}
    return make_release_fused_by(lake, SpecFuser(FusionSpec(kind="convex", weights=weights)))


def make_release_fused_by(lake: Lake, fuser: Fuser) -> ReleaseId:
    """The same with any fuser."""
    with lake.publish("fusion_spec") as folder:
        fuser.save(folder)
        EngineConfig(depth=50, rank_depth=60).save(folder)
    with lake.publish("ranker") as folder:
        _train(lake, folder)
    return _promote(lake)


def _train(lake: Lake, folder: Path) -> None:
    """A few trees trained to prefer products with more words of the query in their title."""
    indexes, spec = lake.current("indexes").path, lake.current("fusion_spec").path
    retrieve = open_retrieve(indexes, config=EngineConfig.open(spec), release_id=ReleaseId("unreleased"))
    encoders = open_query_encoders(lake.current("query_encoders").path, indexes=indexes)
    encoded = [encoders.encode(query) for query in _training_queries()]
    fused = [open_fuse(spec, retrieve.vectors).fuse(candidates) for candidates in retrieve.retrieve(encoded)]
    matrix = FEATURES.compute(open_assembler(retrieve, lake.current("product_stats").path).assemble(encoded, fused))
    shop = [product for product, _ in products()]
    wanted = [
        float(sum(word in shop[row].title for word in (query.query.text or "").split()))
        for query, candidates in zip(encoded, fused, strict=True)
        for row in candidates.rows_C
    ]
    data = lightgbm.Dataset(matrix.values_nF, wanted, feature_name=list(matrix.names))
    settings = {"objective": "regression", "verbosity": -1, "num_threads": 1, "seed": 1, "min_data_in_leaf": 3}
    model = lightgbm.train({**settings, "deterministic": True}, data, num_boost_round=20)
    trees = (WeightedTrees(text=model.model_to_string()),)
    save_ranker(folder, RankerModel(trees=trees), matrix.names, FEATURES.fingerprint, facts={})


def _training_queries() -> Iterator[Query]:
    pairs = [f"{colour} {thing}" for colour in _COLOURS for thing in _THINGS]
    pairs += [f"{colour} {thing}" for colour in _COLOURS.values() for thing in _THINGS.values()]
    for number, text in enumerate(pairs):
        yield Query(request_id=RequestId(f"train-{number}"), text=text, asked_at=NOON)


def _promote(lake: Lake) -> ReleaseId:
    entries = {name: lake.current(name) for name in PARTS}
    releases = lake.root / "releases"
    manifest = write_bundle(
        releases,
        entries,
        Provenance(
            created_at=NOON,
            git_commit="0" * 40,
            parent=Pointer(releases).live(),
            num_products=len(products()),
            stats_as_of=None,
            space_ids=stored_spaces(entries["indexes"].path),
            feature_fingerprint=FEATURES.fingerprint,
        ),
    )
    Pointer(releases).move(manifest.id, at=NOON, why="test")
    return manifest.id


def _bm25(shop: list[Product]) -> Bm25Index:
    config = Bm25Config()
    builder = PostingsBuilder(config, len(shop))
    texts = [field_texts(product) for product in shop]
    builder.add(np.arange(len(shop)), {name: [tokens(fields[name]) for fields in texts] for name in config.weights})
    return Bm25Index.of(config, len(shop), builder.finish())


def _product(
    product_id: str, title: str, thing: str, colour: str, brand: str, images: tuple[bytes, ...], number: int
) -> tuple[Product, tuple[bytes, ...]]:
    product = Product(
        product_id=ProductId(product_id),
        title=title,
        description=f"A {colour} {thing} of the {brand} line, made to last.",
        brand=brand,
        category_path=_PATHS[thing],
        price=None if number % 11 == 5 else Money(minor_units=990 + 700 * number, currency="USD"),
        images=tuple(
            ImageRef(source=f"{i}.png", sha256=sha256_bytes(b), width=96, height=96, phash="0" * 16)
            for i, b in enumerate(images)
        ),
        attributes={"color": (colour,), "material": ("cotton" if number % 2 else "linen",)},
        in_stock=None if number % 7 == 3 else number % 5 != 0,
        locale="zh" if brand == "青竹" else "en",
        updated_at=NOON - timedelta(days=number),
    )
    return product, images


def _hostile() -> tuple[Product, tuple[bytes, ...]]:
    product, images = _product(HOSTILE_ID, HOSTILE_TITLE, "bag", "red", "Acorn", (make_image("bag", "red"),), 1)
    return dataclasses.replace(product, description="<b onclick=alert(1)>not bold</b>"), images
