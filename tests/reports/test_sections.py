"""Sections and sentences: every header whole, every span exact."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomy_vlm.processing.report_reading import read_report, split_sections, split_sentences


def named(text):
    return [(section.name, section.title, section.text) for section in split_sections(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "INDICATION: Cough.\nFINDINGS: Clear.\nIMPRESSION: Normal.",
            [
                ("indication", "INDICATION", "Cough."),
                ("findings", "FINDINGS", "Clear."),
                ("impression", "IMPRESSION", "Normal."),
            ],
        ),
        # The dictation slip: what stands there is the header, nothing before it and nothing of the text is lost.
        ("ndication: chest pain", [("indication", "ndication", "chest pain")]),
        ("NDICATION:Indigestion", [("indication", "NDICATION", "Indigestion")]),
        ("Indication: indication unclear", [("indication", "Indication", "indication unclear")]),
        (
            "Findings\nHeart normal.\n\nImpression\nNormal.",
            [("findings", "Findings", "Heart normal."), ("impression", "Impression", "Normal.")],
        ),
        ("findings : heart normal", [("findings", "findings", "heart normal")]),
        ("FINDINGS The heart is normal.", [("findings", "FINDINGS", "The heart is normal.")]),
        (
            "Cough. FINDINGS: Clear. IMPRESSION: Normal.",
            [("", "", "Cough."), ("findings", "FINDINGS", "Clear."), ("impression", "IMPRESSION", "Normal.")],
        ),
        ("FINDINGS AND IMPRESSION: Clear.", [("findings", "FINDINGS AND IMPRESSION", "Clear.")]),
        ("REASON FOR EXAM: fever", [("indication", "REASON FOR EXAM", "fever")]),
        ("FINDINGS:\nIMPRESSION: Normal.", [("findings", "FINDINGS", ""), ("impression", "IMPRESSION", "Normal.")]),
        ("The findings are unchanged. Impressions vary.", [("", "", "The findings are unchanged. Impressions vary.")]),
        ("FINDINGS ARE CONSISTENT WITH EDEMA.", [("", "", "FINDINGS ARE CONSISTENT WITH EDEMA.")]),
        ("Indications for a scan are unclear.", [("", "", "Indications for a scan are unclear.")]),
        ("", [("", "", "")]),
    ],
)
def test_sections(text, expected):
    assert named(text) == expected


def test_text_without_a_header_after_others_is_read_if_there_are_no_findings():
    text = " INDICATION:  ___ with cough.\n\n COMPARISON:  ___\n\n The lungs are clear. There is a right\n effusion.\n"
    assert named(text)[-1] == ("", "", "The lungs are clear. There is a right\n effusion.")
    assert {s.finding for s in read_report(text).statements} == {"lung opacity", "pleural effusion"}


@pytest.mark.parametrize(
    "header", ["INDICATION", "HISTORY", "COMPARISON", "TECHNIQUE", "EXAMINATION", "Reason for exam"]
)
def test_what_was_asked_for_is_no_finding(header):
    assert read_report(f"{header}: Left pneumothorax.\nFINDINGS: Clear lungs.").statements[0].finding == "lung opacity"
    assert all(s.finding != "pneumothorax" for s in read_report(f"{header}: Left pneumothorax.").statements)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("No effusion. Heart normal.", ["No effusion.", "Heart normal."]),
        (
            "Seen by Dr. Jones at 3:15 a.m. and again later. Stable.",
            ["Seen by Dr. Jones at 3:15 a.m. and again later.", "Stable."],
        ),
        ("Scar, e.g. Apical. Edema vs. Atypical pneumonia.", ["Scar, e.g. Apical.", "Edema vs. Atypical pneumonia."]),
        ("A 1.5 cm nodule. A 3 mm one.", ["A 1.5 cm nodule.", "A 3 mm one."]),
        ("1. No edema. 2. Left effusion.", ["No edema.", "Left effusion."]),
        ("1) No edema\n2) Left effusion", ["No edema", "Left effusion"]),
        ("- No edema\n- Left effusion", ["No edema", "Left effusion"]),
        ("XXXX. The XXXX is stable. XXXX XXXX.", ["XXXX.", "The XXXX is stable.", "XXXX XXXX."]),
        ("Since ___. Stable.", ["Since ___.", "Stable."]),
        ("Seen on [**2101-1-1 at 4. p.m.**] film. Stable.", ["Seen on [**2101-1-1 at 4. p.m.**] film.", "Stable."]),
        ("There is no\nPneumothorax.", ["There is no\nPneumothorax."]),
        ("No effusion\n\nHeart normal", ["No effusion", "Heart normal"]),
        ("No effusion.Heart is normal.", ["No effusion.", "Heart is normal."]),
        ("Lt. base atelectasis. R. effusion.", ["Lt. base atelectasis.", "R. effusion."]),
        ("Is there an effusion? No.", ["Is there an effusion?", "No."]),
        (" \n ", []),
    ],
)
def test_sentences(text, expected):
    assert [text[start:end] for start, end in split_sentences(text)] == expected


_PIECES = st.sampled_from(
    [
        "FINDINGS:",
        "Impression",
        "ndication:",
        "IMPRESSION",
        "\n",
        "\n\n",
        "\r\n",
        " ",
        ". ",
        "1. ",
        "- ",
        "XXXX",
        "___",
        "[**x**]",
    ]
    + [
        "left",
        "right",
        "effusion",
        "no",
        "opacity",
        "Dr.",
        "1.5 cm",
        "İ",
        "ß",
        "the heart is",
        "normal",
        ",",
        "or",
        "?",
        "\x85",
    ]
)
_TEXTS = st.one_of(st.text(), st.lists(_PIECES).map("".join), st.lists(_PIECES).map(" ".join))


@settings(deadline=None)
@given(_TEXTS)
def test_every_span_is_exact(text):
    report = read_report(text)
    assert report.text == text
    for part in (*report.sections, *report.statements):
        assert text[part.start : part.end] == part.text
    for statement in report.statements:
        assert statement.text.strip() == statement.text != ""


@settings(deadline=None)
@given(_TEXTS)
def test_sections_lose_nothing_but_space_and_headers(text):
    position, rest = 0, []
    for section in split_sections(text):
        assert section.start >= position
        rest.append(text[position : section.start].replace(section.title, "", 1))
        position = section.end
    rest.append(text[position:])
    assert not "".join(rest).strip(" \t\r\n:*#-\ufeff\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u2028\u2029")


@settings(deadline=None)
@given(_TEXTS)
def test_sentences_are_in_order_and_lose_no_word(text):
    position = 0
    for start, end in split_sentences(text):
        assert position <= start < end <= len(text)
        assert not any(character.isalpha() for character in text[position:start])
        position = end
    assert not any(character.isalpha() for character in text[position:])


def test_endless_sentences_are_read_in_pieces():
    text = "effusion and opacity in the left lung and " * 500
    spans = split_sentences(text)
    assert max(end - start for start, end in spans) <= 2000
    assert {s.regions for s in read_report(text).statements} >= {("left lung",)}


def test_letters_that_only_look_like_a_header_are_text():
    assert [section.name for section in split_sections("\u0130NDCATION")] == [""]
    assert [section.name for section in split_sections("FINDING\u017f: clear.")] == [""]
