"""The Python SDK, version 1: URL TOKEN"""
import sys

import httpx
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from driven import Connection, drive, outcome


class Python1(Connection):
    async def open(self, stack):
        url, token = sys.argv[1:3]
        http = await stack.enter_async_context(httpx.AsyncClient(
            headers={"Authorization": f"Bearer {token}"}, timeout=httpx.Timeout(30, read=300)))
        read, write, _ = await stack.enter_async_context(streamable_http_client(url, http_client=http))
        self.client = await stack.enter_async_context(ClientSession(read, write))
        return (await self.client.initialize()).protocolVersion

    async def tools(self):
        return (await self.client.list_tools()).tools

    async def call(self, tool, args, progress):
        result = await self.client.call_tool(tool, args, progress_callback=progress)
        return outcome(result.isError, result.content, result.structuredContent)


drive(Python1)
