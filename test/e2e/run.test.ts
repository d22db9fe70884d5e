/** `code-mode run` and `code-mode init` as commands: what comes out, how they exit, and that they leave nothing. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import path from "node:path";

import { executionSchema } from "../../src/domain/execution.ts";
import { packageRoot } from "../../src/lib/package-info.ts";
import { LABEL } from "../../src/sandbox/docker/labels.ts";
import { docker, eventually, makeTempFolder, TestService, writeSetUp } from "../helpers/service.ts";

const MAIN = path.join(packageRoot, "dist", "main.js");

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

interface Running {
  readonly child: ChildProcessWithoutNullStreams;
  readonly ended: Promise<Ended>;
  /** What was printed so far. */
  stdout(): string;
}

interface Started {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string | Buffer;
  /** Leaves stdin open. */
  readonly keepOpen?: boolean;
}

describe("Run command", function () {
  this.timeout(60_000);
  let folder: string;
  let env: Record<string, string>;

  before(async () => {
    folder = await makeTempFolder();
    // What another instance of this machine left behind is a warning of whoever removes it: not a matter of these tests.
    env = { ...(await writeSetUp(folder)), LOG_LEVEL: "error" };
  });
  after(() => rm(folder, { recursive: true, force: true }));
  afterEach(async () => {
    assert.deepEqual(await ownContainers(), [], "containers are left");
    assert.deepEqual(await readdir(path.join(folder, "state")), [], "the state folder is not empty");
  });

  async function ownContainers(): Promise<string[]> {
    const containers = await docker.listContainers({ all: true, filters: { label: [LABEL.instance] } });
    return containers.filter(({ Labels: labels }) => labels[LABEL.runDirectory]?.startsWith(folder)).map(({ Id }) => Id);
  }

  function start(args: readonly string[], options: Started = {}): Running {
    const child = spawn(process.execPath, [MAIN, ...args], {
      cwd: options.cwd ?? folder,
      env: { PATH: process.env["PATH"], HOME: folder, ...env, ...options.env },
    });
    const chunks = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
    for (const stream of ["stdout", "stderr"] as const) child[stream].on("data", (chunk: Buffer) => chunks[stream].push(chunk));
    child.stdin.on("error", () => undefined);
    if (options.keepOpen !== true) child.stdin.end(options.input ?? "");
    const text = (stream: "stdout" | "stderr"): string => Buffer.concat(chunks[stream]).toString();
    const ended = once(child, "close").then(([code, signal]) => ({
      code: code as number | null,
      signal: signal as NodeJS.Signals | null,
      stdout: Buffer.concat(chunks.stdout),
      stderr: text("stderr"),
    }));
    return { child, ended, stdout: () => text("stdout") };
  }

  const execute = (args: readonly string[], options: Started = {}): Promise<Ended> => start(args, options).ended;
  /** Runs a program that is given as text. */
  const runText = (code: string, ...args: string[]): Promise<Ended> => execute(["run", "-", ...args], { input: code });

  async function write(name: string, text: string): Promise<string> {
    await mkdir(path.dirname(path.join(folder, name)), { recursive: true });
    await writeFile(path.join(folder, name), text);
    return path.join(folder, name);
  }

  it("prints what the program prints as it comes, byte for byte, then the result; nothing else", async () => {
    const file = await write(
      "live.ts",
      `import fs from "node:fs";
      fs.writeSync(1, Buffer.from([0xff, 0x00, 0x1b, 0x0a]));
      console.error("to stderr");
      await new Promise((resolve) => setTimeout(resolve, 2000));
      process.stdout.write("no newline");
      return { args: process.argv.slice(2), name: process.env.NAME, stdin: fs.readFileSync(0, "utf8") };`,
    );
    const running = start(["run", file, "--env", "NAME=x=y", "--", "--json", "a b"], { input: "piped\n" });
    let over = false;
    void running.ended.then(() => (over = true));
    await eventually("the first line is there", () => running.stdout().includes("\n"), 30_000);
    const cameAt = performance.now();
    assert.ok(!over, "the first line came with the end");
    const { code, stderr, stdout } = await running.ended;
    assert.ok(performance.now() - cameAt > 1000, "the first line came late");
    assert.equal(code, 0, stderr);
    assert.equal(stderr, "to stderr\n");
    assert.deepEqual(stdout.subarray(0, 4), Buffer.from([0xff, 0x00, 0x1b, 0x0a]));
    assert.equal(stdout.subarray(4).toString(), 'no newline\n{"args":["--json","a b"],"name":"x=y","stdin":"piped\\n"}\n');
  });

  it("exits as the program does, and says why it was ended", async () => {
    const endings: readonly (readonly [string, readonly string[], number, RegExp])[] = [
      ["process.exit(7)", [], 7, /^$/],
      ["\n\nnull.x;", [], 1, /^TypeError: .*\n\s+at main\.ts:3:\d+\n$/],
      ["\nconst = 1", [], 1, /main\.ts:2/],
      ["await new Promise((resolve) => setTimeout(resolve, 9000))", ["--timeout", "300ms"], 124, /longer than 300 ms/],
      ["const a = []; for (;;) a.push(Buffer.alloc(1e7, 1));", ["--memory", "64MB"], 137, /memory/],
      // Both are above what a caller of a service could ask for.
      ["return 1", ["--timeout", "2m", "--memory", "600MB"], 0, /^$/],
    ];
    const check = async ([program, args, expected, told]: (typeof endings)[number]): Promise<void> => {
      const { code, stderr } = await runText(program, ...args);
      assert.equal(code, expected, `${program}: ${stderr}`);
      assert.match(stderr, told);
    };
    for (let index = 0; index < endings.length; index += 3) await Promise.all(endings.slice(index, index + 3).map(check));
  });

  it("prints the execution of the API with --json, and nothing else", async () => {
    const { code, stderr, stdout } = await runText(
      'console.log("printed"); console.error("e"); process.exitCode = 3; return [1];',
      "--json",
    );
    const execution = executionSchema.parse(JSON.parse(stdout.toString()));
    assert.deepEqual([code, stderr], [3, ""]);
    assert.deepEqual(
      [execution.status, execution.result, execution.stdout, execution.stderr, execution.exitCode],
      ["failed", [1], "printed\n", "e\n", 3],
    );
  });

  it("takes files and folders along, and brings files back", async () => {
    await write("exports/2025/a.csv", "1\n");
    await write("exports/2025/deep/b.csv", "2\n");
    const file = await write(
      "report.ts",
      `import fs from "node:fs";
      const text = ["in/a.csv", "in/deep/b.csv", "report.ts"].map((name) => fs.readFileSync(name, "utf8").length);
      fs.mkdirSync("temp/sub");
      fs.writeFileSync("temp/sub/out.txt", text.join());
      fs.writeFileSync("temp/other.log", "");`,
    );
    const ended = await execute([
      "run",
      file,
      "--input",
      "in=exports/2025",
      "--input",
      file,
      "--out",
      "results",
      "--output",
      "temp/**/*.txt",
    ]);
    assert.deepEqual([ended.code, ended.stderr, ended.stdout.toString()], [0, "", ""]);
    assert.deepEqual(await readdir(path.join(folder, "results"), { recursive: true }), ["temp", "temp/sub", "temp/sub/out.txt"]);
    assert.match(await readFile(path.join(folder, "results/temp/sub/out.txt"), "utf8"), /^2,2,\d+$/);

    const again = await execute(["run", file, "--out", "results"]);
    assert.equal(again.code, 2);
    assert.match(again.stderr, /^error: --out results: the folder is not empty/);
  });

  it("exits with 73 when the program completed and a file of it could not be had", async () => {
    const { code, stderr } = await runText('require("node:fs").symlinkSync("/etc/passwd", "temp/link");', "--out", "linked");
    assert.equal(code, 73);
    assert.match(stderr, /^code-mode: output file "temp\/link": is no regular file\n$/);
    assert.deepEqual(await readdir(path.join(folder, "linked")), []);
  });

  it("says what the program was refused, and what would allow it", async () => {
    const { code, stderr } = await runText('try { require("node:fs").writeFileSync("data/x", ""); } catch {}');
    assert.equal(code, 0);
    assert.match(stderr, /^code-mode: refused: data\/x; what would allow it: runtimes\.node\.permissions\.fileSystem\.write/);
  });

  it("exits with 2 for what makes no sense, and says what would", async () => {
    const jsx = await write("x.tsx", "");
    await write("exports/x", "");
    const cases: readonly (readonly [readonly string[], RegExp])[] = [
      [["missing.ts"], /^error: missing\.ts: there is no such file\n$/],
      [[jsx], /JSX is not understood/],
      [["-", "--runtime", "nonesuch"], /there is no such runtime\. There are: node/],
      [["-", "--output", "x"], /--output PATTERN needs --out FOLDER/],
      [["-", "--output", "../x", "--json"], /--output: the path contains "\.\."/],
      [["-", "--input", "data=exports"], /"data\/.*lies in the readable path "data"/],
      [["-", "--memory", "1MB"], /--memory: must be at least 64MB/],
    ];
    const check = async ([args, told]: (typeof cases)[number]): Promise<void> => {
      const { code, stderr, stdout } = await execute(["run", ...args], { input: "return 1" });
      assert.equal(code, 2, `${args.join(" ")}: ${stderr}`);
      assert.match(stderr, told);
      assert.equal(stdout.byteLength, 0);
    };
    await Promise.all(cases.map(check));
  });

  it("exits with 78 and runs nothing where a host is asked for, or the set-up is wrong", async () => {
    const [asked, noEngine] = await Promise.all([
      runText('console.log("ran")', "--allow-host", "example.com"),
      execute(["run", "-"], { input: "return 1", env: { DOCKER_HOST: "unix:///nowhere.sock" } }),
    ]);
    assert.deepEqual([asked.code, asked.stdout.byteLength], [78, 0]);
    assert.match(asked.stderr, /--allow-host: programs cannot reach the network yet, so this one was not run/);
    assert.equal(noEngine.code, 78);
    assert.match(noEngine.stderr, /no container engine at unix:\/\/\/nowhere\.sock: it is not running/);
  });

  const SLEEP = 'console.log("started"); await new Promise((resolve) => setTimeout(resolve, 20_000));';
  it("ends the program at SIGINT or SIGTERM, removes its container, and exits with 130 or 143", async () => {
    const check = async (signal: "SIGINT" | "SIGTERM", expected: number): Promise<void> => {
      const running = start(["run", "-"], { input: SLEEP });
      await eventually("it runs", () => running.stdout() === "started\n", 30_000);
      running.child.kill(signal);
      const { code, signal: endedBy, stderr } = await running.ended;
      assert.deepEqual([code, endedBy, stderr], [expected, null, ""]);
    };
    await Promise.all([check("SIGINT", 130), check("SIGTERM", 143)]);
  });

  it("ends at once at a second signal", async () => {
    const running = start(["run", "-"], { input: SLEEP });
    await eventually("it runs", () => running.stdout() === "started\n", 30_000);
    running.child.kill("SIGSTOP");
    running.child.kill("SIGINT");
    running.child.kill("SIGTERM");
    running.child.kill("SIGCONT");
    const { code } = await running.ended;
    assert.ok(code === 130 || code === 143, String(code));
    for (const id of await ownContainers()) await docker.getContainer(id).remove({ force: true, v: true });
    await rm(path.join(folder, "state", "run"), { recursive: true, force: true });
  });

  it("is no crash when the reader goes away: the program ends, as any other would", async () => {
    const running = start(["run", "-"], { input: 'for (;;) console.log("y".repeat(100));' });
    await once(running.child.stdout, "data");
    running.child.stdout.destroy();
    const { code, stderr } = await running.ended;
    assert.deepEqual([code, stderr], [141, ""]);
  });

  it("keeps all for a slow reader, and its deadline holds meanwhile", async () => {
    const running = start(["run", "-", "--timeout", "2s"], {
      input: 'process.stdout.write("x".repeat(3e6)); await new Promise((resolve) => setTimeout(resolve, 9000));',
    });
    await once(running.child.stdout, "data");
    running.child.stdout.pause();
    await eventually("its container is gone", async () => (await ownContainers()).length <= 1, 20_000);
    running.child.stdout.resume();
    const { code, stdout } = await running.ended;
    assert.deepEqual([code, stdout.byteLength], [124, 3_000_000]);
  });

  it("says after a while that it waits for stdin", async () => {
    const running = start(["run", await write("now.ts", "return 1")], { keepOpen: true });
    await once(running.child.stderr, "data");
    running.child.stdin.end();
    const { code, stderr } = await running.ended;
    assert.deepEqual([code, stderr], [0, "code-mode: waiting for the end of stdin; `< /dev/null` gives the program none\n"]);
  });

  it("runs beside a service of the same state folder, several at once, and disturbs nobody", async () => {
    const service = await TestService.start();
    try {
      const shared = { CODE_MODE_STATE_DIR: path.join(service.folder, "state") };
      const slow = service.result('await new Promise((resolve) => setTimeout(resolve, 2500)); return "undisturbed";');
      const ended = await Promise.all([1, 2].map((number) => execute(["run", "-"], { input: `return ${number}`, env: shared })));
      assert.deepEqual(
        ended.map(({ code, stdout }) => [code, stdout.toString()]),
        [
          [0, "1\n"],
          [0, "2\n"],
        ],
      );
      assert.equal(await slow, "undisturbed");
      assert.equal(await service.result("return 4"), 4);
    } finally {
      await service.close();
    }
  });

  it("starts from what init writes, which changes nothing the second time", async () => {
    const unset = Object.fromEntries(
      Object.keys(env)
        .filter((name) => name !== "DOCKER_HOST")
        .map((name) => [name, ""]),
    );
    const state = { CODE_MODE_STATE_DIR: path.join(folder, "state"), CODE_MODE_AUDIT_DIR: path.join(folder, "audit") };
    await mkdir(path.join(folder, "project"));
    await write("project/.gitignore", "node_modules");
    const first = await execute(["init", "project"], { env: unset });
    assert.deepEqual([first.code, first.stderr], [0, ""]);
    assert.match(
      first.stdout.toString(),
      /wrote {2}config\/runtimes\.json\n.*wrote {2}config\/mcp-servers\.json\n.*Next:\n {2}cd project\n {2}code-mode image build/s,
    );
    assert.equal(await readFile(path.join(folder, "project/.gitignore"), "utf8"), "node_modules\n# Keys of callers.\nconfig/keys.json\n");

    const cwd = path.join(folder, "project");
    const program = 'const fs = require("node:fs"); return [fs.readdirSync("data").length, fs.readdirSync("config").length];';
    const ran = await execute(["run", "-"], { input: program, cwd, env: { ...unset, ...state } });
    assert.deepEqual([ran.code, ran.stdout.toString()], [0, "[1,1]\n"], ran.stderr);

    await write("project/config/runtimes.json", "{}");
    const second = await execute(["init"], { cwd, env: unset });
    assert.equal(second.code, 0);
    assert.doesNotMatch(second.stdout.toString(), /wrote|made/);
    assert.equal(await readFile(path.join(cwd, "config/runtimes.json"), "utf8"), "{}");
    assert.match(await readFile(path.join(cwd, ".gitignore"), "utf8"), /^node_modules\n# Keys of callers\.\nconfig\/keys\.json\n$/);
  });

  it("prints help when nothing is asked for", async () => {
    const { code, stderr, stdout } = await execute([]);
    assert.deepEqual([code, stderr], [0, ""]);
    assert.match(stdout.toString(), /^Usage: code-mode COMMAND.*\nExamples:\n/s);
  });
});
