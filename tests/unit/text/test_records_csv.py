"""Records of CSV whose quotes are sound, and whose quotes are not."""

from __future__ import annotations

import io

import pytest

from kaizen.errors import BadDocument
from kaizen.records import Document
from kaizen.text.parse import Unread
from kaizen.text.records_csv import records
from tests.unit.text.conftest import Read

_LIMIT = 2**20


def _read(text: str, max_bytes: int = _LIMIT) -> list[tuple[int, list[str] | str]]:
    """The line and the cells of each record after the header, "" for one that cannot be read."""
    found = list(records(io.BytesIO(text.encode()), max_bytes))[1:]
    return [(line, "" if isinstance(cells, BadDocument) else cells) for line, cells in found]


@pytest.mark.parametrize(
    ("record", "cells"),
    [
        ('1,"a, b\n\n""c""\nd",2024', ["1", 'a, b\n\n"c"\nd', "2024"]),
        ('1,19" rack,2024', ["1", '19" rack', "2024"]),
        ('1,"Big" sale,2024', ["1", "Big sale", "2024"]),
        ('1,the "big, old" sale', ["1", 'the "big', ' old" sale']),
        ('1,"",""', ["1", "", ""]),
    ],
)
def test_quotes_that_are_sound_or_harmless(record: str, cells: list[str]) -> None:
    assert _read(f"id,text,year\n{record}\n2,b,c\n") == [(2, cells), (record.count("\n") + 3, ["2", "b", "c"])]


@pytest.mark.parametrize(
    "after",
    [
        "",
        '600,"quoted",2024\n601,"two\nlines",2024\n',
        '600,""quoted"",2024\n',
        "600," + "long " * 500 + ",2024\n",
    ],
)
@pytest.mark.parametrize("stray", ['12,"19 inch rack', '12,"19 inch rack,2024', '"12,19 inch rack,2024'])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("max_bytes", [4096, _LIMIT])
def test_a_stray_quote_costs_one_record(after: str, stray: str, delimiter: str, max_bytes: int) -> None:
    def text(line: str) -> str:
        lines = [f"{number},note about pumps,2024" for number in range(500)]
        lines[12] = line
        return ("id,text,year\n" + "\n".join(lines) + "\n" + after).replace(",", delimiter)

    sound = _read(text("12,rack,2024"))
    assert _read("\ufeff" + text(stray), max_bytes) == [(line, "" if line == 14 else cells) for line, cells in sound]


@pytest.mark.parametrize(
    ("header", "stray", "between", "last"),
    [
        ("id,text", '12,"19 inch rack', "13,b", '14,rack of 19"'),
        ("id,text,year", '12,"19 inch rack,2024', "13,b,2024", '14,rack of 19",2024'),
        ("id,text,year", '"12,19 inch rack,2024', "13,b,2024", '14,rack of 19",2024'),
        ("id,title,text", '12,"19 inch rack,note', "13,b,c", '14,rack,of 19"'),
        ("text,id", '"19 inch rack,12', "b,13", 'rack of 19",14'),
        ("id,text", '12,"19 inch rack', "13, b", '14,rack of 19"'),
        ("id,text,more", '12, a,"19 inch rack', "13, b,c", '14, d,rack of 19"'),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("code", ["1", "A-1", "2024-03-1"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_stray_quote_that_another_one_closes_costs_one_record(
    header: str, stray: str, between: str, last: str, delimiter: str, code: str, line_end: str
) -> None:
    def text(line: str) -> str:
        lines = line_end.join([header, between, line, between, "", last, between])
        return lines.replace(",", delimiter).replace("1", code)

    sound = _read(text(stray.replace('"', "")))
    assert _read(text(stray)) == [(line, "" if line == 3 else cells) for line, cells in sound]


def test_what_a_quote_swallowed_that_another_one_closes_is_told_and_read(read: Read) -> None:
    bad, two, three = read("a.csv", 'id,text\n1,"19 inch\n2,two\n3,of 19"\n')
    assert isinstance(bad, Unread)
    assert bad.reason == (
        "line 2: A quote in it is closed only on line 4, among records. "
        "Mend the quotes. Where they are right, write a blank behind each ',' within."
    )
    assert [(item.id, item.text) for item in (two, three) if isinstance(item, Document)] == [
        ("2", "two"),
        ("3", 'of 19"'),
    ]


@pytest.mark.parametrize(
    "cell",
    [
        "In short\nyes, sir",
        "In short\n\nwell, well",
        "one\ntwo, 2\n3 and, 4",
        "see, this\n7,8\n9,10",
        "a table\nA-7,8\nB-9,10",
        "Dear Bob\nyes, it\nrains, it\npours, ha",
        "5 High St.\n80331, Munich",
        "Steps:\n1, open it\n\n2, close it",
        "On a day\nb7, in red",
        "Temperatures:\n20,5 degrees\n\n21,3 degrees\n-2,0 degrees",
        "Sold:\n1,200 units\n2,- each",
    ],
)
@pytest.mark.parametrize("number", ["1", "b7", "red"])
def test_a_cell_of_several_lines_is_one_cell(cell: str, number: str) -> None:
    assert _read(f'id,text\n{number},"{cell}"\n2,x\n')[0] == (2, [number, cell])


@pytest.mark.parametrize("rows", ["13,6 inch\n14,b\n15,c", "A-13,6 inch\nA-14,7 inch", "13,-6 inch\n14,b"])
def test_rows_whose_text_begins_with_a_number_are_read_behind_a_stray_quote(rows: str) -> None:
    code = rows[: rows.index("13")]
    found = _read(f'id,text\n{code}12,"19 inch rack\n{rows}"\n')
    assert [cells for _, cells in found] == ["", *(row.split(",") for row in f'{rows}"'.split("\n"))]


def test_a_table_of_the_same_ids_in_a_file_that_quotes_all_is_one_cell() -> None:
    cell = "In short\n7,seven\n8,eight"
    assert _read(f'"id","text"\n"1","{cell}"\n')[0] == (2, ["1", cell])


@pytest.mark.parametrize("column", ["groups", " Access", '"acl"', "allowed_groups"])
@pytest.mark.parametrize(
    ("record", "why"),
    [
        ('7,"salaries, in all\n3,board 90k,\n4,staff",hr', "A quote in it is closed only on line 4, among records."),
        ('7,"salaries\n3,board,\n4,staff,\n5,"rest",hr', "It is not CSV up to line 5: ',' expected after '\"'."),
    ],
)
def test_where_a_column_names_an_access_list_no_line_of_a_cell_is_a_record(column: str, record: str, why: str) -> None:
    found = list(records(io.BytesIO(f"id,text,{column}\n{record}\n8,x,hr\n".encode()), _LIMIT))[1:]
    assert [cells if isinstance(cells, list) else cells.message for _, cells in found] == [why, ["8", "x", "hr"]]


def test_a_quote_that_is_never_closed_costs_the_rest_where_a_column_names_an_access_list() -> None:
    assert _read('id,text,groups\n1,a,hr\n7,"salaries\n3,board,\n8,x,hr\n') == [(2, ["1", "a", "hr"]), (3, "")]


def test_lines_with_a_blank_behind_each_comma_are_a_cell_beside_an_access_list_too() -> None:
    cell = "salaries, in all\n3, board 90k,\n4, staff"
    assert _read(f'id,text,groups\n7,"{cell}",hr\n') == [(2, ["7", cell, "hr"])]


def test_each_of_many_stray_quotes_costs_its_record() -> None:
    text = "id,text\n" + '1,"one\n2,b\n3,"three\n4,"four"\n5,"five\n'
    assert _read(text) == [(2, ""), (3, ["2", "b"]), (4, ""), (5, ["4", "four"]), (6, "")]


@pytest.mark.parametrize("last", ['3,bar"', "3,bar"])
def test_blank_lines_among_swallowed_records_do_not_count(last: str) -> None:
    found = _read(f'id,text\n1,"big\n\n\n\n\n2,foo\n\n\n\n{last}\n')
    assert [cells for _, cells in found] == ["", ["2", "foo"], ["3", last[2:]]]


def test_lines_of_a_cell_that_is_cut_off_are_not_records() -> None:
    assert _read('id,text\n1,a\n2,"Dear Bob,\n\nIt rains, it pours.\nThe old man\nis snoring.\n') == [
        (2, ["1", "a"]),
        (3, ""),
    ]


def test_after_a_cell_that_is_too_long_reading_goes_on() -> None:
    found = _read('id,text\n1,"' + "It never ends.\n" * 200 + "3,c\n", 1024)
    assert (found[0], found[-1]) == ((2, ""), (202, ["3", "c"]))


LONG = "1," + "y" * 3000


@pytest.mark.parametrize("before", ["", "0,a\n", '0,"one\ntwo\nthree"\n'])
def test_a_line_that_is_too_long_is_told_once(before: str) -> None:
    found = _read(f"id,text\n{before}{LONG}\n2,x\n", 2000)
    assert [cells for _, cells in found] == [*([["0", before[2:-1].strip('"')]] if before else []), "", ["2", "x"]]


def test_a_line_that_is_too_long_behind_a_stray_quote_is_told_once() -> None:
    assert _read(f'id,text\n1,"stray\n{LONG}\n2,x\n', 2000) == [(2, ""), (3, ""), (4, ["2", "x"])]


def test_blanks_behind_a_closing_quote_cost_nothing() -> None:
    cells = ["1", "First line, with words\nSecond line, more words"]
    assert _read(f'id,text\n1,"{cells[1]}" \n2,x\n') == [(2, cells), (4, ["2", "x"])]


def test_what_a_stray_quote_swallowed_is_told_and_read(read: Read) -> None:
    one, bad, three = read("a.csv", 'id,text\n1,one\n2,"two\n3,three\n')
    assert isinstance(bad, Unread)
    assert bad.reason == "line 3: It is not CSV: unexpected end of data. Mend the quotes."
    assert [item.id for item in (one, three) if isinstance(item, Document)] == ["1", "3"]


class _Counted(io.BytesIO):
    lines = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        self.lines += 1
        return super().readline(size)


@pytest.mark.parametrize("header", ["id,text", "id,text,year", "text"])
@pytest.mark.parametrize(
    "line",
    [
        'x","z',
        '1,"19 inch',
        '"',
        ',"',
        '1,"a ""b',
        '1,""a""',
        '"Big" sale,"more',
        '1,"a",""',
        'a"',
        "",
        '"a"",',
        '1,"a\n2,b\n3,c"',
    ],
)
@pytest.mark.parametrize("max_bytes", [64, 4096, _LIMIT])
def test_no_line_is_read_more_than_twice(header: str, line: str, max_bytes: int) -> None:
    file = _Counted((f"{header}\n" + f"{line}\n" * 2000).encode())
    assert list(records(file, max_bytes))
    assert file.lines < 2 * (1 + 2000 * len(line.split("\n"))) + 10
