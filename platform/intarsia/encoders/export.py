"""Export encoders to folders that `open_query_encoder` reads: ONNX models with fp32 and int8 weights, tokenizer and
encoder.json.

int8: weights of matrix products rounded per output channel, activations scaled per query. Measured with MiniLM on 300
queries against fp32: mean cosine 0.993, 94 % of the ten nearest of 500 titles kept, a third of the time; rounded per
tensor: 0.967 and 87 %.

Letters: N items, T tokens, S side, D width.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime.quantization
import torch
from numpy.typing import NDArray

from intarsia.encoders.clip import ClipImageTower
from intarsia.encoders.onnx_query import MODEL_FILE, TOKENIZER_FILE, OnnxImageEncoder, OnnxTextEncoder
from intarsia.encoders.open import ENCODER_CARD
from intarsia.encoders.protocol import Encoder
from intarsia.encoders.torch_encoders import TorchImageEncoder, TorchTextEncoder
from intarsia.encoders.use_multilingual import USE_TOKENS_FILE, USE_WEIGHTS_FILE, UseMultilingualEncoder
from intarsia.errors import ConfigError
from intarsia.lake import write_json

_OPSET = 17
_FP32, _INT8 = MODEL_FILE.format(precision="fp32"), MODEL_FILE.format(precision="int8")


def export_text_encoder(
    encoder: Encoder[str], folder: Path, *, probes: Sequence[str], min_cosine: float
) -> dict[str, object]:
    """Export a text encoder.

    Args:
        encoder: an encoder of `open_text_encoder`.
        folder: is created and filled.
        probes: texts of the catalog on which int8 is compared with fp32; if empty, int8 is used unchecked.
        min_cosine: if the mean cosine of int8 to fp32 is below it, fp32 is used instead.

    Returns:
        The content of encoder.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(encoder, UseMultilingualEncoder):
        return _copy_use_multilingual(encoder, folder)
    if not isinstance(encoder, TorchTextEncoder):
        raise ConfigError(f"{type(encoder).__name__} cannot be exported; allowed: what open_text_encoder gives")
    encoder.tokenizer.save(folder / TOKENIZER_FILE)
    ids_NT = torch.ones((2, 7), dtype=torch.int64)
    _to_onnx(
        encoder.tower, {"ids": ids_NT, "mask": ids_NT}, folder / _FP32, free={"ids": ("N", "T"), "mask": ("N", "T")}
    )
    quantise(folder / _FP32, folder / _INT8)
    card: dict[str, object] = {
        "kind": "onnx_text",
        "space_id": encoder.space_id,
        "dim": encoder.dim,
        "max_tokens": encoder.config.max_tokens,
        "reading": encoder.config.reading,
        "prefix": encoder.config.prefix,
        "files": {"fp32": _FP32, "int8": _INT8},
    }
    fp32_ND = OnnxTextEncoder(folder, card, "fp32").encode(probes)
    _keep_int8_if_close(card, OnnxTextEncoder(folder, card, "int8").encode(probes), fp32_ND, folder, min_cosine)
    card["fp32_cosine_to_torch"] = round(mean_cosine(fp32_ND, encoder.encode(probes)), 6)
    write_json(folder / ENCODER_CARD, card)
    return card


def export_image_encoder(
    encoder: TorchImageEncoder, folder: Path, *, probes: Sequence[bytes], min_cosine: float = 0.98
) -> dict[str, object]:
    """Export an image encoder; `probes` and `min_cosine` as for texts.

    A convolutional network has no int8 form: static int8 (per channel, calibrated on 64 images) took 8 ms instead of
    13, but kept only 90 % of the ten nearest images (79 % with the reduced range that processors without VNNI need), so
    fp32 is used for both precisions. Of a vision transformer the matrix products are rounded as in a text encoder, its
    one convolution is not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    side = encoder.image_px
    pixels_NSS3 = torch.zeros((2, side, side, 3), dtype=torch.uint8)
    _to_onnx(encoder.tower, {"pixels": pixels_NSS3}, folder / _FP32, free={"pixels": ("N",)})
    card: dict[str, object] = {
        "kind": "onnx_image",
        "space_id": encoder.space_id,
        "dim": encoder.dim,
        "image_px": side,
        "files": {"fp32": _FP32, "int8": _FP32},
        "int8_is": "fp32: int8 of convolutional networks keeps too few neighbours",
    }
    fp32_ND = OnnxImageEncoder(folder, card, "fp32").encode(probes)
    if isinstance(encoder.tower, ClipImageTower):
        quantise(folder / _FP32, folder / _INT8, only=("MatMul", "Gemm"))
        card["files"] = {"fp32": _FP32, "int8": _INT8}
        _keep_int8_if_close(card, OnnxImageEncoder(folder, card, "int8").encode(probes), fp32_ND, folder, min_cosine)
    card["fp32_cosine_to_torch"] = round(mean_cosine(fp32_ND, encoder.encode(probes)), 6)
    write_json(folder / ENCODER_CARD, card)
    return card


def mean_cosine(left_ND: NDArray[np.float32], right_ND: NDArray[np.float32]) -> float:
    """The mean dot product of rows of unit vectors; 1 for no rows."""
    return float(np.vecdot(left_ND, right_ND).mean()) if len(left_ND) else 1.0


def _keep_int8_if_close(
    card: dict[str, object],
    int8_ND: NDArray[np.float32],
    fp32_ND: NDArray[np.float32],
    folder: Path,
    min_cosine: float,
) -> None:
    cosine = mean_cosine(int8_ND, fp32_ND)
    if cosine < min_cosine:
        (folder / _INT8).unlink()
        card["files"] = {"fp32": _FP32, "int8": _FP32}
    card["int8_cosine_to_fp32"] = round(cosine, 6)
    card["int8_is"] = "int8" if cosine >= min_cosine else f"fp32: its cosine is below {min_cosine}"


def _copy_use_multilingual(encoder: UseMultilingualEncoder, folder: Path) -> dict[str, object]:
    """Copy its files, which are small and fast enough; the folder does not depend on the installed package."""
    for name in (USE_WEIGHTS_FILE, USE_TOKENS_FILE):
        shutil.copyfile(encoder.folder / name, folder / name)
    card: dict[str, object] = {
        "kind": "use_multilingual",
        "space_id": encoder.space_id,
        "dim": encoder.dim,
        "max_tokens": encoder.max_tokens,
        "reading": encoder.reading,
        "prefix": encoder.prefix,
        "files": {"fp32": USE_WEIGHTS_FILE, "int8": USE_WEIGHTS_FILE},
        "int8_is": "the published weights: embeddings in 8 bits, the rest in 32",
    }
    write_json(folder / ENCODER_CARD, card)
    return card


def _to_onnx(
    tower: torch.nn.Module, inputs: Mapping[str, torch.Tensor], path: Path, *, free: Mapping[str, Sequence[str]]
) -> None:
    """Trace a tower; `free` names the leading axes of each input whose length may vary."""
    axes = {name: dict(enumerate(letters)) for name, letters in free.items()} | {"vectors": {0: "N"}}
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # tracer warnings: it cannot know that shapes only affect padding
        torch.onnx.export(
            tower,
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=["vectors"],
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )


def quantise(exact: Path, rounded: Path, *, only: Sequence[str] = ()) -> None:
    """Round the weights of an ONNX model to 8 bits per output channel; activations are scaled at run time.

    `only` names the operators to round; empty: all that can be.
    """
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        onnxruntime.quantization.quant_pre_process(str(exact), str(prepared), skip_symbolic_shape=True)
        onnxruntime.quantization.quantize_dynamic(
            str(prepared),
            str(rounded),
            op_types_to_quantize=list(only) or None,
            per_channel=True,
            reduce_range=True,  # 7 bits: 8 overflow on processors without VNNI, and cost 0.0007 of cosine
            weight_type=onnxruntime.quantization.QuantType.QInt8,
        )
