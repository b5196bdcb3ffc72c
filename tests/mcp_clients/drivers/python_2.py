"""The Python SDK, version 2: URL TOKEN MODE"""
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from driven import Connection, drive, outcome


class Python2(Connection):
    async def open(self, stack):
        url, token, mode = sys.argv[1:4]
        http = await stack.enter_async_context(httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {token}"}, timeout=httpx2.Timeout(30, read=300)))
        self.client = await stack.enter_async_context(Client(streamable_http_client(url, http_client=http), mode=mode))
        return self.client.protocol_version

    async def tools(self):
        return (await self.client.list_tools()).tools

    async def call(self, tool, args, progress):
        result = await self.client.call_tool(tool, args, progress_callback=progress)
        return outcome(result.is_error, result.content, result.structured_content)


if __name__ == "__main__":
    drive(Python2)
