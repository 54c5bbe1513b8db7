#!/usr/bin/env python3
"""Stands in for `claude -p PROMPT` where pages follow a run: prints what the orders of its story say, one order a line.

    print COUNT WIDTH   so many lines, each with its number and a padding of so many doors
    steady PAUSE        a few lines again and again, so many milliseconds apart, until the next order
    end                 the run is over
"""
import json
import os
import random
import re
import subprocess
import sys
import time

args = sys.argv[1:]
if args == ["--version"]:
    print("2.1.330 (Claude Code)")
    sys.exit(0)


def put(line):
    print(json.dumps(line, ensure_ascii=False), flush=True)


prompt = args[-1]
session = args[args.index("--session-id") + 1] if "--session-id" in args else args[args.index("--resume") + 1]
put({"type": "system", "subtype": "init", "session_id": session, "model": "none", "mcp_servers": []})
printed = 0


def say(count, width):
    """In blocks, as a model's words come."""
    global printed
    while count > 0:
        block = [f"line {printed + number + 1} {'🚪' * width}" for number in range(min(count, 500))]
        printed += len(block)
        count -= len(block)
        put({"type": "assistant", "message": {"content": [{"type": "text", "text": "\n".join(block)}]}})


story = re.search(r"[Ss]tory (\d+)", prompt).group(1)
orders = os.path.join("ORDERS", story)
while not os.path.exists(orders):
    time.sleep(0.005)
pause = None
with open(orders) as file:
    while True:
        order = file.readline().split()
        if not order:
            time.sleep(0.005 if pause is None else pause)
            if pause is not None:
                say(random.randint(1, 4), 3)
        elif order[0] == "print":
            pause = None
            say(int(order[1]), int(order[2]))
        elif order[0] == "steady":
            pause = int(order[1]) / 1000
        else:
            break
with open(f"{story}.txt", "w") as file:
    file.write("printed\n")
subprocess.run(["git", "add", "-A"], check=True)
subprocess.run(["git", "commit", "-qm", "printed"], check=True)
put({"type": "result", "subtype": "success", "is_error": False, "result": "done", "session_id": session,
     "total_cost_usd": 0.01, "num_turns": 1, "duration_ms": 1, "usage": {"input_tokens": 1, "output_tokens": 1}})
