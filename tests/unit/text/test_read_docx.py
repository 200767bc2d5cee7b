"""The text of Word documents, wherever Word keeps it."""

from __future__ import annotations

import io

import docx
import pytest
from docx.opc.constants import CONTENT_TYPE, RELATIONSHIP_TYPE
from docx.opc.packuri import PackURI
from docx.opc.part import Part
from docx.oxml import parse_xml
from docx.oxml.styles import CT_Styles

from kaizen.records import Document
from kaizen.text.read_docx import rows
from tests.unit.text.conftest import Read

_NAMESPACES = (
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    ' xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
    ' xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
)
_SEPARATOR = '<w:footnote w:type="separator" w:id="-1"><w:p><w:r><w:separator/></w:r></w:p></w:footnote>'


def make_docx_of(body: str, footnotes: str = "", endnotes: str = "") -> bytes:
    """A Word document with this XML as its body and its notes."""
    file, document = io.BytesIO(), docx.Document()
    document.element.body[:] = parse_xml(f"<w:body {_NAMESPACES}>{body}</w:body>")[:]
    for name, inner, type_, relation in (
        ("footnotes", footnotes, CONTENT_TYPE.WML_FOOTNOTES, RELATIONSHIP_TYPE.FOOTNOTES),
        ("endnotes", endnotes, CONTENT_TYPE.WML_ENDNOTES, RELATIONSHIP_TYPE.ENDNOTES),
    ):
        if inner:
            xml = f"<w:{name} {_NAMESPACES}>{inner}</w:{name}>".encode()
            part = Part(PackURI(f"/word/{name}.xml"), type_, xml, document.part.package)
            document.part.relate_to(part, relation)
    document.save(file)
    return file.getvalue()


def _run(text: str) -> str:
    return f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>'


def _p(inner: str) -> str:
    return f"<w:p>{inner}</w:p>"


def _control(inner: str, properties: str = "") -> str:
    return f"<w:sdt><w:sdtPr>{properties}</w:sdtPr><w:sdtContent>{inner}</w:sdtContent></w:sdt>"


def _cell(inner: str, properties: str = "") -> str:
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{inner}</w:tc>"


def _box(inner: str) -> str:
    return f"<w:r><w:pict><w:txbxContent>{inner}</w:txbxContent></w:pict></w:r>"


def _note(id_: int, inner: str, kind: str = "footnote") -> str:
    return f'<w:{kind} w:id="{id_}">{inner}</w:{kind}>'


def _reference(id_: int, kind: str = "footnote") -> str:
    return f'<w:r><w:{kind}Reference w:id="{id_}"/></w:r>'


def _math(inner: str) -> str:
    return f"<m:oMathPara><m:oMath>{inner}</m:oMath></m:oMathPara>"


def _symbol(font: str, char: str) -> str:
    return f'<w:r><w:sym w:font="{font}" w:char="{char}"/></w:r>'


def _symbols(text: str) -> str:
    return f"<m:r><m:t>{text}</m:t></m:r>"


def _document(read: Read, body: str, footnotes: str = "", endnotes: str = "") -> Document:
    (item,) = read("a.docx", make_docx_of(body, footnotes, endnotes))
    assert isinstance(item, Document), item
    return item


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (_p(_run("It costs ") + f"<w:ins>{_run('200')}</w:ins>" + _run(" euros.")), "It costs 200 euros."),
        (_p(_run("It costs ") + f"<w:del>{_run('100')}</w:del><w:moveFrom>{_run('90')}</w:moveFrom>"), "It costs"),
        (_p(f"<w:moveTo>{_run('moved')}</w:moveTo>"), "moved"),
        (_p(_run("See ") + f'<w:fldSimple w:instr="REF x">{_run("Section 7")}</w:fldSimple>'), "See Section 7"),
        (_p(f'<w:smartTag w:element="x">{_run("Berlin")}</w:smartTag>'), "Berlin"),
        (_p(f'<w:hyperlink w:anchor="x">{_run("a link")}</w:hyperlink>'), "a link"),
        (_p("<w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t><w:noBreakHyphen/></w:r>"), "a b\nc-"),
        (_p('<w:pPr><w:tabs><w:tab w:val="left" w:pos="9"/></w:tabs></w:pPr>' + _run("no tab")), "no tab"),
        (
            _p(
                "<w:r><w:ruby><w:rt>" + _run("kan") + "</w:rt><w:rubyBase>" + _run("K") + "</w:rubyBase></w:ruby></w:r>"
            ),
            "K",
        ),
        (_p(_run("To ") + _control(_control(_run("Contoso")))), "To Contoso"),
        (_p(_run("To ") + _control(_run("Click here to enter text."), "<w:showingPlcHdr/>")), "To"),
        (_control(_p(_run("one")) + _control(_p(_run("two")))) + _p(_run("three")), "one\n\ntwo\n\nthree"),
        (
            _control(_p(_run("1. Tea 7")), '<w:docPartObj><w:docPartGallery w:val="Table of Contents"/></w:docPartObj>')
            + _p(_run("Tea")),
            "Tea",
        ),
        (
            _p(
                _run("before")
                + f"<mc:AlternateContent><mc:Choice>{_box(_p(_run('in a box')))}</mc:Choice>"
                + f"<mc:Fallback>{_box(_p(_run('in a box')))}</mc:Fallback></mc:AlternateContent>"
                + _run(" and after")
            ),
            "before and after\n\nin a box",
        ),
        (_p(_run("seen") + "<w:r><w:rPr><w:vanish/></w:rPr><w:t>not</w:t></w:r>"), "seen"),
        (_p('<w:r><w:rPr><w:vanish w:val="0"/></w:rPr><w:t>seen</w:t></w:r>'), "seen"),
        (_p(_run("5 ") + _symbol("Symbol", "F06D") + _run("m ") + _symbol("Symbol", "00A3") + _run(" 6")), "5 μm ≤ 6"),
        (_p(_run("a ") + _symbol("Arial", "2192") + _run(" b") + _symbol("Wingdings", "004A")), "a → b"),
        (_p(_run("a") + _symbol("Wingdings", "F0E0") + _symbol("Symbol", "x") + _symbol("Symbol", "F0FF")), "a"),
        (
            _p(
                _run("So ")
                + _math(
                    f"<m:f><m:num>{_symbols('a')}</m:num><m:den>{_symbols('b')}</m:den></m:f>"
                    f"{_symbols('=c')}<m:sSup><m:e>{_symbols('x')}</m:e><m:sup>{_symbols('2')}</m:sup></m:sSup>"
                    f"<m:nary><m:sub/><m:sup/><m:e>{_symbols('+d')}</m:e></m:nary>"
                )
            ),
            "So a/b=cx^2+d",
        ),
        (
            "<w:tbl><w:tr>"
            + _cell(_p(_run("a")), '<w:vMerge w:val="restart"/>')
            + _control(_cell(_control(_p(_run("b")))))
            + "</w:tr>"
            + _control(f"<w:tr>{_cell(_p(''), '<w:vMerge/>')}{_cell(_p(_run('c')))}</w:tr>")
            + "<w:tr>"
            + _cell(_p(_run("d")), '<w:gridSpan w:val="2"/>')
            + "</w:tr></w:tbl>",
            "a | b\na | c\nd",
        ),
        (
            f"<w:tbl><w:tr>{_cell(_p(_run('out')))}"
            + _cell(f"<w:tbl><w:tr>{_cell(_p(_run('in')))}{_cell(_p(_run('side')))}</w:tr></w:tbl>" + _p(_run("last")))
            + "</w:tr></w:tbl>",
            "out | in side last",
        ),
    ],
)
def test_text_in_any_part_of_a_word_document(read: Read, body: str, text: str) -> None:
    assert _document(read, body).text == text


def test_a_heading_in_a_content_control_is_the_title(read: Read) -> None:
    heading = _control(_p('<w:pPr><w:pStyle w:val="Heading1"/></w:pPr>' + _run("Tea")))
    assert _document(read, _p(_run("2024")) + heading).title == "Tea"


def test_each_style_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up, by_id = [], CT_Styles.get_by_id

    def note(styles: CT_Styles, style_id: str) -> object:
        looked_up.append(style_id)
        return by_id(styles, style_id)

    monkeypatch.setattr(CT_Styles, "get_by_id", note)
    item = '<w:p><w:pPr><w:pStyle w:val="{}"/></w:pPr>' + _run("tea") + "</w:p>"
    body = (item.format("ListBullet") + item.format("Heading2") + item.format("Unknown")) * 3
    (document,) = rows(io.BytesIO(make_docx_of(body)), {"max_expansion": 100, "max_document_bytes": 10_000})
    assert document["text"] == "\n\n".join(["- tea", "tea", "tea"] * 3)
    assert all(looked_up.count(name) <= 2 for name in looked_up), "for the title, and for the text"


def test_tables_as_deep_as_a_parser_takes_them(read: Read) -> None:
    head, tail = "<w:tbl><w:tr><w:tc>", "<w:p/></w:tc></w:tr></w:tbl>"
    assert _document(read, head * 80 + _p(_run("deep")) + tail * 80).text == "deep"


def test_notes_are_read(read: Read) -> None:
    body = (
        _p(_run("Profit") + _reference(2) + _run(" rose.") + _reference(1, "endnote"))
        + f"<w:tbl><w:tr>{_cell(_p(_run('in a table') + _reference(1)))}</w:tr></w:tbl>"
        + _p(_run("Again.") + _reference(2) + _reference(9) + f"<w:del>{_reference(3)}</w:del>")
    )
    footnotes = (
        _SEPARATOR
        + _note(1, _p("<w:r><w:footnoteRef/></w:r>" + _run("Audited.")))
        + _note(2, _p(_run("Before tax.")) + f"<w:tbl><w:tr>{_cell(_p(_run('2024')))}</w:tr></w:tbl>")
        + _note(3, _p(_run("Struck out.")))
        + _note(4, _p(_run("Never referred to.")))
    )
    assert _document(read, body, footnotes, _note(1, _p(_run("Source: us.")), "endnote")).text == (
        "Profit rose.\n\nBefore tax.\n\n2024\n\nin a table\n\nAudited.\n\nAgain.\n\nSource: us."
    )


def test_a_note_counts_once_however_often_it_is_referred_to(read: Read) -> None:
    body, note = _p(_run("x") + _reference(1) * 20_000), _note(1, _p(_run("long " * 10_000)))
    assert len(_document(read, body, note).text) < 60_000


def test_notes_count_towards_the_limit(read: Read) -> None:
    (item,) = read(
        "a.docx",
        make_docx_of(_p(_run("x") + _reference(1)), _note(1, _p(_run("y" * 40_000)))),
        max_document_bytes=39_000,
    )
    assert not isinstance(item, Document)
    assert "39000 bytes of text" in item.reason


def test_notes_that_are_no_xml_refuse_the_document(read: Read) -> None:
    (item,) = read("a.docx", make_docx_of(_p(_run("x")), "<w:footnote>"))
    assert not isinstance(item, Document)
    assert item.reason.startswith("It is damaged")
