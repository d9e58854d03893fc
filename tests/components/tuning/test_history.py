import json
import re

import pytest

from components.tuning.config import SearchConfig
from components.tuning.history import write_history
from components.tuning.study import search
from tests.components.tuning.searching import INITIAL, score, searched


def test_history_is_written_as_data_and_as_plots(tmp_path):
    what = searched(tmp_path / "journal")
    search(what, score, SearchConfig(trials=5, minutes=5))
    write_history(what, tmp_path / "out", prefix="toy-")
    rows = json.loads((tmp_path / "out" / "toy-history.json").read_text())
    assert [row["trial"] for row in rows] == [0, 1, 2, 3, 4]
    assert (rows[0]["params"], rows[0]["state"]) == (INITIAL, "complete")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "toy-history.json",
        "toy-history.html",
        "toy-importance.html",
        "plotly.min.js",
    }


def test_plot_of_a_single_trial_stands_around_it(tmp_path):
    what = searched(tmp_path / "journal")
    search(what, score, SearchConfig(trials=1, minutes=5))
    write_history(what, tmp_path / "out")
    [row] = json.loads((tmp_path / "out" / "history.json").read_text())
    page = (tmp_path / "out" / "history.html").read_text()
    low, high = (float(end) for end in re.findall(r'"yaxis":\{.*?"range":\[([-\d.e]+),([-\d.e]+)\]', page)[-1])
    assert (low, high) == (pytest.approx(row["score"] - 0.01), pytest.approx(row["score"] + 0.01))
    assert '"range":[-0.5,0.5],"dtick":1' in page


def test_study_without_a_trial_has_no_plots(tmp_path):
    write_history(searched(tmp_path / "journal"), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["history.json"]
