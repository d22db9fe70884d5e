import assert from "node:assert/strict";
import { once } from "node:events";
import { access, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import path from "node:path";

import { StartupError } from "../../../../src/domain/errors.ts";
import { newExecutionId, newInstanceId } from "../../../../src/domain/ids.ts";
import { ALIVE_SOCKET, listen, RunDirectory, runRoot } from "../../../../src/sandbox/docker/run-directory.ts";
import { useTempFolder } from "../../support/temp-folder.ts";

const modeOf = async (file: string): Promise<string> => ((await stat(file)).mode & 0o777).toString(8);

describe("run-directory: the service's folder on the host", () => {
  const folder = useTempFolder();
  let directory: RunDirectory | undefined;
  const open = async (): Promise<RunDirectory> => (directory = await RunDirectory.open(folder(), newInstanceId()));

  afterEach(async () => {
    await directory?.close();
    directory = undefined;
  });

  it("is the instance's own, and no other user of the host gets into it, whatever the umask", async () => {
    const umask = process.umask(0);
    try {
      const { root } = await open();
      assert.equal(path.dirname(root), runRoot(folder()));
      assert.deepEqual(await Promise.all([root, runRoot(folder())].map(modeOf)), ["700", "700"]);
    } finally {
      process.umask(umask);
    }
  });

  it("answers on its liveness socket until it is closed, and is gone then", async () => {
    const { root } = await open();
    const socket = connect(path.join(root, ALIVE_SOCKET));
    await once(socket, "connect");
    await once(socket.resume(), "close");
    await directory!.close();
    directory = undefined;
    await assert.rejects(once(connect(path.join(root, ALIVE_SOCKET)), "connect"), { code: "ENOENT" });
    await assert.rejects(access(root), { code: "ENOENT" });
  });

  it("has the files for /etc, readable for sandboxes, that name nothing but loopback", async () => {
    const { etcFiles } = await open();
    assert.deepEqual(
      etcFiles.map(({ target }) => target),
      ["/etc/hosts", "/etc/resolv.conf"],
    );
    for (const { source } of etcFiles) {
      assert.equal(await modeOf(source), "444");
      for (const line of (await readFile(source, "utf8")).trim().split("\n"))
        assert.match(line, /^(127\.0\.0\.1|::1|nameserver 127\.|options )/);
    }
  });

  it("has a folder for each execution, which any user id can enter and only the service can write", async () => {
    const run = await open();
    const umask = process.umask(0o077);
    try {
      const [first, second] = [newExecutionId(), newExecutionId()];
      const made = await run.createExecution(first);
      assert.deepEqual(made, {
        root: path.join(run.root, first),
        sockets: path.join(run.root, first, "sockets"),
        workspace: path.join(run.root, first, "workspace"),
      });
      assert.deepEqual(await Promise.all(Object.values(made).map(modeOf)), ["755", "755", "755"]);
      await run.createExecution(second);
      await assert.rejects(run.createExecution(second), { code: "EEXIST" });
      await writeFile(path.join(made.workspace, "f"), "");
      await run.removeExecution(first);
      await run.removeExecution(first);
      assert.deepEqual((await readdir(run.root)).sort(), [ALIVE_SOCKET, "etc", second].sort());
    } finally {
      process.umask(umask);
    }
  });

  it("has room for every socket's path, or says by how much the state folder's is too long", async () => {
    const socketBytes = (state: string): number =>
      Buffer.byteLength(path.join(runRoot(state), "ins_000000000000", "exe_00000000000000000000", "sockets", "tools.sock"));
    const fits = path.join(folder(), "x".repeat(107 - socketBytes(path.join(folder(), "x")) + 1));
    assert.equal(socketBytes(fits), 107);
    directory = await RunDirectory.open(fits, newInstanceId());
    const { sockets } = await directory.createExecution(newExecutionId());
    const server = createServer();
    await listen(server, path.join(sockets, "tools.sock"));
    server.close();
    await assert.rejects(RunDirectory.open(`${fits}x`, newInstanceId()), (error: StartupError) => {
      assert.deepEqual(error.problems, [
        `environment: CODE_MODE_STATE_DIR: ${fits}x is 1 bytes too long for the unix sockets in it; choose a shorter path`,
      ]);
      return error instanceof StartupError;
    });
  });

  it("cannot be where a file is, and the error names the variable", async () => {
    await writeFile(path.join(folder(), "file"), "");
    await assert.rejects(RunDirectory.open(path.join(folder(), "file"), newInstanceId()), {
      name: "StartupError",
      message: /^environment: CODE_MODE_STATE_DIR: .*file cannot be used: ENOTDIR/,
    });
  });
});

describe("run-directory: listening", () => {
  const folder = useTempFolder();

  it("fails where something listens already", async () => {
    const [first, second] = [createServer(), createServer()];
    await listen(first, path.join(folder(), "s"));
    await assert.rejects(listen(second, path.join(folder(), "s")), { code: "EADDRINUSE" });
    first.close();
  });
});
