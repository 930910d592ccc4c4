"""The reference pages say what the code says."""

from pathlib import Path

import msgspec
import pytest

from domain.exit_codes import RULES
from domain.report import (
    ErrorReport,
    Heartbeat,
    InputReport,
    JobReport,
    OutputReport,
    ResourcesUsed,
    StepReport,
    Timing,
)

REPORTS = [JobReport, StepReport, InputReport, OutputReport, ErrorReport, Heartbeat, Timing, ResourcesUsed]
DOCS = Path(__file__).parents[3] / "docs" / "reference"


def test_every_exit_code_has_its_row_in_order() -> None:
    rows = [line for line in (DOCS / "exit-codes.md").read_text().splitlines() if line.startswith("| ")][1:]
    expected = []
    for rule in RULES:
        codes = str(rule.low) if rule.low == rule.high else f"{rule.low}–{rule.high}"
        expected.append(f"| {codes} | {rule.name} | {rule.blame} | {'yes' if rule.retry else 'no'} |")
    assert rows == expected


@pytest.mark.feature("PA-318")
@pytest.mark.parametrize("struct", REPORTS)
def test_every_field_of_the_report_is_explained(struct: type[msgspec.Struct]) -> None:
    text = (DOCS / "job-report.md").read_text()
    assert [field for field in struct.__struct_fields__ if f"`{field}`" not in text] == []
