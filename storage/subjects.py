"""What a person may ask `why` about, as they write it."""

from storage.views import Unknown

KINDS = ("job", "workflow", "request", "file", "transfer", "site")


def parse(subject: str) -> tuple[str, str]:
    """Return kind and name; raise Unknown for a kind that is none."""
    text = subject.strip()
    kind, mark, name = text.partition(":")
    if mark and not text.startswith("/"):
        if kind not in KINDS or not name:
            kinds = ", ".join(f"{word}:…" for word in KINDS)
            raise Unknown(f"got {subject!r}, expected a job id, a workflow, an LFN, or one of {kinds}")
        return kind, name
    if text.isdigit():
        return "job", text
    return ("file" if text.startswith("/") else "workflow"), text


def number(kind: str, text: str) -> int:
    """Return an id; raise Unknown for what is none."""
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Unknown(f"got {kind} {text!r}, expected its number")
    return int(text)
