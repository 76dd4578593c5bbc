"""Reports: text and OpenI's XML, with long lines, repeats, foreign characters."""

from pathlib import Path
from random import Random

from anatomy_vlm.processing.report_reading import ReportFileError, read_report
from anatomy_vlm.processing.report_reading.files import decode_openi, decode_report
from anatomy_vlm.processing.report_reading.lexicon import default_lexicon
from fuzzing.expect import Finding, attempt, outcome
from fuzzing.mutate import TEXTS, bytes_of, text_of


_REPORT = """FINAL REPORT
INDICATION: ___ year old man with cough.
COMPARISON: [**2101-1-1**].
FINDINGS: 1. Small left and moderate right pleural effusions, e.g. at the bases. 2. The RLL opacity, 1.5 cm, may
represent pneumonia; no pneumothorax. Heart size is normal. The left hemidiaphragm is elevated, the right is not.
None on the right. ET tube ends 3 cm above the carina.

IMPRESSION: Unchanged cardiomegaly, worse edema.
"""
_XML = """<?xml version="1.0" encoding="utf-8"?>
<eCitation><uId id="CXR17"/><MedlineCitation><Article><Abstract>
<AbstractText Label="FINDINGS">Heart size &lt; normal. &nbsp; No effusion.</AbstractText>
<AbstractText Label="IMPRESSION">Clear lungs.</AbstractText></Abstract></Article></MedlineCitation>
<MeSH><major>Pleural Effusion/left</major></MeSH><parentImage id="CXR17_IM-0001"/></eCitation>
"""
_MARKS = (
    ".", "!", "?", "\n", "\n\n", "\r\n", " ", "\t", "-", "*", "•", "(", ")", "[**", "**]", "1.", "2)", ":", ";", ",",
    "/",
    "FINDINGS:", "Impression", "CHEST:", "clinical history", "e.g.", "Dr. A.", "no", "or", "and", "with", "left", "R",
    "w/o", "The", "is", "1.5", "&amp;", "&nbsp;", "<a>", "\ufeff", "\u2028", "İ", "\u017f", "é", "\U0001f600", "\x0b",
    "\x1c",
)  # fmt: skip
_XML_PIECES = (
    "<!DOCTYPE a [<!ENTITY b 'c'>]>", "<!DOCTYPE a SYSTEM 'file:///etc/passwd'>", "&b;", "&hellip;", "&#0;",
    "&#x110000;",
    "<![CDATA[x]]>", "<a>", "</a>", "<?php x?>", "<!-- -- -->", '<AbstractText Label="', "</AbstractText>",
    "&#x1F600;",
    "<MeSH><major>", "encoding='utf-7'", "encoding='rot13'", "encoding='utf-16'",
)  # fmt: skip


class Reports:
    """Decodes and reads; places and texts have to agree."""

    name = "report"

    def __init__(self, folder: Path, heavy: bool = False) -> None:
        self.words = sorted(default_lexicon().words())
        self.longest = 1_000_000 if heavy else 20_000

    def case(self, random: Random) -> str:
        draw = random.random()
        if draw < 0.2:
            data = self._xml(random)
            report = attempt(ReportFileError, decode_openi, data)
            text = report.text if not isinstance(report, Exception) else ""
        else:
            if draw < 0.45:
                text = text_of(random, _REPORT)
            elif draw < 0.97:
                text = " ".join(
                    random.choice(self.words if random.random() < 0.7 else _MARKS)
                    for _ in range(random.randint(1, 80))
                )
            else:
                text = self._long(random)
            data = text.encode(random.choice(("utf-8", "utf-8", "utf-16", "utf-8-sig")), "surrogatepass")
        decoded = attempt(ReportFileError, decode_report, data)
        report = attempt((), read_report, text)
        for statement in report.statements:
            if text[statement.start : statement.end] != statement.text or not statement.text:
                raise Finding(f"a statement {statement} that is not where it says")
        for section in report.sections:
            if text[section.start : section.end] != section.text:
                raise Finding(f"a section {section} that is not where it says")
        return outcome(decoded)

    def _long(self, random: Random) -> str:
        """One or few pieces over and over again."""
        pieces = [random.choice((random.choice(self.words), random.choice(_MARKS), random.choice(_MARKS)))]
        pieces += [random.choice((*_MARKS, *self.words)) for _ in range(random.choice((0, 1, 1, 3, 12)))]
        unit = random.choice(("", " ", "", "\n")).join(pieces) + random.choice(("", " ", ". "))
        length = random.choice((1000, self.longest // 10, self.longest))
        return unit * max(1, length // max(len(unit), 1)) + random.choice(("", "x", ".", random.choice(TEXTS)))

    def _xml(self, random: Random) -> bytes:
        text = _XML
        for _ in range(random.randint(1, 4)):
            place = random.randrange(len(text))
            text = text[:place] + random.choice(_XML_PIECES) * random.choice((1, 1, 1, 3000)) + text[place:]
        data = text.encode("utf-8")
        return data if random.random() < 0.5 else bytes_of(random, data)
