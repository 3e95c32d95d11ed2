"""`index.json`, the header of an index folder: written last, it detects a torn folder or another format version.

It checks the size of each file on every opening; the release bundle checks sha256.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intarsia.errors import ArtifactError
from intarsia.lake import write_json

INDEX_HEADER = "index.json"


def write_header(folder: Path, format: str, facts: Mapping[str, Any]) -> None:
    """Write `index.json`: format, facts (plain JSON values) and the size of every other file. Call it last."""
    files = {p.name: p.stat().st_size for p in sorted(folder.iterdir()) if p.is_file() and p.name != INDEX_HEADER}
    write_json(folder / INDEX_HEADER, {"format": format, "files": files, **facts})


def read_header(folder: Path, format: str) -> Mapping[str, Any]:
    """Read the facts of an index folder and check that its files are complete.

    Args:
        folder: a folder completed by `write_header`.
        format: expected name and version, for example `vector_index/1`.

    Raises:
        ArtifactError: no header, another format or version, or a file that is missing or of another size.
    """
    path = folder / INDEX_HEADER
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(
            f"{folder} contains no {INDEX_HEADER}: it is not an index, or is incomplete. Fix: run build_indexes"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} is torn ({error}). Fix: run build_indexes again") from None
    found = header.get("format") if isinstance(header, dict) else None
    if found != format:
        raise ArtifactError(f"{path} has format {found!r}; this version reads {format!r}. Fix: run build_indexes again")
    for name, num_bytes in header["files"].items():
        file = folder / name
        size = file.stat().st_size if file.is_file() else None
        if size != num_bytes:
            state = "is missing" if size is None else f"has {size} bytes"
            raise ArtifactError(f"{file} {state}; {INDEX_HEADER} says {num_bytes} bytes. Fix: run build_indexes again")
    facts: Mapping[str, Any] = header
    return facts


def open_array(path: Path) -> NDArray[Any]:
    """Memory-map a .npy file, read-only: processes of one machine share its pages."""
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    return array
