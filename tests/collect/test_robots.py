import time
import tracemalloc

import pytest

from portraitist.collect.robots import ALLOW_ALL, DISALLOW_ALL, Rules

SITE = "http://a.example"
TEXT = """
# a comment
User-agent: otherbot
User-agent: portraitist  # our agent
Disallow: /private/
Allow: /private/open
Disallow: /*.gif$
Disallow: /search?q=
Crawl-delay: 2.5

Sitemap: https://a.example/sitemap.xml

User-agent: *
Disallow: /
"""


def allowed(text: str, path: str, agent: str = "us") -> bool:
    return Rules.parse(text, agent).can_fetch(SITE + path)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", True),
        ("/private/x.jpg", False),
        ("/private/open.jpg", True),  # the longest matching rule
        ("/privat", True),
        ("/a/b.gif", False),
        ("/a/b.gif?x", True),
        ("/search?q=me", False),
        ("/search?p=me", True),
    ],
)
def test_longest_rule_of_our_group_applies(path: str, expected: bool):
    assert allowed(TEXT, path, "portraitist") is expected
    assert allowed(TEXT, path, "Portraitist") is expected


def test_unnamed_agents_follow_the_group_for_all():
    assert not allowed(TEXT, "/x", "somebot")
    assert Rules.parse(TEXT, "portraitist").crawl_delay_s == 2.5
    assert Rules.parse(TEXT, "somebot").crawl_delay_s == 0


@pytest.mark.parametrize("name", ["portrait", "portraitist-news", "port", "p*"])
def test_part_of_our_name_is_another_agent(name: str):
    assert allowed(f"User-agent: {name}\nDisallow: /", "/x", "portraitist")


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/a*c", "/abbc/d", True), ("/a*c$", "/abbc/d", False), ("/a*c$", "/abcbc", True), ("/a$", "/a", True),
        ("/a$", "/ab", False), ("*b", "/ab", True), ("/*/x*y", "/q/xaby", True), ("/ab*b$", "/ab", False),
        ("/画", "/%E7%94%BB/1", True), ("/%7Ea", "/%7Ea", True), ("*", "/", True), ("/a**b", "/aXb", True),
    ],
)  # fmt: skip
def test_patterns_match_as_in_rfc_9309(pattern: str, path: str, matches: bool):
    assert allowed(f"User-agent: *\nDisallow: {pattern}", path) is not matches


@pytest.mark.parametrize("text", ["", "Disallow: /", "User-agent: *\nDisallow:", "<html>", "\ufeff"])
def test_file_without_rules_allows_everything(text: str):
    assert allowed(text, "/x")


def test_byte_order_mark_does_not_hide_the_first_group():
    assert not allowed("\ufeffUser-agent: *\nDisallow: /", "/x")


@pytest.mark.parametrize(
    ("value", "delay_s"),
    [("3", 3), ("0.5", 0.5), ("soon", 0), (".", 0), ("²", 0), ("-1", 0), ("", 0), ("nan", 0), ("9" * 400, 9999999999)],
)
def test_crawl_delay_is_a_finite_number_or_zero(value: str, delay_s: float):
    assert Rules.parse(f"User-agent: *\nCrawl-delay: {value}", "us").crawl_delay_s == delay_s


def test_groups_of_the_same_agent_are_merged():
    text = "User-agent: us\nDisallow: /a\n\nUser-agent: them\nDisallow: /b\n\nUser-agent: us\nDisallow: /c"
    assert [allowed(text, path) for path in ("/a", "/b", "/c")] == [False, True, False]


def test_allow_wins_over_an_equally_long_disallow():
    assert allowed("User-agent: *\nDisallow: /a\nAllow: /a", "/a")


def test_constants_allow_and_disallow_everything():
    assert ALLOW_ALL.can_fetch(f"{SITE}/x")
    assert not DISALLOW_ALL.can_fetch(f"{SITE}/x")
    assert not DISALLOW_ALL.can_fetch(SITE)


def test_pattern_with_many_wildcards_is_matched_fast():
    began = time.thread_time()
    assert allowed(f"User-agent: *\nDisallow: /{'*a' * 2000}$", "/" + "a" * 1999 + "b")
    assert time.thread_time() - began < 1


HEADS = ["User-agent: {}", "user agent:{}", "useragent {}", "User-Agent\t{}"]


@pytest.mark.parametrize("head", HEADS)
def test_many_agents_do_not_multiply_the_rules(head: str):
    """30 kB; Protego alone stores each rule 900 times, which takes several seconds and 200 MB."""
    agents = [head.format(f"b{number}") for number in range(900)]
    text = "\n".join([*agents, head.format("us"), *["Allow: /$"] * 1500, "Disallow: /a"])
    tracemalloc.start()
    rules = Rules.parse(text, "us")
    assert not rules.can_fetch(f"{SITE}/a")
    assert tracemalloc.get_traced_memory()[1] < 10 << 20
    tracemalloc.stop()
