#!/usr/bin/env python3
"""Poses as the CLI: runs the `do: ` lines of its story in a shell, reports that it cost nothing, and approves everything."""
import json
import os
import subprocess
import sys
import urllib.request

args = sys.argv[1:]
if args == ["--version"]:
    print("2.1.330 (Claude Code)")
    sys.exit(0)


def value(name):
    return args[args.index(name) + 1] if name in args else None


def put(line):
    print(json.dumps(line), flush=True)


prompt, session = args[-1], value("--resume") or value("--session-id")
put({"type": "system", "subtype": "init", "session_id": session, "model": "none", "mcp_servers": []})
if prompt.startswith("Do story"):
    for line in prompt.splitlines():
        if line.startswith("do: "):
            done = subprocess.run(["bash", "-c", line[len("do: "):]], capture_output=True, text=True)
            text = f"{line}: {done.returncode} {done.stdout}{done.stderr}"
            put({"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}})
elif prompt.startswith("Review story"):
    with open(value("--mcp-config")) as file:
        server = json.load(file)["mcpServers"]["storkit"]
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "approve_qa", "arguments": {}}}
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream",
               "mcp-protocol-version": "2025-11-25", **server["headers"]}
    urllib.request.urlopen(urllib.request.Request(server["url"], json.dumps(body).encode(), headers)).read()
put({"type": "result", "subtype": "success", "is_error": False, "result": "done", "session_id": session,
     "total_cost_usd": 0.0, "num_turns": 1, "duration_ms": 1, "usage": {"input_tokens": 0, "output_tokens": 0}})
