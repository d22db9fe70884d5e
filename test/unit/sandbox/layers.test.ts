import assert from "node:assert/strict";

import { canaryReportSchema, findBrokenCommands, LAYERS } from "../../../src/sandbox/layers.ts";
import type { CanaryExpectation, CanaryReport } from "../../../src/sandbox/layers.ts";

const EXPECTED = {
  memoryBytes: 512 * 2 ** 20,
  pidsLimit: 64,
  writePath: "/workspace/temp",
  sysctls: { "net.ipv4.tcp_rmem": "1 2 3", "net.ipv4.tcp_wmem": "4 5 6" },
  processes: "one",
  groups: [],
} as const;
const ZERO = "0000000000000000";
const SAFE = ["rw", "nosuid", "nodev", "noexec"];
const SAFE_MOUNT = ["ro", "nosuid", "nodev", "noexec"];

/** What a canary reports where everything is in force. */
const SOUND: CanaryReport = {
  status: { CapEff: ZERO, CapPrm: ZERO, CapInh: ZERO, CapBnd: ZERO, CapAmb: ZERO, NoNewPrivs: "1", Seccomp: "2" },
  mounts: { "/": ["ro", "relatime"], "/workspace": SAFE_MOUNT, "/workspace/temp": SAFE, "/run/code-mode": SAFE_MOUNT },
  attempts: {
    "netlink socket": "EPERM",
    spawn: "EPERM",
    "write outside": "EROFS",
    "open /proc/self/mem": "EACCES",
    "read the runtime": "EACCES",
    "write /dev": "EROFS",
    "open a terminal": "ENOENT",
    "UDP socket": "EPERM",
    "TCP socket": "EPERM",
  },
  interfaces: ["lo"],
  uid: 20_001,
  sysctls: EXPECTED.sysctls,
  resourceLimits: { "Max core file size": "1", "Max msgqueue size": "0", "Max cpu time": "60" },
  memoryLimitBytes: EXPECTED.memoryBytes,
  pidsLimit: 64,
  groups: [],
  executables: {
    "/usr/local/bin/node": { group: 0, read: "EACCES", run: "ok" },
    "/usr/lib/ld-linux-x86-64.so.2": { group: 0, read: "EACCES", run: "ok" },
    "/usr/bin/curl": { group: 60_708, read: "EACCES", run: "EACCES" },
  },
};

const problemsOf = (report: CanaryReport, expected: CanaryExpectation = EXPECTED): Record<string, string> =>
  Object.fromEntries(
    LAYERS.flatMap((layer) =>
      [layer.check(report, expected)].flatMap((problem) => (problem === undefined ? [] : [[layer.id, problem] as const])),
    ),
  );

describe("layers: of defence", () => {
  it("are all in force where the canary finds nothing", () => {
    assert.deepEqual(problemsOf(canaryReportSchema.parse(SOUND)), {});
  });

  it("have ids of their own, a title and what they stop; all of them are required by now", () => {
    assert.equal(new Set(LAYERS.map(({ id }) => id)).size, LAYERS.length);
    for (const { required, stops, title } of LAYERS) assert.ok(required && title.length > 3 && stops.length > 10, title);
  });

  const { attempts, executables, mounts, resourceLimits, status, sysctls } = SOUND;
  for (const [layer, broken, problem] of [
    ["capabilities", { status: { ...status, CapBnd: "00000000a80425fb" } }, "CapBnd is 00000000a80425fb"],
    ["capabilities", { status: { ...status, CapEff: "0000000000000001" } }, "CapEff is 0000000000000001"],
    ["no-new-privileges", { status: { ...status, NoNewPrivs: "0" } }, "NoNewPrivs is not set"],
    ["seccomp", { status: { ...status, Seccomp: "0" } }, "no filter is installed"],
    ["seccomp", { attempts: { ...attempts, "netlink socket": "ok" } }, "netlink socket: expected EPERM, got ok"],
    ["one-process", { attempts: { ...attempts, spawn: "ok" } }, "spawn: expected EPERM, got ok"],
    ["one-process", { attempts: { ...attempts, spawn: "ENOENT" } }, "spawn: expected EPERM, got ENOENT"],
    ["read-only-root", { mounts: { ...mounts, "/": ["rw"] } }, "/ is not mounted read-only"],
    ["read-only-root", { mounts: { ...mounts, "/workspace": SAFE } }, "/workspace is not mounted read-only"],
    ["read-only-root", { mounts: { ...mounts, "/run/code-mode": SAFE } }, "/run/code-mode is not mounted read-only"],
    ["read-only-root", { attempts: { ...attempts, "write outside": "ok" } }, "write outside: expected EROFS or EACCES, got ok"],
    ["noexec", { mounts: { ...mounts, "/workspace/temp": ["rw", "nosuid", "nodev"] } }, "/workspace/temp is mounted without noexec"],
    ["noexec", { mounts: { ...mounts, "/workspace": ["ro", "noexec", "nodev"] } }, "/workspace is mounted without nosuid"],
    ["noexec", { mounts: { ...mounts, "/run/code-mode": ["ro", "noexec", "nosuid"] } }, "/run/code-mode is mounted without nodev"],
    [
      "unreadable-runtime",
      { attempts: { ...attempts, "open /proc/self/mem": "ok" } },
      "open /proc/self/mem: expected EACCES or EPERM, got ok",
    ],
    ["unreadable-runtime", { attempts: { ...attempts, "read the runtime": "ok" } }, "read the runtime: expected EACCES, got ok"],
    ["granted-commands", { groups: [60_708] }, "its groups are 60708"],
    [
      "granted-commands",
      { executables: { ...executables, "/usr/bin/curl": { group: 60_708, read: "EACCES", run: "ok" } } },
      "executing /usr/bin/curl: expected EACCES, got ok",
    ],
    [
      "granted-commands",
      { executables: { ...executables, "/usr/bin/curl": { group: 60_708, read: "ELF", run: "EACCES" } } },
      "reading /usr/bin/curl: expected EACCES, got ELF",
    ],
    [
      "granted-commands",
      { executables: { ...executables, "/usr/local/bin/node": { group: 0, read: "ELF", run: "ok" } } },
      "reading /usr/local/bin/node: expected EACCES, got ELF",
    ],
    [
      "granted-commands",
      { executables: { ...executables, "/usr/lib/ld-linux/x": { group: 0, read: "EACCES", run: "ok" } } },
      "executing /usr/lib/ld-linux/x: expected EACCES, got ok",
    ],
    ["no-network", { interfaces: ["lo", "eth0"] }, "interfaces: lo, eth0"],
    ["own-user", { uid: 0 }, "runs as uid 0"],
    ["own-user", { uid: 999 }, "runs as uid 999"],
    ["no-shared-memory", { mounts: { ...mounts, "/dev/shm": SAFE } }, "/dev/shm is mounted"],
    [
      "no-shared-memory",
      { attempts: { ...attempts, "write /dev": "ok" } },
      "write /dev: expected EROFS or EACCES or EPERM or ENOENT, got ok",
    ],
    ["no-shared-memory", { attempts: { ...attempts, "open a terminal": "ok" } }, "open a terminal: expected ENOENT or EACCES, got ok"],
    ["resource-limits", { resourceLimits: { ...resourceLimits, "Max core file size": "0" } }, "Max core file size is 0"],
    ["resource-limits", { resourceLimits: { ...resourceLimits, "Max msgqueue size": "819200" } }, "Max msgqueue size is 819200"],
    ["resource-limits", { resourceLimits: { ...resourceLimits, "Max cpu time": "unlimited" } }, "CPU time is not limited"],
    ["socket-memory", { sysctls: { ...sysctls, "net.ipv4.tcp_rmem": "4096 131072 6291456" } }, "net.ipv4.tcp_rmem is 4096 131072 6291456"],
    ["socket-memory", { attempts: { ...attempts, "UDP socket": "ok" } }, "UDP socket: expected EPERM, got ok"],
    ["socket-memory", { attempts: { ...attempts, "TCP socket": "ECONNREFUSED" } }, "TCP socket: expected EPERM, got ECONNREFUSED"],
    ["memory", { memoryLimitBytes: null }, "the limit is unknown, not 536870912"],
    ["memory", { memoryLimitBytes: 2 ** 40 }, "the limit is 1099511627776, not 536870912"],
    ["pids", { pidsLimit: null }, "the limit is unknown, not 64"],
    ["pids", { pidsLimit: 32_768 }, "the limit is 32768, not 64"],
  ] as const) {
    it(`${layer}: ${problem}`, () => {
      assert.deepEqual(problemsOf(canaryReportSchema.parse({ ...SOUND, ...broken })), { [layer]: problem });
    });
  }

  it("are not taken for granted where the canary says nothing of them", () => {
    const silent = problemsOf({
      status: {},
      mounts: {},
      attempts: {},
      interfaces: [],
      uid: 0,
      sysctls: {},
      resourceLimits: {},
      memoryLimitBytes: null,
      pidsLimit: null,
      groups: [],
      executables: {},
    });
    // No interface at all is as good as loopback alone.
    assert.deepEqual(
      Object.keys(silent),
      LAYERS.map(({ id }) => id).filter((id) => id !== "no-network"),
    );
  });

  it("are not read from a report of the wrong form", () => {
    for (const wrong of [{}, { ...SOUND, uid: "0" }, { ...SOUND, extra: 1 }, { ...SOUND, mounts: { "/": "ro" } }])
      assert.equal(canaryReportSchema.safeParse(wrong).success, false);
  });
});

describe("layers: a canary that is granted commands", () => {
  const expected = { ...EXPECTED, processes: "many", groups: [60_701, 60_702] } as const;
  const executables = {
    ...SOUND.executables,
    "/usr/bin/jq": { group: 60_701, read: "EACCES", run: "ok" },
    "/usr/bin/script": { group: 60_702, read: "ok", run: "ok" },
  };
  const report = { ...SOUND, groups: [60_702, 60_701], attempts: { ...SOUND.attempts, spawn: "ok" }, executables };

  it("may start processes and execute them, and read scripts", () => {
    assert.deepEqual(problemsOf(report, expected), {});
    assert.deepEqual(findBrokenCommands(report, expected), []);
  });

  it("may read no machine code", () => {
    const broken = { ...report, executables: { ...executables, "/usr/bin/jq": { group: 60_701, read: "ELF", run: "ok" } } };
    assert.deepEqual(problemsOf(broken, expected), { "granted-commands": "reading /usr/bin/jq: expected EACCES, got ELF" });
  });

  it("names what it cannot execute, and a group without a file", () => {
    const broken = { ...report, executables: { ...SOUND.executables, "/usr/bin/jq": { group: 60_701, read: "EACCES", run: "ENOENT" } } };
    assert.deepEqual(problemsOf(broken, expected), {});
    assert.deepEqual(findBrokenCommands(broken, expected), ["/usr/bin/jq: ENOENT", "no file of the image has the group 60702"]);
  });
});
