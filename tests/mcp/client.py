"""An independent client: the official Python SDK lists and calls storkit's tools. Prints what it got as JSON."""
import asyncio
import json
import sys

from mcp import ClientSession
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client


def text(result):
    return {"error": bool(getattr(result, "isError", getattr(result, "is_error", False))),
            "text": "".join(block.text for block in result.content)}


async def main(path):
    with open(path) as file:
        server = json.load(file)["mcpServers"]["storkit"]
    http = create_mcp_http_client(headers=server["headers"])
    async with http, streamable_http_client(server["url"], http_client=http) as streams:
        async with ClientSession(streams[0], streams[1]) as session:
            started = await session.initialize()
            tools = (await session.list_tools()).tools
            calls = {}
            for name, arguments in [
                ("get_version", {}),
                ("create_story", {"title": "From an independent client"}),
                ("list_stories", {"stage": "backlog"}),
                ("get_story", {"story_id": 1}),
                ("check_criterion", {"story_id": 1, "criterion": 99}),
                ("move_story", {"story_id": 1, "stage": "done"}),
                ("update_story", {"story_id": 1, "colour": "red"}),
                ("get_story", {"story_id": 99}),
                ("start_agent", {"story_id": "one"}),
            ]:
                calls[f"{name} {json.dumps(arguments)}"] = text(await session.call_tool(name, arguments))
            info = getattr(started, "serverInfo", None) or started.server_info
            print(json.dumps({"server": info.name, "tools": [tool.name for tool in tools], "calls": calls}))


asyncio.run(main(sys.argv[1]))
