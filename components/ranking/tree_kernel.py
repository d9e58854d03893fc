"""The kernel that walks packed trees: hundreds of candidates at once, without a branch.

A question is asked once of all candidates, 16 to an instruction; its answers are a line of bits, one a candidate. A tree
is then a choice between lines: the answers of a level are halved by those of the levels above until one line is left, which
is a bit of the leaf's number for all candidates at once. LLVM makes of it what the processor has.
A tree's leaf values are added in the order of the trees in float32, as XGBoost does, so sums are equal to the last bit.

Measured on 404 candidates, 300 trees, 67 features, on a busy core: 0.18 to 0.21 ms where the kernel before, which chose a byte
for each candidate at each node, took 0.44 to 0.50. Of 0.19 ms, 0.10 are the questions, 0.05 the choices, 0.04 the leaves' values.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from components.native.compiler import native
from components.ranking.packed_trees import MOST_DEPTH, PackedTrees

BLOCK = 512
"""Candidates that are walked together: the bits of one register."""
WORDS = BLOCK // 64
"""Of a line of answers, in whole numbers of 64 bits."""
PART = 16
"""Of a word: candidates that are compared by one instruction, where there is one for so many."""
ALL, NONE = np.uint64(2**64 - 1), np.uint64(0)
MOST_NODES = 2**MOST_DEPTH
LARGEST_EXPONENT = 88.7
"""XGBoost's own bound: beyond it, exp overflows float32."""

LINE = ir.VectorType(ir.IntType(64), WORDS)


def score_trees(trees: PackedTrees, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """XGBoost's prediction for each row, shape (n,).

    Args:
        trees: What predicts.
        matrix: Shape (n, trees.features), C order; NaN is missing.
    """
    scores = np.empty(len(matrix), np.float32)
    _score(
        matrix,
        trees.cuts,
        trees.groups,
        trees.depths,
        trees.asked_starts,
        trees.asked,
        trees.leaf_starts,
        trees.leaves,
        trees.base,
        scores,
    )
    return _logistic(scores) if trees.is_logistic else scores


@native
def _score(
    matrix: NDArray[np.float32],
    cuts: NDArray[np.float32],
    groups: NDArray[np.int64],
    depths: NDArray[np.int64],
    asked_starts: NDArray[np.int64],
    asked: NDArray[np.int32],
    leaf_starts: NDArray[np.int64],
    leaves: NDArray[np.float32],
    base: np.float32,
    scores: NDArray[np.float32],
) -> None:
    """Margins of all candidates into `scores`."""
    answers = np.zeros((len(cuts) + 1) * WORDS, np.uint64)  # the last line: always left
    planes, halves = np.zeros(MOST_DEPTH * WORDS, np.uint64), np.empty(MOST_NODES * WORDS, np.uint64)
    sums, reached = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.uint8)
    for start in range(0, len(scores), BLOCK):
        rows = matrix[start : start + BLOCK]
        _answer(rows, cuts, groups, answers)
        sums[:] = base
        for tree in range(len(depths)):
            _walk(answers, asked[asked_starts[tree] :], depths[tree], planes, halves)
            own = leaves[leaf_starts[tree] : leaf_starts[tree + 1]]
            for word in range((len(rows) + 63) // 64):
                _leaf_numbers(planes, word, reached, word * 64)
            for place in range(len(rows)):
                sums[place] += own[reached[place]]
        scores[start : start + BLOCK] = sums[: len(rows)]


@native
def _answer(
    rows: NDArray[np.float32], cuts: NDArray[np.float32], groups: NDArray[np.int64], answers: NDArray[np.uint64]
) -> None:
    """Each question's line of answers, for at most BLOCK rows; what is beyond the rows is left as it is."""
    values, words = np.zeros(BLOCK, np.float32), (len(rows) + 63) // 64
    bits = values.view(np.int32)
    for group in range(len(groups)):
        feature, missing_right, first, stop = groups[group]
        for row in range(len(rows)):
            values[row] = rows[row, feature]
        others = 0
        for row in range(len(rows)):
            others += bits[row] != bits[0]
        if others == 0:
            _answer_for_all(values[0], missing_right, cuts[first:stop], answers[first * WORDS : stop * WORDS])
            continue
        for question in range(first, stop):
            for word in range(words):
                if missing_right:
                    _at_least_or_missing(values, word * 64, cuts[question], answers, question * WORDS + word)
                else:
                    _at_least(values, word * 64, cuts[question], answers, question * WORDS + word)


@native
def _answer_for_all(
    value: np.float32, missing_right: int, cuts: NDArray[np.float32], answers: NDArray[np.uint64]
) -> None:
    """A feature of the user or the moment, the same for all candidates: one comparison is enough."""
    for question in range(len(cuts)):
        is_right = value >= cuts[question] or (missing_right and np.isnan(value))
        for word in range(question * WORDS, (question + 1) * WORDS):
            answers[word] = ALL if is_right else NONE


@native
def _walk(
    answers: NDArray[np.uint64],
    asked: NDArray[np.int32],
    depth: int,
    planes: NDArray[np.uint64],
    halves: NDArray[np.uint64],
) -> None:
    """The bits of the leaf that each candidate reaches, one line a level, into `planes`; those below the depth are 0."""
    for level in range(depth):
        nodes = asked[(1 << level) - 1 :]
        left = 1 << level
        for node in range(left // 2):
            one, other = np.intp(nodes[2 * node]) * WORDS, np.intp(nodes[2 * node + 1]) * WORDS
            _choose(answers, one, other, planes, (level - 1) * WORDS, halves, node * WORDS)
        for above in range(level - 2, -1, -1):
            left //= 2
            for node in range(left // 2):
                _choose(halves, 2 * node * WORDS, (2 * node + 1) * WORDS, planes, above * WORDS, halves, node * WORDS)
        for word in range(WORDS):
            planes[level * WORDS + word] = halves[word] if level else answers[np.intp(nodes[0]) * WORDS + word]
    for word in range(depth * WORDS, MOST_DEPTH * WORDS):
        planes[word] = 0


@native
def _logistic(margins: NDArray[np.float32]) -> NDArray[np.float32]:
    """In XGBoost's own form; its 1e-16 in the denominator is lost in float32."""
    result, one = np.empty_like(margins), np.float32(1)
    for row in range(len(margins)):
        result[row] = one / (np.exp(min(-margins[row], np.float32(LARGEST_EXPONENT))) + one)
    return result


def _vector(context: Any, builder: Any, array_type: Any, array: Any, offset: Any, kind: Any) -> Any:
    """Pointer to a vector that begins at a place of an array."""
    first = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(first, [offset]), kind.as_pointer())


def _comparison(is_ordered: bool) -> Any:
    """Intrinsic (values, place, cut, answers, word): which of 64 values are at least the cut, into answers[word]; NaN is
    where not `is_ordered`. Four parts of a word, for to put the bits together would take as long as to find them.
    """

    @intrinsic
    def compare(_context, values, place, cut, answers, word):  # type: ignore[no-untyped-def]  # numba's types and values
        del place, cut, word
        signature = types.void(values, types.intp, types.float32, answers, types.intp)

        def generate(context: Any, builder: Any, types_: Any, values: Any) -> Any:
            values_, place_, cut_, answers_, word_ = values
            kind, part = ir.VectorType(ir.FloatType(), PART), ir.IntType(PART)
            first = _vector(context, builder, types_.args[0], values_, place_, kind)
            out = _vector(context, builder, types_.args[3], answers_, word_, part)
            cuts = _everywhere(builder, cut_, kind)
            for number in range(64 // PART):
                place = ir.IntType(64)(number)
                loaded = builder.load(builder.gep(first, [place]), align=4)
                compared = (builder.fcmp_ordered if is_ordered else builder.fcmp_unordered)(">=", loaded, cuts)
                builder.store(builder.bitcast(compared, part), builder.gep(out, [place]), align=2)
            return context.get_dummy_value()

        return signature, generate

    return compare


_at_least, _at_least_or_missing = _comparison(True), _comparison(False)


def _everywhere(builder: Any, value: Any, kind: Any) -> Any:
    undefined = ir.Constant(kind, ir.Undefined)
    alone = builder.insert_element(undefined, value, ir.IntType(32)(0))
    return builder.shuffle_vector(
        alone, undefined, ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    )


@intrinsic  # type: ignore[untyped-decorator]  # numba publishes no types
def _choose(_context, lines, left, right, bits, bit, out, target) -> Any:  # type: ignore[no-untyped-def]  # as above
    """The line out[target] of the bits of lines[right] where the line bits[bit] has ones, of lines[left] elsewhere.

    Written as vectors: of a loop, LLVM would have to prove anew at each node that the places do not overlap.
    """
    del left, right, bit, target
    signature = types.void(lines, types.intp, types.intp, bits, types.intp, out, types.intp)

    def generate(context: Any, builder: Any, types_: Any, values: Any) -> Any:
        lines_, left_, right_, bits_, bit_, out_, target_ = values

        def line(number: int, array: Any, offset: Any) -> Any:
            return _vector(context, builder, types_.args[number], array, offset, LINE)

        lower, upper = (builder.load(line(0, lines_, offset), align=8) for offset in (left_, right_))
        chosen = builder.and_(builder.xor(lower, upper), builder.load(line(3, bits_, bit_), align=8))
        builder.store(builder.xor(lower, chosen), line(5, out_, target_), align=8)
        return context.get_dummy_value()

    return signature, generate


@intrinsic  # type: ignore[untyped-decorator]  # numba publishes no types
def _leaf_numbers(_context, planes, word, out, target) -> Any:  # type: ignore[no-untyped-def]  # as above
    """The leaf numbers of the 64 candidates of a word, from a bit in each plane, into the bytes out[target : target + 64]."""
    del word, target
    signature = types.void(planes, types.intp, out, types.intp)

    def generate(context: Any, builder: Any, types_: Any, values: Any) -> Any:
        planes_, word_, out_, target_ = values
        first = context.make_array(types_.args[0])(context, builder, planes_).data
        kind, index = ir.VectorType(ir.IntType(8), 64), word_.type
        numbers = ir.Constant(kind, [0] * 64)
        for plane in range(MOST_DEPTH):
            place = builder.add(word_, index(plane * WORDS))
            bits = builder.bitcast(builder.load(builder.gep(first, [place])), ir.VectorType(ir.IntType(1), 64))
            weight = ir.Constant(kind, [1 << plane] * 64)
            numbers = builder.or_(numbers, builder.select(bits, weight, ir.Constant(kind, [0] * 64)))
        builder.store(numbers, _vector(context, builder, types_.args[2], out_, target_, kind), align=1)
        return context.get_dummy_value()

    return signature, generate
