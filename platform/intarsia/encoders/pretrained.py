"""Load models of `transformers` by hub name or folder, and check for missing tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers

from intarsia.encoders.pruned_heads import KEPT_HEADS, open_pruned
from intarsia.errors import ArtifactError


def load_pretrained(path: str, reader: Any, *, model_name: str, fix: str) -> tuple[Any, Any, tuple[str, ...]]:
    """Load a model in float32 and its tokenizer or image processor.

    Args:
        path: hub name or folder.
        reader: `AutoTokenizer` or `AutoImageProcessor`.
        model_name: name of the model in messages, such as "text model 'x'".
        fix: what to set instead, for the message.

    Returns:
        The model, its tokenizer or processor, and the names of tensors that are missing in its files (their values are
        random).

    Raises:
        ArtifactError: the model cannot be loaded.
    """
    try:
        with quiet_transformers():
            config = transformers.AutoConfig.from_pretrained(path)
            processor = reader.from_pretrained(path)
            if hasattr(config, KEPT_HEADS):
                return open_pruned(Path(path), config), processor, ()
            model, report = transformers.AutoModel.from_pretrained(path, dtype=torch.float32, output_loading_info=True)
    except (OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ArtifactError(f"{model_name} cannot be loaded: {reason}. Set `model` to {fix}") from error
    return model, processor, tuple(sorted(report["missing_keys"]))


def check_no_missing(missing: Sequence[str], model_name: str) -> None:
    """Raise ArtifactError if required tensors are missing in the files."""
    if missing:
        raise ArtifactError(
            f"the weights of {model_name} lack {len(missing)} tensors, the first {missing[0]}; they would be random; "
            "download the whole model, or set another `model`"
        )


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Context without progress bars and loading reports of `transformers`; jobs report their own progress."""
    log = transformers.utils.logging
    before = log.get_verbosity()
    log.disable_progress_bar()
    log.set_verbosity_error()
    try:
        yield
    finally:
        log.set_verbosity(before)
