from hypothesis import given
from hypothesis import strategies as st

from serving.api.limits import RateLimiter, TokenBucket


def test_bucket_grants_its_burst_then_one_token_each_rate():
    bucket = TokenBucket(rate=2.0, burst=3, now=0.0)
    assert [bucket.take(0.0).is_granted for _ in range(4)] == [True, True, True, False]
    assert bucket.take(0.25).wait_seconds == 0.25  # 0.5 tokens are there, (1 - 0.5) / 2
    assert bucket.take(0.5).is_granted
    assert not bucket.take(0.5).is_granted


def test_full_bucket_gains_nothing():
    bucket = TokenBucket(rate=1.0, burst=2, now=0.0)
    assert [bucket.take(1000.0).remaining for _ in range(2)] == [1, 0]
    assert not bucket.take(1000.0).is_granted


@given(st.lists(st.floats(0, 10), max_size=60), st.floats(0.1, 50), st.integers(1, 20))
def test_no_sequence_gets_more_than_burst_and_rate_allow(pauses, rate, burst):
    bucket, now, granted = TokenBucket(rate, burst, now=0.0), 0.0, 0
    for pause in pauses:
        now += pause
        granted += bucket.take(now).is_granted
    assert granted <= burst + rate * now + 1e-6


def test_headers_say_the_policy_what_is_left_and_when_to_come_back():
    limiter = RateLimiter(rate=0.5, burst=1)
    assert limiter.headers(limiter.take("a", 0.0)) == {
        "ratelimit-policy": '"key";q=1;w=2',
        "ratelimit": '"key";r=0;t=2',
    }
    refused = limiter.headers(limiter.take("a", 0.0))
    assert refused["retry-after"] == "2"  # 1 token / 0.5 a second
    assert limiter.take("b", 0.0).is_granted
