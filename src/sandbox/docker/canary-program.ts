/**
 * The canary's program: looks around in its sandbox, tries what must fail, and returns a report in the form of `canaryReportSchema`.
 * Its argument says how many processes it may have: `one` or `many`.
 */

import { SYSCTLS } from "./container-config.ts";

/** Mounted, or made by the kernel. */
const NOT_OF_THE_IMAGE = ["/dev", "/proc", "/run", "/sys", "/workspace"];
/** Commands that are really started; of more the kernel is only asked whether they could be. */
const MAX_STARTED = 32;
const START_TIMEOUT_MS = 200;

export const CANARY_PROGRAM = `
import { spawnSync } from "node:child_process";
import dgram from "node:dgram";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";

const errnoName = (errno) => Object.entries(os.constants.errno).find(([, value]) => value === Math.abs(errno))?.[0];
const attempt = (action) => {
  try {
    const outcome = action();
    return outcome?.error ? outcome.error.code : "ok";
  } catch (error) {
    return error.code === "ERR_SYSTEM_ERROR" ? errnoName(error.info.errno) : String(error.code ?? error.message);
  }
};
const read = (file) => {
  try {
    return fs.readFileSync(file, "utf8");
  } catch {
    return null;
  }
};
const number = (...files) => {
  const text = files.map(read).find((content) => content !== null);
  return text === undefined || text === null || text.trim() === "max" ? null : Number(text);
};
/* Many commands wait for input, or never end: that one has begun is enough. */
const start = (file) => {
  const { error, status, stderr } = spawnSync(file, [], { stdio: ["ignore", "ignore", "pipe"], timeout: ${START_TIMEOUT_MS}, killSignal: "SIGKILL", encoding: "utf8" });
  if (error !== undefined && error.code !== "ETIMEDOUT" && error.code !== "ENOBUFS") return error.code;
  return status === 127 && stderr.includes("error while loading shared libraries") ? stderr.trim().slice(0, 300) : "ok";
};
const readStart = (file) => {
  const bytes = Buffer.alloc(4);
  try {
    fs.readSync(fs.openSync(file, "r"), bytes);
  } catch (error) {
    return error.code;
  }
  return bytes.toString("latin1") === "\\x7fELF" ? "ELF" : "ok";
};
const mounts = {};
for (const line of read("/proc/self/mounts").trim().split("\\n")) {
  const [, target, , options] = line.split(" ");
  mounts[target] = options.split(",");
}
const executables = {};
const canStart = process.argv[2] === "many";
const look = (folder) => {
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const file = folder === "/" ? folder + entry.name : folder + "/" + entry.name;
    if (entry.isDirectory() && !${JSON.stringify(NOT_OF_THE_IMAGE)}.includes(file)) look(file);
    /* Files of /etc are mounted one by one, and belong to whoever runs the service. */
    if (!entry.isFile() || mounts[file] !== undefined) continue;
    const { gid: group, mode, size } = fs.lstatSync(file);
    /* Engines put empty files there, /.dockerenv for example. */
    if (size === 0 || ((mode & 0o111) === 0 && group === 0)) continue;
    const may = attempt(() => fs.accessSync(file, fs.constants.X_OK));
    const startsNow = canStart && Object.keys(executables).length < ${MAX_STARTED};
    executables[file] = { group, read: readStart(file), run: startsNow ? start(file) : may };
  }
};
look("/");
return {
  status: Object.fromEntries(read("/proc/self/status").trim().split("\\n").map((line) => line.split(/:\\s*/, 2))),
  mounts,
  attempts: {
    "netlink socket": attempt(() => os.networkInterfaces()),
    spawn: attempt(() => spawnSync(process.execPath, ["-v"])),
    "write outside": attempt(() => fs.writeFileSync("/opt/canary", "x")),
    "write /dev": attempt(() => fs.writeFileSync("/dev/shm/canary", "x")),
    "open a terminal": attempt(() => fs.openSync("/dev/ptmx", "r+")),
    "UDP socket": await new Promise((resolve) => dgram.createSocket("udp4").on("error", (error) => resolve(error.code)).bind(0, () => resolve("ok"))),
    "TCP socket": await new Promise((resolve) => net.connect(1, "127.0.0.1").on("error", (error) => resolve(error.code)).on("connect", () => resolve("ok"))),
    "open /proc/self/mem": attempt(() => fs.openSync("/proc/self/mem", "r+")),
    "read the runtime": attempt(() => fs.openSync(process.execPath, "r")),
  },
  interfaces: read("/proc/net/dev").trim().split("\\n").slice(2).map((line) => line.split(":")[0].trim()),
  uid: process.getuid(),
  sysctls: Object.fromEntries(${JSON.stringify(Object.keys(SYSCTLS))}.map((name) => [name, (read("/proc/sys/" + name.replaceAll(".", "/")) ?? "").trim().replace(/\\s+/g, " ")])),
  resourceLimits: Object.fromEntries(read("/proc/self/limits").trim().split("\\n").slice(1).map((line) => [line.slice(0, 26).trim(), line.slice(47, 68).trim()])),
  memoryLimitBytes: number("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"),
  pidsLimit: number("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"),
  groups: process.getgroups().filter((group) => group !== process.getgid()),
  executables,
};
`;
