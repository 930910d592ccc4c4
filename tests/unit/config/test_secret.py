"""Secrets by reference."""

from pathlib import Path

import pytest

from config.secret import SecretError, resolve, token
from config.settings import ProdMgrSettings

pytestmark = pytest.mark.feature("OPS-03")


def prodmgr(**given: str) -> ProdMgrSettings:
    return ProdMgrSettings(name="p", url="http://x", **given)  # type: ignore[arg-type]


def test_a_reference_is_replaced_and_an_unset_one_refused() -> None:
    assert resolve("a${B}c", {"B": "-"}) == "a-c"
    with pytest.raises(SecretError, match="environment variable B is not set"):
        resolve("a${B}c", {})


def test_a_token_is_read_each_time_anew(tmp_path: Path) -> None:
    file = tmp_path / "token"
    for text in ("one", "two"):
        file.write_text(f"{text}\n", encoding="utf-8")
        assert token(prodmgr(token_file=str(file))) == text
    assert token(prodmgr(token_env="T"), {"T": "three"}) == "three"


@pytest.mark.parametrize("content", [None, b"", b"\xff"])
def test_a_token_file_without_a_token_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(SecretError, match="of ProdMgr p"):
        token(prodmgr(token_file=str(tmp_path / "token")))
