"""Questions to an XRootD server go together to programs that stay; each gets its own answer. The program is an imitation."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backends.storage_element.base import StorageError
from backends.storage_element.xrdfs import Xrdfs

pytestmark = pytest.mark.feature("TX-10")

PROGRAM = """#!/bin/sh
echo begun >> "$0.log"
printf '[fake:1] / > '
while read -r word rest; do
    printf '%s %s\\n' "$word" "$rest"
    case $word in
        no) echo "[ERROR] Server responded with an error: [3011] no such file or directory" >&2 ;;
        die) exit 1 ;;
        hang) exec sleep 600 ;;
        *) echo "answer to $rest" ;;
    esac
    printf '[fake:1] / > '
done
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "xrdfs"
    made.write_text(PROGRAM)
    made.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return made


@pytest.fixture
async def server(program: Path) -> AsyncIterator[Xrdfs]:
    made = Xrdfs("root://fake:1", 2)
    yield made
    await made.close()


def begun(program: Path) -> int:
    return len(Path(f"{program}.log").read_text().splitlines())


async def test_each_of_many_gets_its_own_answer_by_few_programs(server: Xrdfs, program: Path) -> None:
    answers = await asyncio.gather(*(server.ask("ask", str(number)) for number in range(120)))
    assert answers == [f"answer to {number}\n" for number in range(120)]
    assert begun(program) == 2
    assert await server.ask("ask", "again") == "answer to again\n"
    assert begun(program) == 2


async def test_one_that_is_refused_stops_no_other(server: Xrdfs) -> None:
    words = [("ask", "1"), ("no", "2"), ("ask", "3")]
    first, refused, last = await asyncio.gather(*(server.ask(*each) for each in words), return_exceptions=True)
    assert (first, last) == ("answer to 1\n", "answer to 3\n")
    assert isinstance(refused, StorageError)
    assert refused.kind == "missing"


async def test_a_program_that_ends_is_replaced(server: Xrdfs, program: Path) -> None:
    words = [("ask", "1"), ("die", "2"), ("ask", "3")]
    first, *others = await asyncio.gather(*(server.ask(*each) for each in words), return_exceptions=True)
    assert first == "answer to 1\n"
    assert [error.kind for error in others if isinstance(error, StorageError)] == ["transient"] * 2
    assert await server.ask("ask", "4") == "answer to 4\n"
    assert begun(program) == 2


async def test_a_program_that_hangs_is_killed_at_the_deadline(server: Xrdfs) -> None:
    with pytest.raises(StorageError, match=r"no end within 0.2 s; it was killed") as caught:
        await server.ask("hang", "1", deadline_s=0.2)
    assert caught.value.transient
    assert await server.ask("ask", "2") == "answer to 2\n"


async def test_a_lengthy_question_keeps_no_other_waiting(server: Xrdfs) -> None:
    lengthy = asyncio.create_task(server.ask("hang", "1", deadline_s=3600.0))
    assert await server.ask("ask", "2") == "answer to 2\n"
    lengthy.cancel()
    with pytest.raises(asyncio.CancelledError):
        await lengthy


@pytest.mark.parametrize("name", ["a b", 'a"b', "a'b", "a\\b", "a\nb"])
async def test_a_name_that_would_be_two_words_is_refused(server: Xrdfs, name: str) -> None:
    with pytest.raises(StorageError, match="takes no name with spaces") as caught:
        await server.ask("stat", name)
    assert caught.value.kind == "permission"
