/** What each check makes of what it finds: hosts and engines that are not at hand, as data. */

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";

import type { Outcome } from "../../../src/doctor/check.ts";
import { judgeAuditLog, judgeAvailable, judgeKeys, judgeMemory, judgeStateFolder } from "../../../src/doctor/configuration-checks.ts";
import {
  judgeAnswer,
  judgeCgroups,
  judgeLimits,
  judgeNoEngine,
  judgeRuntimes,
  judgeSeccomp,
  judgeStorage,
  judgeUser,
} from "../../../src/doctor/engine-checks.ts";
import {
  judgeClock,
  judgeCorePattern,
  judgeDisk,
  judgeNode,
  judgeSecurityModules,
  nearestPlace,
  upstreamKernel,
} from "../../../src/doctor/host-checks.ts";
import { judgeImages, judgeOlder } from "../../../src/doctor/image-checks.ts";
import { judgeProofs } from "../../../src/doctor/sandbox-check.ts";
import { hashKey } from "../../../src/domain/caller.ts";
import type { ApiKey } from "../../../src/domain/caller.ts";
import { StartupError } from "../../../src/domain/errors.ts";
import { plainImage } from "../../../src/domain/image-spec.ts";
import { TimeoutError } from "../../../src/lib/deadline.ts";
import { packageRoot } from "../../../src/lib/package-info.ts";
import type { EngineFacts } from "../../../src/sandbox/docker/engine-facts.ts";
import type { FoundImage, SandboxImage } from "../../../src/sandbox/docker/image/find-image.ts";
import { runtimeOf } from "../support/policies.ts";
import { useTempFolder } from "../support/temp-folder.ts";

const ENGINE: EngineFacts = {
  version: "29.5.1",
  apiVersion: "1.52",
  components: {},
  kernelVersion: "7.1.0",
  sameKernel: true,
  operatingSystem: "Linux",
  cgroupVersion: "2",
  cgroupDriver: "systemd",
  limits: { memory: true, swap: true, pids: true, cpu: true },
  securityOptions: ["seccomp", "cgroupns"],
  runtimes: new Map([
    ["runc", []],
    ["runsc", []],
    ["runsc-filtered", ["--oci-seccomp"]],
  ]),
  defaultRuntime: "runc",
  storageDriver: "overlay2",
  rootDir: "/var/lib/docker",
  liveRestore: false,
  clockSkewMs: 0,
};
const engine = (more: Partial<EngineFacts>): EngineFacts => ({ ...ENGINE, ...more });
const withCode = (code: string): Error => Object.assign(new Error(`connect ${code}`), { code });
const loaded = (...settings: readonly object[]) => ({
  runtimes: new Map(settings.map((more, index) => [`r${index}`, { ...runtimeOf(more), name: `r${index}` }])),
  warnings: [],
});
const ALICE: ApiKey = { name: "alice", sha256: hashKey("alice"), scopes: ["execute"] };
const NEEDS_GATEWAY = { permissions: { network: { allowedHosts: ["localhost"] } } };
const SPARE: SandboxImage = {
  id: "x",
  tags: ["t"],
  kind: "sandbox",
  nodeMajor: "24",
  baseHash: "b",
  additionsHash: "",
  spec: "",
  nodeVersion: "24.1.0",
  packages: [],
  modules: [],
  sizeBytes: 2 ** 20,
};
const READY: FoundImage = { state: "ready", tag: "t", id: "x", nodeVersion: "24.1.0", groups: new Map() };
const STALE: FoundImage = { state: "stale", tag: "t", message: "" };
const layer = { id: "l", title: "Layer", required: true };

/** What is judged, the status, and what must be said. Problems must come with a remedy. */
const audit = {
  enabled: true,
  folder: "/tmp",
  keyFile: "/var/code-mode-no-such-key",
  maxFileBytes: 1,
  maxFiles: 1,
  onFailure: "refuse",
} as const;

const CASES: readonly (readonly [what: string, outcome: Outcome | Promise<Outcome>, status: Outcome["status"], said: RegExp])[] = [
  ["Node just below the oldest", judgeNode("20.18.3"), "fail", /20\.19/],
  ["the oldest Node", judgeNode("20.19.0"), "ok", /20\.19/],
  ["a newer Node", judgeNode("24.0.0"), "ok", /24/],
  ["an engine with AppArmor", judgeSecurityModules(["landlock", "apparmor"], ["apparmor"]), "ok", /apparmor; Landlock is there/],
  ["no module in use", judgeSecurityModules(["capability"], []), "info", /neither.*capability; no Landlock/],
  ["a list that cannot be read", judgeSecurityModules(undefined, []), "info", /cannot be read; Landlock is unknown/],
  ["core dumps to a program", judgeCorePattern("|/usr/share/apport/apport %p"), "info", /\/usr\/share\/apport\/apport\)/],
  ["core dumps to files", judgeCorePattern("core"), "ok", /core/],
  ["an unreadable core pattern", judgeCorePattern(undefined), "info", /cannot be read/],
  ["clocks alike", judgeClock(-1000), "ok", /as the engine's/],
  ["an engine an hour off", judgeClock(3_600_000), "warn", /3600 s/],
  ["no engine to compare with", judgeClock(undefined), "ok", /T/],
  ["a disk with room", judgeDisk("/", ""), "ok", /GB free/],

  ["an engine of today", judgeAnswer(ENGINE, undefined), "ok", /29\.5\.1/],
  ["the oldest API", judgeAnswer(engine({ apiVersion: "1.41" }), undefined), "ok", /1\.41/],
  ["an API before it", judgeAnswer(engine({ apiVersion: "1.40" }), undefined), "warn", /nothing older than API 1\.41/],
  ["an engine over TCP", judgeAnswer(ENGINE, "tcp://10.0.0.1:2375"), "warn", /root there/],
  ["no socket", judgeNoEngine(withCode("ENOENT"), "unix:///x.sock"), "fail", /unix:\/\/\/x\.sock: there is no such socket/],
  ["a socket of others", judgeNoEngine(withCode("EACCES"), undefined), "fail", /\/var\/run\/docker\.sock.*usermod -aG docker/],
  ["a dead socket", judgeNoEngine(withCode("ECONNREFUSED"), undefined), "fail", /nobody answers/],
  ["a refused connection", judgeNoEngine(withCode("ECONNREFUSED"), "tcp://h:1"), "fail", /connection is refused/],
  ["an unknown host", judgeNoEngine(withCode("ENOTFOUND"), "tcp://h:1"), "fail", /Mend DOCKER_HOST/],
  ["an engine that hangs", judgeNoEngine(new TimeoutError("slow"), undefined), "fail", /says nothing/],
  ["an address that is none", judgeNoEngine(new StartupError(["DOCKER_HOST: expected"]), "x"), "fail", /DOCKER_HOST: expected/],
  ["another failure", judgeNoEngine(new Error("strange"), undefined), "fail", /strange/],
  ["cgroups 2", judgeCgroups(ENGINE), "ok", /version 2/],
  ["cgroups 1", judgeCgroups(engine({ cgroupVersion: "1" })), "warn", /TCP is not counted/],
  ["all limits", judgeLimits(ENGINE), "ok", /memory/],
  ["no swap accounting", judgeLimits(engine({ limits: { ...ENGINE.limits, swap: false } })), "fail", /limit swap.*swapaccount=1/],
  ["no task limit", judgeLimits(engine({ limits: { ...ENGINE.limits, pids: false } })), "fail", /limit pids.*delegated/],
  ["seccomp", judgeSeccomp(ENGINE), "ok", /seccomp/],
  ["no seccomp", judgeSeccomp(engine({ securityOptions: [] })), "fail", /do not start without/],
  ["an engine as root", judgeUser(ENGINE), "info", /without user namespaces/],
  ["userns-remap", judgeUser(engine({ securityOptions: ["userns"] })), "info", /userns-remap/],
  ["a rootless engine", judgeUser(engine({ securityOptions: ["rootless"] })), "info", /^rootless/],
  ["the default runtime", judgeRuntimes(ENGINE, []), "ok", /default runc/],
  ["a runtime that is there", judgeRuntimes(ENGINE, ["runc"]), "ok", /runc/],
  ["a runtime that is not", judgeRuntimes(ENGINE, ["crun"]), "fail", /asks for crun.*daemon\.json/],
  ["gVisor without the filter", judgeRuntimes(ENGINE, ["runsc"]), "warn", /ignores.*--oci-seccomp/],
  ["gVisor with it", judgeRuntimes(ENGINE, ["runsc-filtered"]), "ok", /runc/],
  ["overlay2", judgeStorage(ENGINE), "ok", /overlay2/],
  ["vfs", judgeStorage(engine({ storageDriver: "vfs" })), "warn", /overlay2/],

  ["an image that is ready", judgeImages([{ spec: plainImage(24), found: READY }]), "ok", /24\.1\.0/],
  ["no image", judgeImages([{ spec: plainImage(24), found: { state: "missing", tag: "t", message: "" } }]), "fail", /missing.*image build/],
  ["a stale image beside a good one", judgeImages([{ spec: plainImage(24), found: READY }, { spec: plainImage(26), found: STALE }]), "fail", /Node 26: stale/], // prettier-ignore
  ["no older image", judgeOlder([SPARE, { ...SPARE, id: "base", kind: "base" }], [READY]), "ok", /none/],
  ["an older image", judgeOlder([SPARE, { ...SPARE, id: "old", baseHash: "c" }], [READY]), "info", /1, of 1 MB.*prune/],

  ["runtimes that can run", judgeAvailable(loaded({}, {})), "ok", /all 2 runtimes/],
  ["one that cannot", judgeAvailable(loaded({}, NEEDS_GATEWAY)), "warn", /1 of 2.*r1: .*allowedHosts/],
  ["none that can", judgeAvailable(loaded(NEEDS_GATEWAY)), "fail", /0 of 1/],
  ["no keys", judgeKeys({ keys: undefined, hasFile: false, warnings: [] }, "keys.json"), "ok", /none: .* loopback only/],
  ["keys of the environment", judgeKeys({ keys: [ALICE], hasFile: false, warnings: [] }, "keys.json"), "ok", /^1, from CODE_MODE_API_KEYS/],
  ["keys of a file", judgeKeys({ keys: [ALICE], hasFile: true, warnings: [] }, "keys.json"), "ok", /^1, with those of keys\.json/],
  ["a file without keys", judgeKeys({ keys: [], hasFile: true, warnings: [] }, "keys.json"), "warn", /nobody gets in/],
  [
    "a keys file that others can read",
    judgeKeys({ keys: [ALICE], hasFile: true, warnings: ["mode 0644"] }, "keys.json"),
    "warn",
    /mode 0644/,
  ],
  ["memory that is there", judgeMemory(loaded({}), 16, 8 * 2 ** 30), "ok", /16 executions/],
  ["memory that is not", judgeMemory(loaded({}), 17, 8 * 2 ** 30), "warn", /CODE_MODE_MAX_RUNNING/],
  ["a state folder that is too long", judgeStateFolder(`/${"x".repeat(60)}`), "fail", /bytes too long/],
  ["a state folder below a file", judgeStateFolder("/etc/passwd/x"), "fail", /\/etc\/passwd is no folder/],

  ["no audit log", judgeAuditLog({ ...audit, enabled: false }), "warn", /MCP_AUDIT_LOGGING is false/],
  ["an audit log below a file", judgeAuditLog({ ...audit, folder: "/etc/passwd/x" }), "fail", /CODE_MODE_AUDIT_DIR/],
  ["a key of the audit log below a file", judgeAuditLog({ ...audit, keyFile: "/etc/passwd/x" }), "fail", /CODE_MODE_AUDIT_KEY_FILE/],
  ["a key of the audit log for all to read", judgeAuditLog({ ...audit, keyFile: "/etc/passwd" }), "fail", /chmod 600/],
  ["a key of the audit log in its folder", judgeAuditLog({ ...audit, keyFile: "/tmp/x/y.key" }), "fail", /lies in the folder of the log/],
  ["an audit log that can be", judgeAuditLog(audit), "ok", /the start makes its key/],

  ["layers in force", judgeProofs([{ shape: "Node 24", tookMs: 5, outcome: [layer] }]), "ok", /Node 24: all 1 layers/],
  ["a layer that is not", judgeProofs([{ shape: "n", tookMs: 5, outcome: [{ ...layer, problem: "p" }] }]), "fail", /n: Layer: p/],
  ["a bonus layer that is not", judgeProofs([{ shape: "n", tookMs: 5, outcome: [{ ...layer, required: false, problem: "p" }] }]), "warn", /p/], // prettier-ignore
  ["a sandbox that does not start", judgeProofs([{ shape: "n", tookMs: 5, outcome: "why" }]), "fail", /n: why/],
];

describe("doctor: what is made of what is found", () => {
  for (const [what, outcome, status, said] of CASES) {
    it(`${what}: ${status}`, async () => {
      const { details = [], found, remedy = "", status: actual } = await outcome;
      assert.equal(actual, status);
      assert.match([found, ...details, remedy].join(" "), said);
    });
  }

  it("asks for the Node that package.json asks for", async () => {
    const { engines } = JSON.parse(await readFile(path.join(packageRoot, "package.json"), "utf8")) as { engines: { node: string } };
    assert.equal(engines.node, ">=20.19");
  });

  for (const [where, name, signature, version, upstream] of [
    ["Debian", "6.1.0-18-amd64", undefined, "Linux version 6.1.0-18-amd64 (x@debian.org) #1 SMP Debian 6.1.76-1 (2024-02-01)", "6.1.76"],
    ["Ubuntu", "5.15.0-91-generic", "Ubuntu 5.15.0-91.101-generic 5.15.131", "Linux version 5.15.0-91-generic", "5.15.131"],
    ["elsewhere", "6.18.44-x", undefined, "Linux version 6.18.44-x", "6.18.44-x"],
  ] as const) {
    it(`finds upstream's number of a kernel: ${where}`, () => {
      assert.equal(upstreamKernel(name, signature, version), upstream);
    });
  }
});

describe("doctor: the state folder", () => {
  const folder = useTempFolder();

  it("may be there, or still be made", async () => {
    assert.equal((await judgeStateFolder(folder())).status, "ok");
    const deep = path.join(folder(), "a", "b");
    assert.deepEqual(await judgeStateFolder(deep), { status: "ok", found: `${deep}, which the start makes` });
    assert.equal(await nearestPlace(deep), folder());
  });

  it("must be a folder", async () => {
    await writeFile(path.join(folder(), "file"), "");
    const outcome = await judgeStateFolder(path.join(folder(), "file"));
    assert.deepEqual([outcome.status, outcome.found.includes("is no folder")], ["fail", true]);
  });
});
