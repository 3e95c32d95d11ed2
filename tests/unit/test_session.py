"""What every worker of a Ray session is told about threads."""

from __future__ import annotations

from intarsia.onray.session import ONE_THREAD


def test_a_worker_keeps_to_one_thread() -> None:
    assert ONE_THREAD["TOKENIZERS_PARALLELISM"] == "false"
    assert {value for name, value in ONE_THREAD.items() if name.endswith("_THREADS")} == {"1"}
