"""Table and page of a cohort: what needs attention first, the same numbers, and filters that count right."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from DeepVsClassicRegLib.core.cohort.manifest import CohortPair
from DeepVsClassicRegLib.core.cohort.records import PairRecord, task_folder, write_run
from DeepVsClassicRegLib.core.cohort.table import cohort_frame, outlier_scores, write_tables
from DeepVsClassicRegLib.core.settings import Choice

pandas = pytest.importorskip("pandas")
SCRIPT = Path(__file__).parents[3] / "DeepVsClassicReg/DeepVsClassicRegLib/core/evaluation/templates/cohort.js"
DICE = [0.80, 0.81, 0.82, 0.83, 0.84, 0.50]


def record(number: int, dice: float, **changes) -> PairRecord:
    given = {
        "pair": f"p{number}",
        "engine": "linear",
        "group": "ab"[number % 2],
        "verdict": "good",
        "seconds": 1.0,
        "before": {"dice_mean": 0.3, "mi": 0.1},
        "after": {"dice_mean": dice, "mi": 0.2, "folding_percent": 0.0},
        "files": ("report.json", "report.html", "thumbnail.jpg"),
        "info": {"age": "7"},
        **changes,
    }
    return PairRecord(**given)


@pytest.fixture
def out(tmp_path) -> Path:
    """Return the folder of a cohort: six pairs with results, one bad, one failed, one not computed yet."""
    records = [record(number, dice) for number, dice in enumerate(DICE)]
    records.append(record(6, 0.2, verdict="bad", sentence="</script><b>odd & strange</b>"))
    records.append(PairRecord(pair="p7", engine="linear", status="failed", message="Out of memory.", hint="Buy some."))
    for entry in records:
        folder = task_folder(tmp_path, entry.pair, Choice("linear"))
        folder.mkdir(parents=True)
        entry.write(folder)
    pairs = [CohortPair(f"p{number}", {}) for number in range(9)]
    write_run(tmp_path, Path("pairs.csv"), pairs, [Choice("linear")])
    return tmp_path


def test_outliers_are_robust_and_one_sided(out):
    frame = cohort_frame([record(number, dice) for number, dice in enumerate(DICE)], out)
    scores = dict(zip(frame["pair"], outlier_scores(frame), strict=True))
    middle = np.median(DICE)
    spread = 1.4826 * np.median(np.abs(np.array(DICE) - middle))
    assert scores["p5"] == pytest.approx((middle - 0.50) / spread)
    assert scores["p4"] == 0, "better than the median is no outlier"
    few = cohort_frame([record(number, dice) for number, dice in enumerate(DICE[:4])], out)
    assert few["outlier"].isna().all()


def test_table_has_what_needs_attention_first(out):
    files = write_tables(out)
    with files["cohort.csv"].open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["pair"] for row in rows][:3] == ["p7", "p6", "p5"]
    assert len(rows) == 8
    assert rows[0]["message"] == "Out of memory." and rows[0]["after_dice_mean"] == ""
    assert (rows[2]["after_dice_mean"], rows[2]["age"], rows[2]["page"]) == ("0.5", "7", "pairs/p5/linear/report.html")
    stored = pandas.read_parquet(files["cohort.parquet"])
    assert list(stored["pair"]) == [row["pair"] for row in rows]
    assert stored["after_dice_mean"].dtype == float


def test_page_is_self_contained_and_safe(out):
    text = write_tables(out)["cohort.html"].read_text(encoding="utf-8")
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//|@import|url\(", text)
    assert text.count("</script>") == 2, "a text of the data ended a script"
    assert "1 not computed yet" in text
    data = data_of(text)
    assert data["words"]["sentence"][1] == "</script><b>odd & strange</b>"
    assert data["numbers"]["after_dice_mean"][:3] == [None, 0.2, 0.5]
    assert data["decisive"] == "dice_mean"


def data_of(text: str) -> dict:
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)[1])


@pytest.fixture
def engine(out):
    """Return a JavaScript engine with the cohort of the page, without the page itself."""
    qml = pytest.importorskip("PySide6.QtQml")
    from PySide6.QtCore import QCoreApplication

    application = QCoreApplication.instance() or QCoreApplication([])
    script = qml.QJSEngine(application)
    result = script.evaluate(SCRIPT.read_text(encoding="utf-8"))
    assert not result.isError(), result.toString()
    data = data_of(write_tables(out)["cohort.html"].read_text(encoding="utf-8"))
    result = script.evaluate(f"var cohort = makeCohort({json.dumps(data)});")
    assert not result.isError(), result.toString()

    def run(code: str):
        value = script.evaluate(f"JSON.stringify({code})")
        assert not value.isError(), value.toString()
        return json.loads(value.toString())

    return run


def pairs_of(engine, rows: str) -> list[str]:
    return engine(f"({rows}).map(row => cohort.word('pair', row))")


def test_filters(engine):
    assert pairs_of(engine, "cohort.filtered({light: 'bad'})") == ["p6"]
    assert pairs_of(engine, "cohort.filtered({group: 'b'})") == ["p5", "p1", "p3"]
    assert pairs_of(engine, "cohort.filtered({text: 'MEMORY'})") == ["p7"]
    assert pairs_of(engine, "cohort.filtered({range: {name: 'after_dice_mean', low: 0.1, high: 0.55}})") == ["p6", "p5"]
    assert pairs_of(engine, "cohort.filtered({engine: 'other'})") == []
    assert engine("cohort.tally(cohort.filtered({}))") == {"good": 6, "check": 0, "bad": 1, "failed": 1}


def test_order_keeps_missing_values_last(engine):
    rows = "cohort.sorted(cohort.filtered({}), 'after_dice_mean', %s)"
    assert pairs_of(engine, rows % "false") == ["p6", "p5", "p0", "p1", "p2", "p3", "p4", "p7"]
    assert pairs_of(engine, rows % "true") == ["p4", "p3", "p2", "p1", "p0", "p5", "p6", "p7"]
    assert pairs_of(engine, "cohort.sorted(cohort.filtered({}), 'light', true)")[:2] == ["p7", "p6"]
    assert pairs_of(engine, "cohort.sorted(cohort.filtered({}), 'pair', false)") == [f"p{n}" for n in range(8)]


def test_histogram_counts_every_value_once(engine):
    bins = engine("cohort.histogram(cohort.filtered({}), 'dice_mean', 8)")
    assert (bins["low"], bins["high"]) == (0.2, 0.84)
    assert sum(bins["after"]) == 7 and sum(bins["before"]) == 7
    expected, _ = np.histogram([*DICE, 0.2], bins=8, range=(0.2, 0.84))
    assert bins["after"] == expected.tolist()
    assert engine("cohort.histogram([], 'dice_mean', 8)") is None
    assert engine("cohort.histogram(cohort.filtered({}), 'folding_percent', 8)")["after"][0] == 7
