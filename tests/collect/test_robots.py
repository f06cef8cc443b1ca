import time

import pytest

from portraitist.collect import robots
from portraitist.collect.robots import ALL_FORBIDDEN, NONE, Rules

TEXT = """
# a comment
User-agent: otherbot
User-agent: portraitist  # and us
Disallow: /private/
Allow: /private/open
Disallow: /*.gif$
Disallow: /search?q=
Crawl-delay: 2.5

Sitemap: https://a.example/sitemap.xml

User-agent: *
Disallow: /
"""


@pytest.mark.parametrize(
    ("path", "may"),
    [
        ("/", True),
        ("/private/x.jpg", False),
        ("/private/open.jpg", True),  # the longest rule that fits
        ("/privat", True),
        ("/a/b.gif", False),
        ("/a/b.gif?x", True),
        ("/search?q=me", False),
        ("/search?p=me", True),
    ],
)
def test_the_longest_rule_of_our_group_holds(path: str, may: bool):
    assert Rules.of(TEXT, "portraitist").allow(path) is may
    assert Rules.of(TEXT, "Portraitist").allow(path) is may


def test_who_is_not_named_keeps_to_the_rules_for_all():
    assert not Rules.of(TEXT, "somebot").allow("/x")
    assert Rules.of(TEXT, "portraitist").delay_s == 2.5
    assert Rules.of(TEXT, "somebot").delay_s == 0


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("/a*c", "/abbc/d", True), ("/a*c$", "/abbc/d", False), ("/a*c$", "/abcbc", True), ("/a$", "/a", True),
        ("/a$", "/ab", False), ("*b", "/ab", True), ("/*/x*y", "/q/xaby", True), ("/ab*b$", "/ab", False),
        ("/画", "/%E7%94%BB/1", True), ("/%7Ea", "/%7Ea", True), ("*", "/", True), ("/a**b", "/aXb", True),
    ],
)  # fmt: skip
def test_patterns_fit_as_rfc_9309_says(pattern: str, path: str, fits: bool):
    assert Rules.of(f"User-agent: *\nDisallow: {pattern}", "us").allow(path) is not fits


@pytest.mark.parametrize("text", ["", "Disallow: /", "User-agent: *\nDisallow:", "<html>", "User-agent *\nDisallow /"])
def test_what_says_nothing_forbids_nothing(text: str):
    assert Rules.of(text, "us").allow("/x")


@pytest.mark.parametrize(
    ("told", "delay_s"), [("3", 3), ("0.5", 0.5), ("soon", 0), (".", 0), ("²", 0), ("-1", 0), ("", 0)]
)
def test_a_delay_that_is_no_number_is_none(told: str, delay_s: float):
    assert Rules.of(f"User-agent: *\nCrawl-delay: {told}", "us").delay_s == delay_s


def test_groups_that_name_one_agent_are_one():
    text = "User-agent: us\nDisallow: /a\n\nUser-agent: them\nDisallow: /b\n\nUser-agent: us\nDisallow: /c"
    assert [Rules.of(text, "us").allow(path) for path in ("/a", "/b", "/c")] == [False, True, False]


def test_allow_wins_a_tie():
    assert Rules.of("User-agent: *\nDisallow: /a\nAllow: /a", "us").allow("/a")


def test_all_and_nothing():
    assert NONE.allow("/x")
    assert not ALL_FORBIDDEN.allow("/x")


def test_a_pattern_that_is_meant_to_take_for_ever_does_not():
    began = time.process_time()
    assert Rules.of(f"User-agent: *\nDisallow: /{'*a' * 2000}$", "us").allow("/" + "a" * 1999 + "b")
    assert time.process_time() - began < 1


def test_a_rule_is_read_for_us_and_for_all_however_many_are_named(monkeypatch: pytest.MonkeyPatch):
    read, quoted = [], robots._quoted

    def counted(path: str) -> str:
        read.append(path)
        return quoted(path)

    monkeypatch.setattr(robots, "_quoted", counted)
    heads = [*(f"User-agent: bot{number}" for number in range(100)), "User-agent: us", *["User-agent: *"] * 100]
    rules = Rules.of("\n".join([*heads, *["Disallow: /a"] * 100]), "us")
    assert rules.patterns == (("/a", False),) * 100
    assert len(read) == 200
