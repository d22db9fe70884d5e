/** Native code in a sandbox against the kernel: the system calls that are left, and those that are not. */

import assert from "node:assert/strict";
import os from "node:os";

import { engineArchitecture } from "../../src/sandbox/docker/image/architecture.ts";
import { compileSeccomp } from "../../src/sandbox/docker/seccomp.ts";
import { docker, TestService } from "../helpers/service.ts";
import { attack, recordAttack } from "./support/attack.ts";
import { runContainer, sandboxOptions, unrestrictedOptions } from "./support/container.ts";
import { ALLOWED_CALLS, ALLOWED_WITH_LOOPBACK, kernelAttacks } from "./support/kernel-attacks.ts";
import { PROBE, probeImageId, systemCallNumbers } from "./support/probe-image.ts";

type Outcomes = ReadonlyMap<string, string>;

/** Runs a probe to its end and gives what each of its calls came to. */
async function outcomesOf(options: Parameters<typeof runContainer>[0], calls: readonly string[]): Promise<Outcomes> {
  const end = await runContainer(options);
  const outcomes = new Map(
    end.stdout
      .trim()
      .split("\n")
      .map((line) => [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)]),
  );
  const missing = calls.filter((call) => !outcomes.has(call));
  assert.deepEqual(missing, [], `the probe ended early: exit code ${end.exitCode}, ${end.stderr}`);
  return outcomes;
}

/** Each call in a process of its own, as root with every capability, without a filter. */
const withoutLayers = async (calls: readonly string[]): Promise<Outcomes> =>
  outcomesOf(unrestrictedOptions([PROBE, "--each", ...calls], await probeImageId()), calls);

/** All calls in one process of a sandbox. */
const inSandbox = async (calls: readonly string[], settings: object = {}): Promise<Outcomes> =>
  outcomesOf(await sandboxOptions([PROBE, ...calls], await probeImageId(), settings), calls);

/**
 * The same, but as root with every capability: nothing but the filter is in force. The engine needs no-new-privileges with it, or it
 * would set the filter before it has made the container ready, and be stopped by it.
 */
async function underFilterOnly(calls: readonly string[]): Promise<Outcomes> {
  const { HostConfig } = await sandboxOptions([], await probeImageId());
  return outcomesOf(unrestrictedOptions([PROBE, ...calls], await probeImageId(), { SecurityOpt: HostConfig.SecurityOpt! }), calls);
}

/** The distinct outcomes of some calls, in order of the alphabet. */
const summary = (outcomes: Outcomes, calls: readonly string[]): string =>
  [...new Set(calls.map((call) => outcomes.get(call) ?? "nothing"))].sort().join(" ");

const FAMILIES = Array.from({ length: 46 }, (_, family) => family);
const INTERNET = [2, 10];
const OPEN_FAMILIES = [1, ...INTERNET];
const TYPES = [1, 2, 3, 4, 5, 6, 10];
const PROTOCOLS = Array.from({ length: 300 }, (_, protocol) => protocol);
const UPPER_HALF = 2 ** 32;

const without = (values: readonly number[], ...some: number[]): number[] => values.filter((value) => !some.includes(value));
const sockets = (families: readonly number[], types: readonly number[], protocols: readonly number[] = [0]): string[] =>
  families.flatMap((family) => types.flatMap((type) => protocols.map((protocol) => `socket:${family}:${type}:${protocol}`)));

/** Whole ranges of sockets, of which a sandbox refuses every single one. */
const SOCKET_RANGES = [
  ["socket: every family from 0 to 45 but unix and the internet's, of every type", sockets(without(FAMILIES, ...OPEN_FAMILIES), TYPES)],
  [
    "socket: every family from 0 to 45, of every type, with the family's upper half set",
    sockets(
      FAMILIES.map((family) => family + UPPER_HALF),
      TYPES,
    ),
  ],
  ["socket: the internet's families, of every type but stream", sockets(INTERNET, without(TYPES, 1))],
  ["socket: internet streams of every protocol but TCP", sockets(INTERNET, [1], without(PROTOCOLS, 0, 6))],
  ["socketpair: every family from 0 to 45 but unix", without(FAMILIES, 1).map((family) => `socketpair:${family}:1:0`)],
] as const;

const IS_X86 = process.arch === "x64";
const ATTACKS = kernelAttacks(IS_X86);

const NO_X32 = "cannot be shown: x32 is not in this kernel";
/** They end the process, so each needs a container of its own. */
const OTHER_ABIS = [
  { call: "getpid_int80", title: "the 32-bit ABI (int 0x80): getpid" },
  { call: "socketcall_int80:16:3:0", title: "the 32-bit ABI (int 0x80): a netlink socket by socketcall" },
  { call: "getpid_x32", title: "the x32 ABI: getpid" },
  { call: "socket_x32:16:3:0", title: "the x32 ABI: a netlink socket" },
  // The filter ends the thread that made the call; a process with others goes on.
  { call: "int80_in_thread", title: "the 32-bit ABI, in a thread", gives: "no answer" },
] as const;
const SIGSYS_EXIT_CODE = 128 + 31;

/** Of system calls by number: they end the process, wait for ever, or do not return from a child. */
const NOT_BY_NUMBER = ["rt_sigreturn", "pause", "fork", "vfork", "exit", "exit_group"];
/** Linux lets them past every filter (kernel/seccomp.c), as of 6.14. Their numbers on x86-64. */
const PAST_EVERY_FILTER = { uretprobe: 335, uprobe: 336 };
const HIGHEST_NUMBER = 600;
/** Not in the kernel's headers of older distributions. From 424 on, all architectures count alike. */
const NEW_CALLS = { fchmodat2: 452 };

describe("Security: kernel", () => {
  let free: Outcomes;
  let confined: Outcomes;
  /** In a runtime with TCP on its loopback. */
  let withLoopback: Outcomes;

  before(async () => {
    const named = [...ATTACKS.map(({ call }) => call), ...ALLOWED_WITH_LOOPBACK];
    const calls = [...new Set([...named, ...SOCKET_RANGES.flatMap(([, range]) => range)])];
    const settings = { permissions: { fileSystem: { write: ["./temp"] }, network: { loopback: true } } };
    [free, confined, withLoopback] = await Promise.all([withoutLayers(calls), inSandbox(calls), inSandbox(calls, settings)]);
  });

  describe("Security: kernel, single calls", () => {
    for (const { call, cannotShow, layer, title, within, without: shows } of ATTACKS) {
      const control = (): string => {
        const outcome = free.get(call)!;
        const reason = cannotShow[outcome];
        return reason === undefined ? outcome : `cannot be shown: ${reason} (${outcome})`;
      };
      attack({
        name: title,
        layer,
        without: { run: control, shows: new RegExp(`^(${shows}|cannot be shown: .*)$`) },
        within: { run: () => confined.get(call)!, gives: within },
      });
    }
    for (const [title, range] of SOCKET_RANGES) {
      attack({
        name: title,
        layer: "seccomp",
        // Some open, none is refused by anything like a filter.
        without: { run: () => summary(free, range), shows: title.startsWith("socketpair") ? /^(?!.*EPERM)/ : /^(?!.*EPERM).*\bok\b/ },
        within: { run: () => summary(confined, range), gives: "EPERM" },
      });
    }

    it("are refused by the filter, not by a missing privilege", async () => {
      const filtered = ATTACKS.filter(({ layer }) => layer === "seccomp");
      const outcomes = await underFilterOnly(filtered.map(({ call }) => call));
      for (const { call, title, within } of filtered) assert.equal(outcomes.get(call), within, title);
    });

    it("are refused all the same where a runtime has more than one process, but for fork", async () => {
      const settings = { permissions: { fileSystem: { write: ["./temp"] }, system: { maxProcesses: 3 } } };
      const outcomes = await inSandbox(
        ATTACKS.map(({ call }) => call),
        settings,
      );
      for (const { call, many, title } of ATTACKS) assert.equal(outcomes.get(call), many, title);
    });

    it("are refused all the same where a runtime has TCP on its loopback, but for TCP", () => {
      for (const { call, loopback, title } of ATTACKS) assert.match(withLoopback.get(call)!, new RegExp(`^(${loopback})$`), title);
      for (const [title, range] of SOCKET_RANGES) assert.equal(summary(withLoopback, range), "EPERM", title);
    });

    it("leave threads what they need, and TCP to a runtime that has it", () => {
      for (const call of ALLOWED_CALLS) assert.deepEqual([free.get(call), confined.get(call)], ["ok", "ok"], call);
      for (const call of ALLOWED_WITH_LOOPBACK) assert.deepEqual([free.get(call), withLoopback.get(call)], ["ok", "ok"], call);
    });
  });

  describe("Security: kernel, other ABIs", () => {
    before(function () {
      // On arm64 the engine's profile has no 32-bit ABI either, but the probe has no call for it.
      if (!IS_X86) this.skip();
    });

    for (const { call, title, ...rest } of OTHER_ABIS) {
      const control = async (): Promise<string> => {
        const outcome = (await withoutLayers([call])).get(call)!;
        return outcome === "ENOSYS" && call.includes("x32") ? NO_X32 : outcome;
      };
      attack({
        name: title,
        layer: "seccomp",
        without: { run: control, shows: new RegExp(`^(ok|${NO_X32})$`) },
        within: {
          run: async () => {
            const { exitCode, stdout } = await runContainer(await sandboxOptions([PROBE, call], await probeImageId()));
            if (exitCode === SIGSYS_EXIT_CODE) return "SIGSYS";
            return exitCode === 0 ? stdout.slice(call.length).trim() : `exit code ${exitCode}`;
          },
          gives: "gives" in rest ? rest.gives : "SIGSYS",
        },
      });
    }
  });

  describe("Security: kernel, all calls", () => {
    const callOf = (number: number): string => `nr:${number}`;

    it("are refused, but those that the profile allows", async () => {
      const numbers = new Map([...(await systemCallNumbers()), ...Object.entries(NEW_CALLS)]);
      const names = new Map([...numbers].map(([name, number]) => [number, name]));
      const { syscalls } = compileSeccomp({ architecture: await engineArchitecture(docker), processes: "one", tcp: false });
      const allowed = new Set(
        syscalls.filter(({ action, args }) => action === "SCMP_ACT_ALLOW" && args === undefined).flatMap((rule) => rule.names),
      );
      // Answered with success and not made, so that they look open.
      const answeredWith = (errno: number): string[] => syscalls.filter(({ errnoRet }) => errnoRet === errno).flatMap((rule) => rule.names);
      const pretended = answeredWith(0);
      // As if the file system had no such attributes.
      const unsupported = answeredWith(os.constants.errno.EOPNOTSUPP);
      const skipped = new Set([
        ...[...NOT_BY_NUMBER, ...pretended].map((name) => numbers.get(name)),
        ...(IS_X86 ? Object.values(PAST_EVERY_FILTER) : []),
      ]);
      const walked = Array.from({ length: HIGHEST_NUMBER + 1 }, (_, number) => number).filter((number) => !skipped.has(number));
      const calls = walked.map(callOf);
      const options = await sandboxOptions([PROBE, ...calls], await probeImageId());
      const unfiltered = { ...options, HostConfig: { ...options.HostConfig, SecurityOpt: ["seccomp=unconfined"] } };
      const [control, alike, sandboxed] = await Promise.all([
        withoutLayers(calls),
        outcomesOf(unfiltered, calls),
        outcomesOf(options, calls),
      ]);

      const nameOf = (number: number): string => names.get(number) ?? callOf(number);
      // EPERM is the filter's word, and ENOSYS what the engine answers to numbers above all that the profile names.
      const refusedNumbers = walked.filter((number) =>
        (unsupported.includes(nameOf(number)) ? /^EOPNOTSUPP$/ : /^(EPERM|ENOSYS)$/).test(sandboxed.get(callOf(number))!),
      );
      const free = walked.filter((number) => !refusedNumbers.includes(number));
      assert.deepEqual(free.filter((number) => !allowed.has(nameOf(number))).map(nameOf), [], "open, but not in the profile");
      // An allowed call answers what the same user gets without a filter; -1 is nonsense to nearly all of them.
      for (const number of walked.filter((one) => allowed.has(nameOf(one))))
        assert.equal(sandboxed.get(callOf(number)), alike.get(callOf(number)), nameOf(number));
      // The control: without a filter, and with every privilege, nothing is refused.
      assert.deepEqual(walked.filter((number) => control.get(callOf(number)) === "EPERM").map(nameOf), []);
      const shown = refusedNumbers.filter((number) => control.get(callOf(number)) !== "ENOSYS");
      assert.ok(shown.length > 100, `${shown.length} calls exist in this kernel and are refused`);
      await recordAttack({
        area: "Security: kernel, all calls",
        attack: `every number from 0 to ${HIGHEST_NUMBER}`,
        layer: "seccomp",
        without: `${walked.filter((number) => control.get(callOf(number)) !== "ENOSYS").length} exist, none is refused`,
        expected: "the profile's allowlist",
        within: `${free.length} open, all of them in the allowlist`,
        passed: true,
      });
    });

    it("that Linux lets past every filter do nothing", async function () {
      // Only x86-64 has them.
      if (!IS_X86) this.skip();
      for (const [name, number] of Object.entries(PAST_EVERY_FILTER)) {
        const { exitCode, stdout } = await runContainer(await sandboxOptions([PROBE, callOf(number)], await probeImageId()));
        const outcome = exitCode === 0 ? stdout.trim().split(" ")[1]! : `exit code ${exitCode}`;
        // 132 is SIGILL: it was not called from the kernel's own trampoline. Older kernels have no such call.
        assert.match(outcome, /^(ENXIO|EPERM|ENOSYS|exit code 132)$/, name);
        await recordAttack({
          area: "Security: kernel, all calls",
          attack: name,
          layer: "none: Linux lets it past every filter",
          without: "the same",
          expected: "nothing but an error or the process's end",
          within: outcome,
          passed: true,
        });
      }
    });
  });

  it("Node works with workers, its pool and WebAssembly, while every attempt to start a process gets EPERM", async () => {
    const service = await TestService.start();
    try {
      const seen = (await service.result(WORK_AND_SPAWN, { timeoutMs: 30_000 })) as {
        work: number[];
        attempts: number;
        outcomes: string[];
      };
      assert.deepEqual(seen.work, [42, 42, 42, 42, 64, 42]);
      assert.ok(seen.attempts > 20, `${seen.attempts} attempts`);
      assert.deepEqual(seen.outcomes, ["EPERM"]);
    } finally {
      await service.close();
    }
  });
});

/** Four workers, eight jobs of the thread pool and a WebAssembly module do their work; until they have, processes are tried. */
const WORK_AND_SPAWN = `
const { spawnSync } = require("node:child_process");
const { Worker } = require("node:worker_threads");
const { promisify } = require("node:util");
const scrypt = promisify(require("node:crypto").scrypt);
const wasm = new Uint8Array([0,97,115,109,1,0,0,0,1,5,1,96,0,1,127,3,2,1,0,7,5,1,1,102,0,0,10,6,1,4,0,65,42,11]);
const source = 'let sum = 0; for (let i = 0; i < 2e7; i++) sum += i % 2; require("node:worker_threads").parentPort.postMessage(sum === 1e7 ? 42 : 0)';
const worker = () => new Promise((resolve, reject) => new Worker(source, { eval: true }).on("message", resolve).on("error", reject));
let busy = true;
const work = Promise.all([
  worker(), worker(), worker(), worker(),
  Promise.all(Array.from({ length: 8 }, (_, i) => scrypt("password", "salt" + i, 8))).then((keys) => keys.reduce((sum, key) => sum + key.length, 0)),
  WebAssembly.instantiate(wasm).then(({ instance }) => instance.exports.f()),
]).finally(() => { busy = false; });
const outcomes = new Set();
let attempts = 0;
while (busy || attempts < 25) {
  outcomes.add(spawnSync(process.execPath, ["-v"]).error?.code ?? "started");
  attempts += 1;
  await new Promise(setImmediate);
}
return { work: await work, attempts, outcomes: [...outcomes] };
`;
