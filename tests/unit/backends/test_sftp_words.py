"""What OpenSSH's sftp and a host's tar complain of, in the words of the contract."""

import pytest

from backends.storage_element.sftp import fault


@pytest.mark.feature("PA-317", "TX-10")
@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("tar: /data/a.part: Cannot write: No space left on device", "space"),
        ("tar: /data/a.part: Wrote only 4608 of 10240 bytes", "space"),
        ("tar: /data/a.part: Cannot open: Disk quota exceeded", "space"),
        ("tar: /data/a.part: Cannot open: Permission denied", "permission"),
        ("stat remote: No such file or directory", "missing"),
        ("Connection closed", "transient"),
    ],
)
def test_each_complaint_has_its_kind(said: str, kind: str) -> None:
    error = fault("alps", said)
    assert (error.kind, said in str(error)) == (kind, True)
