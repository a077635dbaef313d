"""One measured part of Vigil: `python -m tests.benchmarks.speed.program PART FOLDER`, as usage.answer tells."""

from tests.benchmarks.speed import neighbours, scoring, selection, training, volume
from tests.benchmarks.usage import answer

PARTS = {
    "embed": selection.embed_photographs,
    "select": selection.select,
    "plain": selection.compare_with_plain_loop,
    "judge": training.judge,
    "phases": training.phases,
    "score": scoring.score,
    "bases": volume.make_bases,
    "volume": volume.train_on_rendered,
    "growth": volume.time_phases,
    "neighbours": neighbours.compare,
}

if __name__ == "__main__":
    answer(PARTS)
