#!/usr/bin/env python3
"""Stands in for `claude -p PROMPT` in the crash harness: a coder runs the story's `do: ` lines in a shell, a reviewer its
`review: ` lines and approves over MCP, a mergemaster its `merge: ` lines. Sessions are files where the real CLI has its own, so that they resume."""
import json
import os
import re
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
config = os.environ.get("CLAUDE_CONFIG_DIR") or os.path.join(os.environ["HOME"], ".claude")
folder = os.path.join(config, "projects", re.sub("[^A-Za-z0-9]", "-", os.getcwd()))
os.makedirs(folder, exist_ok=True)
kept = os.path.join(folder, session + ".jsonl")
if value("--resume"):
    if not os.path.exists(kept):
        error = "No conversation found with session ID: " + session
        put({"type": "result", "subtype": "error_during_execution", "is_error": True, "errors": [error],
             "result": error, "session_id": session})
        sys.exit(1)
    with open(kept) as file:
        task = file.read()
else:
    with open(kept, "w") as file:
        file.write(prompt)
    task = prompt
put({"type": "system", "subtype": "init", "session_id": session, "model": "none", "mcp_servers": []})


def run(word):
    for line in task.splitlines():
        if line.startswith(word):
            done = subprocess.run(["bash", "-c", line[len(word):]], capture_output=True, text=True)
            text = f"{line}: {done.returncode} {done.stdout}{done.stderr}"
            put({"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}})


def call(tool):
    with open(value("--mcp-config")) as file:
        server = json.load(file)["mcpServers"]["storkit"]
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}}
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream",
               "mcp-protocol-version": "2025-11-25", **server["headers"]}
    urllib.request.urlopen(urllib.request.Request(server["url"], json.dumps(body).encode(), headers)).read()


if task.startswith("Do story"):
    run("do: ")
elif task.startswith("Review story"):
    run("review: ")
    call("approve_qa")
elif task.startswith("The merge of story"):
    run("merge: ")
put({"type": "result", "subtype": "success", "is_error": False, "result": "done", "session_id": session,
     "total_cost_usd": 0.01, "num_turns": 1, "duration_ms": 1, "usage": {"input_tokens": 1, "output_tokens": 1}})
