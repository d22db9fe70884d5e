/** What lies around a program in its container: devices, /proc, /sys, the image, and its own process as files. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { Readable } from "node:stream";

import { pack } from "tar-stream";

import { engineArchitecture } from "../../src/sandbox/docker/image/architecture.ts";
import { docker, eventually, TestService } from "../helpers/service.ts";
import { attack } from "./support/attack.ts";
import { imageFile, tryWithin, tryWithout } from "./support/attempts.ts";
import type { Attempts, Outcomes } from "./support/attempts.ts";
import { sandboxImageId, sandboxOptions } from "./support/container.ts";

const NODE = "/usr/local/bin/node";
const LOADER =
  (await engineArchitecture(docker)) === "amd64"
    ? "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    : "/usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1";
const REFUSED = /^(EACCES|EROFS|EPERM|ENOENT|ENXIO)$/;

/** Writable for everybody, and without effect on anything but the program's own process. */
const HARMLESS = [
  // The thread's name.
  "/proc/self/comm",
  "/proc/self/task/N/comm",
  // How late the process's own timers may be.
  "/proc/self/timerslack_ns",
  // Labels of security modules: a process may only ask for its own, and without new privileges for stricter ones.
  ...["/proc/self", "/proc/self/task/N"].flatMap((place) =>
    ["", "apparmor/", "smack/"].flatMap((module) =>
      ["current", "exec", "fscreate", "keycreate", "prev", "sockcreate"].map((name) => `${place}/attr/${module}${name}`),
    ),
  ),
];

/** Opens everything below the roots for writing, writes nothing, and lists what opened. What is /dev/null in disguise does not count. */
const writableBelow = (...roots: string[]): string => `const found = new Set(); let opened = 0;
  const isNull = (file) => { const { rdev } = fs.statSync(file); return rdev === fs.statSync("/dev/null").rdev; };
  const walk = (folder) => {
    let entries; try { entries = fs.readdirSync(folder, { withFileTypes: true }); } catch { return; }
    for (const entry of entries) {
      const file = path.join(folder, entry.name);
      if (entry.isSymbolicLink() || /^\\/proc\\/\\d+$/.test(file)) continue;
      if (entry.isDirectory()) { walk(file); continue; }
      opened += 1;
      try { fs.closeSync(fs.openSync(file, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK)); if (!isNull(file)) found.add(file.replace(/task\\/\\d+/, "task/N")); } catch {}
    }
  };
  for (const root of ${JSON.stringify(roots)}) walk(root);
  if (opened < 20) throw new Error("too little was there: " + opened);
  const harmless = new Set(${JSON.stringify(HARMLESS)});
  return [...found].filter((file) => !harmless.has(file)).sort().join(" ");`;

const DEVICES: Attempts = {
  "device files that open": `const kept = new Set(["fd", "stdin", "stdout", "stderr"]);
    const opens = (file) => { try { fs.closeSync(fs.openSync(file, fs.constants.O_RDWR | fs.constants.O_NONBLOCK)); return true; } catch { return false; } };
    return fs.readdirSync("/dev").filter((name) => !kept.has(name) && opens("/dev/" + name)).sort().join(" ");`,
  "a file in /dev": 'fs.writeFileSync("/dev/attack", "x");',
  "a file in /dev/shm": 'fs.writeFileSync("/dev/shm/attack", "x");',
  "a message queue": 'fs.writeFileSync("/dev/mqueue/attack", "");',
  "a pseudo-terminal": 'fs.closeSync(fs.openSync("/dev/ptmx", "r+"));',
};

const WRITABLE: Attempts = {
  "anything in /proc": writableBelow("/proc", "/proc/self"),
  "anything in /sys": writableBelow("/sys"),
};

/** Files that change the host, the container's limits or the process's standing. Opened, never written. */
const SWITCHES = [
  "/proc/sysrq-trigger",
  "/proc/sys/kernel/core_pattern",
  "/proc/sys/vm/drop_caches",
  "/proc/self/oom_score_adj",
  "/proc/self/uid_map",
  "/proc/self/clear_refs",
  "/proc/self/coredump_filter",
  "/proc/pressure/memory",
  "/sys/kernel/profiling",
  "/sys/power/state",
] as const;

/** What tells about the host, the kernel or other processes. */
const LEAKS = [
  ...["cmdline", "config.gz", "diskstats", "interrupts", "kallsyms", "key-users", "keys", "kmsg", "loadavg", "modules", "partitions"],
  ...["pressure/cpu", "sched_debug", "slabinfo", "timer_list", "vmallocinfo", "pagetypeinfo", "kpagecount", "kcore"],
  ...[
    "self/environ",
    "self/auxv",
    "self/pagemap",
    "self/syscall",
    "self/stack",
    "self/io",
    "self/personality",
    "self/mountstats",
    "1/environ",
  ],
].map((name) => `/proc/${name}`);
const FOLDERS = [
  "/proc/acpi",
  "/proc/bus",
  "/proc/scsi",
  "/sys/block",
  "/sys/bus",
  "/sys/class",
  "/sys/dev",
  "/sys/devices/virtual",
  "/sys/firmware",
  "/sys/kernel",
  "/sys/module",
  "/dev/pts",
];

const opens = (file: string): string => `fs.closeSync(fs.openSync("${file}", fs.constants.O_WRONLY));`;
const reads = (file: string): string =>
  `const fd = fs.openSync("${file}", fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
   try { return fs.readSync(fd, Buffer.alloc(64)) === 0 ? "empty" : "readable"; } finally { fs.closeSync(fd); }`;
const lists = (folder: string): string => `const { length } = fs.readdirSync("${folder}"); return length === 0 ? "empty" : "readable";`;

/** Every file of the image and of what is mounted over it, but /proc and /sys. */
const walkImage = (problem: string): string => `const found = [];
  const readable = (file) => { try { fs.accessSync(file, fs.constants.R_OK); return true; } catch { return false; } };
  const executable = (file) => { try { fs.accessSync(file, fs.constants.X_OK); return true; } catch { return false; } };
  const walk = (folder) => { for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const file = path.join(folder, entry.name);
    if (entry.isSymbolicLink() || file === "/proc" || file === "/sys") continue;
    const { mode, size } = fs.lstatSync(file);
    if (${problem}) found.push(file);
    if (entry.isDirectory()) walk(file);
  } };
  walk("/");
  return found.sort().join(" ") || "none";`;
const IMAGE: Attempts = {
  "set-id bits": walkImage("(mode & 0o6000) !== 0"),
  "files that others may write": walkImage("entry.isFile() && (mode & 0o022) !== 0"),
  programs: walkImage("entry.isFile() && size > 0 && executable(file)"),
  "programs that can be read": walkImage("entry.isFile() && size > 0 && executable(file) && readable(file)"),
};
/** In the control, what the walks above must find. */
const PLANT = `for (const [name, mode] of Object.entries({ "set-id": 0o4755, "writable": 0o666, "readable-program": 0o755 })) { fs.writeFileSync("/opt/" + name, "x"); fs.chmodSync("/opt/" + name, mode); }`;

const PROCESS: Attempts = {
  "privileges of any thread": `const workers = await Promise.all([1, 2].map(() => new Promise((resolve) => { const worker = new Worker("setInterval(() => {}, 1000)", { eval: true }); worker.on("online", () => resolve(worker)); })));
    await new Promise((resolve) => require("node:crypto").randomBytes(8, resolve));
    const fields = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"];
    const threads = fs.readdirSync("/proc/self/task");
    const states = new Set(threads.map((thread) => { const status = fs.readFileSync("/proc/self/task/" + thread + "/status", "utf8"); return fields.map((field) => new RegExp("^" + field + ":\\\\s*0*(\\\\w+)", "m").exec(status)[1]).join(" "); }));
    for (const worker of workers) await worker.terminate();
    if (threads.length < 5) throw new Error("too few threads");
    return [...states].join(", ");`,
  "descriptors that lead to files": `return fs.readdirSync("/proc/self/fd").map((fd) => { try { return fs.readlinkSync("/proc/self/fd/" + fd); } catch { return ""; } })
    .filter((target) => target !== "" && !/^(pipe|socket|anon_inode):|^\\/dev\\/(null|u?random)$|^\\/proc\\/1\\/fd$/.test(target)).join(" ") || "none";`,
};

describe("Security: surroundings", () => {
  let service: TestService;
  let within: Outcomes;
  let without: Outcomes;

  before(async () => {
    const permissions = { fileSystem: { read: ["./data"], write: ["./temp"] } };
    service = await TestService.start({
      runtimes: { node: { permissions }, forking: { permissions: { ...permissions, system: { maxProcesses: 3 } } } },
    });
    const set: Attempts = {
      ...DEVICES,
      ...Object.fromEntries(SWITCHES.map((file) => [`open ${file}`, opens(file)])),
      ...Object.fromEntries(LEAKS.map((file) => [`read ${file}`, reads(file)])),
      ...Object.fromEntries(FOLDERS.map((folder) => [`list ${folder}`, lists(folder)])),
      ...IMAGE,
      ...PROCESS,
    };
    // With the /sys of the host; only folders in which opening a file is without effect.
    const control = {
      "anything in /proc": writableBelow("/proc/self", "/proc/sys/kernel"),
      "anything in /sys": writableBelow("/sys/fs/cgroup", "/sys/kernel/mm"),
    };
    [within, without] = await Promise.all([
      tryWithin(service, { ...set, ...WRITABLE }),
      tryWithout({ plant: PLANT + 'fs.openSync("/opt");', ...set, ...control }, { Binds: ["/sys:/sys"] }),
    ]);
  });
  after(() => service.close());

  const row = (name: string, layer: string, shows: string | RegExp | { cannotShow: string }, gives: string | RegExp, of = name): void => {
    const control = typeof shows === "string" || shows instanceof RegExp ? { run: () => without[of] ?? "", shows } : shows;
    attack({ name, layer, without: control, within: { run: () => within[of] ?? "", gives } });
  };

  describe("Security: devices", () => {
    row("device files that open", "no-shared-memory", /\b(mem|ptmx|kmsg|tty\w*|vda|fuse)\b/, "full null random urandom zero");
    row("a file in /dev", "read-only-root", "ok", REFUSED);
    row("a file in /dev/shm", "no-shared-memory", "ok", REFUSED);
    row("a message queue", "resource-limits", "ok", "EMFILE");
    row("a pseudo-terminal", "no-shared-memory", "ok", REFUSED);
  });

  describe("Security: /proc and /sys, for writing", () => {
    row("anything in /proc", "masked and read-only paths", /\/proc\/self\/oom_score_adj.*\/proc\/sys\/kernel\/core_pattern/, "");
    row("anything in /sys", "masked and read-only paths", /\/sys\/fs\/cgroup\/\S*cgroup\.procs/, "");
    for (const file of SWITCHES) {
      const isHere = existsSync(file.replace("self", String(process.pid)));
      row(file, "masked and read-only paths", isHere ? "ok" : { cannotShow: "this kernel has no such file" }, REFUSED, `open ${file}`);
    }
  });

  describe("Security: /proc and /sys, for reading", () => {
    for (const file of LEAKS) {
      const isHere = existsSync(file.replace("self", String(process.pid)));
      row(
        file,
        "masked paths, unreadable-runtime",
        isHere ? /^(readable|empty)$/ : { cannotShow: "this kernel has no such file" },
        /^(empty|EACCES|EPERM|ENOENT)$/,
        `read ${file}`,
      );
    }
    for (const folder of FOLDERS) {
      row(
        folder,
        "masked paths",
        existsSync(folder) && readdirSync(folder).length > 0 ? "readable" : { cannotShow: "this kernel has nothing there" },
        /^(empty|ENOENT)$/,
        `list ${folder}`,
      );
    }
  });

  describe("Security: the image", () => {
    row("set-id bits", "no-new-privileges", /\/opt\/set-id/, "none");
    row("files that others may write", "read-only-root", /\/opt\/writable/, "none");
    row(
      "programs",
      "nothing but the runtime and the loader",
      /\/opt\/readable-program/,
      /^\/usr\/lib\/[\w-]+\/ld-linux-[\w.-]+ \/usr\/local\/bin\/node$/,
    );
    row("programs that can be read", "unreadable-runtime", /\/opt\/readable-program/, "none");
  });

  describe("Security: the process as files", () => {
    row("privileges of any thread", "capabilities, no-new-privileges, seccomp", /^\w+ \w{6,} \w{6,} \w{6,} \w+ 0 0$/, "0 0 0 0 0 1 2");
    row("descriptors that lead to files", "nothing is handed on", /\/opt/, "none");

    // Root may always; so the control is another user, and the runtime with the modes that a program usually has.
    const look = `const fs = require("fs"); let mem = "open"; try { fs.openSync("/proc/self/mem", "r+"); } catch (error) { mem = error.code; } console.log(mem);`;
    const asUser = (program: string): string =>
      `return cp.spawnSync(${JSON.stringify(program)}, ["-e", ${JSON.stringify(look)}], { uid: 1000, gid: 1000 }).stdout;`;
    attack({
      name: "overwriting the runtime through /proc/self/mem",
      layer: "unreadable-runtime",
      without: {
        shows: "open",
        run: async () =>
          (await tryWithout({ run: `for (const file of ["${NODE}", "${LOADER}"]) fs.chmodSync(file, 0o755); ${asUser(NODE)}` }))["run"] ??
          "",
      },
      within: {
        gives: "EACCES",
        run: async () => (await tryWithin(service, { run: 'fs.openSync("/proc/self/mem", "r+"); return "open";' }))["run"] ?? "",
      },
    });
  });

  describe("Security: core dumps", () => {
    const crash = (folder: string): string =>
      `const { signal } = cp.spawnSync("${NODE}", ["-e", "process.abort()"], { cwd: "${folder}" }); return signal + " " + (fs.readdirSync("${folder}").filter((name) => /core/.test(name)).length > 0 ? "core" : "nothing");`;
    const pattern = readFileSync("/proc/sys/kernel/core_pattern", "utf8").trim();
    attack({
      name: "a core dump in the working directory",
      layer: "resource-limits, unreadable-runtime",
      without: pattern.includes("/")
        ? { cannotShow: `this host handles core dumps by ${pattern}` }
        : {
            shows: "SIGABRT core",
            run: async () => (await tryWithout({ run: crash("/opt") }, { Ulimits: [{ Name: "core", Soft: -1, Hard: -1 }] }))["run"] ?? "",
          },
      within: {
        gives: "SIGABRT nothing",
        run: async () => (await tryWithin(service, { run: crash("/workspace/temp") }, { runtime: "forking" }))["run"] ?? "",
      },
    });

    const limit = `return /^Max core file size\\s+(\\w+\\s+\\w+)/m.exec(fs.readFileSync("/proc/self/limits", "utf8"))[1];`;
    attack({
      name: "the handler of the host's core_pattern (at exactly one byte the kernel starts none)",
      layer: "resource-limits",
      without: { shows: /^unlimited|^0/, run: async () => (await tryWithout({ run: limit }))["run"] ?? "" },
      within: { gives: "1 1", run: async () => (await tryWithin(service, { run: limit }))["run"] ?? "" },
    });

    attack({
      name: "the loader in place of the runtime, as a process that can be dumped",
      layer: "unreadable-runtime",
      without: { shows: "dumpable", run: () => dumpability("readable") },
      within: { gives: "not dumpable", run: () => dumpability("as in the image") },
    });
  });
});

/** Starts the C library's loader under a sandbox's flags, has it wait for a program on stdin, and looks at it from the host. */
async function dumpability(loader: "readable" | "as in the image"): Promise<string> {
  const copy = "/opt/loader";
  const options = await sandboxOptions([loader === "readable" ? copy : LOADER, "/dev/stdin"], await sandboxImageId());
  const container = await docker.createContainer({
    ...options,
    OpenStdin: true,
    HostConfig: { ...options.HostConfig, ReadonlyRootfs: loader !== "readable" },
  });
  try {
    if (loader === "readable") {
      const archive = pack();
      archive.entry({ name: copy.slice(1), mode: 0o755 }, await imageFile(LOADER));
      archive.finalize();
      await container.putArchive(Readable.from(archive), { path: "/" });
    }
    await container.start();
    const { State: state } = await container.inspect();
    await eventually("the loader runs", async () => (await readFile(`/proc/${state.Pid}/cmdline`, "latin1")).includes("/dev/stdin\0"));
    // The kernel gives the files of a process that cannot be dumped to root.
    return (await stat(`/proc/${state.Pid}/environ`)).uid === 0 ? "not dumpable" : "dumpable";
  } finally {
    await container.remove({ force: true, v: true });
  }
}
