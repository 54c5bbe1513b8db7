"""Drives errbot in this process: N commands registered, texts in, replies out; prints CPU per message as JSON.

Arguments: COMMANDS WINDOW MESSAGES ROUNDS FORM. WINDOW is how many messages are under way at once. FORM is `rendered`
for the test backend as shipped, which renders each reply from Markdown to text, or `raw` without that.
The log level is WARNING and storage is in memory, both in errbot's favour.
"""

import importlib
import json
import logging
import os
import queue
import sys
import tempfile
import threading
import time

from errbot.backends.test import STZ_MSG
from errbot.bootstrap import setup_bot
from errbot.core import ErrBot

PLUGIN = "[Core]\nName = Bench\nModule = bench\n\n[Python]\nVersion = 3\n"
HEAD = "from errbot import BotPlugin, botcmd\n\n\nclass Bench(BotPlugin):\n"
COMMAND = "    @botcmd\n    def {name}(self, msg, args):\n        return 'pong'\n\n"


def plugin(folder, count):
    """A plugin with `count` commands, the one that is called among them."""
    names = ["ping"] + [f"other{number}" for number in range(1, count)]
    with open(os.path.join(folder, "bench.plug"), "w") as file:
        file.write(PLUGIN)
    with open(os.path.join(folder, "bench.py"), "w") as file:
        file.write(HEAD + "".join(COMMAND.format(name=name) for name in names))


def configuration(plugins):
    class Config:
        pass

    config = Config()
    config.__dict__.update(importlib.import_module("errbot.config-template").__dict__)
    data = tempfile.mkdtemp()
    config.BOT_DATA_DIR = data
    config.BOT_LOG_FILE = os.path.join(data, "log.txt")
    config.STORAGE = "Memory"
    config.BOT_EXTRA_PLUGIN_DIR = plugins
    config.BOT_ADMINS = ("ann",)
    # With more threads the test backend's renderer, which they share, fails now and then ("pop from empty list").
    config.BOT_ASYNC_POOLSIZE = 1
    # What takes part in a command; the rest would only add work (the version check goes to the network).
    config.CORE_PLUGINS = ("ACLs", "CommandNotFoundFilter", "Help")
    return config


def raw(bot):
    """Takes the test backend's Markdown rendering away."""
    replies = queue.SimpleQueue()

    def send_message(self, msg):
        ErrBot.send_message(self, msg)
        replies.put(msg.body)

    type(bot).send_message = send_message
    return replies


def measure(bot, replies, window, messages):
    before = time.process_time()
    sent = got = 0
    while got < messages:
        while sent < messages and sent - got < window:
            bot.incoming_stanza_queue.put((STZ_MSG, "!ping", ""))
            sent += 1
        reply = replies.get(timeout=30)
        assert reply == "pong", reply
        got += 1
    return (time.process_time() - before) / messages * 1e6


def main():
    commands, window, messages, rounds = map(int, sys.argv[1:5])
    plugins = tempfile.mkdtemp()
    plugin(plugins, commands)
    config = configuration(plugins)
    logger = logging.getLogger("")
    logger.setLevel(logging.WARNING)
    bot = setup_bot("Test", logger, config)
    replies = raw(bot) if sys.argv[5] == "raw" else bot.outgoing_message_queue
    logger.setLevel(logging.WARNING)  # the backend asks for DEBUG
    threading.Thread(target=bot.serve_forever, daemon=True).start()
    # Plugins are activated by the thread above; until then the answer is that there is no such command.
    deadline = time.monotonic() + 60
    while "ping" not in bot.commands and time.monotonic() < deadline:
        time.sleep(0.05)
    measure(bot, replies, window, messages)
    rounds = [measure(bot, replies, window, messages) for _ in range(rounds)]
    print(json.dumps({"registered": len(bot.commands), "micros": rounds}))
    sys.stdout.flush()
    os._exit(0)


main()
