/** The configuration of the integration plan, as it is written there: it loads unchanged, and what it allows works. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import path from "node:path";

import { packageRoot } from "../../src/lib/package-info.ts";
import { buildImagesFor, IMAGE_TIMEOUT_MS } from "../helpers/images.ts";
import { TestService } from "../helpers/service.ts";
import type { ErrorBody } from "../helpers/service.ts";

/** Its hosts cannot be reached yet, so each request does without them. */
const NO_HOSTS = { permissions: { network: { allowedHosts: [] } } };

describe("The plan's own runtime", () => {
  let service: TestService;

  before(async function () {
    this.timeout(IMAGE_TIMEOUT_MS);
    const text = await readFile(path.join(packageRoot, "examples", "plan", "runtimes.json"), "utf8");
    const { runtimes } = JSON.parse(text) as { runtimes: Record<string, object> };
    await buildImagesFor(runtimes);
    service = await TestService.start({ runtimes });
  });
  after(() => service.close());

  it("runs TypeScript on Node 22, with the modules and folders that it allows", async () => {
    const code = `
      import path from "path";
      import { readFileSync, writeFileSync } from "fs";
      enum Kind { Sum = "sum" }
      const numbers: number[] = readFileSync(path.join("data", "numbers.txt"), "utf8").trim().split("\\n").map(Number);
      writeFileSync("temp/out.txt", Kind.Sum);
      return { kind: readFileSync("temp/out.txt", "utf8"), sum: numbers.reduce((a, b) => a + b, 0), node: process.version.split(".")[0] };`;
    assert.deepEqual(await service.result(code, NO_HOSTS), { kind: "sum", sum: 6, node: "v22" });
  });

  it("refuses other modules, code from strings, and what is not writable", async () => {
    const attempts = ['await import("net");', 'eval("1");', 'new Function("return 1")();', 'require("fs").writeFileSync("data/x", "");'];
    const executions = await Promise.all(attempts.map((code) => service.run(code, NO_HOSTS)));
    assert.deepEqual(
      executions.map(({ error, status }) => `${status}: ${error?.name ?? ""}`),
      ["failed: Error", "failed: EvalError", "failed: EvalError", "failed: Error"],
    );
    assert.match(executions[0]?.error?.message ?? "", /"net" is not allowed here\. Allowed: path, fs/);
    assert.match(executions[3]?.error?.message ?? "", /^EROFS/);
  });

  it("says that its hosts cannot be reached yet, where a request does not do without them", async () => {
    const { body, status } = await service.post<ErrorBody>({ code: "return 1" });
    assert.equal(status, 503, JSON.stringify(body));
    assert.match(JSON.stringify(body.error), /permissions\.network\.allowedHosts/);
  });

  it("warns in the log of what it asks for and does not get", () => {
    const log = service.logLines.join("\n");
    assert.match(log, /Node 18 is past its end of life; programs run on Node 22/);
    assert.match(log, /\\"vm2\\" is no security boundary/);
  });
});
