#!/usr/bin/env python3
"""Stands in for `claude -p PROMPT`: asks for one call after the other over MCP, as many as its story says, and prints each decision."""
import json
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


with open(value("--mcp-config")) as file:
    server = json.load(file)["mcpServers"]["storkit"]


def ask(command):
    arguments = {"tool_name": "Bash", "input": {"command": command, "description": "Run it"}}
    params = {"name": "prompt_permission", "arguments": arguments}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream",
               "mcp-protocol-version": "2025-11-25", **server["headers"]}
    answer = urllib.request.urlopen(urllib.request.Request(server["url"], body, headers)).read().decode()
    data = [line[len("data:"):] for line in answer.splitlines() if line.startswith("data:") and "result" in line]
    result = json.loads(data[-1] if data else answer)["result"]
    return json.loads(result["content"][0]["text"])["behavior"]


prompt, session = args[-1], value("--resume") or value("--session-id")
put({"type": "system", "subtype": "init", "session_id": session, "model": "none", "mcp_servers": []})
rounds = int(re.search(r"rounds: (\d+)", prompt).group(1))
for number in range(1, rounds + 1):
    text = f"round {number}: {ask(f'./build {number}')}"
    put({"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}})
with open("asked.txt", "w") as file:
    file.write("asked\n")
subprocess.run(["git", "add", "-A"], check=True)
subprocess.run(["git", "commit", "-qm", "asked"], check=True)
put({"type": "result", "subtype": "success", "is_error": False, "result": "done", "session_id": session,
     "total_cost_usd": 0.01, "num_turns": 1, "duration_ms": 1, "usage": {"input_tokens": 1, "output_tokens": 1}})
