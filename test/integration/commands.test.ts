/** Commands of Debian's packages in programs: the example as it ships, what works, and how processes end with their program. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import path from "node:path";

import { packageRoot } from "../../src/lib/package-info.ts";
import { buildImagesFor, IMAGE_TIMEOUT_MS, TOOLS } from "../helpers/images.ts";
import { TestService } from "../helpers/service.ts";

const example = (name: string): Promise<string> => readFile(path.join(packageRoot, "examples", "commands", name), "utf8");

/** At hand in the programs below: `sh` gives what a shell prints, and how it ended if not well. */
const PRELUDE = `
const cp = require("node:child_process"), fs = require("node:fs");
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
process.chdir("temp");
const start = (command, ...args) => {
  const { error, status, stderr, stdout } = cp.spawnSync(command, args, { encoding: "utf8" });
  if (error) return error.code;
  return status === 0 ? stdout.trim() : status + ": " + (stderr || stdout).trim();
};
const sh = (script) => start("sh", "-c", script);
`;

describe("Commands: the example", () => {
  let service: TestService;
  let code: string;

  before(async function () {
    this.timeout(IMAGE_TIMEOUT_MS);
    code = await example("program.ts");
    const { runtimes } = JSON.parse(await example("runtimes.json")) as { runtimes: Record<string, object> };
    await buildImagesFor(runtimes);
    service = await TestService.start({ runtimes });
  });
  after(() => service.close());

  const expected = (curl: object): object => ({
    log: ["Coffee is dear now", "Opening prices"],
    changes: { coffee: [4, 5], cake: [5, 4], juice: [null, 2] },
    curl,
  });

  it("runs git and jq; curl is not in the image", async () => {
    assert.deepEqual(await service.result(code), expected({ start: "ENOENT", read: "ENOENT" }));
  });

  it("runs git and jq where the runtime has curl too and the request leaves it out; curl can be neither run nor read", async () => {
    const request = { runtime: "git-jq-and-curl", permissions: { system: { allowedCommands: ["git", "jq"] } } };
    assert.deepEqual(await service.result(code, request), expected({ start: "EACCES", read: "EACCES" }));
  });

  it("can run curl where nothing leaves it out, and nobody can read it", async () => {
    assert.deepEqual(await service.result(code, { runtime: "git-jq-and-curl" }), expected({ start: "ok", read: "EACCES" }));
  });
});

describe("Commands", () => {
  let service: TestService;

  before(async function () {
    this.timeout(IMAGE_TIMEOUT_MS);
    const runtimes = { tools: TOOLS, neighbour: {} };
    await buildImagesFor(runtimes);
    service = await TestService.start({ runtimes });
  });
  after(() => service.close());

  const run = (code: string, request: object = {}): ReturnType<TestService["run"]> => service.run(`${PRELUDE} ${code}`, request);
  const result = (code: string, request: object = {}): Promise<unknown> => service.result(`${PRELUDE} ${code}`, request);

  describe("that work", () => {
    it("are git, with everything that it does with a repository of its own", async () => {
      const env = Object.fromEntries(
        ["AUTHOR", "COMMITTER"].flatMap((who) => [
          [`GIT_${who}_NAME`, "a"],
          [`GIT_${who}_EMAIL`, "a@b"],
        ]),
      );
      const steps = [
        "git init --quiet --initial-branch main .",
        "echo one > file; git add file; git commit --quiet --message one",
        "git checkout --quiet -b branch; echo two >> file; git commit --quiet --all --message two",
        "git checkout --quiet main; git merge --quiet branch; git tag v1; git stash list; git gc --quiet; git fsck",
        "git clone --quiet . copy; git -C copy log --format=%s | cat",
      ];
      const outcomes = await result(`return ${JSON.stringify(steps)}.map(sh)`, { env });
      assert.deepEqual(outcomes, ["", "", "", "", "two\none"]);
    });

    it("are pipes, redirections, subshells and background jobs of a shell, and copies that keep their modes", async () => {
      const outcome = await result(
        `return sh('echo "{\\\\"a\\\\":[1,2]}" > x.json; chmod 600 x.json; cp -a x.json y.json; (sleep 0.01; gzip -k y.json) & wait; zcat y.json.gz | jq -c .a; umask')`,
      );
      assert.equal(outcome, "[1,2]\n0022");
    });

    it("are found by name, and Node is among them", async () => {
      assert.deepEqual(await result(`return [process.env.PATH, start("node", "-p", "1 + 1"), start("env", "node", "-p", "2")]`), [
        "/usr/local/bin:/usr/bin:/usr/sbin:/usr/games",
        "2",
        "2",
      ]);
    });

    it("say what is wrong when they need a network", async () => {
      const [curl, git] = (await result(
        `return [start("curl", "-sS", "http://example.com"), start("git", "ls-remote", "https://example.com/x")]`,
      )) as string[];
      assert.match(curl!, /^6: curl: \(6\) Could not resolve host: example\.com$/);
      assert.match(git!, /^128: .*Could not resolve host: example\.com$/s);
    });
  });

  describe("that a request leaves out", () => {
    const narrowed = { permissions: { fileSystem: { execute: [] }, system: { allowedCommands: ["sh", "cat"] } } };

    it("are masked for this execution alone", async () => {
      const code = `return [start("cat", "/proc/self/comm"), sh("jq -n 1"), start("jq", "-n", "1"), start("/usr/lib/git-core/git-submodule")]`;
      const [narrow, wide] = await Promise.all([result(code, narrowed), result(code)]);
      const [cat, inShell, ...masked] = narrow as string[];
      assert.deepEqual([cat, ...masked], ["cat", "EACCES", "EACCES"]);
      assert.match(inShell!, /^12[67]: sh: 1: jq: Permission denied$/);
      assert.deepEqual((wide as string[]).slice(0, 3), ["cat", "1", "1"]);
    });

    it("are all masked without a second process", async () => {
      const code = `return [start("cat"), start("node"), process.getgroups().length, process.env.PATH ?? null]`;
      assert.deepEqual(await result(code, { permissions: { system: { maxProcesses: 1 } } }), ["EPERM", "EPERM", 1, null]);
    });
  });

  describe("at the end of their program", () => {
    it("are gone, whoever holds the output open and whatever still writes to it", async () => {
      for (const command of ["sleep 100", "yes", "yes >&2", "sleep 100 & exit"]) {
        const { error, status, truncated, usage } = await run(
          `cp.spawn("sh", ["-c", ${JSON.stringify(command)}], { stdio: "inherit", detached: true }).unref(); await wait(100); return 1;`,
          { limits: { outputBytes: 4 * 2 ** 20 } },
        );
        assert.equal(status, "completed", JSON.stringify(error));
        assert.ok(usage.runMs < 2000, `${command}: ${usage.runMs} ms`);
        if (command.startsWith("sleep")) assert.deepEqual(truncated, { stdout: false, stderr: false }, command);
      }
    });

    it("write nothing more into output files, however deep they were started", async () => {
      // Both files grow in step. Between them in the archive lies one that takes a while to send.
      const { files, result: grown } = await run(
        `fs.writeFileSync("m", Buffer.alloc(8 * 2 ** 20));
         const loop = "while :; do echo x >> a; echo x >> z; done";
         cp.spawnSync("sh", ["-c", "(sh -c '" + loop + "' &) ; exit"], { stdio: "ignore" });
         await wait(200);
         return fs.statSync("a").size;`,
        { outputFiles: ["temp/a", "temp/m", "temp/z"] },
      );
      const [a, m, z] = files.map((file) => ("content" in file ? file.content : ""));
      assert.equal(files.length, 3);
      assert.ok((grown as number) > 0 && a!.length >= (grown as number));
      assert.ok(m!.length > 0 && Math.abs(z!.length - a!.length) <= 2, `${a!.length} and ${z!.length} bytes`);
      assert.match(z!, /^(x\n)+$/);
    });

    it("are waited for where the program has no result of its own", async () => {
      const { result: none, stdout } = await run(`cp.spawn("sh", ["-c", "sleep 0.1; echo done"], { stdio: "inherit" });`);
      assert.deepEqual([none, stdout], [null, "done\n"]);
    });

    it("end with it at the deadline, at a crash, and when it becomes another program", async () => {
      const child = `cp.spawn("sleep", ["100"], { stdio: "inherit" }); await wait(50);`;
      const [late, crashed, replaced] = await Promise.all([
        run(`${child} await wait(60_000);`, { timeoutMs: 700 }),
        run(`${child} process.abort();`),
        run(`process.execve("/usr/bin/jq", ["jq", "-n", "1 + 1"], {});`),
      ]);
      assert.deepEqual([late.status, crashed.status, replaced.status], ["timed_out", "killed", "completed"]);
      assert.equal(replaced.stdout, "2\n");
    });
  });

  it("cannot stop or kill the runner", async () => {
    const signals = [
      "KILL",
      "STOP",
      "TERM",
      "INT",
      "HUP",
      "QUIT",
      "ABRT",
      "SEGV",
      "TSTP",
      "USR1",
      "USR2",
      "PIPE",
      "ALRM",
      "VTALRM",
      "PROF",
      "SYS",
    ];
    assert.equal(
      await result(
        `const outcomes = ${JSON.stringify(signals)}.map((signal) => sh("kill -" + signal + " 1; echo $?")); await wait(20); return outcomes.join("");`,
      ),
      "0".repeat(signals.length),
    );
  });

  it("that take too much memory end alone, where they take more than the program", async () => {
    const code = `const { signal, status } = cp.spawnSync("node", ["-e", "const all = []; for (;;) all.push(Buffer.alloc(1e7, 1))"]); return [status, signal];`;
    assert.deepEqual(await result(code, { limits: { memory: "192MB" } }), [null, "SIGKILL"]);
  });
});
