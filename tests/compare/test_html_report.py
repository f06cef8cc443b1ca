"""The report, as a file and in a browser: it asks nothing of a server, strangers' words stay words, it fits a phone."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from browser import tab
from reach import ROOT
from test_tables import MEASURED, draws, found

from portraitist.compare.html_report import Results, Told, markdown, report
from portraitist.compare.pipeline_graph import render_svg, stage_dependencies
from portraitist.compare.tables import coverage, differences, gains, table, wide
from portraitist.core.image_io import encode_jpeg, encode_png
from portraitist.stats.bradley_terry import win_rates

SLY = '<script>alert(1)</script><img src="http://127.0.0.1:9/x.png" onerror=alert(1)>'
PICTURE = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    at = tmp_path_factory.mktemp("report")
    about = {"code": "0123456789ab", "network": SLY}
    measured = {
        method: {metric: one | {"about": about} for metric, one in metrics.items()}
        for method, metrics in reversed(MEASURED.items())
    }
    measured["ours"]["iou"] = measured["ours"]["iou"] | {"says": SLY}
    segmenter = {"mask_iou_held": found(0.8, 0.7, 0.9)}
    ids = [f"{number:02d}" for number in range(40)]
    groups = pd.DataFrame({"id": ids, "tone": [SLY] * 33 + ["dark"] * 7})
    faces = {method: pd.DataFrame({"id": ids, "iou": np.linspace(0, 1, 40)}) for method in measured}
    frame = table(measured | {"segmenter": segmenter})
    results = Results(
        "ours",
        measured,
        segmenter,
        wide(frame, [*measured]),
        differences("ours", measured, {"ours": draws(), "theirs": draws(0.1)}, faces),
        gains("theirs", measured, {"ours": draws(), "theirs": draws(0.1)}, faces),
        coverage(groups, faces),
        win_rates(pd.DataFrame([("1", "ours", "theirs", "ours"), ("2", "theirs", "ours", "theirs")] * 4,
                               columns=["id", "left", "right", "preferred"])),
    )  # fmt: skip
    models = {}
    for method in measured:
        models[method] = at / method
        models[method].mkdir()
        (models[method] / "iou.jpg").write_bytes(encode_jpeg(PICTURE))
        for name in ("painted", "learned mask"):
            (models[method] / f"{name}.png").write_bytes(encode_png(PICTURE))
    (at / "clean.json").write_text('{"selfies": {"kept": 63}, "<b>": 1}')
    told = Told(ROOT / "params.yaml", ROOT / "profiles" / "sample.yaml", ROOT / "dvc.yaml", [at / "clean.json"])
    path = at / "report.html"
    path.write_text(report(told, results, models, encode_jpeg(PICTURE)), encoding="utf-8")
    return path, results


class Seen(HTMLParser):
    """All tags of a page, and all addresses in them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.open = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action", "srcset", "data")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_holds_all_it_shows_and_no_script(made):
    text = made[0].read_text(encoding="utf-8")
    seen = Seen(text)
    assert seen.open == []
    assert "script" not in seen.tags
    assert not {"link", "iframe", "object", "form"} & seen.tags
    assert all(address.startswith(("data:image/", "#")) for address in seen.addresses)
    assert sum(address.startswith("data:image/") for address in seen.addresses) == 1 + 2 + 2 * 2
    assert "url(" not in text
    assert "default-src 'none'" in text


def test_strangers_words_stay_words(made):
    text = made[0].read_text(encoding="utf-8")
    assert SLY not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3  # what it says, its network, a group's name
    assert "&lt;b&gt;" in text


def test_every_link_leads_somewhere(made):
    text = made[0].read_text(encoding="utf-8")
    for name in re.findall(r'href="#([^"]+)"', text):
        assert f'id="{name}"' in text
    assert len(re.findall(r'href="#', text)) == 10


def test_the_page_says_what_was_found(made):
    text = made[0].read_text(encoding="utf-8")
    assert "0.9<small>[0.85, 0.95]</small>" in text
    assert "0.8 [0.7, 0.9]" in text  # the segmenter's
    assert '<span class="flag">few</span>' in text
    assert "ours to theirs" in text
    assert "0123456789ab" in text
    assert "train_generator" in text


def table_of(made, section, place=0):
    """Heads and rows of one of a section's tables as text, each cell's lines apart."""
    part = made[0].read_text(encoding="utf-8").split(f'id="{section}"')[1].split("<table>")[1 + place]
    rows = re.findall(r"<tr>(.*?)</tr>", part.split("</table>")[0])
    cells = [re.findall(r'<t[hd](?: scope="\w+")?>(.*?)</t[hd]>', row) for row in rows]
    return [[re.sub("<.*?>", "", re.sub("<(br|small)>", " | ", cell)) for cell in row] for row in cells]


def test_ours_stands_beside_the_goal_and_the_others_after_it(made):
    heads, *rows = table_of(made, "numbers")
    assert heads == ["metric", "goal", "ours", "theirs", "dashed: the goal"]
    assert [row[1:4] for row in rows] == [
        ["1", "0.9 | [0.85, 0.95]", "0.7 | [0.6, 0.8]"],
        ["0", "-0.1 | [-0.2, 0.1]", "0.5 | [0.3, 0.7]"],
        ["0", "3 | [2, 4]", ""],
    ]


def with_more(results, like):
    """The page of more methods, each with the numbers of one that is there."""
    measured = {name: results.measured[other] for name, other in like.items()}
    shown = {name: results.shown[other] for name, other in like.items()}
    more = replace(results, measured=results.measured | measured, shown=results.shown.assign(**shown))
    told = Told(ROOT / "params.yaml", ROOT / "profiles" / "sample.yaml", ROOT / "dvc.yaml", [])
    return report(told, more, {}, encode_jpeg(PICTURE))


def test_a_method_has_one_colour_in_its_head_and_in_every_plot_though_another_has_no_number(made):
    numbers = with_more(made[1], {"third": "ours"}).split('id="numbers"')[1].split("</table>")[0]
    ours, theirs, third = re.findall(r'"key" style="background:(.*?)"', numbers)
    fills = [re.findall(r'fill="(.*?)"', plot) for plot in numbers.split("<svg")[1:]]
    assert fills == [[ours, theirs, third], [ours, theirs, third], [ours, third]]
    assert len({ours, theirs, third}) == 3


def test_differences_have_a_column_for_each_other_method_and_say_who_is_nearer(made):
    heads, *rows = table_of(made, "differences")
    assert heads == ["metric", "theirs"]
    told = made[1].differences.to_dict("records")
    assert [row[0] for row in rows] == [one["metric"] for one in told]
    for (_, cell), one in zip(rows, told, strict=True):
        assert cell.replace(" | ", " ") == f"{one['difference']} nearer, chance\u00a0{one['chance']}"
    assert table_of(made, "differences", 1)[0] == ["metric", "ours"]


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_a_wide_table_scrolls_in_its_own_box_under_its_heads_and_beside_its_names(made, width, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(with_more(made[1], {f"nst_without_background_{number}": "theirs" for number in range(12)}))
    with tab(width, 300) as page:
        page.goto(path.as_uri())
        seen = "#numbers thead th:nth-child(3), #numbers tbody tr:last-child th"
        where = f"[...document.querySelectorAll('{seen}')].map(cell => cell.getBoundingClientRect())"
        first = page.evaluate(where)
        heights = page.evaluate("[...document.querySelectorAll('#numbers tbody tr')].map(row => row.offsetHeight)")
        assert max(heights) < 100
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(
            "(box => { box.scrollLeft = 300; box.scrollTop = 50; return [box.scrollLeft, box.scrollTop] })"
            "(document.querySelector('#numbers .table'))"
        ) == [300, 50]
        head, name = page.evaluate(where)
    assert (head["y"], name["x"]) == (first[0]["y"], first[1]["x"])
    assert head["x"] == first[0]["x"] - 300
    assert name["y"] == first[1]["y"] - 50
    assert name["width"] < 0.45 * width


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_it_offline_at_laptop_and_phone_width(made, width, height, scheme):
    asked, said = [], []
    with tab(width, height, color_scheme=scheme) as page:
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: (said.append("a dialog"), dialog.dismiss()))
        page.goto(made[0].as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true })")
        page.wait_for_timeout(200)
        assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width  # wide things scroll in their own box
        colours = page.evaluate(
            "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
        )
    ink, paper = (sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in colours)
    assert (ink < paper) == (scheme == "light")
    assert abs(ink - paper) > 450
    assert [url for url in asked if not url.startswith("data:")] == [made[0].as_uri()]
    assert said == []


def test_the_table_for_git_has_the_methods_first_and_the_masker_last(made):
    lines = markdown(made[1]).splitlines()
    assert {"ours", "theirs"} <= set(re.findall(r"\w+", lines[0]))
    assert "0.8 [0.7, 0.9]" in lines[-1]
    assert "on the same faces" in "".join(lines)


def test_nobody_asked_yet_is_said_with_what_to_do(made, tmp_path):
    _, results = made
    empty = replace(results, preferred=results.preferred.iloc[:0])
    told = Told(ROOT / "params.yaml", ROOT / "profiles" / "sample.yaml", ROOT / "dvc.yaml", [])
    assert "<code>portraitist judge</code>" in report(told, empty, {}, encode_jpeg(PICTURE))


# The stages


def test_the_stages_are_those_of_dvc_and_need_what_they_read():
    graph = stage_dependencies(ROOT / "dvc.yaml", ROOT / "params.yaml")
    assert graph["weights"] == set()
    assert graph["crop"] == {"clean", "weights"}
    assert {"train_generator", "train_mask", "augment"} <= graph["train"]
    assert "evaluate" in graph["compare"]
    assert "collect" in graph["clean"]


def test_each_stage_is_drawn_below_all_it_needs():
    graph = {"b": {"a"}, "a": set(), "c": {"a", "b"}, "<d>": {"a"}}
    picture = render_svg(graph)
    tops = {name: float(y) for y, name in re.findall(r'<text x="[\d.]+" y="([\d.]+)">([^<]+)</text>', picture)}
    assert tops["a"] < tops["b"] == tops["&lt;d&gt;"] < tops["c"]
    assert picture.count("<path") == 4
