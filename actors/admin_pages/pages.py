"""The pages for people."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from actors.admin_pages.desk import Desk

Page = Callable[[Desk, web.Request, bool], Awaitable[str]]


def refused(status: int, text: str) -> str:
    return f"{status} {text}"


PAGES: dict[str, Page] = {}
