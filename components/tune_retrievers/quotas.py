"""How many candidates each generator may give, at a given size of the pool."""

from collections.abc import Iterator, Mapping

from components.tune_retrievers.pool import Ranks


def search_quotas(ranks: Ranks, *, start: Mapping[str, int], size: float, step: int, most: int) -> dict[str, int]:
    """Greedy: the next candidates come from the generator that adds most to the objective per distinct candidate.

    Coverage is submodular: what a generator adds shrinks with what the others gave already, and greedy choice is
    within 1 - 1/e of the best (Nemhauser, Wolsey & Fisher, Mathematical Programming 14, 1978).

    Args:
        ranks: Lists of `most` items at least, where a generator has as many.
        start: Quotas to begin with: nothing is taken from them.
        size: Most distinct candidates per query, mean.
        step: What a quota grows by.
        most: Largest quota.

    Returns:
        Generator to quota. Quotas beyond what any list holds are not reached.
    """
    quotas = dict(start)
    while True:
        now = ranks.score(quotas)
        gains = [
            ((then.objective - now.objective) / (then.size - now.size), name, grown)
            for name, grown in _grown(quotas, step, most)
            if now.size < (then := ranks.score(grown)).size <= size
        ]
        if not gains:
            return quotas
        _, _, quotas = max(gains, key=lambda one: one[0])  # the first of equal ones


def _grown(quotas: Mapping[str, int], step: int, most: int) -> Iterator[tuple[str, dict[str, int]]]:
    for name, quota in quotas.items():
        if quota < most:
            yield name, {**quotas, name: min(quota + step, most)}
