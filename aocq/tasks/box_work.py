# SPDX-License-Identifier: Apache-2.0
"""How many operations the host takes to make boxes of a dense head's values, in the worst case.

The counts are those of :mod:`aocq.tasks.boxes_reference`, which states the algorithm one value at a
time; ``tests/aocq/tasks/test_box_work.py`` counts there. Whole numbers that say where a value
stands (tokens, classes, places in lists) are in no count, and neither are the centres of patches,
which are constants.
"""

from __future__ import annotations

from aocq.tasks.boxes import BOX_VALUES, CANDIDATES
from simulator.cost.host_work import HostWork

# Operations and functions of each part, as they stand in the reference.
SIGMOID_OPERATIONS = 4  # a negation, two comparisons that clip, a sum
SIGMOID_FUNCTIONS = 2  # an exponential, a division
SCORE_OPERATIONS = 1  # a product
SCORE_FUNCTIONS = 1  # a square root
BOX_OPERATIONS = 24  # four distances 4 x 3, four corners 4, clipped 4 x 2
BOX_FUNCTIONS = 4  # an exponential for each distance
OVERLAP_OPERATIONS = 19  # sides 2 x 3, shared 3, two areas 2 x 3, union 2, > 0, > the limit
OVERLAP_FUNCTIONS = 1  # a division
COMPARED = 2  # comparisons of two candidates: whether their scores are equal, and which is less


def box_work(tokens: int, classes: int) -> tuple[HostWork, ...]:
    """Return the steps from the codes of ``tokens`` patch tokens to boxes of ``classes`` classes.

    In the worst case every score is larger than all before it, and no box covers another of its
    class. A class has one candidate of a token at most: where one class has fewer than there are
    candidates, several have one of each token, see :func:`pairs_of_a_class`.
    """
    scores = tokens * classes
    sigmoids = tokens * (classes + 1)
    boxes = min(CANDIDATES, scores)
    pairs = pairs_of_a_class(boxes, tokens)
    return (
        HostWork(
            name="decode boxes",
            operations=SIGMOID_OPERATIONS * sigmoids
            + SCORE_OPERATIONS * scores
            + COMPARED * selection_comparisons(scores, boxes)
            + BOX_OPERATIONS * boxes,
            functions=tokens * (classes + BOX_VALUES)  # codes turned into real values
            + SIGMOID_FUNCTIONS * sigmoids
            + SCORE_FUNCTIONS * scores
            + BOX_FUNCTIONS * boxes,
        ),
        HostWork(
            name="suppress overlaps",
            operations=OVERLAP_OPERATIONS * pairs,
            functions=OVERLAP_FUNCTIONS * pairs,
        ),
    )


def pairs_of_a_class(boxes: int, tokens: int) -> int:
    """Return how many pairs of boxes are of the same class, at most, if each has one of a token."""
    full, rest = divmod(boxes, tokens)
    return full * tokens * (tokens - 1) // 2 + rest * (rest - 1) // 2


def selection_comparisons(candidates: int, kept: int) -> int:
    """Return how often two candidates are compared, at most, to keep the best ones in order.

    A heap of ``kept`` entries has ``floor(log2 kept)`` levels below its first entry. Each candidate
    is compared with the first one, then goes down and up again by at most so many; in the end every
    entry is taken out in the same way.
    """
    levels = max(kept, 1).bit_length() - 1
    return candidates * (1 + 2 * levels) + kept * 2 * levels
