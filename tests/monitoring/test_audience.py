import pandas as pd
import pytest

from monitoring.audience import audience_checks, is_known
from monitoring.config import AudienceConfig
from monitoring.verdict import Group, State

REFERENCE = pd.DataFrame({"user_id": ["u1", "u2", "u3", "u4"]})


def window(**statuses: str) -> pd.DataFrame:
    return pd.DataFrame({"user_id": list(statuses), "user_status": list(statuses.values())})


def states(current: pd.DataFrame) -> dict[str, State]:
    return {check.name.split(":")[1]: check.state for check in audience_checks(REFERENCE, current, AudienceConfig())}


def test_known_users_are_fine():
    assert set(states(window(u1="ok", u2="ok")).values()) == {State.OK}


def test_crowd_of_new_users_is_worth_a_look_and_no_fault():
    found = states(window(u1="ok", n1="new", n2="missing"))
    assert found == {"new_users": State.WARN, "lost_users": State.OK, "unanswered": State.OK}
    check = audience_checks(REFERENCE, window(u1="ok", n1="new", n2="missing"), AudienceConfig())[0]
    assert check.reason == "67 % of the users are new to the feature store, 20 % are accepted"


def test_user_of_the_reference_that_the_store_knows_no_more_is_a_fault_that_blocks_retraining():
    checks = audience_checks(REFERENCE, window(u1="missing", u2="ok"), AudienceConfig())
    lost = checks[1]
    assert (lost.state, lost.group, lost.observed) == (State.FAIL, Group.NULLS, 1 / 2)
    assert lost.reason.startswith("50 % of the users who were known at training")


@pytest.mark.parametrize("status", ["expired", "store_error"])
def test_answers_without_features_are_a_fault(status):
    assert states(window(u1="ok", u2=status))["unanswered"] is State.FAIL


def test_rows_of_new_users_are_left_out_of_the_null_check():
    assert is_known(window(u1="ok", n1="new", n2="missing", u2="expired")).tolist() == [True, False, False, True]
