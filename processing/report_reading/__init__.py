"""Reading reports: sections, sentences, and statements about regions and findings with polarity and cues.

The rules are our own, on top of the vocabulary: medspaCy 1.3.1 (MIT, released in November 2024) holds Python 3.11 to
spaCy < 3.8, which cannot be imported beside NumPy 2, adds 66 packages, and with our names as targets got 83 % of the
polarities of the hand-labelled sentences right (ours: see `tests/reports`) at a twentieth of the speed. negspaCy 1.1
knows negation but no uncertainty and needs spaCy all the same, and neither links findings to regions and sides.
"""

from .files import OpenIReport, ReportFileError, read_openi_file, read_report_file
from .reader import read_report
from .sections import split_sections
from .sentences import split_sentences
from .statement import Report, ReportStatement, Section


__all__ = [
    "OpenIReport",
    "Report",
    "ReportFileError",
    "ReportStatement",
    "Section",
    "read_openi_file",
    "read_report",
    "read_report_file",
    "split_sections",
    "split_sentences",
]
