import pytest
from reach import ROOT

from portraitist.compare.preferences import append_answer, read_answers


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,left,right\n1,a,b\n", "id, left, right, preferred.*found id, left, right; "),
        ("id,left,right,preferred\n1,a,b,a\n2,a,b,c\n", "line 3: preferred is 'c'; expected 'a' or 'b'"),
    ],
)
def test_invalid_answers_are_an_error(tmp_path, text, message):
    (tmp_path / "answers.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_answers(tmp_path / "answers.csv")


def test_appended_answers_are_read_back_as_text(tmp_path):
    append_answer(tmp_path / "answers.csv", "00123", "ours", "theirs", "theirs")
    append_answer(tmp_path / "answers.csv", "1e3", "theirs", "ours", "theirs")
    assert read_answers(tmp_path / "answers.csv").to_numpy().tolist() == [
        ["00123", "ours", "theirs", "theirs"],
        ["1e3", "theirs", "ours", "theirs"],
    ]


def test_answer_is_appended_after_a_missing_newline(tmp_path):
    (tmp_path / "answers.csv").write_text("id,left,right,preferred\n1,a,b,a")
    append_answer(tmp_path / "answers.csv", "2", "a", "b", "b")
    assert list(read_answers(tmp_path / "answers.csv")["id"]) == ["1", "2"]


def test_shipped_file_has_no_answers():
    assert read_answers(ROOT / "metrics" / "preferences.csv").empty
