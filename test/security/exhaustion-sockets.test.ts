/** Programs that take the kernel's memory through sockets: it is counted to them, or too little to matter. */

import { besiege, runUnrestricted } from "./support/siege.ts";
import type { HostileProgram } from "./support/siege.ts";

const TIMEOUT_MS = 20_000;
/** What TCP of one sandbox may take beyond its memory limit in these attacks. */
const TCP_BOUND_MIB = 48;

/** `tcpMib()`: what the kernel holds for TCP, of the whole machine. Opened once: later there may be no descriptor left. */
const TCP_MEMORY = `
  const fs = require("node:fs"), net = require("node:net");
  const sockstat = fs.openSync("/proc/net/sockstat");
  const tcpMib = () => { const text = Buffer.alloc(1024); fs.readSync(sockstat, text, 0, 1024, 0); return Number(/^TCP:.* mem (\\d+)/m.exec(text.toString())[1]) / 256; };
  const before = tcpMib();
  const verdict = () => { const mib = tcpMib() - before; return mib > ${TCP_BOUND_MIB} ? "over ${TCP_BOUND_MIB} MiB" : "at most ${TCP_BOUND_MIB} MiB"; };
`;

/** Connections with full buffers on both sides, as many as there are descriptors or `most`. */
const fullConnections = (listenOn: string, most: number): string => `
  const piece = Buffer.alloc(4 << 20, 1), held = [];
  const flood = (socket) => { held.push(socket); socket.on("error", () => {}); socket.write(piece); };
  const server = net.createServer({ pauseOnConnect: true }, flood);
  await new Promise((resolve, reject) => server.on("error", reject).listen(${listenOn}, resolve));
  const address = server.address();
  for (let made = 0; made < ${most}; made++) {
    const socket = typeof address === "string" ? net.connect(address) : net.connect(address.port, "127.0.0.1");
    socket.pause();
    if (!await new Promise((resolve) => { socket.once("connect", () => resolve(true)); socket.once("error", () => resolve(false)); })) break;
    flood(socket);
  }
`;

/**
 * Connections that nobody accepts, closed with data in them: they need no descriptor. The main thread holds the listening sockets and
 * does nothing, so that they wait.
 */
const pendingConnections = (mostOnPort: number): string => `
  const { Worker } = require("node:worker_threads");
  const done = new Int32Array(new SharedArrayBuffer(8));
  const ports = await Promise.all(Array.from({ length: 8 }, () => new Promise((resolve, reject) => {
    const server = net.createServer().on("error", reject).listen({ port: 0, backlog: 65535 }, () => resolve(server.address().port));
  })));
  new Worker(\`
    const net = require("node:net"), { done, ports } = require("node:worker_threads").workerData;
    const piece = Buffer.alloc(1 << 20, 1);
    const fill = async (port) => {
      for (let made = 0; made < ${mostOnPort}; made++) {
        const socket = net.connect(port, "127.0.0.1").on("error", () => {});
        const isUp = await new Promise((resolve) => { socket.once("connect", () => resolve(true)); setTimeout(resolve, 500, false); });
        if (isUp) { Atomics.add(done, 1, 1); socket.write(piece); await new Promise(setImmediate); }
        socket.destroy();
        if (!isUp) return;
      }
    };
    Promise.all(ports.map(fill)).then(() => { Atomics.store(done, 0, 1); Atomics.notify(done, 0); });
  \`, { eval: true, workerData: { done, ports } });
  await new Promise((resolve) => setTimeout(resolve, 200));
  Atomics.wait(done, 0, 0, 15000);
`;

/** Top-level await for a command line. */
const script = (code: string): string => `(async () => { ${code} process.exit(); })();`;

const PROGRAMS: readonly HostileProgram[] = [
  {
    name: "unix sockets full of data that nobody reads",
    layer: "memory",
    code: `${TCP_MEMORY} ${fullConnections('"temp/s"', 2000)} return "held";`,
    request: { timeoutMs: TIMEOUT_MS },
    gives: /^out_of_memory SIGKILL/,
    without: {
      run: () =>
        runUnrestricted(
          script(`${TCP_MEMORY} ${fullConnections('"/tmp/s"', 400)} console.log(held.length === 800 ? "held 400 connections" : "");`),
        ),
      shows: "held 400 connections",
    },
  },
  {
    name: "TCP connections full of data that nobody reads",
    layer: "socket-memory",
    code: `${TCP_MEMORY} ${fullConnections('0, "127.0.0.1"', 2000)} return verdict();`,
    request: { timeoutMs: TIMEOUT_MS, runtime: "loopback" },
    gives: `completed "at most ${TCP_BOUND_MIB} MiB"`,
    without: {
      run: () => runUnrestricted(script(`${TCP_MEMORY} ${fullConnections('0, "127.0.0.1"', 100)} console.log(verdict());`)),
      shows: `over ${TCP_BOUND_MIB} MiB`,
    },
  },
  {
    name: "TCP connections that nobody accepts, which need no descriptors",
    layer: "socket-memory",
    // test/security/layers.test.ts has a shorter one.
    variation: true,
    code: `${TCP_MEMORY} ${pendingConnections(1000)} return verdict();`,
    request: { timeoutMs: TIMEOUT_MS, runtime: "loopback" },
    gives: `completed "at most ${TCP_BOUND_MIB} MiB"`,
    without: {
      run: () => runUnrestricted(script(`${TCP_MEMORY} ${pendingConnections(1000)} console.log(verdict());`)),
      shows: `over ${TCP_BOUND_MIB} MiB`,
    },
  },
  {
    name: "TCP connections full of data, where the runtime has no TCP",
    layer: "socket-memory",
    code: `${TCP_MEMORY} ${fullConnections('0, "127.0.0.1"', 100)} return held.length;`,
    request: { timeoutMs: TIMEOUT_MS },
    gives: /^failed 1 Error: listen EPERM: operation not permitted/,
    without: {
      code: `${TCP_MEMORY} ${fullConnections('0, "127.0.0.1"', 100)} return held.length;`,
      request: { timeoutMs: TIMEOUT_MS, runtime: "loopback" },
      shows: "completed 200",
    },
  },
  {
    name: "TCP connections that nobody accepts, where the runtime has no TCP",
    layer: "socket-memory",
    code: `${TCP_MEMORY} ${pendingConnections(20)} return done[1];`,
    request: { timeoutMs: TIMEOUT_MS },
    gives: /^failed 1 Error: listen EPERM: operation not permitted/,
    without: {
      code: `${TCP_MEMORY} ${pendingConnections(20)} return done[1];`,
      request: { timeoutMs: TIMEOUT_MS, runtime: "loopback" },
      shows: "completed 160",
    },
  },
  {
    name: "open files without end",
    layer: "openFiles",
    code: 'const fs = require("node:fs"); let opened = 0; try { for (;;) { fs.openSync("/etc/hosts"); opened++; } } catch (error) { return [error.code, opened > 900 && opened <= 1024]; }',
    request: { timeoutMs: TIMEOUT_MS },
    gives: 'completed ["EMFILE",true]',
    without: {
      run: () =>
        runUnrestricted(
          'const fs = require("node:fs"); for (let opened = 0; opened < 3000; opened++) fs.openSync("/etc/hosts"); console.log("opened 3000");',
        ),
      shows: "opened 3000",
    },
  },
  {
    name: "a thousand connections to the service's own socket",
    layer: "tools.sock takes one connection",
    code: 'const net = require("node:net"); const codes = new Set(); for (let i = 0; i < 1000; i++) codes.add(await new Promise((resolve) => net.connect("/run/code-mode/tools.sock").on("error", (error) => resolve(error.code)).on("connect", () => resolve("connected")))); return [...codes];',
    request: { timeoutMs: TIMEOUT_MS },
    gives: 'completed ["ENOENT"]',
    without: {
      run: () =>
        runUnrestricted(
          script(
            'const net = require("node:net"); await new Promise((resolve) => net.createServer().listen("/tmp/tools.sock", resolve)); for (let i = 0; i < 1000; i++) await new Promise((resolve) => net.connect("/tmp/tools.sock", resolve)); console.log("connected 1000");',
          ),
        ),
      shows: "connected 1000",
    },
  },
];

describe("Security: exhaustion of sockets", () => {
  besiege({
    runtimes: {
      node: { memoryLimit: "128MB", permissions: { fileSystem: { write: ["./temp"] } } },
      loopback: { memoryLimit: "128MB", permissions: { fileSystem: { write: ["./temp"] }, network: { loopback: true } } },
    },
    programs: PROGRAMS,
  });
});
