"""The HTML report: it loads no other file, escapes text, and is readable on a phone."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from accessibility import small_controls, violations
from browser import tab
from reach import ROOT
from report_toys import INJECTION, PICTURE, make_comparison, run_inputs, write_report, write_stage_reports

from portraitist.compare.html_report import markdown, report
from portraitist.compare.pipeline_graph import render_svg, stage_dependencies
from portraitist.compare.tables import long_table
from portraitist.core.image_io import encode_jpeg


@pytest.fixture(scope="module")
def stage_reports(tmp_path_factory):
    return write_stage_reports(tmp_path_factory.mktemp("metrics"))


@pytest.fixture(scope="module")
def comparison():
    return make_comparison()


@pytest.fixture(scope="module")
def path(tmp_path_factory, comparison, stage_reports):
    """The report as a file."""
    return write_report(tmp_path_factory.mktemp("report"), comparison, stage_reports)


@pytest.fixture(scope="module")
def html(path):
    return path.read_text(encoding="utf-8")


class PageParser(HTMLParser):
    """Collects the tags of a page and the addresses in them; `unclosed` is empty if all tags are balanced."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.unclosed = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action", "srcset", "data")]
        if tag not in ("meta", "img", "wbr"):
            self.unclosed.append(tag)

    def handle_endtag(self, tag):
        assert self.unclosed.pop() == tag


def test_report_is_self_contained_without_scripts(html):
    page = PageParser(html)
    assert page.unclosed == []
    assert not {"script", "link", "iframe", "object", "form"} & page.tags
    assert all(address.startswith(("data:image/", "#")) for address in page.addresses)
    # contact sheet, extremes of two methods, avatars and masks of three
    assert sum(address.startswith("data:image/") for address in page.addresses) == 1 + 2 + 2 * 3
    assert "url(" not in html
    assert "default-src 'none'" in html


def test_values_are_escaped(html):
    assert INJECTION not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3  # a description, a network and a group
    assert "&lt;b&gt;" in html


def test_every_link_has_a_target(html):
    links = re.findall(r'href="#([^"]+)"', html)
    assert len(links) == 10
    assert [link for link in links if f'id="{link}"' not in html] == []


def test_report_shows_the_results(html):
    assert "0.90<small>[0.85, 0.95]</small>" in html
    assert "0.80 [0.70, 0.90]" in html  # of the segmenter
    assert '<span class="flag">few faces</span>' in html
    assert "ours over theirs" in html
    assert "0123456789ab" in html
    assert "train_generator" in html


def read_table(html, section, index=0):
    """Return the cells of one of a section's tables as text, with | for line breaks."""
    part = html.split(f'id="{section}"')[1].split("<table>")[1 + index]
    rows = re.findall(r"<tr>(.*?)</tr>", part.split("</table>")[0])
    cells = [re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", row) for row in rows]
    return [[re.sub("<.*?>", "", re.sub("<(br|small)>", " | ", cell)) for cell in row] for row in cells]


def test_our_method_is_the_first_column_of_the_metrics(html):
    heads, *rows = read_table(html, "metrics")
    plots = "intervals (dashed: optimum)"
    assert heads == ["metric", "unit", "optimum", "ours", "unchanged selfies", "theirs", plots]
    assert [row[2:6] for row in rows] == [
        ["1", "0.90 | [0.85, 0.95]", "0.70 | [0.60, 0.80]", "0.70 | [0.60, 0.80]"],
        ["0", "-0.10 | [-0.20, 0.10]", "0.5 | [0.3, 0.7]", "0.5 | [0.3, 0.7]"],
        ["0", "3.0 | [2.0, 4.0]", "", ""],
        ["1", "0.75 | [0.70, 0.80]", "0.00 | [-0.05, 0.05]", "0.50 | [0.45, 0.55]"],
    ]


def test_report_opens_with_a_conclusion_and_the_headlines(html):
    opening = html.split("<h1>")[1]
    assert opening.index("Best of 2 methods: ours by painted rate.") < opening.index("<table>") < opening.index("<nav>")
    heads, *rows = read_table(html, "headlines")
    assert heads == [
        "method", "painted rate | optimum 1", "distance from portraits", "landmark error", "faces found",
        "background repainted", "colour bleed", "operations", "size",
    ]  # fmt: skip
    assert [row[:3] for row in rows] == [
        ["ours", "0.75 | [0.70, 0.80]", ""],
        ["unchanged selfies", "0.00 | [-0.05, 0.05]", ""],
        ["theirs", "0.50 | [0.45, 0.55]", ""],
        ["held-out portraits", "0.98 | [0.95, 1.00]", ""],
    ]
    assert [part[:4] for part in html.split("<b>")[1:3]] == ["0.75", "unch"]


@pytest.mark.slow
def test_headlines_of_thirteen_methods_fit_a_laptop(comparison, stage_reports, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(
        with_methods(comparison, {f"nst_without_background_{n}": "theirs" for n in range(11)}, stage_reports)
    )
    with tab(1280, 800) as page:
        page.goto(path.as_uri())
        assert page.evaluate("(box => box.scrollWidth <= box.clientWidth)(document.querySelector('.table'))")


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_report_is_accessible_and_headlines_fit_a_phone(path, scheme):
    with tab(390, 844, color_scheme=scheme) as page:
        page.goto(path.as_uri())
        assert violations(page) == []
        assert small_controls(page) == []
        assert page.evaluate("(box => box.scrollWidth <= box.clientWidth)(document.querySelector('#headlines .table'))")


def with_methods(comparison, sources, stage_reports):
    """Return a report with further methods that have the results of existing ones."""
    results = comparison.results | {name: comparison.results[source] for name, source in sources.items()}
    larger = replace(comparison, results=results, table=long_table(results))
    return report(run_inputs(stage_reports), larger, {}, encode_jpeg(PICTURE))


def test_each_method_has_one_colour_in_headers_and_plots(comparison, stage_reports):
    html = with_methods(comparison, {"fourth": "ours"}, stage_reports)
    metrics = html.split('id="metrics"')[1].split("</table>")[0]
    ours, selfies, theirs, fourth = re.findall(r'"key" style="background:(.*?)"', metrics)
    fills = [re.findall(r'fill="(.*?)"', plot) for plot in metrics.split("<svg")[1:]]
    everyone = [ours, selfies, theirs, fourth]
    assert fills == [everyone, everyone, [ours, fourth], everyone]
    assert len({ours, selfies, theirs, fourth}) == 4


def test_differences_have_a_column_for_each_other_method(html, comparison):
    heads, *rows = read_table(html, "differences")
    assert heads == ["metric", "unchanged selfies", "theirs"]
    expected = {(row.metric, row.against): row for row in comparison.differences.itertuples()}
    assert len(expected) == 4
    for metric, *cells in rows:
        for method, cell in zip(("selfies", "theirs"), cells, strict=True):
            row = expected[metric, method]
            assert cell.replace(" | ", " ") == f"{row.difference} nearer, p\u00a0{row.p_value}"
    assert read_table(html, "differences", 1)[0] == ["metric", "ours", "theirs"]


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_wide_table_scrolls_under_fixed_headers(comparison, stage_reports, width, tmp_path):
    path = tmp_path / "report.html"
    sources = {f"nst_without_background_{number}": "theirs" for number in range(12)}
    path.write_text(with_methods(comparison, sources, stage_reports))
    with tab(width, 300) as page:
        page.goto(path.as_uri())
        cells = "#metrics thead th:nth-child(3), #metrics tbody tr:last-child th"
        rectangles = f"[...document.querySelectorAll('{cells}')].map(cell => cell.getBoundingClientRect())"
        before = page.evaluate(rectangles)
        heights = page.evaluate("[...document.querySelectorAll('#metrics tbody tr')].map(row => row.offsetHeight)")
        assert max(heights) < 100
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(
            "(box => { box.scrollLeft = 300; box.scrollTop = 50; return [box.scrollLeft, box.scrollTop] })"
            "(document.querySelector('#metrics .table'))"
        ) == [300, 50]
        head, name = page.evaluate(rectangles)
    assert (head["y"], name["x"]) == (before[0]["y"], before[1]["x"])
    assert head["x"] == before[0]["x"] - 300
    assert name["y"] == before[1]["y"] - 50
    assert name["width"] < 0.45 * width


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_report_opens_offline_on_laptop_and_phone(path, width, height, scheme):
    requests, messages = [], []
    with tab(width, height, color_scheme=scheme) as page:
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("dialog", lambda dialog: (messages.append("a dialog"), dialog.dismiss()))
        page.goto(path.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
        page.wait_for_timeout(200)
        assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width  # wide content scrolls in its own box
        colours = page.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
    ink, paper = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
    assert (ink < paper) == (scheme == "light")
    assert abs(ink - paper) > 450
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
    assert messages == []


def test_markdown_has_methods_first_and_segmenter_last(comparison):
    lines = markdown(comparison).splitlines()
    assert lines[0] == "Best of 2 methods: ours by painted rate."
    tables = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert ["unchanged selfies", "0.00", *[""] * 7] in tables  # headlines have no intervals
    assert ["metric", "unchanged selfies", "theirs", "ours"] in tables
    assert ["metric", "against", "difference", "nearer"] in tables
    assert lines[-1] == (
        "The same for all methods: the U-Net's intersection over union on 20 held-out pictures is "
        "0.80 [0.70, 0.90]; the painted rate of 20 held-out portraits is 0.98 [0.95, 1.00]."
    )
    assert not any("| selfies " in line for line in lines)


def test_markdown_is_equal_after_noise_below_the_intervals(comparison):
    rng = np.random.default_rng(1)

    def noisy(metrics):
        return {
            name: entry | {key: entry[key] + rng.normal(0, 1e-4) for key in ("value", "low", "high")}
            for name, entry in metrics.items()
        }

    results = {method: noisy(metrics) for method, metrics in comparison.results.items()}
    held_out = noisy(comparison.held_out)
    other = replace(comparison, results=results, held_out=held_out, table=long_table(results | {"held_out": held_out}))
    assert other.table["value"].tolist() != comparison.table["value"].tolist()
    assert markdown(other) == markdown(comparison)


def test_missing_preferences_are_explained(comparison, stage_reports):
    empty = replace(comparison, preferences=comparison.preferences.iloc[:0])
    html = report(run_inputs(stage_reports), empty, {}, encode_jpeg(PICTURE))
    assert re.search(r'id="preferences".*<code>portraitist \w+</code>.*id="groups"', html, re.S)


def test_stages_depend_on_the_stages_whose_outputs_they_read():
    graph = stage_dependencies(ROOT / "dvc.yaml", ROOT / "params.yaml")
    assert graph["weights"] == set()
    assert graph["crop"] == {"clean", "weights"}
    assert {"train_generator", "train_mask", "augment"} <= graph["train"]
    assert "evaluate" in graph["compare"]
    assert "collect" in graph["clean"]


def test_each_stage_is_drawn_below_its_dependencies():
    graph = {"b": {"a"}, "a": set(), "c": {"a", "b"}, "<d>": {"a"}}
    svg = render_svg(graph)
    tops = {name: float(y) for y, name in re.findall(r'<text x="[\d.]+" y="([\d.]+)">([^<]+)</text>', svg)}
    assert tops["a"] < tops["b"] == tops["&lt;d&gt;"] < tops["c"]
    assert svg.count("<path") == 3  # c depends on a through b
