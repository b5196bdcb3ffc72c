"""Commands from standard input, one JSON object a line, for a client to carry out; each gets an answer on standard output.

`open` begins a connection (again), `list` and `call` use it; `together` makes each of its calls over a connection of its
own, all at once. Progress is told as it comes, in lines before the answer."""
import asyncio
import contextlib
import json
import sys


class Connection:
    """What each SDK has to do."""

    async def open(self, stack):
        raise NotImplementedError

    async def tools(self):
        raise NotImplementedError

    async def call(self, tool, args, progress):
        raise NotImplementedError


def outcome(is_error, content, structured):
    return {"is_error": bool(is_error), "text": "".join(block.text for block in content), "data": structured}


def reason(error):
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


async def _call(connection, tool, args, wants_progress=False):
    told = []

    async def progress(done, total, message):
        told.append(message)
        print(json.dumps({"waiting": message}), flush=True)

    result = await connection.call(tool, args, progress if wants_progress else None)
    return {**result, "progress": told}


async def _alone(kind, call):
    async with contextlib.AsyncExitStack() as stack:
        connection = kind()
        await connection.open(stack)
        return await _call(connection, **call)


class _Driver:
    def __init__(self, kind):
        self.kind, self.owes = kind, False

    async def command(self):
        """The next command; None at the end."""
        line = await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        self.owes = bool(line)
        return json.loads(line) if line else None

    def say(self, what):
        self.owes = False
        print(json.dumps(what), flush=True)

    async def carry_out(self, connection, command):
        what = command.pop("do")
        if what == "list":
            return {"tools": [tool.name for tool in await connection.tools()]}
        if what == "together":
            return {"results": await asyncio.gather(*(_alone(self.kind, call) for call in command["calls"]))}
        return await _call(connection, **command)

    async def session(self):
        """One connection, until the next is to be opened. False: nothing more is to be done."""
        async with contextlib.AsyncExitStack() as stack:
            connection = self.kind()
            self.say({"version": await connection.open(stack)})
            while command := await self.command():
                if command["do"] == "open":
                    return True
                try:
                    self.say(await self.carry_out(connection, command))
                except Exception as error:
                    self.say({"failed": reason(error)})
        return False

    async def run(self):
        command = await self.command()
        while command:
            again = False
            if command["do"] == "open":
                try:
                    again = await self.session()
                except BaseException as error:
                    # A connection that ends by itself takes the command with it.
                    if self.owes:
                        self.say({"failed": reason(error)})
                command = {"do": "open"} if again else await self.command()
            else:
                self.say({"failed": "there is no connection"})
                command = await self.command()


def drive(kind):
    asyncio.run(_Driver(kind).run())
