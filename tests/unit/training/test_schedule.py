"""The examples of a step, and its learning rate."""

from __future__ import annotations

import numpy as np
import pytest

from intarsia.training.schedule import BatchSchedule, rate_at


def test_an_epoch_shows_every_example_once_in_batches_of_nearly_one_size() -> None:
    schedule = BatchSchedule(num_examples=37, epochs=2, batch_size=10, accumulate=3, seed=5)
    steps = [schedule.batches(step) for step in range(schedule.num_steps)]
    assert [[len(rows_B) for rows_B in batches] for batches in steps] == [[10, 9, 9], [9]] * 2
    first, second = (np.concatenate([*steps[n], *steps[n + 1]]) for n in (0, 2))
    assert sorted(first) == sorted(second) == list(range(37))
    assert first.tolist() != second.tolist()
    assert [schedule.ends_epoch(step) for step in range(4)] == [False, True, False, True]


def test_the_examples_of_a_step_depend_on_its_number_and_the_seed_alone() -> None:
    forward, fresh, other = (
        BatchSchedule(num_examples=9, epochs=3, batch_size=4, accumulate=1, seed=s) for s in (1, 1, 2)
    )
    for step in range(8):
        forward.batches(step)
    assert forward.batches(8)[0].tolist() == fresh.batches(8)[0].tolist() != other.batches(8)[0].tolist()


def test_the_rate_rises_to_its_peak_and_falls() -> None:
    def rates(kind: str) -> list[float]:
        steps = range(6)
        return [rate_at(step, 6, peak=3.0, warmup_share=1 / 3, kind=kind) for step in steps]  # type: ignore[arg-type]

    assert rates("linear") == pytest.approx([1.5, 3.0, 3.0, 2.25, 1.5, 0.75])
    assert rates("cosine") == pytest.approx([1.5, 3.0, 3.0, 1.5 * (1 + 0.5**0.5), 1.5, 1.5 * (1 - 0.5**0.5)])
    assert rates("constant") == pytest.approx([1.5, 3.0, 3.0, 3.0, 3.0, 3.0])
