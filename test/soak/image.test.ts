/** Builds of the sandbox image that take long: cancelled at every step, made anew, and with a package that is not the pinned one. */

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

import { plainImage } from "../../src/domain/image-spec.ts";
import { buildSandboxImage } from "../../src/sandbox/docker/image/build-image.ts";
import type { BuildOptions, BuiltImage } from "../../src/sandbox/docker/image/build-image.ts";
import { listSandboxImages, pruneSandboxImages } from "../../src/sandbox/docker/image/find-image.ts";
import { docker, eventually } from "../helpers/service.ts";
import { makePackageRoot } from "../unit/image/tars.ts";

const prefix = `code-mode-test-${randomBytes(4).toString("hex")}`;

describe("Soak: sandbox image", () => {
  let packageRoot: string;
  let temporary: string;
  const { TMPDIR: machinesTemporary } = process.env;
  const progress: string[] = [];

  const build = (options: Partial<BuildOptions> = {}): Promise<BuiltImage> =>
    buildSandboxImage({ docker, packageRoot, image: plainImage(24), prefix, onProgress: (line) => progress.push(line), ...options });

  before(async () => {
    packageRoot = await makePackageRoot();
    temporary = await mkdtemp(path.join(tmpdir(), "code-mode-test-image-"));
    process.env["TMPDIR"] = temporary;
  });
  after(async () => {
    if (machinesTemporary === undefined) delete process.env["TMPDIR"];
    else process.env["TMPDIR"] = machinesTemporary;
    for (const folder of [packageRoot, temporary]) await rm(folder, { recursive: true, force: true });
    await pruneSandboxImages(docker, [], prefix);
    assert.deepEqual(await listSandboxImages(docker, prefix), []);
  });

  it("leaves no container and no folder when it is cancelled, wherever it was", async () => {
    for (const at of ["Debian packages", "Node 24", `building ${prefix}-base`, `building ${prefix}-sandbox`]) {
      const abort = new AbortController();
      const onProgress = (line: string): void => {
        if (line.startsWith(at)) setTimeout(() => abort.abort(new Error("enough")), 200);
      };
      await appendFile(path.join(packageRoot, "sandbox-image", "etc", "group"), "# changed\n");
      await build({ onProgress, signal: abort.signal }).then(
        // The last step may be done before it is cancelled.
        () => assert.match(at, /-sandbox$/),
        (error: unknown) => assert.equal((error as { reason?: string }).reason, "aborted", String(error)),
      );
      assert.deepEqual(await readdir(temporary), []);
    }
    // The engine notices that we are gone and stops by itself.
    const containers = async (): Promise<object[]> =>
      docker.listContainers({ all: true, filters: { label: [`code-mode.image.prefix=${prefix}`] } });
    await eventually("no container is left", async () => (await containers()).length === 0, 30_000);
    // Whether or not the engine was quicker than the last cancellation: the next build gives an image that is there.
    const { id } = await build();
    assert.equal((await docker.getImage(id).inspect()).Id, id);
  });

  it("is made anew on request, of freshly fetched packages", async () => {
    const before = await build();
    progress.length = 0;
    const refreshed = await build({ refresh: true });
    assert.deepEqual([refreshed.built, refreshed.tag], [true, before.tag]);
    assert.match(progress.join("\n"), /^Debian packages: .*\nNode 24\./);
    assert.equal((await build()).id, refreshed.id);
  });

  it("refuses a Node package that is not the pinned one, before anything is built", async () => {
    const other = await makePackageRoot();
    try {
      const file = path.join(other, "sandbox-image", "node.json");
      await writeFile(file, (await readFile(file, "utf8")).replaceAll(/sha512-[^"]{4}/g, "sha512-AAAA"));
      const images = await listSandboxImages(docker, prefix);
      await assert.rejects(build({ packageRoot: other }), { name: "ImageBuildError", reason: "integrity_mismatch" });
      assert.deepEqual(await listSandboxImages(docker, prefix), images);
    } finally {
      await rm(other, { recursive: true });
    }
  });
});
