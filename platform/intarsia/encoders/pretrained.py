"""Models of `transformers` by hub name or folder, and what their files lacked. What is made of them is each encoder's matter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers

from intarsia.encoders.pruned_heads import KEPT_HEADS, open_pruned
from intarsia.errors import ArtifactError


def load_pretrained(place: str, reader: Any, *, told: str, mend: str) -> tuple[Any, Any, tuple[str, ...]]:
    """A model in float32, what reads its items, and the names of tensors that its files lack (they are random, another time differently).

    Args:
        place: hub name or folder.
        reader: `AutoTokenizer` or `AutoImageProcessor`.
        told: what messages call it, such as "text model 'x'".
        mend: what to set instead, for the message.

    Raises:
        ArtifactError: it cannot be loaded.
    """
    try:
        with quiet_transformers():
            own = transformers.AutoConfig.from_pretrained(place)
            reading = reader.from_pretrained(place)
            if hasattr(own, KEPT_HEADS):
                return open_pruned(Path(place), own), reading, ()
            model, report = transformers.AutoModel.from_pretrained(place, dtype=torch.float32, output_loading_info=True)
    except (OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ArtifactError(f"{told} cannot be loaded: {reason}. Set `model` to {mend}") from error
    return model, reading, tuple(sorted(report["missing_keys"]))


def refuse_missing(missing: Sequence[str], told: str) -> None:
    """Raises ArtifactError when tensors that are needed were not in the files."""
    if missing:
        raise ArtifactError(
            f"the weights of {told} lack {len(missing)} tensors, the first {missing[0]}; they would be random: fetch the whole model, or "
            "set another `model`"
        )


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without its progress bars and its table of what was not loaded: jobs report their own progress, and what lacks is checked here."""
    log = transformers.utils.logging
    before = log.get_verbosity()
    log.disable_progress_bar()
    log.set_verbosity_error()
    try:
        yield
    finally:
        log.set_verbosity(before)
