/**
 * Commands that a request leaves out, and every way around that: by other names, through the loader, an interpreter, a copy, a link, a
 * hook of an allowed command, the files of another process. The control is root in an ordinary container of the same image.
 */

import { engineArchitecture } from "../../src/sandbox/docker/image/architecture.ts";
import { buildImagesFor, IMAGE_TIMEOUT_MS, imageIdOf, TOOLS } from "../helpers/images.ts";
import { docker, TestService } from "../helpers/service.ts";
import { attack } from "./support/attack.ts";
import { imageFile, tryWithin, tryWithout } from "./support/attempts.ts";
import type { Attempts, Outcomes } from "./support/attempts.ts";

const PLATFORM =
  (await engineArchitecture(docker)) === "amd64"
    ? { triplet: "x86_64-linux-gnu", loader: "/lib64/ld-linux-x86-64.so.2" }
    : { triplet: "aarch64-linux-gnu", loader: "/lib/ld-linux-aarch64.so.1" };
const LIBRARY = `/usr/lib/${PLATFORM.triplet}/libz.so.1`;
const JQ = "/usr/bin/jq";

/** What the request of the attacks leaves of the runtime's commands: no jq, no curl, no gzip, and no interpreter of the script zcat. */
const LEFT = { permissions: { fileSystem: { execute: [] }, system: { allowedCommands: ["cat", "cp", "env", "git", "ln", "zcat"] } } };
/** The same with a shell: an interpreter can do all that it can do, but cannot start what is masked. */
const WITH_SHELL = { permissions: { fileSystem: { execute: [] }, system: { allowedCommands: ["cat", "git", "sh", "sleep"] } } };

/** At hand in each attempt. What is "ran" has run jq or planted code. */
const SETUP = `
  globalThis.folder = "/workspace/temp"; fs.mkdirSync(folder, { recursive: true }); process.chdir(folder);
  Object.assign(process.env, { HOME: folder, GIT_AUTHOR_NAME: "a", GIT_AUTHOR_EMAIL: "a@b", GIT_COMMITTER_NAME: "a", GIT_COMMITTER_EMAIL: "a@b" });
  process.env.PATH = "/usr/local/bin:/usr/bin";
  globalThis.start = (file, args = ["-n", "1"], env = {}) => {
    const { error, status, stderr, stdout } = cp.spawnSync(file, args, { encoding: "utf8", env: { ...process.env, ...env } });
    if (error) throw error;
    return status === 0 && /^1$/m.test(stdout) ? "ran" : status === 0 ? stdout + stderr : status + ": " + stderr;
  };
  globalThis.plant = (name, text) => { fs.writeFileSync(name, text, { mode: 0o755 }); return path.resolve(name); };
  globalThis.planted = () => fs.existsSync("ran") ? (fs.unlinkSync("ran"), "ran") : "did not run";
  start("git", ["init", "--quiet", "."]);`;

/** Straight at it. */
const DIRECT: Attempts = {
  "its path": `return start("${JQ}");`,
  "its name": `return start("jq");`,
  "env, which looks it up": `return start("env", ["jq", "-n", "1"]);`,
  "a link to it": `fs.symlinkSync("${JQ}", "link"); return start("./link");`,
  "a link that an allowed command made": `start("ln", ["-s", "${JQ}", "link2"]); return start("./link2");`,
  "another way to its folder": `return start("/usr/lib/../bin/./jq");`,
  "/proc/self/root": `return start("/proc/self/root${JQ}");`,
  "/proc/self/fd of it": `return start("/proc/self/fd/" + fs.openSync("${JQ}", fs.constants.O_RDONLY));`,
  "a file name that PATH finds": `return start("jq", ["-n", "1"], { PATH: "/usr/bin:/usr/sbin" });`,
  "git, as an alias": `return start("git", ["-c", "alias.x=!jq -n 1", "x"]);`,
  "git, as a subcommand": `fs.symlinkSync("${JQ}", "git-x"); return start("git", ["x", "-n", "1"], { PATH: folder + ":/usr/bin" });`,
  "git, by its folder of programs": `return start("git", ["x", "-n", "1"], { GIT_EXEC_PATH: folder });`,
};

/** What it consists of, to be carried elsewhere. */
const READING: Attempts = {
  "opening it": `fs.openSync("${JQ}", "r"); return "read";`,
  "cp of it": `start("cp", ["${JQ}", "copy"]); return fs.existsSync("copy") && fs.statSync("copy").size > 0 ? "read" : "not read";`,
  "cat of it": `return start("cat", ["${JQ}"]).length > 1000 ? "read" : "not read";`,
  "git, which hashes it": `return /^[0-9a-f]{40}/.test(start("git", ["hash-object", "-w", "${JQ}"])) ? "read" : "not read";`,
  "git, which adds it as a part of a work tree": `start("git", ["--work-tree=/usr/bin", "add", "-f", "jq"]); return /jq/.test(start("git", ["ls-files"])) ? "read" : "not read";`,
  "a hard link to it": `fs.linkSync("${JQ}", "/usr/bin/hard"); return "read";`,
  "an allowed command, which nobody can read either": `fs.openSync("/usr/bin/git", "r"); return "read";`,
};

/** By the hand of others. */
const LOADED: Attempts = {
  "the loader": `return start("${PLATFORM.loader}", ["${JQ}", "-n", "1"]);`,
  "the loader, with a copy that was brought along": `return start("${PLATFORM.loader}", ["./given-jq", "-n", "1"]);`,
  "a copy that was brought along": `fs.chmodSync("given-jq", 0o755); return start("./given-jq");`,
  "a copy of it that git writes": `start("git", ["add", "given-jq"]); fs.rmSync("given-jq"); start("git", ["checkout", "given-jq"]); fs.chmodSync("given-jq", 0o755); return start("./given-jq");`,
  "a script with it as the interpreter": `return start(plant("script", "#!${JQ} -nf\\n1"));`,
  "a script of Node's": `return start(plant("node-script", "#!/usr/local/bin/node\\nconsole.log(1)"));`,
  "a script of the image, whose interpreter is masked": `return start("zcat", ["--version"]).includes("zcat") ? "ran" : "did not run";`,
};

/** Places from which an allowed command takes code or commands. */
const HOOKS: Attempts = {
  "a hook of git": `fs.mkdirSync(".git/hooks", { recursive: true }); plant(".git/hooks/pre-commit", "#!/usr/bin/sh\\n: > ran"); plant(".git/hooks/post-commit", "#!/usr/bin/sh\\n: > ran"); start("git", ["commit", "-q", "--allow-empty", "-m", "x"]); return planted();`,
  "core.fsmonitor of git": `start("git", ["-c", "core.fsmonitor=" + plant("monitor", "#!/usr/bin/sh\\n: > ran"), "status"]); return planted();`,
  "an external diff of git": `plant("differ", "#!/usr/bin/sh\\n: > ran"); fs.writeFileSync("a", "1"); start("git", ["add", "a"]); fs.writeFileSync("a", "2"); start("git", ["-c", "diff.external=" + path.resolve("differ"), "diff"]); return planted();`,
  "LD_PRELOAD of an allowed command": `fs.copyFileSync("${LIBRARY}", "preload.so"); return /cannot be preloaded.*(failed to map|cannot open)/s.test(start("cat", ["/dev/null"], { LD_PRELOAD: path.resolve("preload.so") })) ? "not mapped" : "mapped";`,
  "LD_LIBRARY_PATH of an allowed command": `fs.copyFileSync("${LIBRARY}", "libz.so.1"); return /failed to map segment/.test(start("git", ["version"], { LD_LIBRARY_PATH: folder })) ? "not mapped" : "mapped";`,
  "LD_AUDIT of an allowed command": `fs.copyFileSync("${LIBRARY}", "audit.so"); return /failed to map segment/.test(start("cat", ["/dev/null"], { LD_AUDIT: path.resolve("audit.so") })) ? "not mapped" : "mapped";`,
};

/** With an interpreter that is allowed. */
const SHELL: Attempts = {
  "a shell": `return start("sh", ["-c", "jq -n 1"]);`,
  "a shell's exec": `return start("sh", ["-c", "exec ${JQ} -n 1"]);`,
  "a shell's PATH and IFS": `return start("sh", ["-c", "IFS=/; PATH=/usr/bin jq -n 1"]);`,
  "a shell's start file": `return start("sh", ["-i", "-c", "true"], { ENV: plant("env", "jq -n 1") });`,
  "a shell that git starts": `return start("git", ["-c", "alias.x=!jq -n 1", "x"]);`,
  "a shell that reads it": `return start("sh", ["-c", "read -r x < ${JQ} && echo 1"]);`,
};

/** Another process of the same user, its file unreadable like that of every command. */
const NEIGHBOUR = `const child = cp.spawn("sleep", ["20"], { stdio: "ignore" }); const proc = "/proc/" + child.pid;
  while (!fs.readFileSync(proc + "/comm", "utf8").startsWith("sleep")) await new Promise((resolve) => setTimeout(resolve, 5));
  try { %; } finally { child.kill("SIGKILL"); }`;
const near = (action: string): string => NEIGHBOUR.replace("%", () => action);
const inChild = (code: string): string => `return start("/usr/local/bin/node", ["-e", ${JSON.stringify(code)}]);`;
const tell = (code: string): string => `try { ${code}; console.log(1); } catch (error) { console.log(error.code); }`;
const PROCESSES: Attempts = {
  "the memory of a command": near(`fs.openSync(proc + "/mem", "r+"); return "ran"`),
  "the file of a command": near(`fs.openSync(proc + "/exe", "r"); return "ran"`),
  "the folder that a command sees as root": near(`fs.readdirSync(proc + "/root"); return "ran"`),
  "the working folder of a command": near(`fs.readdirSync(proc + "/cwd"); return "ran"`),
  "the variables of a command": near(`fs.readFileSync(proc + "/environ"); return "ran"`),
  "the descriptors of a command": near(`fs.readdirSync(proc + "/fd"); return "ran"`),
  "the memory map of a command": near(`fs.readFileSync(proc + "/maps"); return "ran"`),
  "the memory of the runner, from a child": inChild(tell(`fs.openSync("/proc/" + process.ppid + "/mem", "r+")`)),
  "the descriptors of the runner, from a child": inChild(tell(`fs.readdirSync("/proc/" + process.ppid + "/fd")`)),
  "the variables of the runner, from a child": inChild(tell(`fs.readFileSync("/proc/" + process.ppid + "/environ")`)),
};

/** Rights that would make it executable. */
const RIGHTS: Attempts = {
  "chmod of it": `fs.chmodSync("${JQ}", 0o755); return "changed";`,
  "chown of it": `fs.chownSync("${JQ}", process.getuid(), process.getgid()); return "changed";`,
  setgid: `process.setgid(fs.statSync("${JQ}").gid); return "changed";`,
  setegid: `process.setegid(fs.statSync("${JQ}").gid); return "changed";`,
  setgroups: `process.setgroups([fs.statSync("${JQ}").gid]); return "changed";`,
  "its group for a child": `const { error } = cp.spawnSync("cat", ["/dev/null"], { gid: fs.statSync("${JQ}").gid }); if (error) throw error; return "changed";`,
  "a folder that hands its group on": `fs.mkdirSync("handed"); fs.chownSync("handed", process.getuid(), fs.statSync("${JQ}").gid); fs.chmodSync("handed", 0o2777); return "changed";`,
};

describe("Security: commands", () => {
  let service: TestService;
  let within: Outcomes;
  let without: Outcomes;

  before(async function () {
    this.timeout(IMAGE_TIMEOUT_MS);
    await buildImagesFor({ tools: TOOLS });
    const image = await imageIdOf(TOOLS);
    const jq = (await imageFile(JQ, image)).toString("base64");
    service = await TestService.start({ runtimes: { tools: TOOLS } });
    const files = [{ path: "temp/given-jq", content: jq, encoding: "base64" }];
    const masked = { ...DIRECT, ...READING, ...LOADED, ...HOOKS };
    const given = `fs.writeFileSync("given-jq", Buffer.from("${jq}", "base64"));`;
    // The control changes files of its image, so those attempts come last.
    const control = { setup: `${SETUP} ${given}`, ...DIRECT, ...LOADED, ...HOOKS, ...SHELL, ...PROCESSES, ...READING, ...RIGHTS };
    const outcomes = await Promise.all([
      tryWithout(control, {}, image),
      tryWithin(service, { setup: SETUP, ...masked, ...RIGHTS }, { ...LEFT, files }),
      tryWithin(service, { setup: SETUP, ...SHELL, ...PROCESSES }, WITH_SHELL),
    ]);
    without = outcomes[0];
    within = { ...outcomes[1], ...outcomes[2] };
  });
  after(() => service.close());

  const table = (attempts: Attempts, layer: string, shows: string, gives: RegExp): void => {
    for (const name of Object.keys(attempts))
      attack({ name, layer, without: { run: () => without[name] ?? "", shows }, within: { run: () => within[name] ?? "", gives } });
  };

  describe("Security: a masked command, executed by", () => {
    table(DIRECT, "granted-commands", "ran", /^EACCES$|[Pp]ermission denied|cannot run|is not a git command|unable to/);
    table(SHELL, "granted-commands", "ran", /^12[67]: .*Permission denied|^2: .*cannot open .*Permission denied|Permission denied/);
  });

  describe("Security: a masked command, read by", () => {
    table(READING, "granted-commands", "read", /^EACCES$|^not read$|^EXDEV$|^EROFS$/);
  });

  describe("Security: a masked command, or a copy of it, executed by way of", () => {
    table(LOADED, "granted-commands, noexec", "ran", /^EACCES$|Permission denied|failed to map segment|^did not run$/);
  });

  describe("Security: code that an allowed command is made to run", () => {
    const [hooks, libraries] = [Object.entries(HOOKS).slice(0, 3), Object.entries(HOOKS).slice(3)];
    table(Object.fromEntries(hooks), "noexec", "ran", /^did not run$/);
    table(Object.fromEntries(libraries), "noexec", "mapped", /^not mapped$/);
  });

  attack({
    name: "the runtime, which becomes it",
    layer: "granted-commands",
    without: { run: () => becomeJq(service, {}), shows: "completed: 1" },
    within: { run: () => becomeJq(service, LEFT), gives: /^(failed|killed): (?!1)/ },
  });

  describe("Security: another process of the same user", () => {
    table(PROCESSES, "unreadable runtime and commands", "ran", /^EACCES$/);
  });

  describe("Security: rights to a masked command", () => {
    table(RIGHTS, "seccomp, capabilities, read-only-root", "changed", /^(EPERM|EROFS|EACCES)$/);
  });
});

/** What comes of a program that has jq take its place. */
async function becomeJq(service: TestService, request: object): Promise<string> {
  const { status, stdout } = await service.run(`process.execve("${JQ}", ["jq", "-n", "1"], {});`, request);
  return `${status}: ${stdout.trim()}`;
}
