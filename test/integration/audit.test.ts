/** The audit log of a running service: what gets there, who may read it, and what happens when it cannot be written. */

import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";

import { hashKey } from "../../src/domain/caller.ts";
import type { AuditEntry } from "../../src/domain/audit-event.ts";
import { packageRoot } from "../../src/lib/package-info.ts";
import { autoMemStdio } from "../helpers/mcp-servers.ts";
import { eventually, TestService } from "../helpers/service.ts";
import type { Answer, ErrorBody } from "../helpers/service.ts";

interface Page {
  readonly entries: AuditEntry[];
  readonly nextCursor: number | null;
}

const entryOf = (name: string, scopes: readonly string[]): object => ({ name, sha256: hashKey(`${name}-0123456789`), scopes });
const keyOf = (name: string): RequestInit => ({ headers: { authorization: `Bearer ${name}-0123456789` } });

describe("Audit log", () => {
  let service: TestService;
  const run = (code: string, more: object = {}): Promise<Answer> => service.post({ code, ...more }, keyOf("alice"));
  const audit = async (query = ""): Promise<Page> => (await service.get<Page>(`/v1/audit${query}`, keyOf("auditor"))).body;
  const latest = async (type: string): Promise<AuditEntry | undefined> => (await audit(`?type=${type}&limit=1`)).entries[0];

  before(async () => {
    service = await TestService.start({
      mcpServers: { automem: { ...autoMemStdio("http://127.0.0.1:9", "a-server's-secret"), command: "code-mode-no-such-command" } },
      prepare: (workspace) =>
        writeFile(
          path.join(workspace, "..", "config", "keys.json"),
          JSON.stringify([entryOf("alice", ["execute"]), entryOf("auditor", ["audit"])]),
          { mode: 0o600 },
        ),
    });
  });
  after(() => service.close());

  it("has each execution, its calls and its denials, with who and without what", async () => {
    const code = `
      try { await automem.recall_memory("an-argument"); } catch { /* it is down */ }
      try { require("node:fs").writeFileSync("/etc/x", "content-of-a-file"); } catch { /* denied */ }
      console.log("what-is-printed", process.env.NAME);
      return "a-result";`;
    const { body } = await run(code, { env: { NAME: "a-variable" } });
    assert.equal(body.result, "a-result");
    const { entries } = await audit();
    const own = entries.filter(({ executionId }) => executionId === body.id).reverse();
    assert.deepEqual(
      own.map(({ type, who }) => [type, who]),
      ["execution.started", "tool.call", "denial", "execution.ended"].map((type) => [type, "alice"]),
    );
    const [begun, call, denial, ended] = own;
    assert.match(String(begun?.["codeSha256"]), /^[0-9a-f]{64}$/);
    assert.deepEqual([call?.["server"], call?.["tool"], call?.["errorCode"]], ["automem", "recall_memory", "TOOL_UNAVAILABLE"]);
    assert.deepEqual([denial?.["kind"], denial?.["what"]], ["file", "/etc/x"]);
    assert.deepEqual([ended?.["status"], ended?.["toolCalls"]], ["completed", 1]);

    const folder = path.join(service.folder, "audit");
    const texts = await Promise.all((await readdir(folder)).map((name) => readFile(path.join(folder, name), "utf8")));
    for (const secret of [
      "an-argument",
      "content-of-a-file",
      "what-is-printed",
      "a-variable",
      "a-result",
      "a-server's-secret",
      "0123456789",
    ])
      assert.ok(!texts.join("").includes(secret), secret);
  });

  it("has requests that were refused, keys that were wrong, and changes of the configuration", async () => {
    await run("return 1", { permissions: { fileSystem: { read: ["./secret"] } } });
    const widening = await latest("request.refused");
    assert.deepEqual([widening?.["who"], widening?.["code"]], ["alice", "PERMISSION_WIDENING"]);
    await service.get("/v1/executions", keyOf("stranger"));
    const failed = await latest("authentication.failed");
    assert.match(String(failed?.["address"]), /127\.0\.0\.1/);
    await service.writeRuntimes("{");
    await service.reload();
    assert.deepEqual((await latest("configuration.reloaded"))?.["ok"], false);
    assert.equal((await latest("server.state"))?.["server"], "automem");
  });

  it("is read by keys with its scope only, page by page", async () => {
    for (const [name, status] of [
      ["alice", 403],
      ["auditor", 200],
      ["stranger", 401],
    ] as const)
      assert.equal((await service.get("/v1/audit", keyOf(name))).status, status, name);
    const seen: number[] = [];
    for (let cursor: number | null | undefined; cursor !== null;) {
      const page = await audit(`?limit=3${cursor === undefined ? "" : `&cursor=${cursor}`}`);
      seen.push(...page.entries.map(({ seq }) => seq));
      cursor = page.nextCursor;
    }
    assert.deepEqual(
      seen,
      Array.from(seen, (_, index) => seen.length - index),
    );
    assert.deepEqual(await audit(`?since=${new Date(Date.now() + 60_000).toISOString()}`), { entries: [], nextCursor: null });
  });

  for (const [query, field] of [
    ["limit=0", "limit"],
    ["limit=1001", "limit"],
    ["type=nothing", "type"],
    ["since=yesterday", "since"],
    ["cursor=x", "cursor"],
    ["before=1", "before"],
  ] as const) {
    it(`says what is wrong with ?${query}`, async () => {
      const { body, status } = await service.get<ErrorBody>(`/v1/audit?${query}`, keyOf("auditor"));
      assert.deepEqual([status, body.error.code], [400, "INVALID_REQUEST"]);
      assert.ok(body.error.message.includes(field), body.error.message);
    });
  }

  it("can be verified while it is written, by a command that tells what is wrong by its exit code", async () => {
    const verify = (...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> =>
      promisify(execFile)(
        process.execPath,
        [
          path.join(packageRoot, "dist", "main.js"),
          "audit",
          "verify",
          "--dir",
          path.join(service.folder, "audit"),
          "--key-file",
          path.join(service.folder, "audit-key", "audit.key"),
          ...args,
        ],
        { env: { PATH: process.env["PATH"], HOME: service.folder } },
      ).then(
        (ended) => ({ code: 0, ...ended }),
        (error: unknown) => error as { code: number; stdout: string; stderr: string },
      );
    const whole = await verify();
    assert.equal(whole.code, 0, whole.stderr);
    assert.match(whole.stdout, /^\d+ lines in 1 chain: whole, and as they were written\n$/);

    const [name = ""] = await readdir(path.join(service.folder, "audit"));
    const file = path.join(service.folder, "audit", name);
    const text = await readFile(file, "utf8");
    // In place: the service goes on writing to this file.
    await writeFile(file, text.replace('"who":"alice"', '"who":"malle"'), { flag: "r+" });
    const changed = await verify();
    assert.equal(changed.code, 1);
    assert.match(changed.stdout, /^audit-1-000000000001\.jsonl:\d+: line \d+ of chain 1: it was changed/);
    const report = JSON.parse((await verify("--json")).stdout) as { problems: unknown[] };
    assert.equal(report.problems.length, 1);
    await writeFile(file, text, { flag: "r+" });
    const missing = await verify("--key-file", path.join(service.folder, "no.key"));
    assert.equal(missing.code, 78);
    assert.match(missing.stderr, /CODE_MODE_AUDIT_KEY_FILE: .*cannot be opened/);
  });
});

describe("Audit log on a full disk", () => {
  let disk = "";

  const start = async (env: Record<string, string>): Promise<TestService> =>
    TestService.start({
      env,
      prepare: async (workspace) => {
        disk = path.join(workspace, "..", "audit");
        await mkdir(disk);
        execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]);
      },
    });
  const fill = (): void => {
    // Ends with the disk.
    execFileSync("sh", ["-c", 'cat /dev/zero > "$0/ballast" 2>/dev/null || true', disk]);
  };
  const unmount = (): void => {
    execFileSync("umount", [disk]);
  };
  before(function () {
    // Only root can mount the small disk.
    if (process.getuid?.() !== 0) this.skip();
  });
  it("runs nothing, says so, and goes on by itself when there is room", async () => {
    const own = await start({});
    try {
      assert.equal(await own.result("return 1"), 1);
      fill();
      // Until the disk's last page is full, lines still fit.
      await eventually("an execution is refused", async () => (await own.post({ code: "return 1" })).status === 503, 30_000);
      const { body, headers, status } = await own.post<ErrorBody>({ code: "return 1" });
      assert.deepEqual([status, body.error.code, headers.get("retry-after")], [503, "AUDIT_UNAVAILABLE", "5"]);
      const health = await own.get<{ status: string; audit: { problem: string; refuses: boolean } }>("/health");
      assert.deepEqual([health.status, health.body.status, health.body.audit.refuses], [503, "down", true]);
      assert.match(health.body.audit.problem, /ENOSPC/);
      await rm(path.join(disk, "ballast"));
      await eventually("executions are taken again", async () => (await own.post({ code: "return 1" })).status === 200);
      assert.equal((await own.get("/health")).status, 200);
    } finally {
      await own.close(unmount);
    }
  });

  it("goes on where the operator wants that, and has every line in the end", async () => {
    const own = await start({ CODE_MODE_AUDIT_ON_FAILURE: "continue" });
    try {
      fill();
      for (let index = 0; index < 10; index += 1) assert.equal(await own.result("return 1"), 1);
      await eventually("it is noticed", async () => {
        const { body } = await own.get<{ audit: { problem?: string } }>("/health");
        return body.audit.problem !== undefined;
      });
      await rm(path.join(disk, "ballast"));
      await eventually("all is written", async () => {
        const { body } = await own.get<{ audit: { problem?: string; waiting: number } }>("/health");
        return body.audit.problem === undefined && body.audit.waiting === 0;
      });
      const { body } = await own.get<Page>("/v1/audit?type=execution.ended");
      assert.equal(body.entries.length, 10);
    } finally {
      await own.close(unmount);
    }
  });
});
