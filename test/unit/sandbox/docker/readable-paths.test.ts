import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmod, mkdir, rename, stat, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import path from "node:path";

import { checkReadable, isDirectory, realPaths, resolveReadable } from "../../../../src/sandbox/docker/readable-paths.ts";
import { useTempFolder } from "../../support/temp-folder.ts";

describe("readable-paths: what a policy makes readable", () => {
  const folder = useTempFolder();
  let root: string;
  const inRoot = (...names: string[]): string => path.join(root, ...names);
  const check = async (workspacePath: string, notContained: readonly string[] = [], closed: readonly string[] = []): Promise<void> =>
    checkReadable(await resolveReadable(root, workspacePath), { notContained, closed });

  beforeEach(async () => {
    root = path.join(folder(), "workspace");
    await mkdir(inRoot("data", "deep", "er"), { recursive: true });
    await writeFile(inRoot("data", "file.csv"), "1");
    await mkdir(path.join(folder(), "outside"));
  });

  it("is a folder or a file, with its identity", async () => {
    const { dev, ino } = await stat(inRoot("data"), { bigint: true });
    assert.deepEqual(await resolveReadable(root, "data"), {
      path: "data",
      source: inRoot("data"),
      kind: "directory",
      device: `${dev}`,
      inode: `${ino}`,
    });
    const file = await resolveReadable(root, "data/file.csv");
    assert.deepEqual([file.source, file.kind], [inRoot("data", "file.csv"), "file"]);
    assert.equal((await resolveReadable(root, ".")).source, root);
    await check("data");
    await check("data/file.csv");
    await check(".");
  });

  it("is refused for a FIFO among many files in a folder below", async () => {
    await Promise.all(Array.from({ length: 200 }, (_, index) => writeFile(inRoot("data", "deep", `${index}`), "")));
    await check("data");
    for (const name of ["a", "m", "z"]) execFileSync("mkfifo", [inRoot("data", "deep", name)]);
    await assert.rejects(check("data"), { name: "ReadablePathError", message: /data\/deep\/[amz], a FIFO/ });
  });

  it("is another one when somebody put it in the place of the first", async () => {
    const before = await resolveReadable(root, "data");
    await rename(inRoot("data"), inRoot("old"));
    await mkdir(inRoot("data"));
    assert.notEqual((await resolveReadable(root, "data")).inode, before.inode);
  });

  it("that does not exist is named as it is written and as it is looked for", async () => {
    await assert.rejects(resolveReadable(root, "nothing/here"), {
      name: "ReadablePathError",
      message: `"nothing/here" (${inRoot("nothing", "here")}) cannot be read: it does not exist`,
    });
  });

  it("may go through links that stay inside the workspace", async () => {
    await symlink("data/deep", inRoot("link"));
    assert.equal((await resolveReadable(root, "link/er")).source, inRoot("data", "deep", "er"));
  });

  for (const [title, target] of [
    ["relative", "../outside"],
    ["absolute", "/etc"],
    ["to a folder whose name only begins like the workspace's", "../workspace-2"],
  ] as const) {
    it(`may not go through a link that leaves it: ${title}`, async () => {
      await mkdir(path.join(folder(), "workspace-2"));
      await symlink(target, inRoot("link"));
      await assert.rejects(resolveReadable(root, "link"), {
        name: "ReadablePathError",
        message: /"link" .* leads outside the workspace root through a link, to /,
      });
    });
  }

  it("may not go through a link in the middle that leaves it", async () => {
    await writeFile(path.join(folder(), "outside", "secret"), "s");
    await symlink("../outside", inRoot("link"));
    await assert.rejects(resolveReadable(root, "link/secret"), /leads outside the workspace root/);
  });

  it("does not lie below a folder that no stranger may enter, but for what is above the workspace", async () => {
    await chmod(folder(), 0o700);
    await chmod(root, 0o700);
    await check("data/deep/er");
    await chmod(inRoot("data", "deep"), 0o700);
    await check("data/deep");
    await assert.rejects(check("data/deep/er"), { name: "ReadablePathError", message: /lies in .*deep, whose mode lets no stranger in/ });
  });

  it("is not a loop of links", async () => {
    await symlink("loop", inRoot("loop"));
    await assert.rejects(resolveReadable(root, "loop"), { name: "ReadablePathError", message: /cannot be read: ELOOP/ });
  });

  it("is not a FIFO or a socket itself", async () => {
    execFileSync("mkfifo", [inRoot("fifo")]);
    await assert.rejects(resolveReadable(root, "fifo"), /is a FIFO; only files and folders can be made readable/);
    const server = createServer().listen(inRoot("s.sock"));
    await new Promise((resolve) => server.once("listening", resolve));
    await assert.rejects(resolveReadable(root, "s.sock"), /is a socket; only files and folders/);
    server.close();
  });

  it("holds no FIFO, at any depth: a sandbox could write to it", async () => {
    execFileSync("mkfifo", [inRoot("data", "deep", "er", "pipe")]);
    await assert.rejects(check("data"), {
      name: "ReadablePathError",
      message: `"data" holds ${inRoot("data", "deep", "er", "pipe")}, a FIFO: a sandbox could use it in spite of a read-only mount`,
    });
  });

  it("holds no socket, at any depth: a sandbox could connect to it", async () => {
    const server = createServer().listen(inRoot("data", "deep", "s.sock"));
    await new Promise((resolve) => server.once("listening", resolve));
    await assert.rejects(check("."), /holds .*s\.sock, a socket/);
    server.close();
  });

  it("may hold links: they lead nowhere but in the sandbox", async () => {
    await symlink("/etc/passwd", inRoot("data", "link"));
    await symlink("/run", inRoot("data", "folder"));
    await check("data");
  });

  it("is none of the service's own places, and contains none", async () => {
    await mkdir(inRoot("data", "state"));
    await check("data", [path.join(folder(), "outside"), inRoot("database"), root]);
    await assert.rejects(check("data", [inRoot("data")]), {
      message: `"data" (${inRoot("data")}) contains ${inRoot("data")}, which programs must not read`,
    });
    await assert.rejects(check("data", [inRoot("data", "state")]), {
      message: `"data" (${inRoot("data")}) contains ${inRoot("data", "state")}, which programs must not read`,
    });
    await assert.rejects(check("data/file.csv", [inRoot("data", "file.csv")]), /must not read/);
  });

  it("does not lie in a place that is closed, such as the service's state", async () => {
    await symlink("data/deep", inRoot("link"));
    for (const name of ["data", "data/deep", "data/deep/er", "data/file.csv", "link"])
      await assert.rejects(check(name, [], [inRoot("data")]), /must not read/, name);
    await assert.rejects(check("data/deep", [], ["/"]), {
      message: `"data/deep" (${inRoot("data", "deep")}) lies in /, which programs must not read`,
    });
    await check("data/deep", [inRoot("data")], [inRoot("data", "de"), inRoot("data", "deeper")]);
  });

  it("is none of the service's own places by way of a link", async () => {
    await symlink("data", inRoot("link"));
    await assert.rejects(check("link", [inRoot("data", "deep")]), /must not read/);
  });
});

describe("readable-paths: folders", () => {
  const folder = useTempFolder();

  it("are told from files, links to files and nothing", async () => {
    await writeFile(path.join(folder(), "file"), "");
    await symlink("file", path.join(folder(), "link"));
    assert.deepEqual(await Promise.all(["", "file", "link", "nothing"].map((name) => isDirectory(path.join(folder(), name)))), [
      true,
      false,
      false,
      false,
    ]);
  });

  it("are known by their real paths, also before they are made", async () => {
    await symlink(folder(), path.join(folder(), "link"));
    assert.deepEqual(await realPaths([path.join(folder(), "link"), path.join(folder(), "link", "nothing", "yet")]), [
      folder(),
      path.join(folder(), "nothing", "yet"),
    ]);
  });
});
