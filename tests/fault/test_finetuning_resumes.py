"""finetune_text resumes after its process is killed: no fold is fitted again and no step is repeated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from intarsia.encoders.config import TextEncoderConfig
from intarsia.encoders.lake_models import TOWER_CURVE, text_tower_config
from intarsia.encoders.open import open_text_encoder
from intarsia.lake import Lake, write_json
from intarsia.onray.session import SessionConfig, ray_session
from intarsia.onray.torch_training import TorchWorkersConfig
from intarsia.training.loop import FitConfig
from intarsia.training.text_pairs import TextPairsConfig
from pipelines.finetune_text import FinetuneTextConfig, run
from tests.judged_shop import fill_with_judged_shop
from tests.killed_process import kill_session

CONFIG = FinetuneTextConfig(
    tower=TextEncoderConfig(model="untrained:bert:3", max_tokens=24),
    pairs=TextPairsConfig(texts_per_anchor=6),
    fit=FitConfig(epochs=50, batch_size=4, learning_rate=1e-4, checkpoint_every=20),
    folds=2,
    served="soup",
    workers=TorchWorkersConfig(max_failures=0),
)
_COUNTS = "counts.json"
_DEADLINE_S = 240.0


def finetune_in(lake: Lake) -> None:
    """What the killed process and its successor do; the counts are written at the end."""
    with ray_session(SessionConfig(num_cpus=1, object_store_mb=128)):
        counts = run(CONFIG, lake, lambda step, done, total: None)
    write_json(lake.root / _COUNTS, counts)


@pytest.mark.timeout(500)
def test_a_killed_job_repeats_no_fold_and_no_step(lake: Lake) -> None:
    fill_with_judged_shop(lake)
    (lake.root / ".finetune_text-of-another-config").mkdir()
    (lake.root / ".finetune_image-of-another-job").mkdir()
    first = _start(lake)
    deadline_s = time.monotonic() + _DEADLINE_S
    while not _has_checkpoint(lake, "folds_1"):
        assert first.poll() is None and time.monotonic() < deadline_s, "the job ended, or never came so far"
        time.sleep(0.05)  # between two looks at its checkpoints
    kill_session(first)
    (run_dir,) = lake.root.glob(".finetune_text-*")
    assert not lake.has("text_tower")
    assert (run_dir / ".fit-folds_0" / "ended").exists()
    assert not (run_dir / ".fit-folds_1" / "ended").exists(), "it was killed too late: its steps are too few"

    assert _start(lake).wait(timeout=_DEADLINE_S) == 0
    counts = json.loads((lake.root / _COUNTS).read_text(encoding="utf-8"))
    assert counts["resumed"] == 1, "the second fold's fit went on; the first one's had ended"
    curves = json.loads((lake.current("text_tower").path / TOWER_CURVE).read_text(encoding="utf-8"))
    for fold in ("folds/0", "folds/1"):
        assert [point["step"] for point in curves[fold]] == list(range(1, len(curves[fold]) + 1))
        assert len(curves[fold]) % CONFIG.fit.epochs == 0
    assert counts["steps"] == sum(map(len, curves.values()))
    assert [path.name for path in lake.root.glob(".*")] == [".finetune_image-of-another-job"]
    assert_their_mean_serves(lake)


def assert_their_mean_serves(lake: Lake) -> None:
    towers = [open_text_encoder(text_tower_config(lake, fold)) for fold in (None, 0, 1)]
    assert len({tower.space_id for tower in towers}) == 3
    assert lake.current("text_tower").notes["space_id"] == towers[0].space_id, (
        "what embed_products will say of its vectors"
    )
    mean, *folds = (tower.tower.state_dict() for tower in towers)  # type: ignore[attr-defined]
    name = "transformer.encoder.layer.0.attention.self.query.weight"
    np.testing.assert_allclose(mean[name], (folds[0][name] + folds[1][name]) / 2, atol=1e-6)


def _start(lake: Lake) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.fault.test_finetuning_resumes", str(lake.root)],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "PYTHONPATH": "platform:."},
        start_new_session=True,
    )


def _has_checkpoint(lake: Lake, fit: str) -> bool:
    """Whether Ray Train has put one on its list; the files are there before."""
    lists = lake.root.glob(f".finetune_text-*/.fit-{fit}/fit/checkpoint_manager_snapshot.json")
    for one in lists:
        with suppress(json.JSONDecodeError):  # it is being written
            return bool(json.loads(one.read_text(encoding="utf-8"))["checkpoint_results"])
    return False


if __name__ == "__main__":
    finetune_in(Lake(Path(sys.argv[1])))
