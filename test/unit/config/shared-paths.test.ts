import assert from "node:assert/strict";
import { mkdir, symlink } from "node:fs/promises";
import path from "node:path";

import { parseMcpServers } from "../../../src/config/mcp-servers-file.ts";
import { findSharedPaths } from "../../../src/config/mcp-servers/shared-paths.ts";
import { parseRuntimes } from "../../../src/config/runtimes-file.ts";
import { useTempFolder } from "../support/temp-folder.ts";

const { runtimes } = parseRuntimes(
  JSON.stringify({ runtimes: { node: { permissions: { fileSystem: { read: ["./data"], write: ["./temp"] } } } } }),
  "runtimes.json",
);

describe("shared-paths: what servers and programs have both", () => {
  const folder = useTempFolder();

  async function sharedBy(settings: object): Promise<string[]> {
    const { servers } = parseMcpServers(
      JSON.stringify({ mcpServers: { x: settings } }),
      path.join(folder(), "config", "mcp-servers.json"),
      {
        variable: () => undefined,
        timeoutMs: 1,
      },
    );
    return findSharedPaths(servers, runtimes, path.join(folder(), "workspace"));
  }
  beforeEach(async () => {
    await mkdir(path.join(folder(), "workspace", "data"), { recursive: true });
    await symlink(path.join(folder(), "workspace", "data"), path.join(folder(), "link"));
  });

  for (const [title, settings, setting] of [
    ["the folder itself", { args: ["FOLDER/workspace/data"] }, "args.0"],
    ["a file in it that is not there yet", { env: { FILE: "FOLDER/workspace/data/memory.json" } }, "env.FILE"],
    ["a folder around it", { args: ["--root=FOLDER/workspace"] }, "args.0"],
    ["everything", { args: ["-y", "server", "/"] }, "args.2"],
    ["a link to it", { args: ["FOLDER/link"] }, "args.0"],
    ["what a container mounts", { args: ["-v", "FOLDER/workspace/data:/data"] }, "args.1"],
    ["its working directory", { cwd: "../workspace" }, "cwd"],
    ["a path from its working directory", { cwd: "..", args: ["./workspace/data"] }, "args.0"],
  ] as const) {
    it(`are told: ${title}`, async () => {
      const text = JSON.stringify({ command: "server", ...settings }).replaceAll("FOLDER", folder());
      const warnings = await sharedBy(JSON.parse(text) as object);
      assert.ok(warnings.length > 0);
      assert.match(
        warnings.at(-1)!,
        new RegExp(
          `^mcp-servers\\.json: mcpServers\\.x\\.${setting}: the server is given what programs can read \\(runtimes\\.node\\.permissions\\.fileSystem\\.read: data\\)`,
        ),
      );
      assert.ok(!warnings.join().includes(folder()), "no value is repeated");
    });
  }

  it("are not told of what is beside it, of what programs write, or of what is no path", async () => {
    for (const args of [[`${folder()}/workspace/data2`], [`${folder()}/workspace/temp`], ["data"], ["@scope/server"], ["https://x/data"]])
      assert.deepEqual(await sharedBy({ command: "server", args }), [], args[0]);
    assert.deepEqual(await sharedBy({ url: "http://localhost/" }), []);
  });
});
