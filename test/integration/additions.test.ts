/**
 * An image with Debian packages and npm modules: what is in it, what of it can be executed, and that programs can use the modules.
 *
 * The image is the project's own and stays for the next run. What is rebuilt when is tested in image.test.ts, what commands can do
 * in the security tests.
 */

import assert from "node:assert/strict";
import { Readable } from "node:stream";

import type { Header } from "tar-stream";

import { parseRuntimes } from "../../src/config/runtimes-file.ts";
import { packageRoot } from "../../src/lib/package-info.ts";
import { buildSandboxImage } from "../../src/sandbox/docker/image/build-image.ts";
import { findImage } from "../../src/sandbox/docker/image/find-image.ts";
import { isElfProgram } from "../../src/sandbox/docker/image/elf.ts";
import { readTar } from "../../src/sandbox/docker/image/read-tar.ts";
import { buildImagesFor, IMAGE_TIMEOUT_MS } from "../helpers/images.ts";
import { docker, TestService } from "../helpers/service.ts";

const SETTINGS = {
  packages: ["git", "jq"],
  modules: ["bufferutil@4.1.0", "lodash@4"],
  allowedModules: ["bufferutil", "lodash", "fs"],
  permissions: { system: { allowedCommands: ["git", "jq"], maxProcesses: 4 } },
};
const { image: spec } = parseRuntimes(JSON.stringify({ runtimes: { one: SETTINGS } }), "test").runtimes.get("one")!;
const NODE = "usr/local/bin/node";

describe("An image with packages and modules", function () {
  this.timeout(IMAGE_TIMEOUT_MS);
  const files = new Map<string, Header & { readonly isProgram: boolean }>();
  let groups: Readonly<Record<string, readonly number[]>>;

  before(async () => {
    await buildImagesFor({ one: SETTINGS });
    const found = await findImage({ docker, packageRoot, image: spec });
    assert.ok(found.state === "ready");
    groups = Object.fromEntries(found.groups);
    const container = await docker.createContainer({ Image: found.id, Cmd: ["/never-started"], NetworkDisabled: true });
    try {
      await readTar(Readable.from(await container.export()), async (header, content) => {
        const isProgram = header.type === "file" && isElfProgram(header.name, await content());
        // What the engine mounts is not in the image.
        if (!/^(\.dockerenv|dev|proc|sys|etc\/(hostname|hosts|resolv\.conf|mtab))(\/|$)/.test(header.name)) {
          files.set(header.name.replace(/\/$/, ""), { ...header, isProgram });
        }
      });
    } finally {
      await container.remove({ force: true });
    }
  });

  it("says which groups can execute what", () => {
    assert.deepEqual(groups, { git: [60_706], jq: [60_707] });
  });

  it("has no file that can be executed but Node, its loader, and what was allowed, each for a group of its own", () => {
    const executable = [...files.values()].filter(({ mode, type }) => type === "file" && (mode & 0o111) !== 0);
    const shown = executable.map(({ gid, mode, name, uid }) => `${(mode & 0o7777).toString(8)} ${uid}:${gid} ${name}`).sort();
    assert.deepEqual(
      shown.filter((line) => !/^711 0:0 usr\/lib\/[^/]+\/ld-linux-[^/]+$/.test(line)),
      ["710 0:60706 usr/bin/git", "710 0:60707 usr/bin/jq", `711 0:0 ${NODE}`],
    );
    assert.equal(shown.length, 4);
  });

  it("has no program that the loader could run from a file that can be read", () => {
    const programs = [...files.values()].filter(({ isProgram }) => isProgram).map(({ name }) => name);
    assert.deepEqual(programs.sort(), ["usr/bin/git", "usr/bin/jq", NODE]);
  });

  it("has nothing that is set-uid, that others than root own or may write, or that is no file, folder or link", () => {
    for (const { gid, mode, name, type, uid } of files.values()) {
      assert.ok(["file", "directory", "symlink"].includes(type), name);
      assert.equal(mode & 0o7000, 0, name);
      if (type !== "symlink") assert.equal(mode & 0o022, 0, name);
      assert.equal(uid, 0, name);
      if (gid !== 0) assert.match(name, /^usr\/bin\/(git|jq)$/);
    }
  });

  it("has the libraries and data of packages, the modules, and no documents, init scripts or links to nothing", () => {
    const names = [...files.keys()];
    for (const pattern of [/\/libcurl-gnutls\.so\.4$/, /^usr\/share\/git-core\/templates\//, /^usr\/share\/doc\/git\/copyright$/]) {
      assert.ok(names.some((name) => pattern.test(name)), String(pattern)); // prettier-ignore
    }
    assert.ok(files.has("node_modules/lodash/lodash.js"));
    assert.equal(files.get("usr/lib/git-core/git-add")?.linkname, "../../bin/git");
    const stray =
      /^(var|boot|home|root|usr\/share\/(man|info|locale|doc\/[^/]+\/(?!copyright|LICENSE))|etc\/(init\.d|cron|systemd)|node_modules\/\.bin)/;
    assert.deepEqual(
      names.filter((name) => stray.test(name)),
      [],
    );
    for (const { linkname, name, type } of files.values()) {
      if (type === "symlink") assert.ok(!linkname.startsWith("/"), name);
    }
  });

  it("says what went into it, and is not built again", async () => {
    const began = performance.now();
    const { additionsTag = "", built } = await buildSandboxImage({ docker, packageRoot, image: spec });
    assert.equal(built, false);
    assert.ok(performance.now() - began < 3_000);
    const { Config: config } = await docker.getImage(additionsTag).inspect();
    assert.match(config.Labels["code-mode.image.packages"] ?? "", /\bgit 1:\d.*, jq \d/);
    assert.match(config.Labels["code-mode.image.modules"] ?? "", /^bufferutil 4\.1\.0, lodash 4\.\d+\.\d+$/);
  });

  it("gives programs its modules: by import and require, with subpaths, native add-ons, and what modules need themselves", async () => {
    const service = await TestService.start({ runtimes: { one: SETTINGS } });
    try {
      const code = `
        import lodash from "lodash";
        import add from "lodash/add.js";
        import bufferutil from "bufferutil";
        const refused = await import("node-gyp-build").then(() => "loaded", (error) => error.code);
        const output = Buffer.alloc(4);
        bufferutil.mask(Buffer.from("abcd"), Buffer.from([1, 2, 3, 4]), output, 0, 4);
        return [lodash.chunk([1, 2, 3], 2), add(1, 2), require("lodash").VERSION.split(".")[0], output.toString("hex"), refused, bufferutil.mask.toString()];`;
      const request = { permissions: { system: { allowedCommands: [], maxProcesses: 1 } } };
      assert.deepEqual(await service.result(code, request), [
        [[1, 2], [3]],
        3,
        "4",
        "60606060",
        "ERR_MODULE_NOT_ALLOWED",
        "function () { [native code] }",
      ]);
    } finally {
      await service.close();
    }
  });
});
