"""Report files: OpenI's XML, text, and what is refused."""

import random
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomy_vlm.processing.report_reading import (
    OpenIReport,
    ReportFileError,
    read_openi_file,
    read_report,
    read_report_file,
    split_sections,
)
from anatomy_vlm.processing.report_reading.files import MAX_BYTES, decode_openi, decode_report


_SENTENCES = [
    "The XXXX are clear.",
    "Heart size within normal limits.",
    "No pleural effusion or pneumothorax.",
    "XXXX opacity in the left lower lobe.",
    "1. No acute cardiopulmonary abnormality.",
    "2. Right base atelectasis, XXXX unchanged.",
    "There is an 8 mm nodule in the right XXXX.",
    "Stable cardiomegaly & tortuous aorta.",
    "Lungs < 6 ribs; XXXX-XXXX.",
    "Bony structures are intact.",
    "XXXX.",
    "None.",
]
LABELS = ("COMPARISON", "INDICATION", "FINDINGS", "IMPRESSION")


def openi(rng, number):
    """An OpenI report as in NLMCXR: four parts, of which findings may be empty, and up to five films."""
    parts = {label: " ".join(rng.choices(_SENTENCES, k=rng.randint(0, 6))) for label in LABELS}
    if rng.random() < 530 / 3955:
        parts["FINDINGS"] = ""
    abstract = "\n".join(
        f'<AbstractText Label="{label}">{escape(text)}</AbstractText>' for label, text in parts.items()
    )
    films = "".join(
        f'<parentImage id="CXR{number}_IM-0001-{k}001"><caption>PA &amp; lateral</caption></parentImage>'
        for k in range(rng.randint(0, 5))
    )
    prolog = rng.choice(["", '<?xml version="1.0" encoding="utf-8"?>\n', "\ufeff"])
    head, tail = f'<eCitation><uId id="CXR{number}"/>', "<MeSH><major>normal</major></MeSH>"
    xml = f"{prolog}{head}<Abstract>{abstract}</Abstract>{tail}{films}</eCitation>"
    return xml.encode(), parts


def test_four_thousand_openi_reports():
    rng = random.Random(0)
    empty = statements = 0
    for number in range(4000):
        data, parts = openi(rng, number)
        report = read_report(decode_report(data))
        assert {s.name: s.text for s in report.sections} == {
            label.lower(): " ".join(parts[label].split()) for label in LABELS
        }
        assert all(s.section in ("findings", "impression") for s in report.statements)
        empty += not parts["FINDINGS"]
        statements += len(report.statements)
    assert empty > 400 and statements > 10000


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([*LABELS, ""]), st.text()), min_size=1, max_size=6))
def test_any_text_in_any_part(parts):
    body = "".join(f'<AbstractText Label="{label}">{escape(text)}</AbstractText>' for label, text in parts)
    data = f"<eCitation>{body}</eCitation>".encode("utf-8", "replace")
    try:
        text = decode_report(data)
    except ReportFileError as error:
        # Control characters are not allowed in XML.
        assert str(error).startswith("broken XML: ")
        return
    for statement in read_report(text).statements:
        assert text[statement.start : statement.end] == statement.text


@settings(max_examples=200, deadline=None)
@given(st.binary())
def test_any_bytes_are_text_or_one_clear_error(data):
    try:
        read_report(decode_report(data))
    except ReportFileError as error:
        assert "\n" not in str(error)


_ABSTRACT = b'<eCitation><AbstractText Label="FINDINGS">&x;</AbstractText></eCitation>'
_BOMB = b'<?xml version="1.0"?><!DOCTYPE e [<!ENTITY a "aaaa"><!ENTITY x "&a;&a;&a;">]>' + _ABSTRACT
_FILE = b'<!DOCTYPE e [<!ENTITY x SYSTEM "file:///etc/hostname">]>' + _ABSTRACT


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (_BOMB, "document type"),
        (_FILE, "document type"),
        (b"<!DOCTYPE eCitation SYSTEM 'http://example.org/x.dtd'><eCitation/>", "document type"),
        (b"<eCitation><AbstractText>Lungs", "broken XML: no element found, line 1, column 30"),
        (b"<?xml version='1.0' encoding='klingon'?><eCitation/>", "broken XML"),
        (b"<!DOCTYPE html><html></html>", "without an AbstractText"),
        (b"\xff\xd8\xff\xe0 JPEG", "not UTF-8"),
        (b"a\0b", "binary"),
        (b" \n", "no text"),
        (b"x" * (MAX_BYTES + 1), "larger than 1 MB"),
    ],
)
def test_refused(data, message):
    with pytest.raises(ReportFileError, match=message):
        decode_report(data)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_files(tmp_path, encoding):
    path = tmp_path / "report.txt"
    path.write_bytes("FINDINGS: Épanchement? Left effusion.".encode(encoding))
    assert read_report_file(path) == "FINDINGS: Épanchement? Left effusion."


def test_files_that_cannot_be_opened(tmp_path):
    with pytest.raises(ReportFileError, match="No such file"):
        read_report_file(tmp_path / "gone.txt")
    with pytest.raises(ReportFileError, match="directory"):
        read_report_file(tmp_path)


def test_a_part_without_a_known_label_stays_apart():
    parts = b'<AbstractText>Left effusion.</AbstractText><AbstractText Label="FINDINGS">No edema.</AbstractText>'
    text = decode_report(b"<eCitation>" + parts + b"</eCitation>")
    assert [(s.name, s.text) for s in split_sections(text)] == [("", "Left effusion."), ("findings", "No edema.")]


@pytest.mark.parametrize("abstract", [b"", b"<Abstract/>", b"<Abstract><AbstractText/></Abstract>"])
def test_a_report_without_text_says_nothing(abstract):
    report = read_report(decode_report(b"<!DOCTYPE eCitation><eCitation>" + abstract + b"</eCitation>"))
    assert report.text == "" and report.statements == ()


def test_parts_terms_and_films_of_an_openi_file(tmp_path):
    path = tmp_path / "17.xml"
    path.write_text(
        '<eCitation><pmcId id="1"/><uId id="CXR17"/><uId id="second"/><Abstract>'
        '<AbstractText Label="FINDINGS"> Small <b>left</b>\neffusion. </AbstractText><AbstractText/></Abstract>'
        "<MeSH>none <major> Pleural Effusion/<i>left</i> </major><major/><automatic>heart</automatic></MeSH>"
        '<major>elsewhere</major><parentImage id="CXR17_1"><caption>PA</caption></parentImage><parentImage/>'
        "</eCitation>"
    )
    report = read_openi_file(path)
    parts = (("FINDINGS", "Small left\neffusion."), ("", ""))
    assert report == OpenIReport("CXR17", parts, ("Pleural Effusion/left",), ("CXR17_1",))
    assert report.text == read_report_file(path) == "FINDINGS: Small left\neffusion.\n"


@pytest.mark.parametrize(
    ("data", "message"), [(b"Left effusion.", "broken XML"), (b"<a>" + b" " * MAX_BYTES, "larger than 1 MB")]
)
def test_what_is_no_openi_file_is_refused(data, message):
    with pytest.raises(ReportFileError, match=message):
        decode_openi(data)


def test_names_of_characters():
    part = b'<AbstractText Label="FINDINGS">5&nbsp;mm &lt; 6 &#176; &amp;deg; &eacute;</AbstractText>'
    data = b"<eCitation>" + part + b"</eCitation>"
    assert decode_report(data) == "FINDINGS: 5\xa0mm < 6 \xb0 &deg; \xe9"
    with pytest.raises(ReportFileError, match="undefined entity"):
        decode_report(data.replace(b"&nbsp;", b"&nothing;"))


_MARKUP = st.sampled_from(
    [
        "&nbsp;",
        "&x;",
        "&#0;",
        "&#65;",
        "<b>",
        "</b>",
        "<br/>",
        "<![CDATA[Left effusion.]]>",
        "<!-- no -->",
        "]]>",
        "XXXX",
        " ",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.one_of(_MARKUP, st.sampled_from(_SENTENCES).map(escape)), max_size=8).map("".join))
def test_any_markup_is_read_or_one_clear_error(body):
    try:
        report = read_report(
            decode_report(f'<eCitation><AbstractText Label="FINDINGS">{body}</AbstractText></eCitation>'.encode())
        )
    except ReportFileError as error:
        assert "\n" not in str(error)
    else:
        assert all(report.text[s.start : s.end] == s.text for s in report.statements)
