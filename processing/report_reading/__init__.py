"""Reading reports: sections, sentences, and statements about regions and findings with polarity and cues.

The rules are our own, on top of the vocabulary.
"""

from .reader import read_report
from .sections import split_sections
from .sentences import split_sentences
from .statement import Report, ReportStatement, Section


__all__ = ["Report", "ReportStatement", "Section", "read_report", "split_sections", "split_sentences"]
