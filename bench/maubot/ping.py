"""The plugin of maubot that figure 9 measures: `!ping` is answered with a line."""

from maubot import Plugin
from maubot.handlers import command


class Ping(Plugin):
    @command.new("ping")
    async def ping(self, event) -> None:
        await event.respond("**pong**: I hear you, and this line is as long as storkit's.")
