/** Files of the host: what a readable path could lead to, hold, or become, and what a hostile folder does to a snapshot. */

import { execFile } from "node:child_process";
import { chmod, mkdir, open, readdir, rename, rm, symlink, truncate, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import type { Server } from "node:net";
import path from "node:path";
import { promisify } from "node:util";

import { StartupError } from "../../src/domain/errors.ts";
import { EngineProxy } from "../helpers/proxy.ts";
import { eventually, makeTempFolder, TestService } from "../helpers/service.ts";
import type { ErrorBody, ServiceOptions } from "../helpers/service.ts";
import { attack } from "./support/attack.ts";
import { attemptsProgram } from "./support/attempts.ts";
import { runContainer, sandboxImageId, sandboxOptions } from "./support/container.ts";

const NODE = "/usr/local/bin/node";
const SECRET = "a secret of the host";
const run = promisify(execFile);

const readSecret = 'return fs.readFileSync("/workspace/data/secret.txt", "utf8");';
const useSocket = `return new Promise((resolve, reject) => { net.connect("/workspace/data/s.sock").on("connect", () => resolve("connected")).on("error", reject); });`;
const useFifo = `return fs.writeSync(fs.openSync("/workspace/data/fifo", fs.constants.O_WRONLY | fs.constants.O_NONBLOCK), "x") === 1 ? "written" : "not written";`;

/** A folder of the host that is bound read-only into a container with a sandbox's flags, as any service would do it, and an attempt. */
async function plainlyBound(source: string, body: string): Promise<string> {
  const program = `${attemptsProgram({ body })}.then(({ body }) => { console.log(body); process.exit(); })`;
  const options = await sandboxOptions([NODE, "-e", program], await sandboxImageId());
  const { stderr, stdout } = await runContainer({
    ...options,
    HostConfig: { ...options.HostConfig, Tmpfs: {}, Binds: [`${source}:/workspace/data:ro`] },
  });
  return `${stdout}${stderr}`.trim();
}

/** Why the service does not start. */
async function refusal(options: ServiceOptions): Promise<string> {
  try {
    await (await TestService.start(options)).close();
    return "started";
  } catch (error) {
    if (error instanceof StartupError) return error.message;
    throw error;
  }
}

const reading = (...read: unknown[]): ServiceOptions["runtimes"] & object => ({
  node: { permissions: { fileSystem: { read, write: ["./temp"] } } },
});

describe("Security: files of the host", () => {
  let folder: string;
  let secrets: string;
  const servers: Server[] = [];

  const listen = async (socket: string): Promise<void> => {
    const server = createServer((connection) => connection.on("error", () => undefined).end());
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    await chmod(socket, 0o666);
  };

  before(async () => {
    folder = await makeTempFolder();
    await chmod(folder, 0o755);
    secrets = path.join(folder, "secrets");
    await mkdir(secrets);
    await writeFile(path.join(secrets, "secret.txt"), SECRET);
    await symlink(secrets, path.join(folder, "link"));
    await mkdir(path.join(folder, "special"));
    await listen(path.join(folder, "special", "s.sock"));
    await run("mkfifo", ["-m", "666", path.join(folder, "special", "fifo")]);
  });
  after(async () => {
    for (const server of servers) server.close();
    await rm(folder, { recursive: true });
  });

  describe("Security: readable paths that are refused at the start", () => {
    attack({
      name: "a link that leads out of the workspace",
      layer: "readable paths are resolved",
      without: { run: () => plainlyBound(path.join(folder, "link"), readSecret), shows: SECRET },
      within: {
        gives: /leads outside the workspace root/,
        run: () => refusal({ runtimes: reading("./out"), prepare: (workspace) => symlink(secrets, path.join(workspace, "out")) }),
      },
    });
    attack({
      name: "a unix socket in a folder",
      layer: "readable paths are searched",
      without: { run: () => plainlyBound(path.join(folder, "special"), useSocket), shows: "connected" },
      within: {
        gives: /holds .*s\.sock, a socket/,
        run: () => refusal({ runtimes: reading("./data"), prepare: (workspace) => listen(path.join(workspace, "data", "s.sock")) }),
      },
    });
    attack({
      name: "a FIFO in a folder",
      layer: "readable paths are searched",
      without: {
        shows: "written",
        run: async () => {
          const reader = await open(path.join(folder, "special", "fifo"), "r+");
          try {
            return await plainlyBound(path.join(folder, "special"), useFifo);
          } finally {
            await reader.close();
          }
        },
      },
      within: {
        gives: /holds .*fifo, a FIFO/,
        run: () =>
          refusal({
            runtimes: reading("./data"),
            prepare: async (workspace) => {
              await run("mkfifo", [path.join(workspace, "data", "fifo")]);
            },
          }),
      },
    });
    for (const [name, read, variable, place, gives] of [
      ["the configuration, from inside", "./data/config", "CODE_MODE_CONFIG_DIR", "data/config", /must not read/],
      ["below the configuration", "./data/config/deep", "CODE_MODE_CONFIG_DIR", "data/config", /lies in .*which programs must not read/],
      ["below the state", "./data/state/deep", "CODE_MODE_STATE_DIR", "data/state", /lies in .*which programs must not read/],
      [
        "around the state that is yet to be made",
        "./data",
        "CODE_MODE_STATE_DIR",
        "data/new/state",
        /contains .*which programs must not read/,
      ],
    ] as const) {
      attack({
        name,
        layer: "the service's own places",
        // Any other folder can be read.
        without: { run: () => plainlyBound(secrets, readSecret), shows: SECRET },
        within: {
          gives,
          run: async () => {
            const workspace = path.join(folder, "own");
            const data = path.join(workspace, "data");
            for (const inside of ["config/deep", "state/deep"]) await mkdir(path.join(data, inside), { recursive: true });
            await writeFile(path.join(data, "config", "runtimes.json"), JSON.stringify({ runtimes: reading(read) }));
            try {
              const env = { CODE_MODE_WORKSPACE_ROOT: workspace, [variable]: path.join(workspace, place) };
              return await refusal({ runtimes: reading(read), env });
            } finally {
              await rm(workspace, { recursive: true });
            }
          },
        },
      });
    }
  });

  describe("Security: readable paths that change", () => {
    attack({
      name: "a folder swapped for a link, again and again while sandboxes start",
      layer: "readable paths are resolved; mounts are compared by identity",
      without: { run: () => plainlyBound(path.join(folder, "link"), readSecret), shows: SECRET },
      within: {
        gives: /^16 executions, none read it$/,
        run: async () => {
          const service = await TestService.start({ runtimes: reading("./data") });
          const inWorkspace = (name: string): string => path.join(service.workspace, name);
          const swaps = { stopped: false };
          const swapping = (async () => {
            await symlink(secrets, inWorkspace("evil"));
            while (!swaps.stopped) {
              await rename(inWorkspace("data"), inWorkspace("good"));
              await rename(inWorkspace("evil"), inWorkspace("data"));
              await new Promise(setImmediate);
              await rename(inWorkspace("data"), inWorkspace("evil"));
              await rename(inWorkspace("good"), inWorkspace("data"));
            }
          })();
          try {
            const bodies: string[] = [];
            for (let round = 0; round < 4; round += 1) {
              const answers = await Promise.all(
                Array.from({ length: 4 }, () =>
                  service.post({
                    code: 'const fs = require("node:fs"); return fs.readdirSync("data").map((name) => fs.readFileSync("data/" + name, "utf8"));',
                  }),
                ),
              );
              bodies.push(...answers.map(({ body }) => JSON.stringify(body)));
            }
            return `${bodies.length} executions, ${bodies.some((body) => body.includes(SECRET)) ? "read" : "none read it"}`;
          } finally {
            swaps.stopped = true;
            await swapping;
            await service.close();
          }
        },
      },
    });

    attack({
      name: "another folder mounted than the one that was checked",
      layer: "mounts are compared by identity",
      without: { run: () => plainlyBound(path.join(folder, "link"), readSecret), shows: SECRET },
      within: {
        gives: "503 SANDBOX_UNAVAILABLE, 200 with the folder that was checked",
        run: async () => {
          const proxy = new EngineProxy(folder);
          await proxy.open();
          const service = await TestService.start({
            env: { DOCKER_HOST: proxy.dockerHost },
            runtimes: reading("./data"),
            prepare: async (workspace) => {
              await mkdir(path.join(workspace, "evil"));
              await writeFile(path.join(workspace, "evil", "secret.txt"), SECRET);
            },
          });
          try {
            const code = 'return require("node:fs").readdirSync("data").join()';
            // As if the folder had been swapped at the very moment of the mount.
            proxy.change = ({ HostConfig }) => {
              for (const mount of HostConfig.Mounts ?? []) {
                const options = mount.VolumeOptions?.DriverConfig.Options as Record<string, string> | undefined;
                if (options?.["device"] === path.join(service.workspace, "data")) options["device"] = path.join(service.workspace, "evil");
              }
            };
            const { body, status } = await service.post<ErrorBody>({ code });
            proxy.change = undefined;
            const honest = await service.result(code);
            return `${status} ${body.error.code}, 200 with ${honest === "numbers.txt" ? "the folder that was checked" : String(honest)}`;
          } finally {
            proxy.change = undefined;
            await service.close();
            await proxy.close();
          }
        },
      },
    });

    /** Starts a program that looks for a socket, makes one in the folder, and tells what the program got. */
    const socketAfterTheStart = async (read: unknown): Promise<string> => {
      const service = await TestService.start({ runtimes: reading(read) });
      try {
        const code = `const net = require("node:net"), fs = require("node:fs");
          for (let round = 0; round < 60; round += 1) {
            if (fs.existsSync("data/s.sock")) return await new Promise((resolve) => net.connect("data/s.sock").on("connect", () => resolve("connected")).on("error", (error) => resolve(error.code)));
            await new Promise((resolve) => setTimeout(resolve, 50));
          }
          return "never there";`;
        const running = service.result(code, { timeoutMs: 10_000 });
        await eventually(
          "it runs",
          async () =>
            (await service.get<{ executions: { status: string }[] }>("/v1/executions?status=running")).body.executions.length === 1,
        );
        await listen(path.join(service.workspace, "data", "s.sock"));
        return String(await running);
      } finally {
        await service.close();
      }
    };
    attack({
      name: "a socket that is made after the start (documented: use a snapshot)",
      layer: "snapshot",
      without: { run: () => socketAfterTheStart("./data"), shows: "connected" },
      within: { run: () => socketAfterTheStart({ path: "./data", snapshot: true }), gives: "never there" },
    });
  });

  describe("Security: snapshots of hostile folders", () => {
    let service: TestService;
    let data: string;
    before(async () => {
      service = await TestService.start({ runtimes: reading({ path: "./data", snapshot: true }) });
      data = path.join(service.workspace, "data");
    });
    after(() => service.close());
    afterEach(async () => {
      for (const name of await readdir(data, { encoding: "buffer" }))
        if (name.toString() !== "numbers.txt") await rm(Buffer.concat([Buffer.from(`${data}/`), name]), { recursive: true });
    });

    const list = `const fs = require("node:fs");
      const look = (name) => { try { return fs.statSync(name).isFile() ? fs.readFileSync(name, "utf8").length : fs.readdirSync(name).length; } catch (error) { return error.code; } };
      return fs.readdirSync("data").sort().map((name) => name + "=" + look("data/" + name)).join(" ");`;
    const snapshot = async (): Promise<string> => {
      const { body, status } = await service.post<ErrorBody & { result: unknown }>({ code: list });
      return status === 200 ? String(body.result) : `${status} ${body.error.code}`;
    };
    const nonUtf8 = (name: string): Buffer => Buffer.concat([Buffer.from(`${data}/`), Buffer.from(name, "latin1")]);

    for (const [name, prepare, gives] of [
      [
        "links to the host's files, also in loops",
        async () => {
          await symlink("/etc/hostname", path.join(data, "absolute"));
          await symlink(secrets, path.join(data, "folder"));
          await symlink("../../secret", path.join(data, "relative"));
          await symlink("loop", path.join(data, "loop"));
        },
        "numbers.txt=6",
      ],
      [
        "a FIFO and a socket",
        async () => {
          await run("mkfifo", [path.join(data, "fifo")]);
          await listen(path.join(data, "s.sock"));
        },
        "numbers.txt=6",
      ],
      [
        "a file of 100 GB that takes no room on the disk",
        async () => {
          await writeFile(path.join(data, "sparse"), "");
          await truncate(path.join(data, "sparse"), 100 * 2 ** 30);
        },
        "503 SANDBOX_UNAVAILABLE",
      ],
      [
        "folders deeper than 64",
        () => mkdir(path.join(data, ...Array.from({ length: 80 }, () => "d")), { recursive: true }),
        "503 SANDBOX_UNAVAILABLE",
      ],
      [
        "a file that its mode keeps from strangers",
        () => writeFile(path.join(data, "private"), SECRET, { mode: 0o600 }),
        "numbers.txt=6 private=EACCES",
      ],
      [
        "a folder that its mode keeps from strangers",
        async () => {
          await mkdir(path.join(data, "private"), { mode: 0o700 });
          await writeFile(path.join(data, "private", "secret.txt"), SECRET, { mode: 0o600 });
        },
        "numbers.txt=6 private=EACCES",
      ],
      ["names that are no UTF-8", () => writeFile(nonUtf8("bad\xff\xfename"), "x"), /^numbers\.txt=6$/],
    ] as const) {
      attack({
        name,
        layer: "snapshot",
        without: { cannotShow: "an attack on the service that copies, not on a container" },
        within: {
          gives,
          run: async () => {
            await prepare();
            return snapshot();
          },
        },
      });
    }
  });
});
