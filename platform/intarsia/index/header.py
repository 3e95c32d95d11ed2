"""`index.json`: what an index folder says about itself, and the refusal of one that is torn or of another version.

Sizes are checked here, on every opening; the sha256 of each file is the bundle's matter.
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

HEADER = "index.json"


def write_header(folder: Path, format: str, facts: Mapping[str, Any]) -> None:
    """Write `index.json` last: format, facts (JSON-able) and the size of every other file of the folder."""
    files = {p.name: p.stat().st_size for p in sorted(folder.iterdir()) if p.is_file() and p.name != HEADER}
    write_json(folder / HEADER, {"format": format, "files": files, **facts})


def read_header(folder: Path, format: str) -> Mapping[str, Any]:
    """The facts of an index folder whose files are all there in full.

    Args:
        folder: what `write_header` completed.
        format: name and version, for example `vector_index/1`.

    Raises:
        ArtifactError: no header, a header of another format or version, or a file that is missing or of another size.
    """
    path = folder / HEADER
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(
            f"{folder} holds no {HEADER}: it is no index, or was not finished; run build_indexes"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} is torn ({error}); run build_indexes again") from None
    found = header.get("format") if isinstance(header, dict) else None
    if found != format:
        raise ArtifactError(f"{path} is of format {found!r}; this code reads {format!r}: run build_indexes again")
    for name, num_bytes in header["files"].items():
        file = folder / name
        size = file.stat().st_size if file.is_file() else None
        if size != num_bytes:
            state = "is missing" if size is None else f"has {size} bytes"
            raise ArtifactError(f"{file} {state}; {HEADER} says {num_bytes} bytes: torn, run build_indexes again")
    facts: Mapping[str, Any] = header
    return facts


def open_array(path: Path) -> NDArray[Any]:
    """A .npy file, memory-mapped and read-only: processes of one machine share its pages."""
    array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    return array
