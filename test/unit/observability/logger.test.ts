import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import path from "node:path";
import { promisify } from "node:util";

import { packageRoot } from "../../../src/lib/package-info.ts";

const module = path.join(packageRoot, "src", "observability", "logger.ts");

/** Runs a piece of code with a logger, in a process of its own: a logger writes to the process's stderr. */
async function logged(pretty: boolean, code: string): Promise<{ stdout: string; stderr: string }> {
  const program = `import { createLogger } from ${JSON.stringify(module)}; const log = createLogger({ level: "info", pretty: ${pretty} }); ${code}`;
  return promisify(execFile)(process.execPath, ["--import", "tsx", "--input-type=module", "--eval", program], { cwd: packageRoot });
}

describe("logger: the service's log", function () {
  this.slow(5000);

  it("is JSON lines on stderr, with secrets cut out by name and levels below the set one left out", async () => {
    const { stderr, stdout } = await logged(
      false,
      `log.info({ req: { headers: { authorization: "Bearer s3cret", cookie: "s3cret" } }, a: { apiKey: "s3cret", token: "s3cret", password: "s3cret", secret: "s3cret", key: "s3cret", authorization: "s3cret" }, kept: "kept" }, "hello\\nworld");
       log.debug("too fine");`,
    );
    assert.equal(stdout, "");
    const lines = stderr.trim().split("\n");
    assert.equal(lines.length, 1);
    const { a, kept, msg, req } = JSON.parse(lines[0]!) as {
      a: Record<string, string>;
      kept: string;
      msg: string;
      req: { headers: Record<string, string> };
    };
    assert.deepEqual([kept, msg], ["kept", "hello\nworld"]);
    assert.ok(!stderr.includes("s3cret"));
    for (const value of [...Object.values(a), ...Object.values(req.headers)]) assert.equal(value, "[redacted]");
  });

  it("in a terminal shows no control character of what it logs, so that nothing can forge a line", async () => {
    const { stderr } = await logged(
      true,
      `log.info({ what: "a\\u001b[2Jb" }, "logged"); await new Promise((resolve) => setTimeout(resolve, 300));`,
    );
    assert.match(stderr, /logged/);
    assert.ok(!stderr.includes("\u001b[2J"));
  });
});
