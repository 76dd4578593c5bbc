"""The vocabulary: anatomical regions and findings as tables, and what is said about them."""

from .dataset_labels import dataset_label_names, map_dataset_labels
from .findings import (
    ADVERBS,
    ATTRIBUTE_KINDS,
    FINDING_NAMES,
    FINDINGS,
    SEVERITIES,
    TECHNICAL_ASSESSMENTS,
    Finding,
    Noun,
    get_finding,
    more_general_findings,
)
from .laterality import mirror_text
from .regions import ADDITIONAL_REGIONS, REGION_NAMES, REGIONS, Region, containing_regions, expand_regions, get_region
from .structures import STRUCTURE_NAMES, STRUCTURES, Structure, find_structures, get_structure, structure_keys
from .tables import VocabularyError


__all__ = [
    "ADDITIONAL_REGIONS",
    "ADVERBS",
    "ATTRIBUTE_KINDS",
    "FINDINGS",
    "FINDING_NAMES",
    "REGIONS",
    "REGION_NAMES",
    "SEVERITIES",
    "STRUCTURES",
    "STRUCTURE_NAMES",
    "TECHNICAL_ASSESSMENTS",
    "Finding",
    "Noun",
    "Region",
    "Structure",
    "VocabularyError",
    "containing_regions",
    "dataset_label_names",
    "expand_regions",
    "find_structures",
    "get_finding",
    "get_region",
    "get_structure",
    "map_dataset_labels",
    "mirror_text",
    "more_general_findings",
    "structure_keys",
]
