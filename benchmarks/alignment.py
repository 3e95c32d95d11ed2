"""Do words find pictures? Titles and pictures of products that taught nothing, among all such products, both ways.

Three ways to project: as it begins, untrained; trained on the colours of pictures alone (the histogram that is a part of every picture's
vector); trained on the whole vector. Only titles teach here, no judgment. Equal titles are one product.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from intarsia.encoders.aligned import frequent_words
from intarsia.encoders.colours import ColourHistogram
from intarsia.encoders.learning.alignment import AlignConfig, AlignLearner, AlignLessons
from intarsia.encoders.learning.loop import FitConfig, fit_here
from intarsia.lake import Lake
from pipelines.align_modalities import AlignModalitiesConfig, read_lessons

_NAMES = ("r@1", "r@10", "mrr")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alignment", description=__doc__)
    parser.add_argument(
        "--lake", required=True, type=Path, help="a lake with products, text_embeddings, image_embeddings"
    )
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = AlignModalitiesConfig()
    heads = replace(config.heads, judged_share=0.0)
    lessons = read_lessons(heads, Lake(options.lake))
    fit = replace(config.fit, epochs=options.epochs, checkpoint_every=0)
    print(f"{len(lessons.titles.words)} products with a picture, {int(lessons.held_out_N.sum())} held out")
    print(f"{'':<26}{'text to image: R@1   R@10    MRR':<36}image to text: R@1   R@10    MRR")
    untrained = _learner(lessons, heads, fit)
    _print("untrained projection", untrained, 0.0)
    for name, shown in (("trained, colours alone", _colours(lessons)), ("trained, whole vectors", lessons)):
        learner, start_s = _learner(shown, heads, fit), time.perf_counter()
        fit_here(learner, fit)
        _print(name, learner, time.perf_counter() - start_s)


def _learner(lessons: AlignLessons, heads: AlignConfig, fit: FitConfig) -> AlignLearner:
    places = frequent_words(lessons.titles.words, min_texts=heads.min_texts, max_words=heads.max_words)
    return AlignLearner(lessons, heads, places, seed=fit.seed)


def _colours(lessons: AlignLessons) -> AlignLessons:
    """The same, the pictures' vectors cut down to their last part."""
    part_VK = lessons.pictures_VE[:, -ColourHistogram().width :]
    norms_V1 = np.linalg.norm(part_VK, axis=1, keepdims=True)
    return replace(lessons, pictures_VE=(part_VK / np.maximum(norms_V1, np.finfo(np.float32).tiny)).astype(np.float32))


def _print(name: str, learner: AlignLearner, took_s: float) -> None:
    found = learner.measure()
    ways = [[f"{found[f'{way}_{figure}']:6.3f}" for figure in _NAMES] for way in ("text_to_image", "image_to_text")]
    took = f"   {took_s:.0f} s" if took_s else ""
    print(f"{name:<26}{'':<12}{' '.join(ways[0]):<24}{'':<12}{' '.join(ways[1])}{took}", flush=True)


if __name__ == "__main__":
    main()
