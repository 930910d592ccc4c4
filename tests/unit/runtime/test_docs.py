"""The reference pages say what the code says."""

from pathlib import Path

import msgspec
import pytest

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
from domain.rules_page import render

REPORTS = [JobReport, StepReport, InputReport, OutputReport, ErrorReport, Heartbeat, Timing, ResourcesUsed]
DOCS = Path(__file__).parents[3] / "docs" / "reference"


@pytest.mark.feature("PA-405")
def test_the_page_of_the_exit_codes_is_that_of_the_table() -> None:
    assert (DOCS / "exit-codes.md").read_text() == render()


@pytest.mark.feature("PA-318")
@pytest.mark.parametrize("struct", REPORTS)
def test_every_field_of_the_report_is_explained(struct: type[msgspec.Struct]) -> None:
    text = (DOCS / "job-report.md").read_text()
    assert [field for field in struct.__struct_fields__ if f"`{field}`" not in text] == []
