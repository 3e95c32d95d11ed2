"""A fitted kind of feature fusion as serving holds it: two ONNX graphs, run on one thread; no torch.

`products.onnx` turns a catalog into tokens, once; `scores.onnx` compares a query with some of them. How they are made is `export.py`'s
matter.

Letters: C candidates, N products, M tokens of a product, H width of the common space, D and E widths of text and image vectors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from intarsia.errors import ArtifactError, ConfigError, ReleaseMismatch
from intarsia.fusion.feature.arrays import Arrays, check_space, product_arrays, query_arrays
from intarsia.fusion.protocol import ProductVectors
from intarsia.lake import write_json
from intarsia.records.query import QueryVector

CARD = "joint.json"
CURVE, SPACES = "ndcg@10 of validation by step", "query_spaces"  # of the card
FIT_S = "fit_s"  # of the card of a fresh fit; not saved, so that equal fits are equal files
PRODUCTS, SCORES, GENERATOR = "products.onnx", "scores.onnx", "image_of_text.onnx"

_AT_ONCE = 4096  # products read at a time: bounds memory at about 50 MB


class _Read(NamedTuple):
    """Tokens of a catalog, float32 [N, M, H] and bool [N, M], beside the vectors they were read from."""

    products: ProductVectors
    values: NDArray[np.float32]
    there: NDArray[np.bool_]


class JointScorer:
    """Scores a query's candidates by vectors alone."""

    def __init__(self, card: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        self.card, self._files = card, files
        self._sessions = {name: _open_session(content) for name, content in files.items()}
        self._read: _Read | None = None

    def __reduce__(self) -> tuple[Callable[..., JointScorer], tuple[Mapping[str, Any], Mapping[str, bytes]]]:
        return JointScorer, (self.card, self._files)  # sessions do not travel between processes

    @property
    def kind(self) -> str:
        """Its name in the table of kinds."""
        return str(self.card["kind"])

    def save(self, folder: Path) -> None:
        """Write the graphs, then the card."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self._files.items():
            (folder / name).write_bytes(content)
        kept = {name: value for name, value in self.card.items() if name != FIT_S}
        write_json(folder / CARD, {**kept, "files": sorted(self._files)})

    @classmethod
    def open(cls, folder: Path) -> JointScorer:
        """What was saved in a folder.

        Raises:
            ArtifactError: there is none, or a file of it is missing or torn.
        """
        path = folder / CARD
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
            files = {name: (folder / name).read_bytes() for name in card.pop("files")}
            return cls(card, files)
        except FileNotFoundError as error:
            raise ArtifactError(f"{error.filename} does not exist; fit the feature fusion again") from None
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError, _BAD_GRAPH) as error:
            raise ArtifactError(f"{folder} holds no feature fusion: {error!r}; fit it again") from None

    def score(
        self, query_vectors: Mapping[str, QueryVector], products: ProductVectors, rows_C: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """How well each product fits the query: float32 [C], finite, higher is better; means nothing where nothing is known of either.

        The tokens of `products` are kept until other products come: give the same object for one catalog.

        Raises:
            ReleaseMismatch: vectors are of other widths or another space than those it was fitted on.
        """
        for name, space_id in self.card.get(SPACES, {}).items():
            if name in query_vectors:
                check_space(name, query_vectors[name], space_id)
        tokens = self.read(products)
        text, image, has = query_arrays([query_vectors], self._dims)
        if not len(rows_C):
            return np.empty(0, np.float32)
        inputs = {
            "text": text,
            "image": image,
            "has": has,
            "values": tokens.values[rows_C][np.newaxis],
            "there": tokens.there[rows_C][np.newaxis],
        }
        (scores_1C,) = self._run(SCORES, inputs)
        scores_C: NDArray[np.float32] = scores_1C[0]
        return scores_C

    def generate_images(self, text_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit picture vectors [N, E] for text vectors; only an adversarial fusion has learned it.

        Raises:
            ConfigError: this kind has no generator.
        """
        if GENERATOR not in self._sessions:
            raise ConfigError(f"feature fusion {self.kind} generates nothing; allowed: adversarial")
        (image_NE,) = self._sessions[GENERATOR].run(None, {"text": text_ND})
        made: NDArray[np.float32] = image_NE
        return made

    @property
    def _dims(self) -> tuple[int, int]:
        return int(self.card["text_dim"]), int(self.card["image_dim"])

    def read(self, products: ProductVectors) -> _Read:
        """The tokens of a catalog, kept until another one comes.

        Raises:
            ReleaseMismatch: vectors are of other widths than those it was fitted on.
        """
        read = self._read
        if read is None or read.products is not products:
            arrays = product_arrays(products)
            if (found := (arrays.text.shape[1], arrays.image.shape[1])) != self._dims:
                raise ReleaseMismatch(
                    f"products have vectors of {found[0]} and {found[1]} numbers, feature fusion {self.kind} was fitted on "
                    f"{self._dims[0]} and {self._dims[1]}; fit it again on this catalog's vectors"
                )
            values, there = self._run_products(arrays)
            self._read = read = _Read(products, values, there)  # one assignment: threads see the old or the new
        return read

    def _run_products(self, arrays: Arrays) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        starts = range(0, max(len(arrays.has), 1), _AT_ONCE)
        parts = [
            self._run(PRODUCTS, {name: each[start : start + _AT_ONCE] for name, each in arrays._asdict().items()})
            for start in starts
        ]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _run(self, name: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """A graph keeps no input that its result does not depend on: a tower's cosine reads no mask."""
        session = self._sessions[name]
        read = {one.name: inputs[one.name] for one in session.get_inputs()}
        outputs: list[NDArray[Any]] = session.run(None, read)
        return outputs


_BAD_GRAPH = onnxruntime.capi.onnxruntime_pybind11_state.InvalidProtobuf


def _open_session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; its warnings are about its own optimiser
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
