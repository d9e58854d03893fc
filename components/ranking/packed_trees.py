"""A booster's trees as flat arrays: features cut into codes of one byte, nodes in an order that a kernel can run through.

A float32 value x of a feature with the sorted cuts c_0 < c_1 < ... has the bin |{i : c_i <= x}|, and XGBoost's question
x < c_i is the question bin <= i. So trees can be walked on bins, exactly. A bin that does not fit into one byte is told by
several codes, each of which covers CUTS_PER_CODE cuts.
"""

import json
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from components.artifacts.errors import RecsysError

CUTS_PER_CODE = 254
"""A code of 0 is below all of its cuts, 254 above them, and 255 is a missing value that goes right."""
MOST_LEAVES = 256
"""Of one tree: a leaf's number is one byte."""
MARGINS = ("rank:ndcg", "rank:pairwise", "rank:map", "reg:squarederror")
"""Objectives whose prediction is the margin itself."""
LOGISTIC = "binary:logistic"


class UnpackableError(RecsysError):
    """A booster is of a kind that is not packed; XGBoost predicts it."""


@dataclass(frozen=True, slots=True)
class PackedTrees:
    """All trees of a booster.

    Slots below MOST_LEAVES are a tree's leaves, those from there on its inner nodes in their order: children come before
    their parents.

    Attributes:
        features: Columns of a matrix.
        cuts: All features' sorted cuts, one after the other.
        cut_starts: First cut of each feature, shape (features + 1,).
        codes: What is coded, shape (n_codes, 3): feature, first cut, 1 where a missing value goes left; sorted.
        node_starts: First inner node of each tree, shape (n_trees + 1,).
        node_codes: Place in `codes` that a node asks, shape (n_nodes,).
        node_cuts: A candidate goes right where its code is above.
        lefts: Slot of the left child.
        rights: Slot of the right child.
        leaf_starts: First leaf of each tree, shape (n_trees + 1,).
        leaves: Values.
        roots: Slot of each tree's root, shape (n_trees,).
        base: Margin before the first tree.
        is_logistic: Whether the prediction is the logistic function of the margin.
    """

    features: int
    cuts: NDArray[np.float32]
    cut_starts: NDArray[np.int64]
    codes: NDArray[np.int64]
    node_starts: NDArray[np.int64]
    node_codes: NDArray[np.uint16]
    node_cuts: NDArray[np.uint8]
    lefts: NDArray[np.uint16]
    rights: NDArray[np.uint16]
    leaf_starts: NDArray[np.int64]
    leaves: NDArray[np.float32]
    roots: NDArray[np.int64]
    base: np.float32
    is_logistic: bool

    @classmethod
    def of(cls, booster: xgb.Booster) -> Self:
        """The booster's trees.

        Raises:
            UnpackableError: Several outputs, categorical splits, no plain trees, another objective, a tree too large.
        """
        learner = json.loads(booster.save_raw("json"))["learner"]
        objective = learner["objective"]["name"]
        trees = _plain_trees(learner)
        features = int(learner["learner_model_param"]["num_feature"])
        cuts = _cuts(trees, features)
        asked = [_asked(tree, cuts) for tree in trees]
        codes = sorted({code for tree in asked for code, _ in tree.values()})
        packed = [_packed(tree, ask, codes) for tree, ask in zip(trees, asked, strict=True)]
        columns = {name: [row for one in packed for row in one[name]] for name in packed[0]}
        return cls(
            features=features,
            cuts=np.concatenate(cuts),
            cut_starts=_starts([len(of_feature) for of_feature in cuts]),
            codes=np.array(codes, np.int64).reshape(-1, 3),
            node_starts=_starts([len(one["lefts"]) for one in packed]),
            node_codes=np.array(columns["codes"], np.uint16),
            node_cuts=np.array(columns["cuts"], np.uint8),
            lefts=np.array(columns["lefts"], np.uint16),
            rights=np.array(columns["rights"], np.uint16),
            leaf_starts=_starts([len(one["leaves"]) for one in packed]),
            leaves=np.array(columns["leaves"], np.float32),
            roots=np.array(columns["root"], np.int64),
            base=_base(learner, is_logistic=objective == LOGISTIC),
            is_logistic=objective == LOGISTIC,
        )


Asked = dict[int, tuple[tuple[int, int, int], int]]
"""Inner node to what it asks: a code as in `PackedTrees.codes`, and the cut's place in it."""


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
    largest = max(tree["left_children"].count(-1) for tree in trees)
    if largest > MOST_LEAVES:
        raise UnpackableError(f"booster: a tree of {largest} leaves; expected at most {MOST_LEAVES}.")
    return trees


def _cuts(trees: list[dict[str, Any]], features: int) -> list[NDArray[np.float32]]:
    """Sorted distinct cuts of each feature. -0.0 and 0.0 are one cut, as they are one number to XGBoost."""
    found: list[set[np.float32]] = [set() for _ in range(features)]
    for tree in trees:
        for left, feature, cut in zip(
            tree["left_children"], tree["split_indices"], tree["split_conditions"], strict=True
        ):
            if left != -1:
                found[feature].add(np.float32(cut))
    return [np.array(sorted(of_feature), np.float32) for of_feature in found]


def _asked(tree: dict[str, Any], cuts: list[NDArray[np.float32]]) -> Asked:
    asked: Asked = {}
    for node, left in enumerate(tree["left_children"]):
        if left != -1:
            feature = tree["split_indices"][node]
            place = int(np.searchsorted(cuts[feature], np.float32(tree["split_conditions"][node])))
            first = place - place % CUTS_PER_CODE
            asked[node] = (feature, first, int(tree["default_left"][node])), place - first
    return asked


def _packed(tree: dict[str, Any], asked: Asked, codes: list[tuple[int, int, int]]) -> dict[str, list[Any]]:
    """One tree's columns, children before parents."""
    place_of = {code: place for place, code in enumerate(codes)}
    columns: dict[str, list[Any]] = {name: [] for name in ("codes", "cuts", "lefts", "rights", "leaves")}
    slots: dict[int, int] = {}
    for node in reversed(_from_root(tree)):
        if node not in asked:
            slots[node] = len(columns["leaves"])
            columns["leaves"].append(tree["split_conditions"][node])
            continue
        code, cut = asked[node]
        slots[node] = MOST_LEAVES + len(columns["lefts"])
        columns["codes"].append(place_of[code])
        columns["cuts"].append(cut)
        columns["lefts"].append(slots[tree["left_children"][node]])
        columns["rights"].append(slots[tree["right_children"][node]])
    return columns | {"root": [slots[0]]}


def _from_root(tree: dict[str, Any]) -> list[int]:
    """Nodes in an order with parents before children."""
    order, waiting = [], [0]
    while waiting:
        node = waiting.pop()
        order.append(node)
        if tree["left_children"][node] != -1:
            waiting += [tree["left_children"][node], tree["right_children"][node]]
    return order


def _base(learner: dict[str, Any], *, is_logistic: bool) -> np.float32:
    """The margin that predictions begin at: XGBoost writes a probability where the objective is logistic."""
    written = json.loads(learner["learner_model_param"]["base_score"])
    score = np.float32(written[0] if isinstance(written, list) else written)
    return np.float32(-np.log(np.float32(1) / score - np.float32(1))) if is_logistic else score


def _starts(sizes: list[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
