"""Environment of the workers of a Ray session."""

from __future__ import annotations

from intarsia.onray.session import ONE_THREAD


def test_a_worker_uses_one_thread_per_library() -> None:
    assert ONE_THREAD["TOKENIZERS_PARALLELISM"] == "false"
    assert {value for name, value in ONE_THREAD.items() if name.endswith("_THREADS")} == {"1"}
