#!/usr/bin/env python3
"""Stands in for `claude -p PROMPT` in figure 16: prints the lines that its story asks for (`print: BULK`), then ten a second until it is ended."""
import json
import sys
import time

args = sys.argv[1:]
if args == ["--version"]:
    print("2.1.330 (Claude Code)")
    sys.exit(0)
session = next((args[at + 1] for at, word in enumerate(args) if word in ("--session-id", "--resume")), "none")
bulk = next((int(line[6:]) for line in args[-1].splitlines() if line.startswith("print:")), 0)


def put(line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def say(text):
    put({"type": "assistant", "session_id": session, "message": {"content": [{"type": "text", "text": text}]}})


put({"type": "system", "subtype": "init", "session_id": session, "model": "none", "mcp_servers": []})
for first in range(0, bulk, 100):
    say("\n".join(f"{at} {'words of a log ' * 26}" for at in range(first, min(bulk, first + 100))))
number, due = 0, time.monotonic()
while True:
    number, due = number + 1, due + 0.1
    say(f"line {number}: cargo test -p hinge, {number % 97} passed, {number % 3} ignored")
    time.sleep(max(0.0, due - time.monotonic()))
