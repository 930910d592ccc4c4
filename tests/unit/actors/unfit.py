"""Stages that are offered as successors: one that finds itself unfit, one that is fit."""

from actors.stage import Stage


class Unfit(Stage):
    async def self_check(self) -> None:
        raise ValueError("not today")


class Fit(Stage):
    pass
