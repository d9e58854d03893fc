"""The portrait of one user without a server: what a server of this state folder would answer."""

from datetime import datetime
from pathlib import Path

from serving.bundle_source import open_bundle
from serving.live_recommender import LiveRecommender
from serving.online_features import UserReader
from serving.portrait_protocol import PortraitRequest, PortraitResponse
from serving.recommender import Recommender
from serving.settings import settings_from_environment


def portrait_of(home: Path, model: str, user_id: str, *, now: datetime) -> PortraitResponse:
    """One user as of now, by the champion, the online store, the published items and the rules of RECSYS_RULES_FILE.

    Raises:
        NotFoundError: There is no champion.
        ContractError: It is damaged.
    """
    settings = settings_from_environment({"home": home, "model_name": model, "accept_request_time": True})
    live = LiveRecommender(Recommender(open_bundle(settings), UserReader(home), None, settings))
    live.refresh()
    return live.portrait(PortraitRequest(user_id=user_id, request_time=now))
