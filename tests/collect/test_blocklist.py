from pathlib import Path

import pytest

from portraitist.collect.blocklist import Blocklist, BlocklistError, add, entry

DIGEST = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("line", "known"),
    [
        ("url:https://example.org/a.jpg", {"urls": ["https://example.org/other", "HTTPS://Example.ORG/a.jpg#top"]}),
        ("url:https://example.org/a.jpg#x", {"urls": ["", "https://example.org/a.jpg"]}),
        ("url:https://example.org/a.jpg", {"urls": ["https://example.org.:443/%61.jpg"]}),
        ("url:https://bücher.example", {"urls": ["https://xn--bcher-kva.example/"]}),
        ("url:http://example.org/ü b.png?q=ü", {"urls": ["http://example.org/%c3%bc%20b.png?q=%C3%BC"]}),
        ("url:http://example.org/%C3%BC.png", {"urls": ["http://example.org/ü.png"]}),
        ("url:http://example.org/A_(b),c.jpg", {"urls": ["http://example.org/A_%28b%29%2Cc.jpg"]}),
        ("url:http://example.org/a/b.jpg", {"urls": ["http://example.org/x/../a/./%2e/b.jpg"]}),
        ("url:http://example.org/a/", {"urls": ["http://example.org/a/b/.."]}),
        ("url:http://example.org/100%.jpg", {"urls": ["http://example.org/100%25.jpg"]}),
        ("url:http://[::1]:80/a", {"urls": ["http://[::1]/a"]}),
        ("host:example.org", {"urls": ["http://img.example.org:8080/x?y"]}),
        ("host: Example.org. ", {"urls": ["https://example.org/"]}),
        ("host:bücher.example", {"urls": ["https://xn--bcher-kva.example/a"]}),
        (f"sha256:{DIGEST}", {"sha256": DIGEST}),
        (f"sha256:{DIGEST[:16].upper()}", {"sha256": DIGEST}),
        (f"sha256:{DIGEST[:40]}", {"sha256": DIGEST.upper()}),
        ("dhash:00000000000000ff:2", {"dhashes": [2**63, 0b0011_1111]}),
        ("dhash:00000000000000ff:0", {"dhashes": [0xFF]}),
        ("subject:selfies/anna", {"group": "selfies/anna"}),
        ("subject:selfies/anna", {"group": "selfies/Anna/2020"}),
        ("subject:Gru\u0308n", {"group": "gr\u00fcn"}),
    ],
)
def test_entry_blocks_what_it_names(line: str, known: dict):
    match = Blocklist.of([line]).why(**known)
    assert match.partition(":")[0] == line.partition(":")[0]
    assert Blocklist.of([match]).why(**known) == match  # the result is itself an entry
    assert Blocklist().why(**known) == ""


@pytest.mark.parametrize(
    ("line", "known"),
    [
        ("url:https://example.org/a.jpg", {"urls": ["https://example.org/a.jpg?size=2", "https://example.org/A.jpg"]}),
        ("url:http://example.org/a", {"urls": ["http://example.org:8080/a", "https://example.org/a"]}),
        ("url:http://example.org/a%2Fb", {"urls": ["http://example.org/a/b"]}),
        ("host:example.org", {"urls": ["https://notexample.org/", "https://example.org.evil.test/example.org"]}),
        ("host:img.example.org", {"urls": ["https://example.org/"]}),
        (f"sha256:{DIGEST[:17]}0", {"sha256": DIGEST}),
        ("dhash:00000000000000ff:2", {"dhashes": [0b0001_1111]}),
        ("subject:selfies/anna", {"group": "selfies/annabel"}),
        ("subject:selfies/anna", {"group": "selfies"}),
        ("subject:selfies/anna", {"group": ""}),
        (f"sha256:{DIGEST}", {}),
        ("host:example.org", {"urls": ["", "photos/a.jpg", "http://[example.org/", "//example.org/a.jpg"]}),
    ],
)
def test_similar_values_are_not_blocked(line: str, known: dict):
    assert Blocklist.of([line]).why(**known) == ""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("https://example.org/a.jpg", "url:, host:, sha256:, dhash:, subject:"),
        ("nonsense", "'nonsense'.*url:, host:"),
        ("URL:https://example.org", "'URL:https://example.org'.*url:, host:"),
        ("url:", "'url:' has no value"),
        ("url:example.org/a.jpg", "url:example.org/a.jpg; .*https://example.org/a.jpg"),
        ("host:https://example.org", "host:https://example.org; .*example.org"),
        ("sha256:ba7816bf8f01cfe", "16 to 64 hexadecimal digits"),
        (f"sha256:{DIGEST}0", "16 to 64"),
        ("sha256:zz7816bf8f01cfea", "16 to 64"),
        ("dhash:00ff00ff00ff00ff", "a colon and .* 0 to 16 bits"),
        ("dhash:00ff00ff00ff00ff:17", "0 to 16 bits"),
        ("dhash:ff:2", "16 hexadecimal digits"),
        ("subject:  ", "'subject:' has no value"),
        ("subject:/", "subject:/; expected the name of a group"),
        ("url:http://example.org:port/", "url:http://example.org:port/; Port could not be cast"),
    ],
)
def test_malformed_line_is_an_error_with_its_number(tmp_path: Path, line: str, message: str):
    path = tmp_path / "list.txt"
    path.write_text(f"# one\n\nhost:example.org\n{line}\n", encoding="utf-8")
    with pytest.raises(BlocklistError, match=message) as error:
        Blocklist.read(path)
    assert str(error.value).startswith(f"{path}, line 4: ")


def test_comments_blank_lines_and_missing_files_are_empty(tmp_path: Path):
    assert Blocklist.of(["", "   ", "# url:nonsense", "  # more"]) == Blocklist()
    assert Blocklist.read(tmp_path / "none.txt") == Blocklist()


def test_file_that_is_not_utf8_is_named(tmp_path: Path):
    path = tmp_path / "marks.txt"
    path.write_text(f"sha256:{DIGEST}\n", encoding="utf-16")
    with pytest.raises(BlocklistError, match=r"marks\.txt: .*UTF-8"):
        Blocklist.read(path)


def test_shipped_blocklist_is_empty():
    path = ROOT / "data" / "blocklist.txt"
    assert path.exists()
    assert Blocklist.read(path) == Blocklist()


def test_added_entries_are_appended_once_with_a_reason(tmp_path: Path):
    path = tmp_path / "list.txt"
    path.write_text("# mine\nhost:example.org", encoding="utf-8")
    added = add(path, ["host:EXAMPLE.org", f"sha256:{DIGEST}", f"sha256:{DIGEST.upper()}"], "requested\nby her")
    assert added == [f"sha256:{DIGEST}"]
    assert path.read_text(encoding="utf-8") == f"# mine\nhost:example.org\n# requested by her\nsha256:{DIGEST}\n"
    assert add(path, [f"sha256:{DIGEST}"], "again") == []
    assert [file.name for file in tmp_path.iterdir()] == ["list.txt"]


def test_nothing_is_added_if_file_or_entry_is_malformed(tmp_path: Path):
    path = tmp_path / "list.txt"
    path.write_text("host:example.org\n", encoding="utf-8")
    with pytest.raises(BlocklistError, match=r"'nonsense'.*url:, host:"):
        add(path, ["host:a.example", "nonsense"], "")
    assert path.read_text(encoding="utf-8") == "host:example.org\n"
    path.write_text("nonsense\n", encoding="utf-8")
    with pytest.raises(BlocklistError, match="line 1"):
        add(path, ["host:a.example"], "")


def test_url_that_cannot_be_encoded_is_an_error():
    with pytest.raises(BlocklistError, match="surrogates not allowed"):
        entry("url:http://example.org/\udcff")


def test_entries_are_normalized():
    assert entry("  url: HTTP://Example.org/A#b ") == "url:http://example.org/A"
    assert entry("dhash:00FF00FF00FF00FF:04") == "dhash:00ff00ff00ff00ff:4"
