"""Lines of a log in pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from packhorse.domain.joblog import MAX_LINE, LogLine, lines_of, pieces, take_lines

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200)
LINES = st.lists(st.builds(LogLine, TEXT, st.integers(0, 1 << 45), st.booleans()), max_size=50)


@given(LINES)
def test_lines_come_back_as_they_were(lines: list[LogLine]) -> None:
    made = list(pieces(lines))
    assert sum(piece.lines for piece in made) == len(lines)
    assert [line for piece in made for line in lines_of(piece.data)] == lines


def test_pieces_are_bounded_and_long_lines_go_on() -> None:
    made = list(pieces(LogLine("x" * 100, 1) for _ in range(2500)))
    assert [piece.lines for piece in made] == [1000, 1000, 500]
    [*long] = (line for piece in pieces([LogLine("y" * (2 * MAX_LINE + 5), 1, True)]) for line in lines_of(piece.data))
    assert [len(line.text) for line in long] == [MAX_LINE, MAX_LINE, 5] and all(line.is_error for line in long)


@given(
    st.lists(st.binary(max_size=20).map(lambda data: data.replace(b"\n", b"").replace(b"\r", b"")), max_size=20),
    st.integers(1, 7),
)
def test_what_a_job_prints_becomes_the_same_lines_however_it_comes(lines: list[bytes], step: int) -> None:
    printed, found, taken = b"".join(line + b"\n" for line in lines), list[str](), 0
    for end in range(0, len(printed) + step, step):
        texts, used = take_lines(printed[taken:end], whole=end >= len(printed))
        found += texts
        taken += used
    assert found == [line.decode("utf-8", "replace") for line in lines] and taken == len(printed)


def test_the_rest_of_a_log_is_a_line_when_nothing_follows() -> None:
    assert take_lines(b"a\nb", whole=False) == (["a"], 2)
    assert take_lines(b"b", whole=False) == ([], 0)
    assert take_lines(b"b\r\n\r\nc", whole=True) == (["b", "", "c"], 6)
    texts, used = take_lines(b"x" * (MAX_LINE + 10), whole=False)
    assert (len(texts), used) == (1, MAX_LINE + 10), "a line without end is not waited for"
