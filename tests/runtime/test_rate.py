"""How often something happens. Oracle: events at known times."""

import pytest

from runtime.rate import Rate


def test_the_last_whole_seconds_count() -> None:
    rate = Rate()
    assert rate.per_second(100.0) is None
    for number in range(300):  # 30 a second from 100.5 on
        rate.add(100.5 + number / 30)
    assert rate.per_second(110.4) == pytest.approx(30, abs=0.2)
    assert rate.per_second(100.9) is None
    assert rate.per_second(113.0) == pytest.approx((30 + 30 + 15) / 5)
    assert rate.per_second(120.0) == 0
    assert len(rate._counts) <= Rate.WINDOW_S + 1
