"""New items by their text: what the product asks for items without a past."""

from benchmarks.quality.systems.system import Known, Rank, System, asked
from components.retrieval.config import ContentConfig
from components.retrieval.content import Content
from components.tuning.search_space import Float, Params


def _fit_content(known: Known, params: Params) -> Rank:
    return asked(Content.fit(known.log, known.items, **ContentConfig(**params).model_dump()))


CONTENT = System(
    "content",
    "Content of new items",
    {"new_days": Float(3.0, 1000.0, log=True), "demand_weight": Float(0.1, 100.0, log=True)},
    {"new_days": 30.0, "demand_weight": 10.0},
    _fit_content,
)
SYSTEMS = (CONTENT,)
