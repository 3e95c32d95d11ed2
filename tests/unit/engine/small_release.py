"""A corner shop with a whole release, built in a second; the encoders are tiny ONNX networks.

Every part is opened from files. Some products share their title (scores tie), every fifth has no text vector, every
third no image, every fifteenth neither.
"""

from __future__ import annotations

import atexit
import functools
import io
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from intarsia.catalog.columns import build_columns, save_columns
from intarsia.catalog.documents import write_documents
from intarsia.encoders.aligned import Alignment, TextHeads
from intarsia.encoders.open import ENCODER_CARD, open_query_encoder
from intarsia.encoders.protocol import Encoder
from intarsia.engine.config import EngineConfig
from intarsia.engine.search import PARTS, SearchEngine, open_assembler, open_query_encoders, open_retrieve
from intarsia.features.default_set import FEATURES
from intarsia.features.stats import ProductStats
from intarsia.fusion.fuser import SpecFuser
from intarsia.fusion.spec import FusionSpec
from intarsia.ids import ProductId, QueryId, ReleaseId, RequestId, SpaceId, sha256_bytes
from intarsia.index.bm25 import Bm25Config, Bm25Index
from intarsia.index.from_tables import field_texts
from intarsia.index.vector_files import VectorIndexConfig, build_vector_index
from intarsia.lake import Lake, write_json
from intarsia.ranking.lightgbm_ranker import RankerModel, WeightedTrees, save_ranker
from intarsia.records.judgment import SPLITS, JudgedQuery, Judgment
from intarsia.records.page import Page
from intarsia.records.product import ImageRef, Money, Product
from intarsia.records.query import Query
from intarsia.tables.judgments import JUDGMENTS, QUERIES, judgment_to_row, query_to_row
from intarsia.tables.products import PRODUCTS, product_to_row

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
RELEASE = ReleaseId("r-corner")
NUM_PRODUCTS = 60
COLOURS = ("red", "blue", "green", "black", "white")
THINGS = ("bag", "dress", "mug", "lamp", "连衣裙")
FLOORS = EngineConfig(depth=12, rank_depth=40, text_floor=0.2, image_floor=0.5, aligned_floor=0.6)
_BRANDS = ("", "Acorn", "Luma", "青竹")
_PATHS = (("Home",), ("Home", "Kitchen"), ("Home", "Kitchen", "Mugs"), ("Apparel", "Dresses"), ())
_TEXT_DIM, _SIDE = 8, 8
_NET = {"opset_imports": [onnx.helper.make_opsetid("", 17)], "ir_version": 8}


@dataclass(frozen=True, kw_only=True)
class CornerShop:
    """The products of the shop, the lake that it was built in, and the folder of its release.

    `vectors` maps a retriever to what was stored: (vectors_VD, rows_V, views_V).
    """

    products: tuple[Product, ...]
    vectors: dict[str, tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int32]]]
    lake: Lake
    release: Path

    def engine(self, config: EngineConfig = FLOORS) -> SearchEngine:
        """Open the release, with the depths and floors of a test."""
        engine = _opened(self.release)
        retrieve = replace(engine.retrieve, config=config)
        return replace(engine, retrieve=retrieve, rank=replace(engine.rank, rank_depth=config.rank_depth))

    def row(self, *, text: bool, image: bool, nth: int = 0) -> int:
        """The row of the nth product with (or without) text and image vectors."""
        stored = {name: set(rows_V.tolist()) for name, (_, rows_V, _) in self.vectors.items()}
        rows = range(len(self.products))
        return [r for r in rows if (r in stored["text"], r in stored["image"]) == (text, image)][nth]


@functools.cache
def shop(seed: int = 0) -> CornerShop:
    """Build a shop with random products, vectors, judgments and trees; tests must not change it."""
    folder = Path(tempfile.mkdtemp(prefix="intarsia-corner-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    lake = Lake(folder / "lake")
    rng = np.random.default_rng(seed)
    products = tuple(_product(number, rng) for number in range(NUM_PRODUCTS))
    with lake.publish("query_encoders") as parts:
        _write_text_encoder(parts / "text", rng)
        _write_image_encoder(parts / "image")
        alignment = _alignment(rng)
        alignment.serving().save(parts / "aligned")
    with lake.publish("alignment") as parts:
        alignment.save(parts)
    vectors = _publish_indexes(lake, products)
    _publish_judgments(lake, rng)
    with lake.publish("product_stats") as parts:
        ProductStats.empty().save(parts)
    with lake.publish("fusion_spec") as parts:
        FLOORS.save(parts)
        FusionSpec(kind="convex", weights={"bm25": 0.5, "text": 0.3, "image": 0.4, "aligned": 0.2}).save(parts)
    _publish_ranker(lake, rng)
    release = folder / "release"
    release.mkdir()
    for name in PARTS:
        (release / name).symlink_to(lake.current(name).path)
    return CornerShop(products=products, vectors=vectors, lake=lake, release=release)


def ask(text: str | None = None, **parts: Any) -> Query:
    """A query at noon."""
    return Query(**{"request_id": RequestId("q"), "text": text, "asked_at": NOON, "limit": NUM_PRODUCTS, **parts})


def rows_of(page: Page) -> list[int]:
    """The rows of a page, best first."""
    return [hit.row for hit in page.hits]


@functools.cache
def image(colour: str, shade: int = 0) -> bytes:
    """A PNG of one colour; each shade is closer to grey."""
    canvas = Image.blend(Image.new("RGB", (12, 9), colour), Image.new("RGB", (12, 9), "grey"), 0.12 * shade)
    file = io.BytesIO()
    canvas.save(file, "PNG")
    return file.getvalue()


@functools.cache
def _opened(release: Path) -> SearchEngine:
    return SearchEngine.open(release, release_id=RELEASE)


def _product(number: int, rng: np.random.Generator) -> Product:
    colours = rng.choice(COLOURS, rng.integers(1, 3), replace=False).tolist()
    images = [image(colour, shade) for shade, colour in enumerate(colours * 2)][: number % 3]
    path = _PATHS[rng.integers(len(_PATHS))]
    return Product(
        product_id=ProductId(f"p{number:03d}"),
        title=f"{colours[0]} {THINGS[rng.integers(len(THINGS))]}",
        description=" ".join(rng.choice(COLOURS + THINGS, rng.integers(0, 4)).tolist()),
        brand=_BRANDS[rng.integers(len(_BRANDS))],
        category_path=path,
        price=Money(minor_units=int(rng.integers(0, 3000)), currency="USD") if rng.random() < 0.8 else None,
        images=tuple(
            ImageRef(source=f"{i}.png", sha256=sha256_bytes(b), width=12, height=9, phash="0" * 16)
            for i, b in enumerate(images)
        ),
        attributes={"color": tuple(sorted(colours)), "material": (str(rng.choice(["cotton", "linen"])),)},
        in_stock=None if number % 7 == 3 else bool(rng.random() < 0.7),
        locale="zh" if number % 4 == 0 else "en",
        updated_at=NOON - timedelta(days=number) if number % 5 else None,
    )


def _images(product: Product) -> list[bytes]:
    known = {sha256_bytes(image(c, s)): image(c, s) for c in COLOURS for s in range(4)}
    return [known[ref.sha256] for ref in product.images]


def _publish_indexes(
    lake: Lake, products: Sequence[Product]
) -> dict[str, tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int32]]]:
    encoders = lake.current("query_encoders").path
    text: Encoder[str] = open_query_encoder(encoders / "text")  # type: ignore[assignment]
    image: Encoder[bytes] = open_query_encoder(encoders / "image")  # type: ignore[assignment]
    titled = [row for row in range(len(products)) if row % 5 != 4]
    imaged = [(row, view) for row, p in enumerate(products) for view in range(len(p.images))]
    imaged = [(row, view) for row, view in imaged if (row, view) != (2, 0)]  # as if it could not be read
    vectors = {
        "text": (
            text.encode([products[row].title for row in titled]),
            np.array(titled, np.int64),
            np.zeros(len(titled), np.int32),
        ),
        "image": (
            image.encode([_images(products[row])[view] for row, view in imaged]),
            np.array([row for row, _ in imaged], np.int64),
            np.array([view for _, view in imaged], np.int32),
        ),
    }
    alignment = Alignment.open(encoders / "aligned")
    images_VE, owners_V, views_V = vectors["image"]
    vectors["aligned"] = (alignment.images(images_VE), owners_V, views_V)
    spaces = {"text": text.space_id, "image": image.space_id, "aligned": alignment.space_id}
    with lake.publish("products") as folder:
        PRODUCTS.write_part(PRODUCTS.from_rows([product_to_row(p, _images(p)) for p in products]), folder, 0)
    with lake.publish("indexes") as folder:
        save_columns(build_columns(lake.current("products")), folder / "columns")
        write_documents(lake.current("products"), folder)
        fields = [field_texts(product) for product in products]
        Bm25Index.build(Bm25Config(), {name: [texts[name] for texts in fields] for name in fields[0]}).save(
            folder / "bm25"
        )
        for name, space in spaces.items():
            vectors_VD, rows_V, views_V = vectors[name]
            build_vector_index(VectorIndexConfig(), space, vectors_VD, rows_V, len(products), folder / name, views_V)
        write_json(folder / "manifest.json", {"space_ids": spaces})
    return vectors


def _publish_judgments(lake: Lake, rng: np.random.Generator) -> None:
    """Nine queries of every kind and split, unordered; the judged products of the last are not in the catalog."""
    kinds = [("red bag", None), (None, image("blue")), ("连衣裙", image("green"))]
    queries = [
        JudgedQuery(
            query_id=QueryId(f"j{n}"), text=kinds[n % 3][0], image=kinds[n % 3][1], locale="en", split=SPLITS[n // 3]
        )
        for n in range(9)
    ]
    products = [ProductId(f"p{number:03d}") for number in range(NUM_PRODUCTS)]
    judgments = [
        Judgment(query_id=query.query_id, product_id=products[row], grade=float(rng.integers(0, 4)))
        for query in queries[:-1]
        for row in rng.choice(NUM_PRODUCTS, 25, replace=False)
    ]
    gone = [Judgment(query_id=queries[n].query_id, product_id=ProductId("gone"), grade=3) for n in (0, 8)]
    with lake.publish("queries") as folder:
        QUERIES.write_part(QUERIES.from_rows([query_to_row(q) for q in reversed(queries)]), folder, 0)
    with lake.publish("judgments") as folder:
        JUDGMENTS.write_part(JUDGMENTS.from_rows([judgment_to_row(j) for j in [*judgments, *gone]]), folder, 0)


def _publish_ranker(lake: Lake, rng: np.random.Generator) -> None:
    """Train trees on random labels."""
    indexes = lake.current("indexes").path
    retrieve = open_retrieve(indexes, config=FLOORS, release_id=RELEASE)
    encoders = open_query_encoders(lake.current("query_encoders").path, indexes=indexes)
    texts = [f"{colour} {thing}" for colour in COLOURS for thing in THINGS]
    queries = [encoders.encode(ask(t, image=image(t.split()[0]) if n % 2 else None)) for n, t in enumerate(texts)]
    fuser = SpecFuser(FusionSpec.open(lake.current("fusion_spec").path))
    fused = [fuser.fuse(retrieved) for retrieved in retrieve.retrieve(queries)]
    assembler = open_assembler(retrieve, lake.current("product_stats").path)
    matrix = FEATURES.compute(assembler.assemble(queries, fused))
    data = lightgbm.Dataset(matrix.values_nF, rng.random(len(matrix.values_nF)), feature_name=list(matrix.names))
    settings = {"objective": "regression", "verbosity": -1, "num_threads": 1, "seed": 1, "min_data_in_leaf": 5}
    model = lightgbm.train({**settings, "num_leaves": 7, "deterministic": True}, data, num_boost_round=15)
    trees = (WeightedTrees(text=model.model_to_string()),)
    with lake.publish("ranker") as folder:
        save_ranker(folder, RankerModel(trees=trees), matrix.names, FEATURES.fingerprint, facts={})


def _write_text_encoder(folder: Path, rng: np.random.Generator) -> None:
    """The mean of random word vectors; a leading token gives every text at least one."""
    vocabulary = {word: number for number, word in enumerate(("[CLS]", "[UNK]", *COLOURS, *THINGS))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", 0)])
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    table_TD = rng.standard_normal((len(vocabulary), _TEXT_DIM)).astype(np.float32)
    make = onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            make("Gather", ["table", "ids"], ["rows"]),
            make("ReduceMean", ["rows"], ["mean"], axes=[1], keepdims=0),
            make("LpNormalization", ["mean"], ["vectors"], axis=1, p=2),
        ],
        "text",
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, ["N", "T"]) for name in ("ids", "mask")],
        [onnx.helper.make_tensor_value_info("vectors", onnx.TensorProto.FLOAT, ["N", _TEXT_DIM])],
        [onnx.numpy_helper.from_array(table_TD, "table")],
    )
    onnx.save(onnx.helper.make_model(graph, **_NET), folder / "model.onnx")
    reading = {"max_tokens": 16, "reading": "folded", "prefix": ""}
    _write_card(folder, {"kind": "onnx_text", "space_id": "corner-text", "dim": _TEXT_DIM, **reading})


def _write_image_encoder(folder: Path) -> None:
    """The direction of the mean colour, relative to grey."""
    make = onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            make("Cast", ["pixels"], ["values"], to=onnx.TensorProto.FLOAT),
            make("ReduceMean", ["values"], ["mean"], axes=[1, 2], keepdims=0),
            make("Sub", ["mean", "grey"], ["tint"]),
            make("LpNormalization", ["tint"], ["vectors"], axis=1, p=2),
        ],
        "image",
        [onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.UINT8, ["N", _SIDE, _SIDE, 3])],
        [onnx.helper.make_tensor_value_info("vectors", onnx.TensorProto.FLOAT, ["N", 3])],
        [onnx.numpy_helper.from_array(np.array([101.5, 99.25, 102.75], np.float32), "grey")],
    )
    folder.mkdir()
    onnx.save(onnx.helper.make_model(graph, **_NET), folder / "model.onnx")
    _write_card(folder, {"kind": "onnx_image", "space_id": "corner-image", "dim": 3, "image_px": _SIDE})


def _alignment(rng: np.random.Generator) -> Alignment:
    """Colour words have the vectors of images of that colour; the heads of the two folds differ slightly."""
    tints_nE = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [-1, -1, -1], [1, 1, 1]], np.float32)
    heads_nHD = np.stack([tints_nE + shift * rng.normal(size=tints_nE.shape) for shift in (0.0, 0.3, 0.3)], axis=1)
    return Alignment(
        text_space=SpaceId("corner-text"),
        image_space=SpaceId("corner-image"),
        image_ED=np.eye(3, dtype=np.float32),
        image_bias_D=np.zeros(3, np.float32),
        heads=TextHeads(
            word_ids={colour: number for number, colour in enumerate(COLOURS)},
            words_nHD=heads_nHD.astype(np.float32),
            vector_HTD=rng.normal(0.0, 0.1, (3, _TEXT_DIM, 3)).astype(np.float32),
            bias_HD=np.zeros((3, 3), np.float32),
        ),
    )


def _write_card(folder: Path, card: dict[str, Any]) -> None:
    write_json(folder / ENCODER_CARD, {**card, "files": {"fp32": "model.onnx", "int8": "model.onnx"}})
