"""A fitted feature fusion method as serving runs it: two ONNX graphs on one thread, without torch.

`products.onnx` computes the tokens of a catalog, once. `scores.onnx` compares a query with some products. `export.py`
makes the graphs.

Shapes: C candidates, Q queries, N products, M tokens of a product, H width of the common space, D and E widths of text
and image vectors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from intarsia.errors import ArtifactError, ConfigError, ReleaseMismatch
from intarsia.fusion.protocol import ProductVectors
from intarsia.lake import write_json
from intarsia.names import ENCODED_MODALITIES
from intarsia.records.query import QueryVector

SCORER_FILE = "joint.json"
VALIDATION_CURVE, QUERY_SPACES = "ndcg@10 of validation by step", "query_spaces"  # keys of the scorer's metadata
FIT_S = "fit_s"  # key of the metadata of a new fit; it is not saved, so that equal fits write equal files
PRODUCTS_GRAPH, SCORES_GRAPH, GENERATOR_GRAPH = "products.onnx", "scores.onnx", "image_of_text.onnx"
TOKEN_INPUTS = ("values", "there")  # names of the product tokens and their mask in the graphs

_PRODUCTS_PER_RUN = 4096  # bounds memory at about 50 MB


class ModalityArrays(NamedTuple):
    """Vectors of N queries or products: float32 [N, D] and [N, E], and which of the two exist, bool [N, 2]."""

    text: NDArray[np.float32]
    image: NDArray[np.float32]
    has: NDArray[np.bool_]

    def rows(self, rows: NDArray[np.int64]) -> ModalityArrays:
        """Gather by row number. `rows` may have any shape S; the results have shapes [*S, D], [*S, E] and [*S, 2]."""
        return ModalityArrays(self.text[rows], self.image[rows], self.has[rows])


def product_arrays(products: ProductVectors) -> ModalityArrays:
    """Arrays of the products; a modality without any vector gets one column of zeros."""
    return ModalityArrays(
        _at_least_one_column(products.text_ND), _at_least_one_column(products.image_NE), products.has_N2
    )


def query_arrays(queries: Sequence[Mapping[str, QueryVector]], widths: tuple[int, int]) -> ModalityArrays:
    """Arrays of the queries; a missing vector is zeros.

    Args:
        queries: the vectors of each query, by modality.
        widths: of the products' text and image vectors.

    Raises:
        ReleaseMismatch: a vector is not as wide as the products' vectors of its modality.
    """
    parts = []
    for name, width in zip(ENCODED_MODALITIES, widths, strict=True):
        part = np.zeros((len(queries), width), np.float32)
        for number, vectors in enumerate(queries):
            if (vector := vectors.get(name)) is not None:
                if len(vector.values_D) != width:
                    raise ReleaseMismatch(
                        f"the query's {name} vector has {len(vector.values_D)} numbers, the products' have {width}. "
                        "Fix: encode both by the encoders of one release"
                    )
                part[number] = vector.values_D
        parts.append(part)
    has = np.array([[name in vectors for name in ENCODED_MODALITIES] for vectors in queries], bool)
    return ModalityArrays(parts[0], parts[1], has.reshape(-1, len(ENCODED_MODALITIES)))


def query_spaces(queries: Iterable[Mapping[str, QueryVector]]) -> dict[str, str]:
    """Return the vector space of each modality that some query has.

    Raises:
        ReleaseMismatch: queries have vectors of one modality in two spaces, as when each fold has its own text model.
    """
    spaces: dict[str, str] = {}
    for vectors in queries:
        for name in ENCODED_MODALITIES:
            if name in vectors and spaces.setdefault(name, vectors[name].space_id) != vectors[name].space_id:
                raise ReleaseMismatch(
                    f"the queries' {name} vectors are of spaces {spaces[name]} and {vectors[name].space_id}, and "
                    "feature fusion needs one. Fix: leave its methods out, or fine-tune the tower without folds"
                )
    return spaces


def check_space(name: str, vector: QueryVector, expected: str | None) -> None:
    """Check that a query vector is of the space of the fit, `expected`; None if no query of the fit had the modality.

    Raises:
        ReleaseMismatch: it is of another space.
    """
    if expected is not None and vector.space_id != expected:
        raise ReleaseMismatch(
            f"the query's {name} vector is of space {vector.space_id}, feature fusion was fitted on {expected}. "
            "Fix: fit it again"
        )


class _CatalogTokens(NamedTuple):
    """Tokens of a catalog, float32 [N, M, H], their mask, bool [N, M], and the vectors they were computed from."""

    products: ProductVectors
    values: NDArray[np.float32]
    mask: NDArray[np.bool_]


class FeatureScorer:
    """Scores a query's candidates by vectors only.

    Args:
        metadata: JSON-able; `kind` (the method), `text_dim`, `image_dim`, the curve of the fit, and the query spaces.
        files: the ONNX graphs by file name.
    """

    def __init__(self, metadata: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        self.metadata, self._files = metadata, files
        self._sessions = {name: _open_session(content) for name, content in files.items()}
        self._tokens: _CatalogTokens | None = None

    def __reduce__(self) -> tuple[Callable[..., FeatureScorer], tuple[Mapping[str, Any], Mapping[str, bytes]]]:
        return FeatureScorer, (self.metadata, self._files)  # ONNX sessions cannot be pickled

    @property
    def kind(self) -> str:
        """Name of the method."""
        return str(self.metadata["kind"])

    def save(self, folder: Path) -> None:
        """Write the graphs, then the metadata."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self._files.items():
            (folder / name).write_bytes(content)
        saved = {name: value for name, value in self.metadata.items() if name != FIT_S}
        write_json(folder / SCORER_FILE, {**saved, "files": sorted(self._files)})

    @classmethod
    def open(cls, folder: Path) -> FeatureScorer:
        """Open a saved scorer.

        Raises:
            ArtifactError: a file is missing or damaged.
        """
        path = folder / SCORER_FILE
        try:
            metadata = json.loads(path.read_text(encoding="utf-8"))
            files = {name: (folder / name).read_bytes() for name in metadata.pop("files")}
            return cls(metadata, files)
        except FileNotFoundError as error:
            raise ArtifactError(f"{error.filename} does not exist. Fix: fit the feature fusion again") from None
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError, _BAD_GRAPH) as error:
            raise ArtifactError(f"{folder} holds no feature fusion: {error!r}. Fix: fit it again") from None

    def score(
        self, query_vectors: Mapping[str, QueryVector], products: ProductVectors, rows_C: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Score products for a query: float32 [C], finite, higher is better.

        The score has no meaning if the query, or the product, has neither vector. The tokens of `products` are cached
        until another object is passed: pass the same object for one catalog.

        Raises:
            ReleaseMismatch: vectors have other widths, or are of another space, than those of the fit.
        """
        for name, space_id in self.metadata.get(QUERY_SPACES, {}).items():
            if name in query_vectors:
                check_space(name, query_vectors[name], space_id)
        tokens = self.read_products(products)
        query = query_arrays([query_vectors], self._widths)
        if not len(rows_C):
            return np.empty(0, np.float32)
        candidate_tokens = (tokens.values[rows_C][np.newaxis], tokens.mask[rows_C][np.newaxis])
        inputs = {**query._asdict(), **dict(zip(TOKEN_INPUTS, candidate_tokens, strict=True))}
        (scores_1C,) = self._run(SCORES_GRAPH, inputs)
        scores_C: NDArray[np.float32] = scores_1C[0]
        return scores_C

    def generate_images(self, text_ND: NDArray[np.float32]) -> NDArray[np.float32]:
        """Generate unit image vectors [N, E] for text vectors; method `adversarial` only.

        Raises:
            ConfigError: the method has no generator.
        """
        if GENERATOR_GRAPH not in self._sessions:
            raise ConfigError(f"feature fusion {self.kind} generates nothing; allowed: adversarial")
        (image_NE,) = self._sessions[GENERATOR_GRAPH].run(None, {"text": text_ND})
        generated: NDArray[np.float32] = image_NE
        return generated

    @property
    def _widths(self) -> tuple[int, int]:
        return int(self.metadata["text_dim"]), int(self.metadata["image_dim"])

    def read_products(self, products: ProductVectors) -> _CatalogTokens:
        """Compute the tokens of a catalog; they are cached until another object is passed.

        Raises:
            ReleaseMismatch: vectors have other widths than those of the fit.
        """
        tokens = self._tokens
        if tokens is None or tokens.products is not products:
            arrays = product_arrays(products)
            if (widths := (arrays.text.shape[1], arrays.image.shape[1])) != self._widths:
                raise ReleaseMismatch(
                    f"products have vectors of {widths[0]} and {widths[1]} numbers, feature fusion {self.kind} was "
                    f"fitted on {self._widths[0]} and {self._widths[1]}. Fix: fit it again on this catalog's vectors"
                )
            values, mask = self._run_products(arrays)
            self._tokens = tokens = _CatalogTokens(products, values, mask)  # one assignment: safe across threads
        return tokens

    def _run_products(self, arrays: ModalityArrays) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        starts = range(0, max(len(arrays.has), 1), _PRODUCTS_PER_RUN)
        parts = [
            self._run(
                PRODUCTS_GRAPH,
                {name: array[start : start + _PRODUCTS_PER_RUN] for name, array in arrays._asdict().items()},
            )
            for start in starts
        ]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _run(self, name: str, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Run a graph. It lacks the inputs that its result does not depend on: two towers do not read the mask."""
        session = self._sessions[name]
        used = {graph_input.name: inputs[graph_input.name] for graph_input in session.get_inputs()}
        outputs: list[NDArray[Any]] = session.run(None, used)
        return outputs


_BAD_GRAPH = onnxruntime.capi.onnxruntime_pybind11_state.InvalidProtobuf


def _open_session(content: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only; the warnings are about its own optimiser
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _at_least_one_column(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors if vectors.shape[1] else np.zeros((len(vectors), 1), np.float32)
