/** Other executions, the host and the service, as seen from a sandbox: over sockets, through /proc, by signals. */

import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { chmod, mkdir, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import type { ListenOptions, Server } from "node:net";
import path from "node:path";

import type Docker from "dockerode";

import { docker, eventually, makeTempFolder, TestService } from "../helpers/service.ts";
import { attack } from "./support/attack.ts";
import { attemptsProgram, tryWithin, tryWithout } from "./support/attempts.ts";
import type { Attempts, Outcomes } from "./support/attempts.ts";
import { runContainer, sandboxImageId, sandboxOptions, unrestrictedOptions } from "./support/container.ts";

const NODE = "/usr/local/bin/node";
const PORT = 34_567;
const ABSTRACT = "code-mode-security-neighbour";

const connect = (to: ListenOptions): string =>
  `return new Promise((resolve, reject) => { net.connect({ timeout: 3000, ...${JSON.stringify(to)} }).on("connect", () => resolve("connected")).on("error", reject).on("timeout", () => resolve("timeout")); });`;

/** A program that listens, has a file and waits to be attacked. */
const VICTIM = `const net = require("node:net");
  net.createServer((socket) => socket.end()).listen(${PORT}, "127.0.0.1");
  net.createServer((socket) => socket.end()).listen("\\0${ABSTRACT}");`;
const WAIT = "await new Promise((resolve) => setTimeout(resolve, 60_000));";

const OTHERS = `const others = fs.readdirSync("/proc").filter((name) => /^\\d+$/.test(name) && Number(name) !== process.pid);`;
const AGAINST_NEIGHBOUR: Attempts = {
  "its TCP server": connect({ host: "127.0.0.1", port: PORT }),
  "its abstract unix socket": connect({ path: `\0${ABSTRACT}` }),
  "its processes in /proc": `${OTHERS} return others.length > 0 ? "seen" : "own only";`,
  "its files through /proc": `${OTHERS} return others.map((pid) => fs.existsSync("/proc/" + pid + "/root${NODE}")).includes(true) ? "reached" : "nothing";`,
  "its environment": `${OTHERS} return others.map((pid) => fs.readFileSync("/proc/" + pid + "/environ", "utf8")).join("").includes("PATH=") ? "read" : "nothing";`,
  "a signal to its processes": `const own = new Set(fs.readdirSync("/proc/self/task").map(Number)); let sent = 0; const codes = new Set();
    for (let pid = 1; pid < 1000; pid += 1) if (!own.has(pid)) { try { process.kill(pid, 0); sent += 1; } catch (error) { codes.add(error.code); } }
    return sent > 0 ? "sent" : [...codes].join();`,
};

/** Addresses of others. Nothing is sent there by a control: packets of tests stay on this machine. */
const ELSEWHERE = {
  "a private address": "10.0.0.1",
  "a public address": "192.0.2.1",
  "the metadata service": "169.254.169.254",
  "the metadata service over IPv6": "fd00:ec2::254",
  "the metadata service behind a translator": "64:ff9b::a9fe:a9fe",
  broadcast: "255.255.255.255",
  multicast: "224.0.0.1",
  "multicast over IPv6": "ff02::1",
  "a link-local address over IPv6": "fe80::1%lo",
  "an address of IPv4 in IPv6": "::ffff:10.0.0.1",
} as const;
const UNREACHABLE = /^(ENETUNREACH|EHOSTUNREACH|EADDRNOTAVAIL|EINVAL|EACCES|EPERM|ECONNREFUSED)$/;

/** The host's own address on the engine's bridge, where there is one. */
const network = (await docker
  .getNetwork("bridge")
  .inspect()
  .catch(() => undefined)) as { IPAM: { Config: { Gateway?: string }[] | null } } | undefined;
const gateway = network?.IPAM.Config?.[0]?.Gateway;

describe("Security: neighbours", () => {
  let service: TestService;
  const servers: Server[] = [];

  /** A server of this process that takes every connection. */
  async function listen(options: ListenOptions): Promise<number> {
    const server = createServer((socket) => socket.on("error", () => undefined).end());
    servers.push(server);
    await new Promise<void>((resolve, reject) => server.on("error", reject).listen(options, resolve));
    const address = server.address();
    return address === null || typeof address === "string" ? 0 : address.port;
  }

  before(async () => {
    service = await TestService.start({
      runtimes: {
        // With TCP on its loopback, so that not the filter alone keeps a program from the others.
        node: { permissions: { fileSystem: { write: ["./temp"] }, network: { loopback: true } }, limits: { maxTimeoutMs: 60_000 } },
        "no-tcp": { limits: { maxTimeoutMs: 60_000 } },
      },
    });
  });
  after(async () => {
    for (const server of servers) server.close();
    await service.close();
  });

  describe("Security: another execution", () => {
    let within: Outcomes;
    let withinNoTcp: Outcomes;
    let without: Outcomes;
    let users: string[];

    /** Waits until the victim of this container listens. It cannot say so: nobody reaches it. */
    const listens = (container: Docker.Container): Promise<void> =>
      eventually("the neighbour listens", async () => {
        const { State: state } = await container.inspect();
        return state.Pid > 0 && (await readFile(`/proc/${state.Pid}/net/unix`, "utf8")).includes(`@${ABSTRACT}`);
      });

    before(async () => {
      // The control: two containers that share what each execution has of its own.
      const victim = await docker.createContainer(unrestrictedOptions([NODE, "-e", VICTIM], await sandboxImageId()));
      try {
        await victim.start();
        await listens(victim);
        without = await tryWithout(AGAINST_NEIGHBOUR, { NetworkMode: `container:${victim.id}`, PidMode: `container:${victim.id}` });
      } finally {
        await victim.remove({ force: true, v: true });
      }

      const done = new AbortController();
      const running = service.post({ code: `${VICTIM}\n${WAIT}`, timeoutMs: 60_000 }, { signal: done.signal }).catch(() => undefined);
      try {
        await eventually("the neighbour runs", async () => (await service.sandboxes()).length === 1);
        const [id = ""] = await service.sandboxes();
        await listens(docker.getContainer(id));
        const own: Attempts = { "own user": "return process.getuid();", "own network": 'return fs.readlinkSync("/proc/self/ns/net");' };
        within = await tryWithin(service, { ...AGAINST_NEIGHBOUR, ...own });
        withinNoTcp = await tryWithin(service, AGAINST_NEIGHBOUR, { runtime: "no-tcp" });
        users = [(await docker.getContainer(id).inspect()).Config.User, `${within["own user"] ?? ""}:${within["own user"] ?? ""}`];
      } finally {
        done.abort();
        await running;
      }
    });

    for (const [name, layer, shows, gives] of [
      ["its TCP server", "no-network", "connected", "ECONNREFUSED"],
      ["its abstract unix socket", "no-network", "connected", "ECONNREFUSED"],
      ["its processes in /proc", "a process namespace of its own", "seen", "own only"],
      ["its files through /proc", "a process namespace of its own", "reached", "nothing"],
      ["its environment", "a process namespace of its own", "read", "nothing"],
      ["a signal to its processes", "a process namespace of its own", "sent", "ESRCH"],
    ] as const)
      attack({ name, layer, without: { run: () => without[name] ?? "", shows }, within: { run: () => within[name] ?? "", gives } });

    attack({
      name: "its TCP server, from a runtime without TCP",
      layer: "socket-memory",
      without: { run: () => without["its TCP server"] ?? "", shows: "connected" },
      within: { run: () => withinNoTcp["its TCP server"] ?? "", gives: "EPERM" },
    });

    it("has another user id", () => {
      assert.equal(users.length, 2);
      assert.notEqual(users[0], users[1]);
    });
  });

  describe("Security: the host", () => {
    let within: Outcomes;
    let withinNoTcp: Outcomes;
    let without: Outcomes;
    let onBridge: Outcomes;

    before(async () => {
      const datagrams = createSocket("udp4");
      await new Promise<void>((resolve) => datagrams.bind(0, "127.0.0.1", resolve));
      const port = gateway === undefined ? 80 : await listen({ host: gateway, port: 0 });
      const bridge: Attempts = { "a server on the bridge": connect({ host: gateway ?? "172.17.0.1", port }) };
      // Another Node than that of the sandboxes may pad such a name; so the listener is one of theirs, in the host's network.
      const listener = `require("node:net").createServer((socket) => socket.end()).listen("\\0${ABSTRACT}-host")`;
      const inHost = await docker.createContainer(
        unrestrictedOptions([NODE, "-e", listener], await sandboxImageId(), { NetworkMode: "host" }),
      );
      const host: Attempts = {
        "a TCP server on loopback": connect({ host: "127.0.0.1", port: await listen({ host: "127.0.0.1", port: 0 }) }),
        "the service": connect({ host: "127.0.0.1", port: Number(new URL(service.url).port) }),
        "an abstract unix socket": connect({ path: `\0${ABSTRACT}-host` }),
        "a UDP socket": `return new Promise((resolve, reject) => { const socket = require("node:dgram").createSocket("udp4").on("error", reject); socket.send("x", ${datagrams.address().port}, "127.0.0.1", (error) => { socket.close(); error ? reject(error) : resolve("sent"); }); });`,
      };
      const elsewhere = Object.fromEntries(
        Object.entries(ELSEWHERE).map(([name, address]) => [name, connect({ host: address, port: 80 })]),
      );
      const names = {
        "a name": 'return (await require("node:dns").promises.lookup("example.com")).address;',
        "a DNS server": 'return (await require("node:dns").promises.resolve4("example.com")).join();',
      };
      try {
        await inHost.start();
        await eventually("it listens", async () => (await readFile("/proc/net/unix", "utf8")).includes(`@${ABSTRACT}-host`));
        [within, withinNoTcp, without, onBridge] = await Promise.all([
          tryWithin(service, { ...host, ...bridge, ...elsewhere, ...names }),
          tryWithin(service, { ...host, ...bridge, ...elsewhere, ...names }, { runtime: "no-tcp" }),
          tryWithout(host, { NetworkMode: "host" }),
          gateway === undefined ? {} : tryWithout(bridge, { NetworkMode: "bridge" }),
        ]);
      } finally {
        await inHost.remove({ force: true, v: true });
        datagrams.close();
      }
    });

    for (const [name, layer, shows, gives] of [
      ["a TCP server on loopback", "no-network", "connected", "ECONNREFUSED"],
      ["the service", "no-network", "connected", "ECONNREFUSED"],
      ["an abstract unix socket", "no-network", "connected", "ECONNREFUSED"],
      ["a UDP socket", "socket-memory", "sent", "EPERM"],
    ] as const)
      attack({ name, layer, without: { run: () => without[name] ?? "", shows }, within: { run: () => within[name] ?? "", gives } });

    for (const name of ["a TCP server on loopback", "the service"]) {
      attack({
        name: `${name}, from a runtime without TCP`,
        layer: "socket-memory",
        without: { run: () => without[name] ?? "", shows: "connected" },
        within: { run: () => withinNoTcp[name] ?? "", gives: "EPERM" },
      });
    }

    attack({
      name: "a server on the engine's bridge",
      layer: "no-network",
      without:
        gateway === undefined
          ? { cannotShow: "this engine has no bridge" }
          : { run: () => onBridge["a server on the bridge"] ?? "", shows: "connected" },
      within: { run: () => within["a server on the bridge"] ?? "", gives: "ENETUNREACH" },
    });

    for (const name of [...Object.keys(ELSEWHERE), "a name", "a DNS server"]) {
      attack({
        name,
        layer: "no-network",
        without: { cannotShow: "packets of tests stay on this machine" },
        within: { run: () => within[name] ?? "", gives: /name|DNS/.test(name) ? /^(EAI_AGAIN|ECONNREFUSED)$/ : UNREACHABLE },
      });
    }

    for (const name of Object.keys(ELSEWHERE)) {
      attack({
        name: `${name}, from a runtime without TCP`,
        layer: "socket-memory",
        // With TCP it is the network that is missing, and not the socket.
        without: { run: () => within[name] ?? "", shows: /^(?!EPERM$)[A-Z]+$/ },
        within: { run: () => withinNoTcp[name] ?? "", gives: "EPERM" },
      });
    }

    it("a name has no address in a runtime without TCP either", () => {
      assert.deepEqual([withinNoTcp["a name"], withinNoTcp["a DNS server"]], ["EAI_AGAIN", "ECONNREFUSED"]);
    });
  });

  describe("Security: the service's socket", () => {
    const socket = "/run/code-mode/tools.sock";
    const program = { connection: connect({ path: socket }) };

    /** With a sandbox's flags and somebody who still listens. */
    async function withListener(): Promise<string> {
      const folder = await makeTempFolder();
      try {
        const sockets = path.join(folder, "sockets");
        await mkdir(sockets);
        for (const opened of [folder, sockets]) await chmod(opened, 0o755);
        await listen({ path: path.join(sockets, "tools.sock") });
        await chmod(path.join(sockets, "tools.sock"), 0o666);
        const options = await sandboxOptions(
          [NODE, "-e", `${attemptsProgram(program)}.then(({ connection }) => console.log(connection))`],
          await sandboxImageId(),
        );
        const { stdout } = await runContainer({
          ...options,
          HostConfig: { ...options.HostConfig, Binds: [`${sockets}:/run/code-mode:ro`] },
        });
        return stdout.trim();
      } finally {
        await rm(folder, { recursive: true });
      }
    }

    attack({
      name: "a second connection",
      layer: "the listener is gone before a program is delivered",
      without: { run: withListener, shows: "connected" },
      within: { run: async () => (await tryWithin(service, program))["connection"] ?? "", gives: "ENOENT" },
    });
  });
});
