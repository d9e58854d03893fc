import re

import pytest

from monitoring.experiments.charts import Line, line_chart


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        ([0.0997, 3.99], ["1", "2", "3"]),
        ([0.0, 1.0], ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        ([3.0, 40.0], ["10", "20", "30", "40"]),
        ([5.0, 5.0], ["5", "5.2", "5.4", "5.6", "5.8", "6"]),  # one point: as if a day were to come
    ],
)
def test_ticks_are_round_numbers_within_the_plot(x, expected):
    drawn = line_chart({"ctr": Line(x, [0.0, 1.0])}, x_label="day", y_label="difference")
    assert re.findall(r'text-anchor="middle">([\d.]+)<', drawn) == expected
