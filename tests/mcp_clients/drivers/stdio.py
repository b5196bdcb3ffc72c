"""The Python SDK, version 2, and a server that it starts itself: COMMAND WORD..., with this environment"""
import os
import sys

from mcp import Client, StdioServerParameters

from driven import drive
from python_2 import Python2


class Stdio(Python2):
    async def open(self, stack):
        command, *words = sys.argv[1:]
        names = ("AGENTPASS_URL", "AGENT_TOKEN", "AGENTPASS_PIN")
        environment = {name: os.environ[name] for name in names}
        server = StdioServerParameters(command=command, args=words, env=environment)
        self.client = await stack.enter_async_context(Client(server))
        return self.client.protocol_version


drive(Stdio)
