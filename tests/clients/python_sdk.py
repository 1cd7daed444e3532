"""The Python SDK as a client: URL TOKEN MODE TOOL ARGUMENTS; prints what it listed and was told."""

import asyncio
import json
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


async def main(url, token, mode, tool, arguments):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=mode) as client:
            names = [item.name for item in (await client.list_tools()).tools]
            result = await client.call_tool(tool, json.loads(arguments))
            text = " ".join(getattr(block, "text", "") for block in result.content)
            print(json.dumps({"tools": names, "text": text}))


asyncio.run(main(*sys.argv[1:]))
