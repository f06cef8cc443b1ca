"""All web pages, on a phone and a laptop, in light and dark: legible, large enough, usable by keyboard, stable."""

import time

import page_quality
import pytest
from accessibility import small_controls, violations
from app_helpers import wait_until
from browser import tab
from page_quality import CHECKS, faults, layout_shift, moving_elements
from report_toys import make_comparison, write_report, write_stage_reports
from tool_helpers import running_server, write_data, write_shards

from portraitist.tools.review import write_pages

PAGES = ("server", "static", "report", "review", "preference")
SIZES = ((390, 844), (1280, 800))
NARROW = (320, 640)  # WCAG 1.4.10
WAIT_S = 180  # in-browser painting is slow if other programs use the cores
LOADED = "#styles label"  # what the page adds when it is ready to paint


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    return write_report(root, make_comparison(), write_stage_reports(root)).as_uri()


@pytest.fixture(scope="module")
def review(tmp_path_factory):
    root = tmp_path_factory.mktemp("review")
    return write_pages(write_data(root), root / "out")[0].as_uri()


@pytest.fixture
def preference(tmp_path):
    with running_server(write_shards(tmp_path), tmp_path / "answers.csv", count=1) as server:
        yield server.address


def states(page, name, sample):
    """Bring an open page into each of its states, and yield after each."""
    if name in ("server", "static"):
        yield from painting_states(page, sample)
    elif name == "report":
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        yield
    elif name == "review":
        yield
        page.evaluate("document.querySelector('details').open = true")
        page.click("li label")
        yield
    else:
        yield
        page.click("#left")
        page.wait_for_selector("text=Thank you.")
        yield


def painting_states(page, sample):
    page.wait_for_selector(LOADED, state="attached", timeout=1000 * WAIT_S)
    yield
    page.set_input_files("#selfie", [sample / "index.csv"])
    wait_until(lambda: page.inner_text("#error"), WAIT_S)
    yield
    page.set_input_files("#selfie", [sample / "selfies" / f"{number:04d}.jpg" for number in (6, 14)])
    wait_until(lambda: page.inner_text("#status") == "2 avatars are ready.", WAIT_S)
    tabs = page.locator("#tabs button")
    if tabs.first.is_visible():  # a phone shows one panel of options at a time
        for button in tabs.all():
            button.click()
            yield
    else:
        yield
    page.evaluate("document.getElementById('viewfinder').showModal()")
    yield


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES, ids=["phone", "laptop"])
@pytest.mark.parametrize("name", PAGES)
def test_page_passes_all_checks_in_each_state(request, sample, name, size, scheme):
    errors = []
    with tab(*size, color_scheme=scheme, reduced_motion="reduce") as page:
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else 0)
        page.goto(request.getfixturevalue(name))
        for number, _ in enumerate(states(page, name, sample)):
            found = faults(page) + moving_elements(page) + small_controls(page) + violations(page)
            assert found == [], f"state {number}"
    assert [
        error for error in errors if "415" not in error
    ] == []  # 415: the server's answer to a file without a picture


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_page_needs_no_horizontal_scrolling_at_320_px(request, sample, name):
    with tab(*NARROW) as page:
        page.goto(request.getfixturevalue(name))
        for _ in states(page, name, sample):
            assert page_quality.horizontal_scrolling(page) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["server", "static"])
def test_page_needs_no_horizontal_scrolling_with_large_text(request, sample, name):
    with tab(*SIZES[0]) as page:
        page.goto(request.getfixturevalue(name))
        page.evaluate("document.documentElement.style.fontSize = '200%'")
        for _ in states(page, name, sample):
            assert page_quality.horizontal_scrolling(page) == []


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES, ids=["phone", "laptop"])
@pytest.mark.parametrize("name", PAGES)
def test_slow_network_does_not_shift_the_page(request, name, size):
    def later(route):
        time.sleep(0.2)
        route.continue_()

    with tab(*size) as page:
        page.route("**/*.{js,webp,png,json}", later)
        page.goto(request.getfixturevalue(name), wait_until="networkidle")
        assert layout_shift(page) == []


@pytest.mark.slow
@pytest.mark.parametrize(("name", "limit"), [("server", 0.3), ("static", 25)])
def test_page_loads_few_megabytes_before_a_photo_is_chosen(request, name, limit):
    sizes = []
    with tab(*SIZES[0]) as page:
        page.on("response", lambda response: sizes.append(int(response.headers["content-length"])))
        page.goto(request.getfixturevalue(name))
        page.wait_for_selector(LOADED, state="attached", timeout=1000 * WAIT_S)
    assert 0.1 < sum(sizes) / 1e6 < limit


GOOD = """<!doctype html><html lang="en"><head><title>A page</title><meta name="viewport" content="width=device-width">
<meta name="description" content="A page without faults."><style>body { background: #fff; color: #222 }
p { margin: 9px } :focus-visible { outline: 3px solid #222; outline-offset: 2px }
button { min-height: 44px; border: 2px solid #222; background: #fff }</style></head><body>
<h1>Title</h1><p>Text on the page</p><button>Button</button><img alt="" width="40" height="40"></body></html>"""
BROKEN = [  # check, a text of the page, what replaces it
    ("low_text_contrast", "margin: 9px", "background: linear-gradient(90deg, #fff, #222 99px)"),
    ("low_text_contrast", "margin: 9px", "color: #888"),
    ("low_text_contrast", "margin: 9px", "opacity: .5"),
    ("low_control_contrast", "2px solid #222", "2px solid #aaa"),
    ("small_texts", "margin: 9px", "font-size: 11px"),
    ("small_targets", "min-height: 44px", "height: 20px"),
    ("horizontal_scrolling", "margin: 9px", "width: 500px"),
    ("missing_metadata", "A page</title>", "</title>"),
    ("missing_metadata", ' lang="en"', ""),
    ("missing_metadata", "A page without faults.", ""),
    ("missing_metadata", "device-width", "device-width, user-scalable=no"),
    ("missing_metadata", "device-width", "device-width, maximum-scale=2"),
    ("unsized_images", 'width="40"', ""),
    ("invisible_focus", "3px solid #222", "3px solid #eee"),
    ("moving_elements", "margin: 9px", "transition: opacity 1s"),
    ("layout_shift", "<h1>", "<script>setTimeout(() => document.body.style.paddingTop = '300px', 100)</script><h1>"),
]


@pytest.mark.slow
def test_each_check_finds_a_fault():
    with tab(390, 844) as page:
        page.set_content(GOOD)
        assert faults(page) + moving_elements(page) + layout_shift(page) == []
        for check, old, new in BROKEN:
            assert GOOD.count(old) == 1
            page.goto("about:blank")
            page.set_content(GOOD.replace(old, new))
            page.wait_for_timeout(300 if check == "layout_shift" else 0)
            assert getattr(page_quality, check)(page), new
        assert {check for check, *_ in BROKEN} >= {check.__name__ for check in CHECKS}
