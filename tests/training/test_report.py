import json
import math

import pytest
from nwidth.data.nwidth import NWidth
from nwidth.errors import NWidthError
from nwidth.training.page import cells, write_page
from nwidth.training.report import findings, load_report, make_report, pareto, save_report, summarize

WIDTH = NWidth(
    [1.0, 0.1, 0.01], [1.0, 0.1, 0.01, 1e-16], [1.0, 0.2, 0.02, 0.0], [1.0, 0.12, 0.012, 1e-3], 40, "samples"
)
DATA = {
    "source": "x.h5",
    "format": "f",
    "grid": "g",
    "samples": {"train": 3, "test": 2},
    "inputs": ["a"],
    "split_hash": "h",
}
MACHINE = {"processor": "p", "threads": 1, "cuda": None, "python": "3", "versions": {"nwidth": "0"}}


def row(name, error, seed=0, cpu=1.0, split="test", **more):
    metric = {"mean": error, "median": 0.9 * error, "max": 2 * error}
    base = {
        "surrogate": name, "seed": seed, "split": split, "resolution": [8], "rel_l2": metric, "fit_seconds": cpu,
        "fit_cpu_seconds": cpu, "predict_seconds": 0.01, "peak_memory_mb": 1.0, "parameters": 5, "rank": None,
        "train_samples": 3, "val_samples": 1, "test_samples": 2, "config_hash": name, "notes": [], "history": [],
        "selected": {}, "folder": "", "errors": [error, error],
    }  # fmt: skip
    return {**base, **more}


def figures(most, median):
    return {"mean": most, "median": median, "max": most}


def test_summary_is_mean_and_spread_over_seeds():
    table = summarize([row("a", 0.1, 0), row("a", 0.3, 1), row("b", 0.15)])
    a = next(e for e in table if e["surrogate"] == "a")
    assert a["rel_l2"]["mean"] == pytest.approx(0.2) and a["rel_l2"]["std"] == pytest.approx(math.sqrt(0.02))
    assert a["seeds"] == [0, 1] and a["rel_l2"]["max"] == pytest.approx(0.4)
    assert [e["surrogate"] for e in table] == ["b", "a"]
    assert next(e for e in table if e["surrogate"] == "b")["rel_l2"]["std"] is None


def test_other_configs_and_splits_are_other_rows():
    table = summarize([row("a", 0.1), row("a", 0.2, config_hash="z"), row("a", 0.3, split="val")])
    assert len(table) == 3


def test_pareto_front_by_brute_force():
    entries = summarize(
        [row(str(i), e, cpu=c) for i, (e, c) in enumerate([(1, 1), (2, 2), (0.5, 3), (0.5, 4), (3, 0.1)])]
    )
    assert {e["surrogate"] for e in pareto(entries)} == {"0", "2", "4"}
    assert {e["surrogate"] for e in entries if e["pareto"]} == {"0", "2", "4"}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row("linear", 1e-6), row("fno", 0.1)], "map from input to solution is linear"),
        ([row("linear", 0.11), row("fno", 0.1)], "does as well as anything"),
        ([row("linear", 0.5), row("fno", 0.1)], "not linear: the best linear one has 5 times"),
        ([row("fno", 1e-4)], "No linear reduction built from these samples can reach fno"),
        ([row("fno", 0.05)], "A linear reduction would do: 2 modes"),
        ([row("mean", 1.0), row("fno", 0.99)], "hardly better than predicting the mean"),
        ([row("gp", 0.1, coverage95={"mean": 0.5, "median": 0.5, "max": 1.0})], "too narrow"),
        (
            [row("rb", 0.1, bound=figures(0.3, 0.2), effectivity=figures(5.0, 3.0) | {"min": 2.0})],
            "at most 30 % in this split (bounds are 2 times or more the error, 3 times in the median)",
        ),
        (
            [row("rb", 0.1, bound=figures(math.inf, 0.2), effectivity=figures(math.inf, 3.0) | {"min": 2.0})],
            "20 % in the median, and nothing for some samples",
        ),
        (
            [row("a", 0.1, 0), row("a", 0.2, 1), row("b", 0.16, 0), row("b", 0.17, 1)],
            "Within the spread over seeds b is as",
        ),
    ],
)
def test_findings_say_what_the_figures_say(rows, expected):
    said = findings(summarize(rows), WIDTH.to_dict())
    assert any(expected in sentence for sentence in said), said


def test_states_decide_for_time_dependent_data():
    states = NWidth([1.0], [1.0, 1e-9], [1.0, 0.0], [1.0, 1e-9], 40, "states")
    width = NWidth(**{**WIDTH.__dict__, "states": states})
    said = findings(summarize([row("fno", 1e-6)]), width.to_dict())
    assert any("1 mode already holds unseen states" in s for s in said), said


def test_file_round_trip_and_refusals(tmp_path):
    report = make_report([row("a", 0.1), row("b", math.inf)], title="t", data=DATA, environment=MACHINE, n_width=WIDTH)
    save_report(tmp_path, report)
    assert load_report(tmp_path)["summary"][0]["surrogate"] == "a"
    text = (tmp_path / "report.json").read_text()
    assert "Infinity" not in text and "NaN" not in text
    again = summarize(load_report(tmp_path)["rows"])  # an infinite error stays infinite
    assert again[-1]["rel_l2"]["mean"] == math.inf
    for bad in ("[1", json.dumps({"format": "other"})):
        (tmp_path / "report.json").write_text(bad)
        with pytest.raises(NWidthError):
            load_report(tmp_path)


def test_the_page_holds_everything_and_escapes_names(tmp_path):
    from nwidth.training.plots import draw_all

    rows = [row("<script>alert(1)</script>", 0.1), row("b", 0.2, rank=1)]
    failures = [{"surrogate": "c", "seed": 0, "error": "too <b>bold</b>"}]
    report = make_report(rows, title="T & T", data=DATA, environment=MACHINE, n_width=WIDTH, failures=failures)
    pictures = draw_all(report, tmp_path)
    html = write_page(tmp_path, report, pictures).read_text()
    assert "<script>" not in html and "T &amp; T" in html and "too &lt;b&gt;" in html
    assert html.count("data:image/png;base64,") == len(pictures) >= 3
    assert "http" not in html.replace("http-equiv", "")  # self-contained


def test_cells_are_short():
    entry = summarize([row("a", 0.123456, 0), row("a", 0.2, 1)])[0]
    shown = cells(entry)
    assert shown["error"] == "0.162 ± 0.05" and shown["data"] == "3+1" and all(len(v) < 20 for v in shown.values())


def test_labels_of_a_short_logarithmic_axis_stay_in_the_picture(tmp_path):
    from nwidth.training import plots

    row = {"surrogate": "fno", "rel_l2": {"mean": 0.3, "median": 0.2, "max": 0.6}, "pareto": True}
    rows = [{**row, "fit_cpu_seconds": 1.0}, {**row, "fit_cpu_seconds": 9.0}]
    figure = plots.error_against_cost(rows, {"fno": "C0"})
    plots.save(figure, tmp_path / "a.png")
    (ax,) = figure.axes
    assert ax.yaxis.label.get_window_extent().x0 >= 0
    assert "0.2" in [t.get_text() for t in ax.get_yticklabels(which="both")]
