"""The reference page names every call, and its metrics are those that are served."""

import re
from pathlib import Path

import pytest

from actors.admin_pages.openapi import plain_path
from actors.admin_pages.routes import API, ROUTES

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "admin-api.md").read_text()
METRICS = (Path(__file__).parents[3] / "actors" / "admin_pages" / "metrics.py").read_text()


@pytest.mark.feature("OPS-06")
def test_every_call_is_on_the_page() -> None:
    for route in ROUTES:
        assert f"| {route.method} `{API}{plain_path(route.path)}` | {route.summary} |" in PAGE
        if route.body is not None:
            assert ", ".join(f"`{name}`" for name in route.body.__struct_fields__) in PAGE


@pytest.mark.feature("OPS-15")
def test_every_metric_is_on_the_page() -> None:
    served = {
        f"prodagent_{name}" + ("_total" if kind == "counter" else "")
        for kind, name in re.findall(r'_(gauge|counter)\("(\w+)"', METRICS)
    }
    assert served == set(re.findall(r"`(prodagent_\w+)`", PAGE))
