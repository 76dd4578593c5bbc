"""Reports as statements on findings and regions."""

from anatomy_vlm.processing.report_reading import read_report
from anatomy_vlm.training.loaders.record import RegionFinding


def report_statements(report: str) -> list[RegionFinding]:
    """What a report says of findings, region by region; nothing for an empty one."""
    return [
        RegionFinding(entry["finding"], entry["polarity"], entry["region"], entry["severity"], entry["phrase"])
        for entry in read_report(report).to_region_findings()
    ]
