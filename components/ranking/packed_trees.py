"""A booster's trees as flat arrays: every question that they ask once, and the trees filled up to perfect ones.

A node asks whether a feature is at least a cut; a missing value goes to one side or the other. Trees ask the same again
and again: 16,155 nodes of 300 trees had 6,900 different questions. In a perfect tree of depth d the leaf that a candidate
reaches is the number whose bits are the answers on its way, so a kernel needs no pointers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from components.artifacts.errors import RecsysError

MOST_DEPTH = 8
"""Of a tree: a leaf's number is one byte."""
MARGINS = ("rank:ndcg", "rank:pairwise", "rank:map", "reg:squarederror")
"""Objectives whose prediction is the margin itself."""
LOGISTIC = "binary:logistic"


class UnpackableError(RecsysError):
    """A booster is of a kind that is not packed; XGBoost predicts it."""


@dataclass(frozen=True, slots=True)
class PackedTrees:
    """All trees of a booster.

    Attributes:
        features: Columns of a matrix.
        cuts: Of each question, sorted within a group; a candidate whose feature is at least the cut goes right.
        groups: Questions of one feature, shape (n_groups, 4): feature, 1 where a missing value goes right, first question,
            the one after the last.
        depths: Of each tree, at most MOST_DEPTH.
        asked_starts: First node of each tree, shape (n_trees + 1,).
        asked: Question of each node, level by level, 2 ** depth - 1 of a tree; the number of all questions is one that is
            always answered with left, for what lies below a leaf.
        leaf_starts: First leaf of each tree, shape (n_trees + 1,).
        leaves: Values, 2 ** depth of a tree, in the order of the answers on the way to each: the root's is the lowest bit.
        base: Margin before the first tree.
        is_logistic: Whether the prediction is the logistic function of the margin.
    """

    features: int
    cuts: NDArray[np.float32]
    groups: NDArray[np.int64]
    depths: NDArray[np.int64]
    asked_starts: NDArray[np.int64]
    asked: NDArray[np.int32]
    leaf_starts: NDArray[np.int64]
    leaves: NDArray[np.float32]
    base: np.float32
    is_logistic: bool

    @classmethod
    def of(cls, booster: xgb.Booster) -> Self:
        """The booster's trees.

        Raises:
            UnpackableError: Several outputs, categorical splits, no plain trees, another objective, a tree too deep.
        """
        learner = json.loads(booster.save_raw("json"))["learner"]
        objective = learner["objective"]["name"]
        trees = _plain_trees(learner)
        asked = [_asked(tree) for tree in trees]
        questions = sorted({question for tree in asked for question in tree.values()})
        place_of = {question: place for place, question in enumerate(questions)}
        packed = [_packed(tree, ask, place_of) for tree, ask in zip(trees, asked, strict=True)]
        return cls(
            features=int(learner["learner_model_param"]["num_feature"]),
            cuts=np.array([cut for _, _, cut in questions], np.float32),
            groups=_groups(questions),
            depths=np.array([_depth(tree) for tree in trees], np.int64),
            asked_starts=_starts([len(nodes) for nodes, _ in packed]),
            asked=np.concatenate([nodes for nodes, _ in packed]),
            leaf_starts=_starts([len(leaves) for _, leaves in packed]),
            leaves=np.concatenate([leaves for _, leaves in packed]),
            base=_base(learner, is_logistic=objective == LOGISTIC),
            is_logistic=objective == LOGISTIC,
        )

    def cuts_of(self, feature: int) -> NDArray[np.float32]:
        """What a feature is compared with."""
        own = self.groups[self.groups[:, 0] == feature]
        return np.concatenate([self.cuts[:0], *(self.cuts[first:stop] for _, _, first, stop in own.tolist())])


Question: TypeAlias = tuple[int, int, float]
"""Feature, 1 where a missing value goes right, cut (a float32's value)."""


def _plain_trees(learner: dict[str, Any]) -> list[dict[str, Any]]:
    name, objective = learner["gradient_booster"]["name"], learner["objective"]["name"]
    if name != "gbtree" or objective not in (*MARGINS, LOGISTIC):
        raise UnpackableError(
            f"booster {name} with {objective}: expected gbtree with {', '.join(MARGINS)} or {LOGISTIC}."
        )
    trees: list[dict[str, Any]] = learner["gradient_booster"]["model"]["trees"]
    outputs = int(learner["learner_model_param"]["num_target"]), int(learner["learner_model_param"]["num_class"])
    if outputs not in {(1, 0), (1, 1)} or not trees:
        raise UnpackableError(
            f"booster: {len(trees)} trees for (targets, classes) {outputs}; expected some, for one output."
        )
    if any(tree["categories_segments"] for tree in trees):
        raise UnpackableError("booster: categorical splits; expected numbers only.")
    deepest = max(_depth(tree) for tree in trees)
    if deepest > MOST_DEPTH:
        raise UnpackableError(f"booster: a tree of depth {deepest}; expected at most {MOST_DEPTH}.")
    return trees


def _depth(tree: dict[str, Any]) -> int:
    """Questions on the longest way; 0 for a single leaf."""
    depth, level = -1, [0]
    while level:
        depth += 1
        inner = [node for node in level if tree["left_children"][node] != -1]
        level = [tree[side][node] for node in inner for side in ("left_children", "right_children")]
    return depth


def _asked(tree: dict[str, Any]) -> dict[int, Question]:
    """Inner node to what it asks. -0.0 and 0.0 are one cut, as they are one number to XGBoost."""
    return {
        node: (
            tree["split_indices"][node],
            1 - int(tree["default_left"][node]),
            float(np.float32(tree["split_conditions"][node])),
        )
        for node, left in enumerate(tree["left_children"])
        if left != -1
    }


def _groups(questions: list[Question]) -> NDArray[np.int64]:
    kinds = [question[:2] for question in questions]
    firsts = [place for place, kind in enumerate(kinds) if place == 0 or kinds[place - 1] != kind]
    stops = [*firsts[1:], len(kinds)][: len(firsts)]
    rows = [(*kinds[first], first, stop) for first, stop in zip(firsts, stops, strict=True)]
    return np.array(rows, np.int64).reshape(-1, 4)


def _packed(
    tree: dict[str, Any], asked: Mapping[int, Question], place_of: Mapping[Question, int]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """One tree's nodes and leaves, filled up to a perfect tree: below a leaf everything goes left, to the leaf itself."""
    level: dict[int, int] = {0: 0}  # the answers on the way, the root's the lowest bit, to the node there
    nodes: list[int] = []
    for height in range(_depth(tree)):
        below: dict[int, int] = {}
        for way in _in_level_order(height):
            if way not in level or level[way] not in asked:
                nodes.append(len(place_of))
                below.update({way: level[way]} if way in level else {})
                continue
            node = level[way]
            nodes.append(place_of[asked[node]])
            below[way] = tree["left_children"][node]
            below[way | 1 << height] = tree["right_children"][node]
        level = below
    leaves = np.zeros(2 ** _depth(tree), np.float32)
    for way, node in level.items():
        leaves[way] = tree["split_conditions"][node]
    return np.array(nodes, np.int32), leaves


def _in_level_order(height: int) -> list[int]:
    """The ways to the nodes of a level from left to right: siblings, whose ways differ in the highest bit, side by side."""
    ways = [0]
    for bit in range(height):
        ways = [way | answer << bit for way in ways for answer in (0, 1)]
    return ways


def _base(learner: dict[str, Any], *, is_logistic: bool) -> np.float32:
    """The margin that predictions begin at: XGBoost writes a probability where the objective is logistic."""
    written = json.loads(learner["learner_model_param"]["base_score"])
    score = np.float32(written[0] if isinstance(written, list) else written)
    return np.float32(-np.log(np.float32(1) / score - np.float32(1))) if is_logistic else score


def _starts(sizes: list[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
