"""Time to encode one query on one thread by torch, ONNX fp32 and int8: `python -m benchmarks.query_encoding`."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy and torch are loaded

import argparse
import io
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.result_tables import ResultCell, ResultRow, add_json_option, write_rows
from intarsia.encoders.config import USE_MULTILINGUAL, ImageEncoderConfig, TextEncoderConfig
from intarsia.encoders.export import export_image_encoder, export_text_encoder
from intarsia.encoders.open import open_image_encoder, open_query_encoder, open_text_encoder
from intarsia.encoders.protocol import Encoder

TEXT_QUERIES = (
    "red running shoes",
    "wireless noise cancelling headphones",
    "casual sunglasses for women",
    "leather wallet",
    "men's waterproof hiking jacket size large",
    "红色运动鞋",
    "无线蓝牙耳机 降噪",
    "夏季新款连衣裙",
)
NUM_ROUNDS = 25


_COLUMNS = {"torch": "reference", "numpy": "reference", "onnx fp32": "fp32", "onnx int8": "int8"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print p50 and p95 of each runtime, its speed relative to torch, and the mean cosine to torch."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.query_encoding", description=__doc__)
    add_json_option(parser)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rng = np.random.default_rng(1)
    images = [_image(rng) for _ in range(8)]
    text, image = open_text_encoder(TextEncoderConfig()), open_image_encoder(ImageEncoderConfig())
    multilingual = open_text_encoder(TextEncoderConfig(model=USE_MULTILINGUAL))
    with tempfile.TemporaryDirectory() as folder:
        export_text_encoder(text, Path(folder) / "text", probes=TEXT_QUERIES, min_cosine=0.0)
        export_image_encoder(image, Path(folder) / "image", probes=images)
        print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, one thread, one item at a time")
        rows = [
            _compare(
                "text  MiniLM-L6, 384 wide",
                TEXT_QUERIES,
                {
                    "torch": text,
                    "onnx fp32": open_query_encoder(Path(folder) / "text", "fp32"),
                    "onnx int8": open_query_encoder(Path(folder) / "text", "int8"),
                },
            ),
            _compare("text  USE multilingual v3, 512 wide", TEXT_QUERIES, {"numpy": multilingual}),
            _compare(
                "image EfficientNet-Lite0, 160 px, decoding included",
                images,
                {"torch": image, "onnx fp32": open_query_encoder(Path(folder) / "image", "fp32")},
            ),
        ]
    write_rows(options.json, rows)
    return 0


def _compare(title: str, items: Sequence[str] | Sequence[bytes], encoders: dict[str, Encoder[Any]]) -> ResultRow:
    print(title)
    row: dict[str, ResultCell] = {"name": title.partition(" ")[2].strip(), "note": ""}
    reference_ND, reference_ms = None, 0.0
    times = _interleaved_ms(items, {name: encoder.encode for name, encoder in encoders.items()})
    for name, encoder in encoders.items():
        vectors_ND = np.concatenate([encoder.encode([item]) for item in items])
        p50, p95 = np.percentile(times[name], [50, 95])
        if reference_ND is None:
            reference_ND, reference_ms = vectors_ND, p50
        cosine = float(np.vecdot(vectors_ND, reference_ND).mean())
        print(f"  {name:<10} p50 {p50:6.2f} ms  p95 {p95:6.2f} ms  {reference_ms / p50:4.1f} x  cosine {cosine:.4f}")
        row[_COLUMNS[name]] = float(p50)
    return row


def _interleaved_ms(items: Sequence[Any], encode: dict[str, Callable[..., Any]]) -> dict[str, list[float]]:
    """Times of each encoder in ms; encoders alternate on every item, so that other load affects all equally."""
    times: dict[str, list[float]] = {name: [] for name in encode}
    for round_number in range(NUM_ROUNDS + 1):
        for item in items:
            for name, call in encode.items():
                start_s = time.perf_counter()
                call([item])
                if round_number > 0:
                    times[name].append((time.perf_counter() - start_s) * 1000)
    return times


def _image(rng: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    pixels = rng.integers(0, 256, (8, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((300, 400), Image.Resampling.BICUBIC).save(buffer, "jpeg")
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
