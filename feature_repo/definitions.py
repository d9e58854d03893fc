"""What `feast apply` reads: entities, views and services of the state folder in $RECSYS_HOME."""

import os
from pathlib import Path

from feature_repo.entities import ITEM, USER
from feature_repo.on_demand import context_view
from feature_repo.services import ranker_service
from feature_repo.store_config import StoreConfig
from feature_repo.views import feature_views

_views = feature_views(Path(os.environ["RECSYS_HOME"]).absolute(), StoreConfig.from_environment().offline)

user, item = USER, ITEM
user_profile = _views["user_profile"]
user_stats = _views["user_stats"]
user_history = _views["user_history"]
user_category_affinity = _views["user_category_affinity"]
user_verdicts = _views["user_verdicts"]
user_events = _views["user_events"]
item_profile = _views["item_profile"]
item_stats = _views["item_stats"]
request_context = context_view(item_stats)
ranker_v1 = ranker_service(_views)
