// The TypeScript SDK: URL TOKEN 1|2|2-auto. Commands as driven.py has them.
import { createInterface } from "node:readline";

const [url, token, version] = process.argv.slice(2);
const [{ Client }, { StreamableHTTPClientTransport }] =
  version === "1"
    ? await Promise.all([
        import("@modelcontextprotocol/sdk/client/index.js"),
        import("@modelcontextprotocol/sdk/client/streamableHttp.js"),
      ])
    : await import("@modelcontextprotocol/client").then((sdk) => [sdk, sdk]);
const options = version === "2-auto" ? { versionNegotiation: { mode: "auto" } } : {};

async function open() {
  const client = new Client({ name: "trial", version: "1" }, options);
  const headers = { Authorization: `Bearer ${token}` };
  const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
  await client.connect(transport);
  return client;
}

async function call(client, { tool, args, wants_progress }) {
  const progress = [];
  const onprogress = ({ message }) => {
    progress.push(message);
    console.log(JSON.stringify({ waiting: message }));
  };
  const more = wants_progress ? { onprogress, resetTimeoutOnProgress: true } : {};
  const params = { name: tool, arguments: args };
  const result = await (version === "1" ? client.callTool(params, undefined, more) : client.callTool(params, more));
  const text = result.content.map((block) => block.text).join("");
  return { is_error: result.isError ?? false, text, data: result.structuredContent ?? null, progress };
}

async function alone(one) {
  const client = await open();
  const result = await call(client, one);
  await client.close();
  return result;
}

let client;

async function carryOut(command) {
  if (command.do === "open") {
    await client?.close();
    client = await open();
    return { version: client.getNegotiatedProtocolVersion?.() ?? null };
  }
  if (command.do === "list") return { tools: (await client.listTools()).tools.map((tool) => tool.name) };
  if (command.do === "together") return { results: await Promise.all(command.calls.map(alone)) };
  return await call(client, command);
}

for await (const line of createInterface({ input: process.stdin })) {
  const said = await carryOut(JSON.parse(line)).catch((error) => ({ failed: `${error}` }));
  console.log(JSON.stringify(said));
}
process.exit(0);
